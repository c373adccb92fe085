//! [`Child`]: a child process, and its status for any number of threads that ask.
//!
//! | the child | its status is | a thread that asks | next |
//! |---|---|---|---|
//! | runs | unknown | finds nothing | the child ends |
//! | has ended | in the kernel | finds it there, and stores it | the thread reaps the child |
//! | has been reaped | stored | finds it stored | – |
//!
//! Invariants:
//! 1. *The status is stored before the child is reaped.* So if several threads ask at once, each finds the
//!    status, in the kernel or stored, and none of them needs a lock.
//! 2. *A child is waited for and signalled through its descriptor*, which was opened before anybody could
//!    reap the child. So another process that gets the same pid later is never waited for or signalled.
//!
//! A child that dies at any instruction has a status like any other. If its parent dies, the system reaps the
//! child.

use crate::os::{self, AsFd, Ask, ExitStatusExt, OwnedFd};
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, Ordering};

/// Stands for a status that is not stored yet: no encoded status is negative.
const UNKNOWN: i32 = -1;

/// A child process, which may have ended.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: u32,
    pub(super) fd: OwnedFd,
    /// The status as `wait` encodes it, or [`UNKNOWN`]. A thread that finds the status stores it before it
    /// reaps the child; all such threads store the same value.
    stored_status: AtomicI32,
}

impl Child {
    /// Makes the record of a child that was just started. Nobody may have reaped the child.
    pub(super) fn new(pid: u32, fd: OwnedFd) -> Self {
        Self {
            pid,
            fd,
            stored_status: AtomicI32::new(UNKNOWN),
        }
    }

    fn stored_status(&self) -> Option<ExitStatus> {
        let status = self.stored_status.load(Ordering::Relaxed);
        (status != UNKNOWN).then(|| ExitStatus::from_raw(status))
    }

    /// Returns the status if the child has ended, and reaps such a child. With [`Ask::Wait`], waits for the
    /// end. `ECHILD` says that this process is not the child's parent, or that other code reaped the child.
    pub(super) fn status(&self, ask: Ask) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.stored_status() {
            return Ok(Some(status));
        }
        match os::child_status(self.fd.as_fd(), ask) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                self.stored_status.store(status, Ordering::Relaxed);
                // This fails if another thread has reaped the child since, which is as good.
                let _ = os::child_status(self.fd.as_fd(), Ask::Reap);
                Ok(Some(ExitStatus::from_raw(status)))
            }
            // By invariant 1, a thread that reaped the child stored the status first. Relaxed is enough: that
            // thread reaped, and this one asked, under one lock of the kernel.
            Err(error) => self.stored_status().map(Some).ok_or(error),
        }
    }
}
