//! What a process knows of itself and of its children: names, and children whose handles are gone.

use super::child::Child;
use crate::error::Error;
use crate::os::Ask;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a process knows about itself and its children.
pub(super) struct Family {
    pub(super) me: ProcessName,
    /// How many children have been started or tried.
    children: u32,
    /// Children that nobody has a handle to any more, and that had not ended when it was dropped.
    pub(super) dropped: Vec<Child>,
}

static FAMILY: Mutex<Family> = Mutex::new(Family::of(ProcessName {
    given_name: None,
    lineage: String::new(),
    number: 0,
}));

pub(super) fn family() -> MutexGuard<'static, Family> {
    FAMILY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    pub(super) const fn of(me: ProcessName) -> Self {
        Self {
            me,
            children: 0,
            dropped: Vec::new(),
        }
    }

    pub(super) fn next_child(&mut self, given_name: Option<String>) -> ProcessName {
        self.children += 1;
        ProcessName {
            given_name,
            lineage: self.me.lineage(),
            number: self.children,
        }
    }

    /// Reaps those who have ended of the children that were dropped; in a forked child, forgets its
    /// parent's.
    pub(super) fn reap(&mut self) {
        self.dropped
            .retain(|child| matches!(child.look(Ask::Look), Ok(None)));
    }
}

/// Which child of which child of a program's first process one is. What it is called is put together
/// when it is asked for: a start is faster by what it does not write to.
#[derive(Clone)]
pub(super) struct ProcessName {
    given_name: Option<String>,
    /// The parent's: `1:2`; empty for a child of the first process, and the first process.
    lineage: String,
    /// From 1 on; 0 in the first process.
    number: u32,
}

impl ProcessName {
    fn lineage(&self) -> String {
        match (self.number, self.lineage.as_str()) {
            (0, _) => String::new(),
            (number, "") => number.to_string(),
            (number, lineage) => format!("{lineage}:{number}"),
        }
    }

    pub(super) fn name(&self) -> String {
        match &self.given_name {
            Some(name) => name.clone(),
            None if self.number == 0 => "main".to_owned(),
            None => format!("Process-{}", self.lineage()),
        }
    }

    pub(super) fn failed(&self, op: &'static str, source: io::Error) -> Error {
        Error::from_os(&self.label(), op, source)
    }

    /// What it is called in errors.
    pub(super) fn label(&self) -> String {
        format!("process {}", self.name())
    }
}

/// The name of this process: `main` in one that no [`Process`](crate::Process) started; `Process-1` or the name it
/// was given in a child; `Process-1:2` in that one's second child.
#[must_use]
pub fn current_name() -> String {
    family().me.name()
}
