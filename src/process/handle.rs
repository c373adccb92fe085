//! [`Process`]: the handle to a child process.

use super::child::Child;
use super::family::{ProcessName, lock_family};
use crate::error::{Error, Result};
use crate::os::{self, AsFd, Ask, BorrowedFd, ExitStatusExt, Signal};
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A child process that runs a closure. The child is a fork of this process, with all handles and files that
/// are open.
///
/// ```
/// use shmkit::{Process, Queue};
///
/// # fn main() -> shmkit::Result<()> {
/// let answers = Queue::<u64>::new(8)?; // nameless: for forked children
/// let child = Process::spawn(|| answers.put(6 * 7))?;
/// assert!(child.join()?.success());
/// assert_eq!(answers.get()?, 42);
///
/// let daemon = Process::builder().name("daemon1").daemon(true).spawn(|| {
///     loop {
///         std::thread::park();
///     }
/// })?;
/// assert!(daemon.is_alive());
/// daemon.terminate()?;
/// daemon.join()?;
/// assert_eq!(daemon.exit_code(), Some(-15));
/// # Ok(())
/// # }
/// ```
///
/// # The child
///
/// - The child has a copy of all memory, and its parent never sees what the child changes there. The child
///   inherits all handles to segments, also those that the closure does not use, and is a holder of its own
///   (see [Forks](crate#forks)). When the closure has ended, the child lets go of these handles, and removes
///   the name of a segment that nobody holds any more, as a drop does, also if its threads still run, and if
///   the child ends by [`std::process::exit`]. (After a signal or an `abort`, the next create, open or
///   [`sweep`](crate::sweep) removes such a name.)
/// - A value that the closure captured is dropped in both processes: in the child when the closure
///   ends, in the parent once the child is started.
/// - A panic prints its text to standard error, and ends the child with exit code 101, or with signal 6 if
///   the program is built with `panic = "abort"`. If the closure returns an error, the child prints the error
///   to standard error too, and ends with exit code 1.
/// - The parent flushes Rust's standard output before the fork, and the child flushes it at its end, so that
///   everything written appears once. Then the child leaves through `_exit`. Neither `atexit` handlers nor
///   destructors of thread-locals run in the child, because they are its parent's, and the buffers of the C
///   library's own `stdio` are lost. (A child that calls [`std::process::exit`] runs the handlers.)
/// - The child has its parent's *ignored* signals, and no other signal is handled or blocked: each has its
///   default, as after an `exec`. So `terminate` ends a child whose parent handles `SIGTERM`, and the parent's
///   handler does not learn of that. Only the handlers of faults (`SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`,
///   `SIGTRAP`, `SIGSYS`) stay. A child that wants to handle a signal sets a handler in its closure.
/// - The child inherits every descriptor, also those that the closure does not use: a pipe has no end before the
///   child has closed its copy of the writer, and a port stays taken. Close what the child does not need, or drop
///   it in the closure. A daemon's standard input is empty (`/dev/null`).
/// - A child that is no daemon can outlive its parent. A daemon is killed (`SIGKILL`) when its parent
///   ends, however the parent ends. If parent or daemon has changed its credentials since the start, the kernel
///   does not kill the daemon. Such a daemon ends within 100 ms if it waits in an operation of this crate, and
///   otherwise at its next wait.
///
/// # Handles
///
/// Several threads may wait for the process at the same time, and again after its end. Dropping a handle
/// neither ends the process nor waits for it. The next `spawn` reaps the processes that have lost their
/// handles and ended since, so that zombies don't pile up.
///
/// A *forked child* inherits handles to its parent's children, which are not its own children. With such a
/// handle, [`is_alive`](Self::is_alive), [`terminate`](Self::terminate) and [`kill`](Self::kill) work as they
/// do in the parent, [`join`](Self::join) and [`join_timeout`](Self::join_timeout) are an error, and
/// [`exit_code`](Self::exit_code) is `None`. (If the parent had seen the end before the fork, all of them
/// work.) The same holds in the parent if other code waits for its children (`waitpid(-1, ..)`). A handler of
/// `SIGCHLD` that does so in another thread may even reap the child before `spawn` returns.
pub struct Process {
    /// `None` only during the drop.
    child: Option<Arc<Child>>,
    process_name: ProcessName,
    name: OnceLock<String>,
}

impl Process {
    pub(super) fn new(child: Arc<Child>, process_name: ProcessName) -> Self {
        Self {
            child: Some(child),
            process_name,
            name: OnceLock::new(),
        }
    }

    fn child(&self) -> &Child {
        self.child.as_ref().expect("a child until the drop")
    }

    /// Returns the descriptor of the process, which is readable once the process has ended.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.child().fd.as_fd()
    }

    /// Returns the process id, as this process sees it. Once the process has been waited for, the system may
    /// give its id to another process. The handle's methods never act on that other process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().pid
    }

    /// Returns the process's name: the name that it was given, or `Process-1` and so on. In the process,
    /// [`current_name`](super::current_name) returns the same.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get_or_init(|| self.process_name.name())
    }

    /// Returns whether the process has not ended yet.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::spawn(|| loop { std::thread::park(); })?;
    /// assert!(child.is_alive());
    /// child.kill()?;
    /// child.join()?;
    /// assert!(!child.is_alive());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.child().status(Ask::Look) {
            Ok(status) => status.is_none(),
            // This process is not the parent, but any holder of the descriptor can see the end.
            Err(_) => !os::wait_for_end(self.fd(), Duration::ZERO).unwrap_or(true),
        }
    }

    /// Waits until the process has ended.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::spawn(|| 3)?;
    /// assert_eq!(child.join()?.code(), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`] if the process is not a child of this process, or if other code has waited
    /// for it (`waitpid(-1, ..)`).
    pub fn join(&self) -> Result<ExitStatus> {
        let status = self.status(Ask::Wait)?;
        Ok(status.expect("a wait ends with a status"))
    }

    /// Waits until the process has ended, for at most `timeout`. Returns `None` if the process is still
    /// alive.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::spawn(|| loop { std::thread::park(); })?;
    /// assert!(child.join_timeout(Duration::from_millis(1))?.is_none());
    /// child.kill()?;
    /// assert!(child.join_timeout(Duration::from_secs(9))?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(status) = self.status(Ask::Look)? {
                return Ok(Some(status));
            }
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Ok(None);
            }
            let has_ended =
                os::wait_for_end(self.fd(), left).map_err(|error| self.wait_error(error))?;
            if has_ended && self.status(Ask::Look)?.is_none() {
                // The process is being traced. Its tracer (a debugger) sees the end first, and no event tells
                // when the parent can see it too.
                os::sleep(left.min(Duration::from_millis(1)));
            }
        }
    }

    fn status(&self, ask: Ask) -> Result<Option<ExitStatus>> {
        let status = self.child().status(ask);
        status.map_err(|error| self.wait_error(error))
    }

    fn wait_error(&self, source: io::Error) -> Error {
        self.process_name
            .os_error("wait for it as its parent", source)
    }

    /// Asks the process to end: sends it `SIGTERM`, which ends a process that has no handler for this signal.
    /// If the process has ended already, nothing happens.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::spawn(|| loop { std::thread::park(); })?;
    /// child.terminate()?;
    /// child.join()?;
    /// assert_eq!(child.exit_code(), Some(-15));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] if the process now runs as another user.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::Terminate)
    }

    /// Ends the process: sends it `SIGKILL`. If the process has ended already, nothing happens.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::spawn(|| loop { std::thread::park(); })?;
    /// child.kill()?;
    /// child.join()?;
    /// assert_eq!(child.exit_code(), Some(-9));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`terminate`](Self::terminate).
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::Kill)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match os::signal(self.fd(), signal) {
            Err(error) if !os::is_gone(&error) => {
                Err(self.process_name.os_error("signal it", error))
            }
            _ => Ok(()),
        }
    }

    /// Returns how the process ended: `None` while it is alive, `n` for an exit code (0 for a return, 1 for
    /// an error, 101 for a panic), `-n` if signal n killed it. This never waits.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::spawn(|| "x".parse::<u32>().map(drop))?;
    /// child.join()?;
    /// assert_eq!(child.exit_code(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let status = self.child().status(Ask::Look).ok()??;
        status
            .code()
            .or_else(|| status.signal().map(|signal| -signal))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take()
            && let Ok(None) = child.status(Ask::Look)
        {
            lock_family().add_dropped(child);
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.child().pid)
            .field("exit_code", &self.exit_code())
            .finish()
    }
}
