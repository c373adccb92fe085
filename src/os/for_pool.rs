//! The calls that only a pool makes, beside its sockets.

use super::base::{AsRawFd, BorrowedFd, File, check};
use super::file::write_at;
use super::space::file_size_limit;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Resets `SIGCHLD` to its default. A handler that this process inherited may reap children, or write to a
/// pipe that its parent reads.
pub(crate) fn default_sigchld() {
    // SAFETY: the default is no handler of ours.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    debug_assert_ne!(before, libc::SIG_ERR, "SIGCHLD exists");
}

/// Returns whether orphaned children can become this process's: it is the first process of its namespace,
/// or it is a subreaper.
pub(crate) fn adopts_orphans() -> bool {
    let mut asked: libc::c_int = 0;
    // SAFETY: the option writes an int, which is alive.
    let found = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut asked) };
    std::process::id() == 1 || found == 0 && asked != 0
}

/// Waits until a process behind one of these descriptors has ended, or until one of the descriptors has
/// something to read, for at most `timeout`. Returns for each descriptor whether that is so; a signal may
/// end the wait early, with `false` for all.
pub(crate) fn wait_for_any(
    fds: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let polled = |fd: &BorrowedFd<'_>| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls: Vec<libc::pollfd> = fds.iter().map(polled).collect();
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = polls.len() as libc::nfds_t;
    // SAFETY: `count` descriptors are passed, and a time or none, all alive, and no mask.
    let found = check(unsafe { libc::ppoll(polls.as_mut_ptr(), count, time, std::ptr::null()) });
    match found {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Err(_) => Ok(vec![false; fds.len()]),
        Ok(_) => Ok(polls.iter().map(|poll| poll.revents != 0).collect()),
    }
}

/// Gives the memory of a part of a file back. The part reads as zeros then.
pub(crate) fn discard(file: BorrowedFd<'_>, part: &Range<u64>) -> io::Result<()> {
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let at = |offset: u64| libc::off64_t::try_from(offset).map_err(io::Error::other);
    let (start, len) = (at(part.start)?, at(part.end - part.start)?);
    // SAFETY: the call takes numbers.
    check(unsafe { libc::fallocate64(file.as_raw_fd(), how, start, len) }).map(drop)
}

/// Writes all bytes from `offset` on. Fails with `FileTooLarge` if the write would go beyond this process's limit
/// on files, which would raise SIGXFSZ.
pub(crate) fn write_within_limit(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    if file_size_limit()?.is_some_and(|limit| limit < end) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    write_at(file, bytes, offset)
}

/// Fills `bytes` from `offset` on; `UnexpectedEof` if the file ends before that.
pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}
