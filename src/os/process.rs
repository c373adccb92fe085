//! Processes: forking, and waiting for and signalling them through a descriptor, which unlike a pid
//! never comes to mean another process.

use super::check;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A signal that ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Signal {
    /// `SIGTERM`, which the process may handle.
    Terminate = libc::SIGTERM,
    /// `SIGKILL`, which it can't.
    Kill = libc::SIGKILL,
}

/// Forks: `None` in the child, its pid in the parent.
///
/// # Safety
/// The child has the calling thread alone. Whatever it does until it ends must not need what another
/// thread had in its hands at this moment.
#[inline] // into its caller's page of code: a child has to fetch every page that it runs through
pub(crate) unsafe fn fork() -> io::Result<Option<u32>> {
    // SAFETY: the caller's contract.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid.cast_unsigned()))
}

/// Keeps `SIGCHLD` from the calling thread until this is dropped, which is done on both sides of a fork.
pub(crate) struct ChildrenKept(libc::sigset_t);

impl ChildrenKept {
    pub(crate) fn new() -> Self {
        // SAFETY: integers, for which zeros are valid.
        let (mut kept, mut before): (libc::sigset_t, _) = unsafe { zeroed() };
        // SAFETY: a set that is alive.
        unsafe { libc::sigemptyset(&raw mut kept) };
        // SAFETY: a set that is alive, and a signal that there is.
        unsafe { libc::sigaddset(&raw mut kept, libc::SIGCHLD) };
        // SAFETY: two sets that are alive; it fails for other arguments alone.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const kept, &raw mut before) };
        Self(before)
    }
}

impl Drop for ChildrenKept {
    fn drop(&mut self) {
        let none = std::ptr::null_mut();
        // SAFETY: the set that there was, and the one now is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, none) };
    }
}

/// UnlinkOnLast the process here and now: nothing is dropped or flushed, no handler runs.
#[inline]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: it ends the process.
    unsafe { libc::_exit(code) }
}

/// How many threads this process has.
pub(crate) fn count_threads() -> io::Result<u64> {
    // Asks to be a group of threads of its own, which a single thread is already and any other can't
    // become: it changes nothing, and is much faster than looking at /proc. Sandboxes may refuse it.
    // SAFETY: it takes a number.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return Ok(1);
    }
    // The kernel counts every thread's folder as a link to their parent, as folders' links are.
    let links = std::fs::metadata("/proc/self/task")?.nlink();
    Ok(links.saturating_sub(2))
}

/// Whether the calling thread is the one whose end is the process's.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: it has no conditions. Not every C library has a function for it.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    thread == i64::from(std::process::id())
}

/// Has the kernel kill this process when the thread that forked it ends, which is missed if that is
/// the case already.
pub(crate) fn end_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// Whether the kernel throws the statuses of ended children away, so that nobody can wait for them.
pub(crate) fn forgets_children() -> io::Result<bool> {
    // SAFETY: integers, a pointer and a function's address that may be 0: zeros are valid.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: no new action, and room for the one that is set.
    check(unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0)
}

/// Has the end of a child be no more than a status to ask for, whatever handler there was: one that
/// this process inherited may reap, or write to where its parent reads.
#[cfg(feature = "serde")] // for pools
pub(crate) fn default_sigchld() {
    // SAFETY: the default is no handler of ours.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    debug_assert_ne!(before, libc::SIG_ERR, "a signal that there is");
}

/// Whether children whose parent has ended can become this process's: it is the first of its
/// namespace, or has asked for them.
#[cfg(feature = "serde")] // for pools
pub(crate) fn adopts_orphans() -> bool {
    let mut asked: libc::c_int = 0;
    // SAFETY: the option takes room for an int.
    let found = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut asked) };
    std::process::id() == 1 || found == 0 && asked != 0
}

/// Fails where this process may not open one more descriptor.
pub(crate) fn has_room_for_descriptor() -> io::Result<()> {
    let some = libc::STDERR_FILENO;
    // SAFETY: it takes numbers.
    match check(unsafe { libc::fcntl(some, libc::F_DUPFD_CLOEXEC, 0) }) {
        // SAFETY: it was just opened, and nobody else has it.
        Ok(fd) => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
        // That one is closed, so there is room for another.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A descriptor for the process that has that pid now.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: it takes numbers. The kernel closes the descriptor on exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(i32::try_from(fd).map_err(io::Error::other)?)?;
    // SAFETY: `fd` was just opened, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Kills and reaps a child that nobody has waited for, so that its pid is still its own.
pub(crate) fn end_child(pid: u32) {
    let pid = pid.cast_signed();
    // SAFETY: it takes numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: it takes numbers, and no room for a status.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Sends a signal to the process behind `fd`. One that has been waited for is `ESRCH`.
pub(crate) fn signal(fd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: it takes numbers, and no `siginfo`.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal as libc::c_int,
            no_info,
            0,
        )
    };
    if sent == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Whether an error of [`signal`] says that there is no such process any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// How to ask for a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Waits for it, and leaves the child to be reaped.
    Wait,
    /// Does not wait, and leaves the child to be reaped.
    Look,
    /// Does not wait, and reaps a child that has ended.
    Reap,
}

/// The status of the child behind `fd`, as `wait` encodes it, once it has ended. `ECHILD` says that
/// it is no child of this process, or has been reaped.
pub(crate) fn child_status(fd: BorrowedFd<'_>, ask: Ask) -> io::Result<Option<i32>> {
    let options = match ask {
        Ask::Wait => libc::WNOWAIT,
        Ask::Look => libc::WNOWAIT | libc::WNOHANG,
        Ask::Reap => libc::WNOHANG,
    } | libc::WEXITED;
    loop {
        // SAFETY: integers and pointers: zeros are valid, and say that no child was found.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let id = fd.as_raw_fd().cast_unsigned();
        // SAFETY: `fd` is open, and there is room for what is found.
        let asked = check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        // SAFETY: `waitid` fills the part that is about children, or leaves zeros.
        if unsafe { info.si_pid() } == 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        return Ok(Some(match info.si_code {
            libc::CLD_EXITED => (status & 0xff) << 8,
            libc::CLD_DUMPED => status | 0x80,
            _ => status,
        }));
    }
}

/// Waits until the process behind `fd` has ended, for at most `timeout`; says whether it has. Any
/// process, not a child alone. May end early with `false` where a signal comes in between.
pub(crate) fn wait_for_end(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let time = libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: one descriptor, a time, and no mask, all alive.
    let found = check(unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) });
    match found {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        found => Ok(found? > 0),
    }
}

/// Waits until one of the processes behind these descriptors has ended, or one of them has something to
/// read, for at most `timeout`: which of them. None of them where a signal comes in between.
#[cfg(feature = "serde")] // for pools
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
    // SAFETY: as many descriptors as are passed, a time or none, and no mask, all alive.
    let found = check(unsafe { libc::ppoll(polls.as_mut_ptr(), count, time, std::ptr::null()) });
    match found {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Err(_) => Ok(vec![false; fds.len()]),
        Ok(_) => Ok(polls.iter().map(|poll| poll.revents != 0).collect()),
    }
}

/// Writes to standard error, past the lock that another thread may have left locked at a fork.
pub(crate) fn complain(text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        // SAFETY: the bytes are alive, and of the length that is passed.
        let written = unsafe { libc::write(libc::STDERR_FILENO, left.as_ptr().cast(), left.len()) };
        match usize::try_from(written) {
            Ok(written) => left = &left[written..],
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return, // nobody to tell
        }
    }
}
