//! [`Child`]: the status of a child process, for any number of threads that ask for it.
//!
//! | the child has | its status is | an asker finds | next |
//! |---|---|---|---|
//! | not ended | unknown | nothing | the child ends |
//! | ended | in the kernel | the kernel's status, and stores it in `status` | the asker reaps the child |
//! | been reaped | in `status` | the stored status | |
//!
//! Invariants:
//! 1. *The status is stored before the child is reaped.* So if several threads ask at once, each finds the
//!    status, in the kernel or in `status`, and none of them needs a lock.
//! 2. *A child is waited for and signalled through its descriptor*, which was opened before anybody could
//!    reap the child: a pid that is used again is never waited for or hit.
//!
//! A child that dies at any instruction has a status like any other. If its parent dies, the system waits
//! for the child.

use crate::os::{self, AsFd, Ask, ExitStatusExt, OwnedFd};
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, Ordering};

/// Stands for a status that is not known yet: no encoded status is negative.
const UNKNOWN: i32 = -1;

/// A child process, running or not.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: u32,
    pub(super) fd: OwnedFd,
    /// The status as `wait` encodes it, or [`UNKNOWN`]. It is stored once, before the child is reaped.
    status: AtomicI32,
}

impl Child {
    /// Makes the record of a child that has been started, and for which nobody has waited.
    pub(super) fn new(pid: u32, fd: OwnedFd) -> Self {
        Self {
            pid,
            fd,
            status: AtomicI32::new(UNKNOWN),
        }
    }

    fn known(&self) -> Option<ExitStatus> {
        let status = self.status.load(Ordering::Relaxed);
        (status != UNKNOWN).then(|| ExitStatus::from_raw(status))
    }

    /// Returns the status if the child has ended, and then reaps the child. `ECHILD` says that this process
    /// is not its parent, or that somebody else reaped it.
    pub(super) fn look(&self, ask: Ask) -> io::Result<Option<ExitStatus>> {
        if let Some(known) = self.known() {
            return Ok(Some(known));
        }
        match os::child_status(self.fd.as_fd(), ask) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                self.status.store(status, Ordering::Relaxed);
                // If another thread has come first, there is nothing left to do.
                let _ = os::child_status(self.fd.as_fd(), Ask::Reap);
                Ok(Some(ExitStatus::from_raw(status)))
            }
            // By invariant 1 a thread that reaped the child stored the status first. The store pairs with
            // the kernel's lock, under which that thread reaped and we asked.
            Err(error) => self.known().map(Some).ok_or(error),
        }
    }
}
