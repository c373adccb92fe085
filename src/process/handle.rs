//! The handle to a child process.

use super::child::Child;
use super::family::{ProcessName, family};
use crate::error::Result;
use crate::os::{self, AsFd, Ask, BorrowedFd, ExitStatusExt, Signal};
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A child process that runs a closure: a fork of this process, with everything that it has open.
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
/// - The child has a copy of all memory: its parent never sees what the child changes there. The child
///   inherits all handles to segments, also those that the closure does not use, and is a holder of its own
///   (see [Forks](crate#forks)). When the closure has ended, the child lets go of them, and removes the name
///   of a segment that nobody holds any more, as a drop does. (If the child leaves threads of its own
///   behind, or ends in another way, say by [`std::process::exit`], such a name waits for the next create,
///   open or [`sweep`](crate::sweep).)
/// - A value that the closure captured is dropped in both processes: in the child when the closure
///   ends, in the parent once the child is started.
/// - A panic is caught, after its text has gone to standard error, and becomes exit code 101 (with
///   `panic = "abort"` it becomes the signal 6). If the closure returns an error, the error goes to standard
///   error too, and becomes exit code 1.
/// - The parent flushes Rust's standard output before the fork, and the child does so at its end, so
///   that everything written appears once. Then the child leaves through `_exit`. Neither `atexit`
///   handlers nor destructors of thread-locals run in it, because they are its parent's, and the buffers of
///   the C library's own `stdio` are lost. (A child that calls [`std::process::exit`] runs the handlers.)
/// - A child that is no daemon outlives its parent. A daemon is killed (`SIGKILL`) when its parent
///   ends, however the parent ends.
///
/// # Handles
///
/// Any thread may wait for the process, at once and more than once. Dropping a handle neither ends the
/// process nor waits for it; the next `spawn` reaps processes that have ended since, so that no zombies
/// pile up.
///
/// A *forked child* inherits handles to its parent's children, which are not its own children:
/// [`is_alive`](Self::is_alive), [`terminate`](Self::terminate) and [`kill`](Self::kill) do what they
/// say, [`join`](Self::join) and [`join_timeout`](Self::join_timeout) are an error, and
/// [`exit_code`](Self::exit_code) is `None`, unless the end was known before the fork. The same holds in the
/// parent if somebody else waits for its children (`waitpid(-1, ..)`). A handler of `SIGCHLD` that does so
/// in another thread may even come before `spawn` has a handle to return.
pub struct Process {
    /// `None` only while being dropped.
    child: Option<Child>,
    process_name: ProcessName,
    name: OnceLock<String>,
}

impl Process {
    pub(super) fn new(child: Child, process_name: ProcessName) -> Self {
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

    /// Returns the process id, as this process sees it. Once somebody has waited for the process, the system
    /// may give the number to another process; the handle's methods never mean that one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().pid
    }

    /// Returns the process's name: the one that it was given, or `Process-1` and so on, as
    /// [`current_name`](super::current_name) returns in the process.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get_or_init(|| self.process_name.name())
    }

    /// Returns whether the process has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.child().look(Ask::Look) {
            Ok(status) => status.is_none(),
            // The process is no child of ours, but its descriptor still tells.
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
    /// [`Error::Os`](crate::Error::Os) if the process is not a child of this one, or if somebody else has
    /// waited for it.
    pub fn join(&self) -> Result<ExitStatus> {
        let found = self.child().look(Ask::Wait);
        Ok(self.waited(found)?.expect("a wait ends with a status"))
    }

    /// Waits until the process has ended, for at most `timeout`; returns `None` if it is still alive then.
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
            if let Some(status) = self.waited(self.child().look(Ask::Look))? {
                return Ok(Some(status));
            }
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Ok(None);
            }
            if self.waited(os::wait_for_end(self.fd(), left))?
                && self.waited(self.child().look(Ask::Look))?.is_none()
            {
                // The process has ended, but its tracer (a debugger) has not passed it on to us yet.
                // Nothing tells when it does.
                os::sleep(left.min(Duration::from_millis(1)));
            }
        }
    }

    fn waited<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|source| {
            self.process_name
                .failed("wait for it as its parent", source)
        })
    }

    /// Asks the process to end, by `SIGTERM`, of which it dies unless it handles the signal. If the process
    /// has ended already, nothing happens.
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
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied) if the process has become another user's.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::Terminate)
    }

    /// Ends the process, by `SIGKILL`. If the process has ended already, nothing happens.
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
            Err(error) if !os::is_gone(&error) => Err(self.process_name.failed("signal it", error)),
            _ => Ok(()),
        }
    }

    /// Returns how the process ended: `None` while it is alive, `n` for an exit code (0 for a return, 1 for an
    /// error, 101 for a panic), `-n` if the signal n killed it. This does not wait.
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
        let status = self.child().look(Ask::Look).ok()??;
        status
            .code()
            .or_else(|| status.signal().map(|signal| -signal))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take()
            && let Ok(None) = child.look(Ask::Look)
        {
            family().dropped.push(child);
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
