//! Handlers of forks and of the exit.

use std::io;

/// Registers `prepare` to be called in the parent before each fork, and `parent` and `child` to be called
/// after it in the two processes.
///
/// The handlers run in the forking thread; in the child no other thread exists. They must not
/// unwind (`extern "C"` makes that an abort).
pub(crate) fn on_fork(
    prepare: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the three are plain functions, which live as long as the program's code.
    let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    match failed {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Registers `handler` to be called when the process exits normally. Other threads may still run then.
pub(crate) fn on_exit(handler: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the handler is a plain function, which lives as long as the program's code.
    match unsafe { libc::atexit(handler) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}
