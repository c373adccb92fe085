//! Locks on single bytes of a file that belong to an open file description (OFD locks).

use super::base::{AsRawFd, BorrowedFd, RawFd, check, insist, retried};
use super::space::to_off;
use std::io;
use std::ops::Range;

fn byte_range(kind: libc::c_int, start: u64, len: u64) -> io::Result<libc::flock> {
    // SAFETY: an flock of zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind.try_into().expect("lock kinds are small");
    range.l_whence = libc::SEEK_SET.try_into().expect("SEEK_SET is 0");
    range.l_start = to_off(start)?;
    range.l_len = to_off(len)?;
    Ok(range)
}

fn fcntl_range(fd: RawFd, command: libc::c_int, range: &mut libc::flock) -> io::Result<()> {
    // Some filesystems wait for a server, and a signal ends that wait.
    // SAFETY: the commands passed here read, and F_OFD_GETLK writes, one flock, which is alive.
    retried(|| check(unsafe { libc::fcntl(fd, command, std::ptr::from_mut(range)) })).map(drop)
}

/// Write-locks one byte for the open file description behind `fd`; returns `false` if another description
/// has the byte locked. This never waits. The lock ends with the description's last descriptor.
pub(crate) fn try_lock_byte(fd: BorrowedFd<'_>, at: u64) -> io::Result<bool> {
    let mut range = byte_range(libc::F_WRLCK, at, 1)?;
    match fcntl_range(fd.as_raw_fd(), libc::F_OFD_SETLK, &mut range) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Undoes [`try_lock_byte`]. The kernel needs memory for this, too, so one failure is not the last word.
pub(crate) fn unlock_byte(fd: BorrowedFd<'_>, at: u64) -> io::Result<()> {
    let mut range = byte_range(libc::F_UNLCK, at, 1)?;
    insist(|| fcntl_range(fd.as_raw_fd(), libc::F_OFD_SETLK, &mut range))
}

/// Returns some range of bytes, among the `len` bytes from `start` on (0 means all the rest), that another
/// open file description has write-locked; not always the first such range. This asks without taking, and
/// works through a read-only descriptor too. Read locks don't count: whoever may only read a file can have them.
pub(crate) fn find_locked(
    fd: BorrowedFd<'_>,
    start: u64,
    len: u64,
) -> io::Result<Option<Range<u64>>> {
    let mut range = byte_range(libc::F_RDLCK, start, len)?;
    fcntl_range(fd.as_raw_fd(), libc::F_OFD_GETLK, &mut range)?;
    if libc::c_int::from(range.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let first = u64::try_from(range.l_start).unwrap_or(0);
    let end = match u64::try_from(range.l_len) {
        Ok(len) if len > 0 => first.saturating_add(len),
        _ => i64::MAX as u64, // 0 is to the end of what a file can be
    };
    Ok(Some(first.max(start)..end.max(start + 1)))
}
