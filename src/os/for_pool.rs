//! The calls that only a pool makes, beside its sockets.

use super::base::{AsRawFd, BorrowedFd, File, OwnedFd, PipeReader, RawFd, check};
use super::descriptor::{StandardTaken, adopt};
use super::file::{CPath, write_at};
use super::space::file_size_limit;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Closes all descriptors of this process but the standard streams and `kept`.
///
/// Each closed number stays taken by a descriptor that nobody can read or write. So an inherited handle that
/// has this number fails with `EBADF`, and never reaches a file that is opened later.
pub(crate) fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let _taken = StandardTaken::new()?;
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|fd| fd.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > libc::STDERR_FILENO && !kept.contains(fd))
        .collect();
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the path is a C string literal.
    let nowhere = check(unsafe { libc::open(c"/".as_ptr(), flags) })?;
    // SAFETY: `nowhere` was just opened, and nobody else has it.
    let nowhere = unsafe { adopt(nowhere) };
    for fd in open {
        // SAFETY: the call takes numbers.
        let is_open = unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1; // the listing's own is not, any more
        if is_open && fd != nowhere.as_raw_fd() {
            // SAFETY: as above. This process uses no handle with that number.
            let taken = unsafe { libc::dup3(nowhere.as_raw_fd(), fd, libc::O_CLOEXEC) } != -1;
            if !taken {
                // The limit of descriptors is lower than this number, so no later file gets it.
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
        }
    }
    Ok(())
}

/// `F_SETSIG`, which `libc` has for some C libraries only.
const SET_SIGNAL: libc::c_int = 10;

/// Makes the kernel kill this process when the last writer of an empty pipe is gone, as long as the result is
/// open. If the parent's death closes the pipe, this works like the signal of that death, and the kernel does
/// not forget it when the process changes its credentials: it asks for the permission that the process has now.
pub(crate) fn end_with_writers(pipe: &PipeReader) -> io::Result<OwnedFd> {
    let _taken = StandardTaken::new()?;
    let path = CPath::of_descriptor(pipe.as_raw_fd());
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path is a live C string. The open file description has an owner of its own.
    let fd = check(unsafe { libc::open(path.as_c_str().as_ptr(), flags) })?;
    // SAFETY: `fd` was just opened, and nobody else has it.
    let own = unsafe { adopt(fd) };
    for (command, value) in [
        (libc::F_SETOWN, std::process::id().cast_signed()),
        (SET_SIGNAL, libc::SIGKILL),
        (libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK),
    ] {
        // SAFETY: the commands take numbers.
        check(unsafe { libc::fcntl(fd, command, value) })?;
    }
    Ok(own)
}

/// Makes this process the first of a process group of its own. Returns the group that it was in.
pub(crate) fn lead_group() -> io::Result<i32> {
    // SAFETY: the call has no conditions.
    let before = unsafe { libc::getpgrp() };
    // SAFETY: the call takes numbers.
    check(unsafe { libc::setpgid(0, 0) })?;
    Ok(before)
}

/// Moves this process to a process group.
pub(crate) fn join_group(group: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers.
    check(unsafe { libc::setpgid(0, group) }).map(drop)
}

/// Reaps the children of this process that are in the group which the child `leader` made; waits for their
/// ends, but not beyond the timeout.
pub(crate) fn reap_group(leader: u32, timeout: Duration) {
    let began = Instant::now();
    loop {
        // SAFETY: the call takes numbers, and the status is not asked for.
        match unsafe { libc::waitpid(-leader.cast_signed(), std::ptr::null_mut(), libc::WNOHANG) } {
            -1 => return, // no child is left in the group
            0 if began.elapsed() >= timeout => return,
            0 => std::thread::sleep(Duration::from_millis(1)),
            _ => {}
        }
    }
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
