//! The types and the functions on which the other files of this wing stand.

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

/// Makes a call again as long as signals interrupt it.
#[cfg(not(loom))]
pub(super) fn retried<R>(mut call: impl FnMut() -> std::io::Result<R>) -> std::io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Makes a call again, a few times within a millisecond, if it fails for want of the kernel's memory or the like.
/// This is for callers that would leave something behind, and could tell nobody.
#[cfg(not(loom))]
pub(crate) fn insist<R>(mut call: impl FnMut() -> std::io::Result<R>) -> std::io::Result<R> {
    let may_pass = |error: &std::io::Error| {
        matches!(
            error.raw_os_error(),
            Some(
                libc::EINTR | libc::EAGAIN | libc::EIO | libc::ENFILE | libc::ENOLCK | libc::ENOMEM
            )
        )
    };
    for pause_us in [50, 200, 700] {
        match call() {
            Err(error) if may_pass(&error) => {
                std::thread::sleep(std::time::Duration::from_micros(pause_us));
            }
            result => return result,
        }
    }
    call()
}
