//! Fork handlers.

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
