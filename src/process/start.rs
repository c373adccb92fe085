//! [`ProcessBuilder`]: starts a child, and runs it from the fork to its exit.
//!
//! Invariants:
//! 1. *The child never returns from `start`*: everything that the child runs is inside `catch_unwind`, and
//!    then the child exits. So it never unwinds into the frames that it has copied from its parent.
//! 2. *At the fork, no other thread has the lock of the [family](lock_family) or of standard output's
//!    buffer*: if other threads may exist, the forking thread has both locks, and the child releases its
//!    copies.
//!
//! If the parent dies after the fork, the kernel kills a daemon, or the daemon finds that its parent is gone:
//! before it runs the closure, or in a nap ([`os::end_with_parent`]). Any other child goes on.

use super::child::Child;
use super::daemons::{end_at_exit, end_daemons};
use super::family::{Family, ProcessName, lock_family};
use super::handle::Process;
use super::outcome::Outcome;
use crate::error::{Error, Result};
use crate::os::{self, AtRequest, SignalsBlocked};
use crate::segment;
use std::io::{self, Write};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The exit code of a process that panicked. A panic in Rust's `main` has the same.
const EXIT_PANICKED: i32 = 101;

impl Process {
    /// Starts a process that runs `f`. The closure may borrow, because the child has a copy of all memory.
    ///
    /// ```
    /// use shmkit::{Process, Value};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let counter = Value::new(0u32)?;
    /// let children = [1, 2, 3].map(|n| Process::spawn(|| counter.update(|sum| *sum += n)));
    /// for child in children {
    ///     child?.join()?;
    /// }
    /// assert_eq!(counter.get(), 6);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::MultiThreaded`] if this process has more than one thread: the
    ///   child would have copies of the locks that the other threads hold, and nobody would release these.
    /// - [`Error::GuardsHeld`] if this process has a guard, or is inside a closure
    ///   that runs under a lock.
    /// - [`Error::Unsupported`] if this process ignores `SIGCHLD`.
    /// - [`Error::Os`] if the system refuses the fork or a descriptor, of which the child needs one for each
    ///   handle to a segment that this process has.
    pub fn spawn<R: Outcome>(f: impl FnOnce() -> R) -> Result<Self> {
        Self::builder().spawn(f)
    }

    /// Starts a process as [`spawn`](Self::spawn) does, from a process with any number of threads.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let (done, wait) = std::sync::mpsc::channel::<()>();
    /// let thread = std::thread::spawn(move || wait.recv());
    /// // SAFETY: the child uses nothing that the other thread may have locked.
    /// let child = unsafe { shmkit::Process::spawn_unchecked(|| 7) }?;
    /// child.join()?;
    /// assert_eq!(child.exit_code(), Some(7));
    /// # drop(done);
    /// # let _ = thread.join();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    /// In the child, only the calling thread goes on. Until the child ends, it must not use anything that another
    /// thread may have been using at the moment of the fork: a lock that another thread held stays locked in the
    /// child for ever, and the data behind the lock may be half written. (Memory allocation, standard output's
    /// buffer and the handles of this crate are safe to use.)
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), without `MultiThreaded`. `GuardsHeld` is about the calling thread's guards
    /// alone.
    pub unsafe fn spawn_unchecked<R: Outcome>(f: impl FnOnce() -> R) -> Result<Self> {
        // SAFETY: the caller's contract.
        unsafe { Self::builder().spawn_unchecked(f) }
    }

    /// Returns a builder for a process that has a name, or is a daemon.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::builder().name("greeter").spawn(|| {
    ///     assert_eq!(shmkit::process::current_name(), "greeter");
    /// })?;
    /// assert_eq!(child.name(), "greeter");
    /// assert!(child.join()?.success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::default()
    }
}

/// The options of a process that is not started yet: see [`Process::builder`].
#[must_use = "nothing is started before `spawn`"]
#[derive(Clone, Debug, Default)]
pub struct ProcessBuilder {
    name: Option<String>,
    daemon: bool,
    at_request: AtRequest,
}

impl ProcessBuilder {
    /// Gives the process a name, instead of `Process-1` and so on.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let child = shmkit::Process::builder().name("counter").spawn(|| ())?;
    /// assert_eq!(child.name(), "counter");
    /// child.join()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether the process is a daemon, which is killed when its parent ends, however the parent ends.
    /// By default, the process goes on when its parent ends.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let daemon = shmkit::Process::builder().daemon(true).spawn(|| loop { std::thread::park(); })?;
    /// assert!(daemon.is_alive());
    /// # daemon.kill()?;
    /// # daemon.join()?;
    /// # Ok(())
    /// # } // when this process ends, the kernel kills the daemon
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Makes the process go on when a signal asks its group of processes to end: see [`AtRequest::GoOn`].
    #[cfg(feature = "serde")]
    pub(crate) fn go_on_at_requests(mut self) -> Self {
        self.at_request = AtRequest::GoOn;
        self
    }

    /// Starts the process, as [`Process::spawn`] does.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let answer = 6 * 7;
    /// let child = shmkit::Process::builder().daemon(true).spawn(|| answer)?;
    /// assert_eq!(child.join()?.code(), Some(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Process::spawn`]; and [`Error::Unsupported`] for a daemon from a thread other than the main
    /// thread, because the kernel would kill the daemon when that thread ends.
    pub fn spawn<R: Outcome>(self, f: impl FnOnce() -> R) -> Result<Process> {
        self.start(f, OtherThreads::Refused)
    }

    /// Starts the process, as [`Process::spawn_unchecked`] does.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let (done, wait) = std::sync::mpsc::channel::<()>();
    /// let thread = std::thread::spawn(move || wait.recv());
    /// let builder = shmkit::Process::builder().name("beside a thread");
    /// // SAFETY: the child uses nothing that the other thread may have locked.
    /// let child = unsafe { builder.spawn_unchecked(|| 7) }?;
    /// assert_eq!(child.join()?.code(), Some(7));
    /// # drop(done);
    /// # let _ = thread.join();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    /// As for [`Process::spawn_unchecked`].
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), without `MultiThreaded`. `GuardsHeld` is about the calling thread's guards
    /// alone.
    pub unsafe fn spawn_unchecked<R: Outcome>(self, f: impl FnOnce() -> R) -> Result<Process> {
        self.start(f, OtherThreads::VouchedFor)
    }

    fn start<R: Outcome>(
        self,
        f: impl FnOnce() -> R,
        other_threads: OtherThreads,
    ) -> Result<Process> {
        let process_name = {
            let mut family = lock_family();
            family.reap_dropped();
            family.name_next_child(self.name)
        };
        check_start(&process_name, other_threads, self.daemon)?;
        // Standard output is locked before the family: a thread that prints has the first lock, and may need
        // the second to print this process's name.
        let mut stdout = io::stdout().lock();
        let mut family = lock_family();
        let _ = stdout.flush(); // if this fails, the parent's next flush fails too, and tells the parent

        // The parent writes the child's family before the fork: after it, each page that the child writes to
        // would be copied first.
        let parents_family = mem::replace(&mut *family, Family::new(process_name.clone()));
        // If no other thread can exist, the parent releases the locks before the fork, for the same reason.
        let locks = (other_threads == OtherThreads::VouchedFor).then_some((stdout, family));
        let parent = os::pid();
        segment::watch_forks();
        // In the child, no handler of this process may run. Here, no handler of SIGCHLD in this thread may reap
        // the child before the child has a descriptor.
        let signals = SignalsBlocked::all();
        // SAFETY: no other thread exists, or `spawn_unchecked`'s caller vouches for it; by invariant 2, no
        // other thread has the locks of the family and of standard output.
        let forked = unsafe { os::fork() };
        let want = segment::want_of_last_fork();
        if let Ok(None) = forked {
            if want.is_some() {
                os::exit_now(EXIT_PANICKED); // the parent reaps this child, and returns the error
            }
            run_child(self.daemon.then_some(parent), f, || {
                drop((locks, parents_family));
                signals.end_in_child(self.at_request);
            });
        }
        match locks {
            Some((_stdout, mut family)) => *family = parents_family,
            None => *lock_family() = parents_family,
        }
        let pid = forked.map_err(|error| process_name.os_error("fork", error))?;
        let pid = pid.expect("the child does not get here");
        if let Some(error) = want {
            os::reap_child(pid);
            return Err(process_name.os_error("open the segments of this process for it", error));
        }
        let fd = os::open_process(pid);
        let fd = fd.map_err(|error| {
            // A handle needs a descriptor, so the child ends here. But if a handler in another thread has
            // reaped the child, the pid may be another process's by now.
            if !os::is_gone(&error) {
                os::end_child(pid);
            }
            process_name.os_error("open a descriptor for it", error)
        })?;
        drop(signals);
        let child = Arc::new(Child::new(pid, fd));
        if self.daemon {
            end_at_exit(&child);
        }
        Ok(Process::new(child, process_name))
    }
}

/// Says whether the parent may have threads besides the forking thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OtherThreads {
    /// The start fails if another thread exists.
    Refused,
    /// Other threads may exist. The caller of `spawn_unchecked` vouches that the child needs nothing of
    /// theirs.
    VouchedFor,
}

/// The kernel may count a thread for this long after the thread was joined.
const JOINED_THREAD_TIMEOUT: Duration = Duration::from_millis(100);

/// Counts the threads of this process. Gives threads that have been joined the time to be gone.
fn count_threads_left() -> io::Result<u64> {
    let began = Instant::now();
    loop {
        let threads = os::count_threads()?;
        if threads <= 1 || began.elapsed() >= JOINED_THREAD_TIMEOUT {
            return Ok(threads);
        }
        os::sleep(Duration::from_micros(50));
    }
}

/// Fails if a child can't be started soundly, or could not be waited for.
fn check_start(
    process_name: &ProcessName,
    other_threads: OtherThreads,
    daemon: bool,
) -> Result<()> {
    let unsupported = |what| {
        let place = process_name.label();
        Err(Error::Unsupported { place, what })
    };
    let failed = |op| move |error| process_name.os_error(op, error);
    if other_threads == OtherThreads::Refused {
        let threads = count_threads_left().map_err(failed("count the threads of this process"))?;
        if threads > 1 {
            let process = process_name.name();
            return Err(Error::MultiThreaded { process, threads });
        }
    }
    let guards = segment::guards_alive();
    if guards > 0 {
        let process = process_name.name();
        return Err(Error::GuardsHeld { process, guards });
    }
    if daemon && !os::is_main_thread() {
        return unsupported(
            "a daemon ends with the thread that starts it: start it from the main thread",
        );
    }
    if os::forgets_children().map_err(failed("ask how SIGCHLD is handled"))? {
        return unsupported(
            "SIGCHLD is ignored, so that no child's end can be waited for: set it to its default",
        );
    }
    // Without this look, a process at its limit of descriptors would notice only once the child runs.
    os::can_open_descriptor().map_err(failed("open a descriptor for it"))
}

/// Runs the child until its exit, and never unwinds (invariant 1). Calls `release_locks` before `f`. If the
/// child is a daemon, `daemon_of` is its parent's pid.
fn run_child<R: Outcome>(
    daemon_of: Option<u32>,
    f: impl FnOnce() -> R,
    release_locks: impl FnOnce(),
) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        release_locks();
        if let Some(parent) = daemon_of {
            os::empty_stdin();
            if !os::end_with_parent(parent).expect("the kernel knows the option") {
                os::exit_now(EXIT_PANICKED);
            }
        }
        f().into_code()
    }));
    let code = ended.unwrap_or_else(|payload| {
        mem::forget(payload); // the payload's drop might panic, and the exit frees the memory
        EXIT_PANICKED
    });
    let _ = catch_unwind(|| io::stdout().flush());
    let _ = catch_unwind(end_daemons);
    // The exit drops no inherited handle, but the last holder of a segment must remove the segment's name.
    let _ = catch_unwind(segment::leave_all);
    os::exit_now(code)
}
