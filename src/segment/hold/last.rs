//! The last holder removes the name.
//!
//! | who leaves | how |
//! |---|---|
//! | a handle that is dropped | `leave`, and then [`Hold::finish`] |
//! | a child that ends without dropping its handles | [`leave_all`]: the same for each of its holds |
//! | a process that is killed, or exits in some other way | not at all: the kernel ends its holds, and a name that nobody holds is an orphan |

use super::{Exclusive, GATE_TIMEOUT, Gate, Hold, Leaving, exclusive, is_held_by_others};
use crate::os::{self, AsFd, File};
use crate::sync::Deadline;
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// The name that a segment's last holder removes.
#[derive(Debug)]
pub(crate) enum UnlinkOnLast {
    /// The name at this path.
    At(PathBuf),
    /// Whichever name the file has: the segment came as a descriptor.
    Wherever,
}

impl UnlinkOnLast {
    /// Removes the name if it leads to the file and nobody else holds the file. The caller is in the gate.
    fn remove_if_last(&self, file: &File) -> io::Result<()> {
        if is_held_by_others(file.as_fd())? {
            return Ok(());
        }
        let path = match self {
            Self::At(path) => Some(Cow::Borrowed(path)),
            Self::Wherever => os::find_name(file)?.map(Cow::Owned),
        };
        match path {
            Some(path) if os::leads_to(&path, file)? => os::unlink(&path),
            _ => Ok(()),
        }
    }
}

impl Hold {
    /// Says which name the last holder removes. Called at most once; without it, no name goes.
    pub(crate) fn unlink_on_last(&self, name: UnlinkOnLast) {
        let said = self.unlink_on_last.set(name);
        debug_assert!(
            said.is_ok(),
            "called once, when the segment was published or opened"
        );
    }

    /// Ends the hold that [`leave`](Self::leave) returned, and removes the name if nobody else holds the
    /// segment.
    pub(crate) fn finish(&self, exclusive: &Exclusive, leaving: &Leaving) {
        let Some(name) = self.unlink_on_last.get() else {
            return leaving.end();
        };
        // If this can't be decided now, the name is an orphan, for the next create, open or sweep.
        let deadline = Deadline::after(GATE_TIMEOUT);
        let gate = Gate::enter(exclusive, leaving.file(), deadline);
        if matches!(gate, Ok(Some(_))) {
            let _ = name.remove_if_last(leaving.file());
        }
        // Inside the gate: if two leave at once, the second must not see the first any more.
        leaving.end();
        drop(gate);
    }
}

/// Leaves every segment whose name goes with its holders. Called by a process that is about to end without
/// dropping its handles, and that does nothing else any more. If the process has other threads, this does
/// nothing: a thread may be in the middle of an operation, and others would take it for a dead holder's.
pub(crate) fn leave_all() {
    let mut exclusive = exclusive();
    let named = |hold: &&std::sync::Arc<Hold>| hold.unlink_on_last.get().is_some();
    let holds: Vec<_> = exclusive.0.iter().filter(named).cloned().collect();
    if holds.is_empty() || !matches!(os::count_threads(), Ok(1)) {
        return;
    }
    for hold in holds {
        if let Some(leaving) = hold.leave(&mut exclusive) {
            hold.finish(&exclusive, &leaving);
        }
    }
}
