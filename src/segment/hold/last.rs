//! The last holder removes the name.
//!
//! | who leaves | how |
//! |---|---|
//! | a handle that is dropped | [`Hold::leave`] |
//! | a process that exits without dropping its handles | [`at_exit`], or [`leave_all`] in a child that runs no exit handlers: each of its holds *departs* |
//! | a process that is killed | not at all: the kernel ends its holds, and a name that nobody holds is an orphan |
//!
//! Whoever departs stays alive for locks, because other threads may still be in the middle of an operation,
//! and counts as nobody for the name. So of several processes that exit at once, the last to depart finds no
//! other holder, and removes the name. (If a killed holder's memory is still pinned, that holder looks alive, and
//! the name becomes an orphan.)

use super::{DEPARTING, Exclusive, GATE, Gate, Hold, HoldFile, fork, in_turns};
use crate::os::{self, Anchor, AsFd, BorrowedFd};
use crate::segment::layout::{Header, SEALED};
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The name that a segment's last holder removes.
#[derive(Debug)]
pub(crate) enum UnlinkOnLast {
    /// The name at this path.
    At(PathBuf),
    /// Whichever name the file has: the segment came as a descriptor.
    Wherever,
    /// The name of a mapping of the crate `shared_memory`.
    #[cfg(feature = "shared_memory")]
    Mapped {
        path: PathBuf,
        /// The holder that removes the name even if there are others; 0 if nobody does.
        owner: u64,
    },
}

impl UnlinkOnLast {
    fn path(&self, fd: BorrowedFd<'_>) -> io::Result<Option<Cow<'_, Path>>> {
        Ok(match self {
            Self::At(path) => Some(Cow::Borrowed(path)),
            #[cfg(feature = "shared_memory")]
            Self::Mapped { path, .. } => Some(Cow::Borrowed(path)),
            Self::Wherever => os::find_name(fd)?.map(Cow::Owned),
        })
    }

    /// Returns whether the name goes with this holder, although there may be others.
    fn goes_with(&self, holder: u64) -> bool {
        let owner = match self {
            Self::At(_) | Self::Wherever => 0,
            #[cfg(feature = "shared_memory")]
            Self::Mapped { owner, .. } => *owner,
        };
        owner == holder && holder != 0
    }

    /// Returns whether the name goes with the last holder. What lies in a mapping may be known only now.
    fn goes_with_last(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        if matches!(self, Self::At(_) | Self::Wherever) {
            return Ok(true);
        }
        let len = os::FileStatus::of(&fd)?.len;
        let mut start = [0; SEALED];
        let filled = os::read_at(fd, &mut start, 0)?;
        let header = Header::parse(&start[..filled], len);
        Ok(header.is_ok_and(|header| !header.is_persistent()))
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

    /// Ends the hold, and removes the name if this was its last holder. Nothing in this process uses the
    /// segment any more.
    pub(crate) fn leave(&self) {
        let left = in_turns(|exclusive| {
            let name = self.unlink_on_last.get();
            let (Some(name), Ok(file)) = (name, self.file()) else {
                drop(self.end(exclusive));
                return Some(());
            };
            let Ok(gate) = Gate::try_enter(exclusive, file.as_fd()).transpose()? else {
                drop(self.end(exclusive));
                return Some(());
            };
            let number = self.number.load(Ordering::Relaxed);
            let own = self.end(exclusive);
            let _ = os::insist(|| self.remove_name(name, number, file.as_fd()));
            drop(gate);
            drop(own); // which `file` may have borrowed
            Some(())
        });
        // If the gate stays shut, the name becomes an orphan, for the next create, open or sweep.
        if left.is_none() {
            drop(self.end(&mut super::exclusive()));
        }
    }

    /// Ends the hold on a segment that has no name yet.
    pub(crate) fn discard(&self, exclusive: &mut Exclusive) {
        drop(self.end(exclusive));
    }

    /// Makes the holder depart, and removes the name if no other holder is left. The hold and the mapping stay.
    /// Returns `None` if the gate is shut.
    fn depart(&self, exclusive: &mut Exclusive) -> Option<()> {
        let number = self.number.load(Ordering::Relaxed);
        let (Some(name), Ok(file), 1..) = (self.unlink_on_last.get(), self.file(), number) else {
            return Some(());
        };
        let fd = file.as_fd();
        let Ok(gate) = Gate::try_enter(exclusive, fd).transpose()? else {
            return Some(());
        };
        // In this order, so that the holder looks alive all the time.
        let departing = os::insist(|| os::try_lock_byte(fd, DEPARTING + number));
        if matches!(departing, Ok(true)) {
            self.departs.store(true, Ordering::Relaxed);
            match &file {
                HoldFile::Own(fd) => _ = os::unlock_byte(*fd, GATE + number),
                // The first byte's description has no descriptor any more, and ends with its anchor.
                HoldFile::Opened(file) => {
                    if let Ok(anchor) = Anchor::of_own(file.as_fd()) {
                        exclusive.replace_anchor(self, anchor);
                    }
                }
            }
        }
        let _ = os::insist(|| self.remove_name(name, number, fd));
        drop(gate);
        Some(())
    }

    /// Removes the name if it leads to the file behind `fd`, and goes with this holder. The caller is in the
    /// gate, and its own hold has ended or departs.
    fn remove_name(&self, name: &UnlinkOnLast, number: u64, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !name.goes_with(number)
            && (self.is_held_by_others(fd, number)? || !name.goes_with_last(fd)?)
        {
            return Ok(());
        }
        match name.path(fd)? {
            Some(path) if os::leads_to(&path, &fd)? => os::unlink(&path),
            _ => Ok(()),
        }
    }
}

/// How often a process that exits looks for further holds.
const MOST_ROUNDS: usize = 100;

/// Lets every hold depart whose segment's name goes with its holders. Called by a process that is about to
/// end without dropping its handles.
pub(crate) fn leave_all() {
    let mut may_wait = true;
    let mut left = Vec::new();
    // Another thread may create and open segments meanwhile. Somebody who does so without an end keeps its last.
    for _ in 0..MOST_ROUNDS {
        let is_new = |hold: &&Arc<Hold>| !left.iter().any(|old| Arc::ptr_eq(old, hold));
        let holds: Vec<_> = super::exclusive()
            .entries()
            .map(|entry| &entry.hold)
            .filter(is_new)
            .cloned()
            .collect();
        if holds.is_empty() {
            return;
        }
        for hold in &holds {
            if may_wait {
                may_wait = in_turns(|exclusive| hold.depart(exclusive)).is_some();
            } else {
                // One gate that stays shut delays the exit, and not each of many.
                hold.depart(&mut super::exclusive());
            }
        }
        left.extend(holds);
    }
}

/// The exit handler.
pub(super) extern "C" fn at_exit() {
    // Not in a child that no fork handler has seen: its holds are its parent's. And not in a handler of a fault that
    // struck this thread in the middle of an open or a drop.
    if fork::is_own_process() && !fork::has_exclusive() {
        leave_all();
    }
}
