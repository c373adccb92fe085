//! Processes: forking them, and waiting for and signalling them through a descriptor, which unlike a pid
//! never comes to mean another process.

use super::base::{AsRawFd, BorrowedFd, OwnedFd, check};
use super::descriptor::StandardTaken;
use std::io;
use std::mem::zeroed;
use std::os::fd::FromRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A signal that ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Signal {
    /// `SIGTERM`: the process may handle it.
    Terminate = libc::SIGTERM,
    /// `SIGKILL`: no process can handle it.
    Kill = libc::SIGKILL,
}

/// Returns the id of this process, as its own pid namespace numbers it.
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// Returns the id of this process's parent.
pub(crate) fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}

/// Forks: returns `None` in the child, and the child's pid in the parent.
///
/// # Safety
/// The child has the calling thread alone. Until it ends, the child must not need anything that another
/// thread had in its hands at this moment.
#[inline] // into its caller's page of code: a child has to fetch every page that it runs through
pub(crate) unsafe fn fork() -> io::Result<Option<u32>> {
    // SAFETY: the caller's contract.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid.cast_unsigned()))
}

/// Keeps signals from the calling thread until this is dropped, on both sides of a fork.
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    /// Blocks `SIGCHLD`, whose handler might reap a child.
    pub(crate) fn of_children() -> Self {
        // SAFETY: the set is of integers, for which zeros are valid.
        let mut blocked: libc::sigset_t = unsafe { zeroed() };
        // SAFETY: the set is alive.
        unsafe { libc::sigemptyset(&raw mut blocked) };
        // SAFETY: the set is alive, and the signal exists.
        unsafe { libc::sigaddset(&raw mut blocked, libc::SIGCHLD) };
        Self::of(&blocked)
    }

    /// Blocks every signal that somebody may send. Those that an instruction or a system call of this very
    /// thread causes still find their handlers: if they were blocked, the kernel would end the process.
    pub(crate) fn all() -> Self {
        // SAFETY: the set is of integers, for which zeros are valid.
        let mut blocked: libc::sigset_t = unsafe { zeroed() };
        // SAFETY: the set is alive.
        unsafe { libc::sigfillset(&raw mut blocked) };
        for own in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGSYS,
            libc::SIGABRT,
        ] {
            // SAFETY: the set is alive, and the signal exists.
            unsafe { libc::sigdelset(&raw mut blocked, own) };
        }
        Self::of(&blocked)
    }

    fn of(blocked: &libc::sigset_t) -> Self {
        // SAFETY: as above.
        let mut before: libc::sigset_t = unsafe { zeroed() };
        let blocked = std::ptr::from_ref(blocked);
        // SAFETY: both sets are alive; the call fails only for other arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, blocked, &raw mut before) };
        Self(before)
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        let none = std::ptr::null_mut();
        // SAFETY: the set is the one that was replaced; the current set is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, none) };
    }
}

/// Ends the process at once: nothing is dropped or flushed, and no handler runs.
#[inline]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: the call ends the process.
    unsafe { libc::_exit(code) }
}

/// Returns how many threads this process has.
pub(crate) fn count_threads() -> io::Result<u64> {
    // This asks for a thread group of its own. A single thread has one already, and any other thread can't
    // get one, so the call changes nothing. It is much faster than /proc. Sandboxes may refuse it.
    // SAFETY: the call takes a number.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return Ok(1);
    }
    // The folder has a link for itself, one from its parent, and one from each thread's folder.
    let links = std::fs::metadata("/proc/self/task")?.nlink();
    Ok(links.saturating_sub(2))
}

/// Returns whether the calling thread is the main thread, whose end is the process's.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: the call has no conditions. Not every C library has a function for it.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    thread == i64::from(std::process::id())
}

/// Makes the kernel kill this process when the thread that forked it ends. If that thread has ended
/// already, no signal comes.
pub(crate) fn end_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// Returns whether the kernel throws away the statuses of ended children, so that nobody can wait for
/// them.
pub(crate) fn forgets_children() -> io::Result<bool> {
    // SAFETY: the fields are integers and addresses that may be 0, so zeros are valid.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: no new action is given, and `action` is alive and writable.
    check(unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0)
}

/// Opens a descriptor for the process that has this pid now.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let _taken = StandardTaken::new()?;
    // SAFETY: the call takes numbers. The kernel closes the descriptor on exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(i32::try_from(fd).map_err(io::Error::other)?)?;
    // SAFETY: `fd` was just opened, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Kills and reaps a child. Nobody has waited for the child yet, so its pid is still its own.
pub(crate) fn end_child(pid: u32) {
    let pid = pid.cast_signed();
    // SAFETY: the call takes numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: the call takes numbers, and the status is not asked for.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Sends a signal to the process behind `fd`; `ESRCH` if that process has been waited for.
pub(crate) fn signal(fd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes numbers, and no `siginfo`.
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

/// Returns whether an error of [`signal`] says that the process does not exist any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// How to ask for a child's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Waits until the child has ended, and leaves it to be reaped.
    Wait,
    /// Does not wait, and leaves the child to be reaped.
    Look,
    /// Does not wait, and reaps a child that has ended.
    Reap,
}

/// Returns the status of the child behind `fd`, as `wait` encodes it, or `None` if the child has not ended.
/// `ECHILD` says that the process is no child of this one, or has been reaped.
pub(crate) fn child_status(fd: BorrowedFd<'_>, ask: Ask) -> io::Result<Option<i32>> {
    let options = match ask {
        Ask::Wait => libc::WNOWAIT,
        Ask::Look => libc::WNOWAIT | libc::WNOHANG,
        Ask::Reap => libc::WNOHANG,
    } | libc::WEXITED;
    loop {
        // SAFETY: the fields are integers and pointers, so zeros are valid; they say that no child was found.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let id = fd.as_raw_fd().cast_unsigned();
        // SAFETY: `fd` is open, and `info` is alive and writable.
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

/// Waits until the process behind `fd` has ended, for at most `timeout`; returns whether it has. The process
/// need not be a child. A signal may end the wait early, with `false`.
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
    // SAFETY: one descriptor and a time are passed, both alive, and no mask.
    let found = check(unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) });
    match found {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        found => Ok(found? > 0),
    }
}

/// Writes to standard error without its lock, which another thread may have held at the time of a fork.
pub(crate) fn complain(text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        // SAFETY: the bytes are alive, and their length is passed.
        let written = unsafe { libc::write(libc::STDERR_FILENO, left.as_ptr().cast(), left.len()) };
        match usize::try_from(written) {
            Ok(written) => left = &left[written..],
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return, // there is nobody to tell
        }
    }
}
