//! The knowledge of a process about itself and its children: names, and children whose handles are gone.

use super::child::Child;
use crate::error::Error;
use crate::os::Ask;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The knowledge of a process about itself and its children.
pub(super) struct Family {
    pub(super) me: ProcessName,
    /// How many children this process has started, or has tried to start.
    children: u32,
    /// Children whose handles were dropped before they had ended.
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

    /// Reaps the dropped children that have ended. In a forked child, forgets its parent's children.
    pub(super) fn reap(&mut self) {
        self.dropped
            .retain(|child| matches!(child.look(Ask::Look), Ok(None)));
    }
}

/// The name of a process, or its place among the descendants of a program's first process. The name is put
/// together when somebody asks for it: a start is faster if it writes less.
#[derive(Clone)]
pub(super) struct ProcessName {
    given_name: Option<String>,
    /// The parent's lineage, such as `1:2`; empty for the first process and its children.
    lineage: String,
    /// The number among the parent's children, from 1 on; 0 for the first process.
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

    /// Returns the process's name in errors.
    pub(super) fn label(&self) -> String {
        format!("process {}", self.name())
    }
}

/// Returns the name of this process: `main` if no [`Process`](crate::Process) started it; in a child,
/// `Process-1` or the name that it was given; in that child's second child, `Process-1:2`.
///
/// ```
/// use shmkit::{Process, process::current_name};
///
/// # fn main() -> shmkit::Result<()> {
/// assert_eq!(current_name(), "main");
/// let child = Process::spawn(|| assert_eq!(current_name(), "Process-1"))?;
/// assert!(child.join()?.success());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn current_name() -> String {
    family().me.name()
}
