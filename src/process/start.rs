//! [`ProcessBuilder`]: how a child starts, and its whole life.
//!
//! Invariants:
//! 1. *The child never returns from `start`*: everything that it runs is inside `catch_unwind`, and then
//!    it exits. The child never unwinds its parent's frames below.
//! 2. *No fork of ours falls into another thread's use of [`family`] or of standard output's buffer*: if
//!    there may be other threads, the forking thread has both locks, and the child lets go of its copies.
//!
//! If the parent dies after the fork, the kernel kills a daemon, or the daemon finds that it has another
//! parent before it runs anything. Any other child goes on.

use super::child::Child;
use super::family::{Family, ProcessName, family};
use super::handle::Process;
use super::outcome::Outcome;
use crate::error::{Error, Result};
use crate::{os, segment};
use std::io::{self, Write};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The exit code of a process that panicked, as Rust's own `main` has it.
const PANICKED: i32 = 101;

impl Process {
    /// Starts a process that runs `f`. The closure may borrow, because the child has a copy of everything.
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
    /// [`Error::MultiThreaded`](crate::Error::MultiThreaded) if this process has more than one thread, because
    /// the child would have copies of the locks that the others hold;
    /// [`GuardsHeld`](crate::Error::GuardsHeld) inside a closure that runs under a lock, or beside a guard;
    /// [`Unsupported`](crate::Error::Unsupported) if this process ignores `SIGCHLD`;
    /// [`Os`](crate::Error::Os).
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
    /// The child has the calling thread alone. Until it ends, it must not need anything that another
    /// thread may have in its hands at the moment of the fork. A lock that is held there stays locked in the
    /// child for ever, and the data behind it is half done. (Memory allocation, standard output's buffer and
    /// the handles of this crate are safe to use.)
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), without `MultiThreaded`. Only the calling thread's guards are looked at.
    pub unsafe fn spawn_unchecked<R: Outcome>(f: impl FnOnce() -> R) -> Result<Self> {
        // SAFETY: the caller's contract.
        unsafe { Self::builder().spawn_unchecked(f) }
    }

    /// Returns a builder, for a process with a name, or a daemon.
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

/// The options with which a process starts: see [`Process::builder`].
#[must_use = "nothing is started before `spawn`"]
#[derive(Clone, Debug, Default)]
pub struct ProcessBuilder {
    name: Option<String>,
    daemon: bool,
}

impl ProcessBuilder {
    /// Gives the process a name, instead of `Process-1` and so on. [`Process::builder`] has an example.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether the process ends with its parent, however the parent ends. By default it goes on.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let daemon = shmkit::Process::builder().daemon(true).spawn(|| loop { std::thread::park(); })?;
    /// assert!(daemon.is_alive());
    /// # daemon.kill()?;
    /// # daemon.join()?;
    /// # Ok(())
    /// # } // killed at the latest when this process ends
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Starts the process, as [`Process::spawn`] does. [`Process::builder`] has an example.
    ///
    /// # Errors
    /// As for [`Process::spawn`].
    pub fn spawn<R: Outcome>(self, f: impl FnOnce() -> R) -> Result<Process> {
        self.start(f, Threads::None)
    }

    /// Starts the process, as [`Process::spawn_unchecked`] does.
    ///
    /// # Safety
    /// As for [`Process::spawn_unchecked`].
    ///
    /// # Errors
    /// As for [`Process::spawn_unchecked`]; and [`Error::Unsupported`] for a daemon from a thread other than
    /// the main one, because the kernel would end the daemon with that thread.
    pub unsafe fn spawn_unchecked<R: Outcome>(self, f: impl FnOnce() -> R) -> Result<Process> {
        self.start(f, Threads::VouchedFor)
    }

    fn start<R: Outcome>(self, f: impl FnOnce() -> R, threads: Threads) -> Result<Process> {
        let process_name = {
            let mut family = family();
            family.reap();
            family.next_child(self.name)
        };
        may_start(&process_name, threads, self.daemon)?;
        // In this order, because a thread that prints may ask for the process's name.
        let mut out = io::stdout().lock();
        let mut known = family();
        let _ = out.flush(); // a failure concerns the parent, which will see it again

        // The child's knowledge of itself is written before the fork, because the child would have to copy
        // each page that it writes to.
        let ours = mem::replace(&mut *known, Family::of(process_name.clone()));
        // If there is nobody to keep out, the locks are released now, for the same reason.
        let locks = (threads == Threads::VouchedFor).then_some((out, known));
        let parent = os::pid();
        // A signal handler that waits for any child must not come before there is a descriptor.
        let kept = os::ChildrenKept::new();
        // SAFETY: no other thread exists, or `spawn_unchecked`'s caller vouches for it; by invariant 2 this
        // thread has the locks of this file and of standard output.
        let forked = unsafe { os::fork() };
        if let Ok(None) = forked {
            run(self.daemon.then_some(parent), f, || {
                drop((kept, locks, ours));
            });
        }
        match locks {
            Some((_out, mut known)) => *known = ours,
            None => *family() = ours,
        }
        let pid = forked.map_err(|error| process_name.failed("fork", error))?;
        let pid = pid.expect("the child does not get here");
        // Without a descriptor there is no handle.
        let fd = os::open_process(pid);
        drop(kept);
        let fd = fd.inspect_err(|error| {
            // If another thread's handler has come, the pid belongs to nobody, or to another process.
            if !os::is_gone(error) {
                os::end_child(pid);
            }
        });
        let fd = fd.map_err(|error| process_name.failed("open a descriptor for it", error))?;
        Ok(Process::new(Child::new(pid, fd), process_name))
    }
}

/// The knowledge about other threads in the parent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// There must be no other thread.
    None,
    /// There may be other threads, and the caller of `spawn_unchecked` vouches for what they hold.
    VouchedFor,
}

/// How long the kernel may still count a thread that has ended.
const THREADS_TIMEOUT: Duration = Duration::from_millis(100);

/// Returns how many threads there are, once those that have been joined are gone.
fn threads_left() -> io::Result<u64> {
    let began = Instant::now();
    loop {
        let threads = os::count_threads()?;
        if threads <= 1 || began.elapsed() >= THREADS_TIMEOUT {
            return Ok(threads);
        }
        os::sleep(Duration::from_micros(50));
    }
}

/// Fails if something speaks against a start.
fn may_start(process_name: &ProcessName, threads: Threads, daemon: bool) -> Result<()> {
    let unsupported = |what| {
        let place = process_name.label();
        Err(Error::Unsupported { place, what })
    };
    let failed = |op| move |error| process_name.failed(op, error);
    if threads == Threads::None {
        let threads = threads_left().map_err(failed("count the threads of this process"))?;
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
    // This fails now, and not once the child runs.
    os::has_room_for_descriptor().map_err(failed("open a descriptor for it"))
}

/// Lives the child's whole life: never returns, never unwinds (invariant 1).
fn run<R: Outcome>(daemon_of: Option<u32>, f: impl FnOnce() -> R, begin: impl FnOnce()) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        begin();
        if let Some(parent) = daemon_of {
            os::end_with_parent().expect("the kernel knows the option");
            // If the parent died before that, no signal comes.
            if os::parent_pid() != parent {
                os::exit_now(PANICKED);
            }
        }
        f().into_code()
    }));
    let code = ended.unwrap_or_else(|payload| {
        mem::forget(payload); // its drop might panic, and nobody needs the memory
        PANICKED
    });
    let _ = catch_unwind(|| io::stdout().flush());
    // Nobody drops the inherited handles, but the last holder must remove a name nevertheless.
    let _ = catch_unwind(segment::leave_all);
    os::exit_now(code)
}
