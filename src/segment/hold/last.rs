//! The last one out removes the name.
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

/// The name that ends with a segment's last holder.
#[derive(Debug)]
pub(crate) enum UnlinkOnLast {
    /// The one at this path.
    At(PathBuf),
    /// Whichever it has: it came as a descriptor.
    Wherever,
}

impl UnlinkOnLast {
    /// Removes the name if it leads to the file and nobody else holds that; in its gate.
    fn with_the_last(&self, file: &File) -> io::Result<()> {
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
    /// Says which name ends with the last holder; else none does. Once.
    pub(crate) fn unlink_on_last(&self, ends: UnlinkOnLast) {
        let said = self.ends.set(ends);
        debug_assert!(said.is_ok(), "said once, when it was published or opened");
    }

    /// UnlinkOnLast what [`leave`](Self::leave) handed over, and the name, if nobody else holds the segment.
    pub(crate) fn finish(&self, exclusive: &Exclusive, leaving: &Leaving) {
        let Some(ends) = self.ends.get() else {
            return leaving.end();
        };
        // What can't be decided now is an orphan, for the next create, open or sweep.
        let deadline = Deadline::after(GATE_TIMEOUT);
        let gate = Gate::enter(exclusive, leaving.file(), deadline);
        if matches!(gate, Ok(Some(_))) {
            let _ = ends.with_the_last(leaving.file());
        }
        // Inside the gate: of two that leave at once, the second must not see the first any more.
        leaving.end();
        drop(gate);
    }
}

/// Leaves every segment with a name that ends with its holders, for a process that is about to end
/// without dropping its handles, and does nothing else any more. Not where there are other threads: one
/// of them may be in the middle of something, which others would take for that of a dead holder.
pub(crate) fn leave_all() {
    let mut exclusive = exclusive();
    let named = |hold: &&std::sync::Arc<Hold>| hold.ends.get().is_some();
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
