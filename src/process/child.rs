//! [`Child`]: the status of a child process, for any number of threads that ask for it.
//!
//! | the child is | its status | who asks finds | next |
//! |---|---|---|---|
//! | running | none yet | nothing | it ends |
//! | ended | the kernel's | the kernel's, and keeps it in `status` | reaped, by whoever kept it |
//! | reaped | in `status` | that | |
//!
//! Invariants:
//! 1. *The status is kept before the child is reaped.* So of several that ask at once each finds it,
//!    in the kernel or in `status`, and none of them needs a lock.
//! 2. *A child is waited for and signalled through its descriptor*, opened before it can have been
//!    reaped: a pid that is used again is never waited for or hit.
//!
//! A child that dies at any instruction is a status like any other. If its parent dies, it is the
//! system's to wait for.

use crate::os::{self, AsFd, Ask, ExitStatusExt, OwnedFd};
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, Ordering};

/// No status is known yet: no encoded one is negative.
const UNKNOWN: i32 = -1;

/// A child process, running or not.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: u32,
    pub(super) fd: OwnedFd,
    /// As `wait` encodes it, or [`UNKNOWN`]. Set once, before the child is reaped.
    status: AtomicI32,
}

impl Child {
    /// What has been started and not been waited for.
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

    /// The status, if the child has ended, and then the child is reaped. `ECHILD` says that this
    /// process is not its parent, or that somebody else reaped it.
    pub(super) fn look(&self, ask: Ask) -> io::Result<Option<ExitStatus>> {
        if let Some(known) = self.known() {
            return Ok(Some(known));
        }
        match os::child_status(self.fd.as_fd(), ask) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                self.status.store(status, Ordering::Relaxed);
                // Another thread may have come first; then there is nothing left to do.
                let _ = os::child_status(self.fd.as_fd(), Ask::Reap);
                Ok(Some(ExitStatus::from_raw(status)))
            }
            // By invariant 1 another thread that reaped it kept the status first. The store's partner
            // is the kernel, which reaps under the lock that our question took too.
            Err(error) => self.known().map(Some).ok_or(error),
        }
    }
}
