//! The handle to a child process.

use super::child::Child;
use super::family::{ProcessName, family};
use super::outcome::Outcome;
use super::start::ProcessBuilder;
use crate::error::Result;
use crate::os::{self, AsFd, Ask, ExitStatusExt, Signal};
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A child process that runs a closure: a fork of this one, with everything that it has open.
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
/// - It has a copy of all memory: what it changes there its parent never sees. Handles to segments
///   are inherited, and it is a holder of its own (see [Forks](crate#forks)), also of those that the
///   closure does not use. When the closure has ended they are let go of, and the name of a segment that
///   nobody holds any more is removed, as by a drop. (Not where the child leaves threads of its own behind,
///   or ends in another way, say by [`std::process::exit`]: such a name waits for the next create, open or
///   [`sweep`](crate::sweep).)
/// - What the closure captured by value is dropped in both processes: in the child when the closure
///   ends, in the parent once the child is started.
/// - A panic is caught, after its text has gone to standard error, and is exit code 101 (with
///   `panic = "abort"` it is the signal 6). The error of a closure that returns one goes to standard
///   error, too, and is exit code 1.
/// - Rust's standard output is flushed in the parent before the fork and in the child at its end, so
///   that everything written appears once. Then the child leaves through `_exit`: neither `atexit`
///   handlers nor destructors of thread-locals, which are its parent's, run in it, and what the C
///   library's own `stdio` has buffered is lost. (A child that calls [`std::process::exit`] runs the
///   handlers.)
/// - A child that is no daemon outlives its parent. A daemon is killed (`SIGKILL`) when its parent
///   ends, however that ends.
///
/// # Handles
///
/// Any thread may wait for it, at once and more than once. Dropping a handle neither ends the
/// process nor waits for it; the next `spawn` reaps what has ended since, so that no zombies pile up.
///
/// In a *forked child*, the handles that it inherited to its parent's children are not its children:
/// [`is_alive`](Self::is_alive), [`terminate`](Self::terminate) and [`kill`](Self::kill) do what they
/// say, [`join`](Self::join) and [`join_timeout`](Self::join_timeout) are an error, and
/// [`exit_code`](Self::exit_code) is `None`, except where the end was known before the fork. It is
/// the same in the parent if somebody else waits for its children (`waitpid(-1, ..)`). A handler of
/// `SIGCHLD` that does so in another thread may even come before `spawn` has a handle to give.
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

    /// Starts a process that runs `f`. `f` may borrow: the child has a copy of everything.
    ///
    /// # Errors
    /// [`Error::MultiThreaded`](crate::Error::MultiThreaded) where this process has more than one thread, since the child would
    /// have copies of the locks that the others hold; [`GuardsHeld`](crate::Error::GuardsHeld) inside a
    /// closure that runs under a lock, or beside a guard; [`Unsupported`](crate::Error::Unsupported) where
    /// this process ignores `SIGCHLD`; [`Os`](crate::Error::Os).
    pub fn spawn<R: Outcome>(f: impl FnOnce() -> R) -> Result<Self> {
        Self::builder().spawn(f)
    }

    /// As [`spawn`](Self::spawn), in a process of any number of threads.
    ///
    /// # Safety
    /// The child has the calling thread alone. Until it ends it must not need anything that another
    /// thread may have in its hands at the moment of the fork: a lock held there stays locked in the
    /// child for ever, and what it guards is half done. (Memory allocation, standard output's
    /// buffer and the handles of this crate are safe to use.)
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), without `MultiThreaded`; of guards, those of the calling thread
    /// are looked at.
    pub unsafe fn spawn_unchecked<R: Outcome>(f: impl FnOnce() -> R) -> Result<Self> {
        // SAFETY: the caller's contract.
        unsafe { Self::builder().spawn_unchecked(f) }
    }

    fn child(&self) -> &Child {
        self.child.as_ref().expect("a child until the drop")
    }

    /// For a process with a name, or a daemon.
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::default()
    }

    /// Its process id, as this process sees it. Once it has been waited for, the system may give the
    /// number to another process; the handle's methods never mean that one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().pid
    }

    /// The name it was given, or `Process-1`, as its [`current_name`](super::current_name) says.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get_or_init(|| self.process_name.name())
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.child().look(Ask::Look) {
            Ok(status) => status.is_none(),
            // No child of ours: its descriptor still tells.
            Err(_) => !os::wait_for_end(self.child().fd.as_fd(), Duration::ZERO).unwrap_or(true),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::Os`](crate::Error::Os) where it is not a child of this process, or somebody else has waited for it.
    pub fn join(&self) -> Result<ExitStatus> {
        let found = self.child().look(Ask::Wait);
        Ok(self.waited(found)?.expect("a wait ends with a status"))
    }

    /// Waits for its end, for at most `timeout`; `None` if it was still alive then.
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
            if self.waited(os::wait_for_end(self.child().fd.as_fd(), left))?
                && self.waited(self.child().look(Ask::Look))?.is_none()
            {
                // It has ended, and a tracer (a debugger) has not passed it on to us yet, which
                // nothing tells.
                os::sleep(left.min(Duration::from_millis(1)));
            }
        }
    }

    /// Waits until one of these children has ended, or `word` has something to read, for at most
    /// `timeout`; says whether `word` has. May end early.
    #[cfg(feature = "serde")] // for pools
    pub(crate) fn wait_for_any<'a>(
        children: impl IntoIterator<Item = &'a Self>,
        word: os::BorrowedFd<'a>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let children = children.into_iter().map(|child| child.child().fd.as_fd());
        let fds: Vec<_> = std::iter::once(word).chain(children).collect();
        Ok(os::wait_for_any(&fds, timeout)?[0])
    }

    fn waited<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|source| {
            self.process_name
                .failed("wait for it as its parent", source)
        })
    }

    /// Asks it to end: `SIGTERM`, which it dies of unless it handles that. Nothing happens where it
    /// has ended already.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied) where it has become another user's.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::Terminate)
    }

    /// UnlinkOnLast it: `SIGKILL`. Nothing happens where it has ended already.
    ///
    /// # Errors
    /// As for [`terminate`](Self::terminate).
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::Kill)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match os::signal(self.child().fd.as_fd(), signal) {
            Err(error) if !os::is_gone(&error) => Err(self.process_name.failed("signal it", error)),
            _ => Ok(()),
        }
    }

    /// How it ended: `None` while it is alive, `n` for an exit code (0 for a return, 1 for an error,
    /// 101 for a panic), `-n` where the signal n killed it. Does not wait.
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
