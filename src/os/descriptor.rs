//! Descriptors: none to which a write could do harm gets a number below 3. A program writes to those numbers
//! without asking what they lead to. (The standard library opens folders and /proc for us, to be read alone.)

use super::base::{AsRawFd, BorrowedFd, File, OwnedFd, RawFd, check};
use std::io;
use std::os::fd::FromRawFd;

/// Standard input, standard output and standard error.
const STANDARD: std::ops::Range<RawFd> = 0..3;

/// Keeps the three standard numbers taken, until this is dropped, so that whatever is opened meanwhile gets
/// a higher number. Moving a descriptor afterwards would not do: another thread may write in between.
pub(super) struct StandardTaken {
    fillers: [Option<OwnedFd>; STANDARD.end as usize],
}

impl StandardTaken {
    pub(super) fn new() -> io::Result<Self> {
        let mut polls = [0, 1, 2].map(|fd| libc::pollfd {
            fd,
            events: 0,
            revents: 0,
        });
        // SAFETY: three descriptors are passed, alive and writable; the call does not wait.
        unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
        let mut fillers = [const { None }; 3];
        for (poll, filler) in polls.iter().zip(&mut fillers) {
            if poll.revents & libc::POLLNVAL != 0 {
                let flags = libc::O_PATH | libc::O_CLOEXEC;
                // SAFETY: the path is a C string literal.
                let fd = check(unsafe { libc::open(c"/".as_ptr(), flags) })?;
                // SAFETY: `fd` was just opened, and nobody else has it.
                *filler = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        Ok(Self { fillers })
    }
}

/// Copies a descriptor. The copy shares the open file description, and so its locks.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<File> {
    copy(fd.as_raw_fd())
}

fn copy(fd: RawFd) -> io::Result<File> {
    // SAFETY: the call takes numbers.
    let copied = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, STANDARD.end) });
    let fd = copied.map_err(|error| match error.raw_os_error() {
        // The limit is so low that no number above the standard ones is allowed.
        Some(libc::EINVAL) => io::Error::from_raw_os_error(libc::EMFILE),
        _ => error,
    })?;
    // SAFETY: `fd` was just opened, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Fails if this process has reached its limit of open descriptors.
pub(crate) fn can_open_descriptor() -> io::Result<()> {
    match copy(libc::STDERR_FILENO) {
        // Standard error is closed. Its number is not for us.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
            let taken = StandardTaken::new()?;
            let [.., filler] = &taken.fillers;
            filler
                .as_ref()
                .map_or(Ok(()), |filler| copy(filler.as_raw_fd()).map(drop))
        }
        copied => copied.map(drop),
    }
}

/// Returns whether an error says that the process, or the system, has no descriptor, no lock or no memory left.
pub(crate) fn is_want(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::ENOLCK)
    )
}

/// Leads standard input to /dev/null, in a child that has a single thread. The number is freed first, so that
/// a child at its limit of descriptors needs no other.
pub(crate) fn empty_stdin() {
    // SAFETY: whoever reads from the number expects standard input.
    unsafe { libc::close(libc::STDIN_FILENO) };
    for (path, flags) in [(c"/dev/null", libc::O_RDONLY), (c"/", libc::O_PATH)] {
        // SAFETY: the path is a C string literal. The lowest free number is standard input's.
        if unsafe { libc::open(path.as_ptr(), flags) } != -1 {
            return;
        }
    }
}

/// Takes ownership of a raw descriptor.
///
/// # Safety
/// `fd` is open, and the caller gives up the only claim to it.
pub(crate) unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's contract is this call's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
