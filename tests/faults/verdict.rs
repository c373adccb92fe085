//! The verdict on a run of a row.

use crate::rows::Row;
use crate::texts;
use crate::tracer::Fault;
use crate::world::World;
use std::any::Any;
use std::io::{PipeWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The operation succeeded, and left nothing.
    Done,
    /// The operation returned an error, and left nothing.
    Refused(String),
    /// The operation left a name that nobody holds, which the next look removed.
    Orphan(String),
    Failed(String),
}

/// Runs a row in this process.
pub(crate) fn of(row: &Row) -> Verdict {
    std::panic::set_hook(Box::new(|_| ())); // the verdict has the text
    let before = World::now();
    let told = catch_unwind(AssertUnwindSafe(row.run));
    let now = World::now();
    let told = match told {
        Ok(told) => told,
        Err(panic) => {
            return Verdict::Failed(format!("panicked: {}", text_of(&*panic)));
        }
    };
    let differences = now.differences(&before);
    if !differences.is_empty() {
        return Verdict::Failed(differences.join("; "));
    }
    if now.names != before.names {
        return leftover(&now.names);
    }
    match told {
        Ok(()) => Verdict::Done,
        Err(text) => Verdict::Refused(text),
    }
}

/// The text of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let fixed = panic.downcast_ref::<&str>().copied();
    fixed.unwrap_or_else(|| panic.downcast_ref::<String>().map_or("", String::as_str))
}

/// Judges names that were left.
fn leftover(names: &[String]) -> Verdict {
    if names[0].ends_with(".shmkit~") {
        return Verdict::Failed(format!("left {names:?}"));
    }
    let place = || shmkit::Place::file(&names[0]);
    let said = match shmkit::inspect(place()) {
        Ok(info) => format!("{} with {} holders", names[0], info.holders),
        Err(error) => return Verdict::Failed(format!("left {names:?}: {error}")),
    };
    // Whoever opens it finds nobody, and removes it.
    let opened = shmkit::Value::<u64>::open(place());
    let gone = matches!(opened, Err(shmkit::Error::NotFound { .. }));
    if names.len() == 1 && gone && !std::fs::exists(&names[0]).expect("look") {
        return Verdict::Orphan(said);
    }
    Verdict::Failed(format!("left {names:?}: {said}, then {opened:?}"))
}

impl Verdict {
    /// Returns what is wrong with the verdict after a fault, if anything is.
    pub(crate) fn wrong(&self, row: &Row, fault: Fault) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Refused(text) if row.is_pool && texts::names_consequence(text) => None,
            Self::Refused(text) if fault.errno == libc::EINTR => {
                Some(format!("EINTR shows: {text}"))
            }
            Self::Refused(text) if texts::names_cause(text, fault.errno) => None,
            Self::Refused(text) => Some(format!("does not name the cause: {text}")),
            // Nobody may remove the name, so it is left to whoever may.
            Self::Orphan(_) if texts::forbids(fault.errno) => None,
            Self::Orphan(what) => Some(format!("left {what}")),
            Self::Failed(why) => Some(why.clone()),
        }
    }

    pub(crate) fn send(&self, mut to: &PipeWriter) {
        let (kind, text) = match self {
            Self::Done => ("done", ""),
            Self::Refused(text) => ("refused", text.as_str()),
            Self::Orphan(text) => ("orphan", text.as_str()),
            Self::Failed(text) => ("failed", text.as_str()),
        };
        to.write_all(format!("{kind} {text}").as_bytes())
            .expect("tell");
    }

    pub(crate) fn parse(text: &str) -> Self {
        let (kind, text) = text.split_once(' ').unwrap_or(("", "it told nothing"));
        let text = text.to_owned();
        match kind {
            "done" => Self::Done,
            "refused" => Self::Refused(text),
            "orphan" => Self::Orphan(text),
            _ => Self::Failed(text),
        }
    }
}
