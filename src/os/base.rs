//! The types and the one function on which the other files of this wing stand.

#[cfg(not(loom))]
pub(crate) use memmap2::MmapRaw;
#[cfg(not(loom))]
pub(crate) use std::fs::File;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) use std::io::{PipeReader, PipeWriter};
#[cfg(not(loom))]
pub(crate) use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
#[cfg(not(loom))]
pub(crate) use std::os::unix::process::ExitStatusExt;

/// Turns a `-1` return into the thread's `errno`.
#[cfg(not(loom))]
#[inline]
pub(super) fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
