//! [`Family`]: what a process knows about itself and its children. [`ProcessName`]: the name of a process.

use super::child::Child;
use crate::error::Error;
use crate::os::Ask;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process knows about itself and its children.
pub(super) struct Family {
    own_name: ProcessName,
    /// How many children this process has started, or has tried to start.
    children_started: u32,
    /// The children that had not ended when their handles were dropped.
    dropped_children: Vec<Arc<Child>>,
}

static FAMILY: Mutex<Family> = Mutex::new(Family::new(ProcessName {
    given_name: None,
    lineage: String::new(),
    number: 0,
}));

/// Locks this process's family.
pub(super) fn lock_family() -> MutexGuard<'static, Family> {
    FAMILY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    /// Makes the family of a process that has no children yet.
    pub(super) const fn new(own_name: ProcessName) -> Self {
        Self {
            own_name,
            children_started: 0,
            dropped_children: Vec::new(),
        }
    }

    /// Numbers and names the next child.
    pub(super) fn name_next_child(&mut self, given_name: Option<String>) -> ProcessName {
        self.children_started += 1;
        ProcessName {
            given_name,
            lineage: self.own_name.lineage(),
            number: self.children_started,
        }
    }

    /// Remembers a child that has lost its handle, so that it is reaped once it has ended.
    pub(super) fn add_dropped(&mut self, child: Arc<Child>) {
        self.dropped_children.push(child);
    }

    /// Reaps the dropped children that have ended, and forgets those that this process can't reap.
    pub(super) fn reap_dropped(&mut self) {
        self.dropped_children
            .retain(|child| matches!(child.status(Ask::Look), Ok(None)));
    }
}

/// The parts of a process's name: the name that it was given, and its position among the descendants of a
/// program's first process. [`name`](Self::name) puts them together only when somebody asks, because a start
/// is faster if it writes less.
#[derive(Clone)]
pub(super) struct ProcessName {
    given_name: Option<String>,
    /// The parent's [lineage](Self::lineage), such as `1:2`; empty for the first process and its children.
    lineage: String,
    /// The number among the parent's children, from 1 on; 0 for the first process.
    number: u32,
}

impl ProcessName {
    /// Returns the numbers of this process's ancestors and its own number, such as `1:2:1`; empty for the
    /// first process.
    fn lineage(&self) -> String {
        match (self.number, self.lineage.as_str()) {
            (0, _) => String::new(),
            (number, "") => number.to_string(),
            (number, lineage) => format!("{lineage}:{number}"),
        }
    }

    /// Returns the name: see [`current_name`].
    pub(super) fn name(&self) -> String {
        match &self.given_name {
            Some(name) => name.clone(),
            None if self.number == 0 => "main".to_owned(),
            None => format!("Process-{}", self.lineage()),
        }
    }

    /// Makes the error that says which operation on the process the system refused.
    pub(super) fn os_error(&self, op: &'static str, source: io::Error) -> Error {
        Error::from_os(&self.label(), op, source)
    }

    /// Returns the process's name as error texts have it.
    pub(super) fn label(&self) -> String {
        format!("process {}", self.name())
    }
}

/// Returns the name of this process: `main` in a process that no [`Process`](crate::Process) started; in its
/// first child, `Process-1`, or the name that the child was given; in the second child of `Process-1`,
/// `Process-1:2`.
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
    lock_family().own_name.name()
}
