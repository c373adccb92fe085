//! [`ProcessBuilder`]: how a child comes to be, and its whole life.
//!
//! Invariants:
//! 1. *The child never comes back from `start`*: everything it runs is inside `catch_unwind`, and then
//!    it exits. Its parent's frames below are never unwound in it.
//! 2. *No fork of ours falls into another thread's use of [`family`] or of standard
//!    output's buffer*: where there may be other threads, the forking one has both locks, and the child
//!    lets go of its copies.
//!
//! If the parent dies after the fork, a daemon is killed by the kernel, or finds itself with another
//! parent before it runs anything; any other child goes on.

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

/// What the exit code of a process says of a panic, as Rust's own `main` does.
const PANICKED: i32 = 101;

/// How a process is to be started: see [`Process::builder`].
#[must_use = "nothing is started before `spawn`"]
#[derive(Clone, Debug, Default)]
pub struct ProcessBuilder {
    name: Option<String>,
    daemon: bool,
}

impl ProcessBuilder {
    /// Its name, instead of `Process-1` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it ends with its parent, however that ends. It does not unless this says so.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// As [`Process::spawn`].
    ///
    /// # Errors
    /// As there.
    pub fn spawn<R: Outcome>(self, f: impl FnOnce() -> R) -> Result<Process> {
        self.start(f, Threads::None)
    }

    /// As [`Process::spawn_unchecked`].
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there; and [`Error::Unsupported`] for a daemon from a thread other than the main one: the
    /// kernel would end it with that thread.
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
        // In this order, as who prints may ask for the process's name.
        let mut out = io::stdout().lock();
        let mut known = family();
        let _ = out.flush(); // what can't be written now is the parent's to be told about

        // What the child is to know, while it costs less: it has to copy each page it writes to.
        let ours = mem::replace(&mut *known, Family::of(process_name.clone()));
        // Where there is nobody to keep out, the locks are let go of for the same reason.
        let locks = (threads == Threads::VouchedFor).then_some((out, known));
        let parent = os::pid();
        // A handler that waits for any child is not to come before there is a descriptor.
        let kept = os::ChildrenKept::new();
        // SAFETY: no other thread exists, or `spawn_unchecked`'s caller vouches for it; and of what
        // this room and standard output lock, this thread has the locks (invariant 2).
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
            // Another thread's handler may have come. Then the pid is nobody's, or somebody else's.
            if !os::is_gone(error) {
                os::end_child(pid);
            }
        });
        let fd = fd.map_err(|error| process_name.failed("open a descriptor for it", error))?;
        Ok(Process::new(Child::new(pid, fd), process_name))
    }
}

/// What is known of other threads in the parent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// There must be none.
    None,
    /// There may be, and the caller of `spawn_unchecked` vouches for what they hold.
    VouchedFor,
}

/// How long a thread that has ended may still be counted, until the kernel is done with it.
const THREADS_TIMEOUT: Duration = Duration::from_millis(100);

/// How many threads there are, once those that have been joined are gone.
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

/// What speaks against a start.
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
    // So that it fails now, rather than once the child runs.
    os::has_room_for_descriptor().map_err(failed("open a descriptor for it"))
}

/// The child's whole life: never returns, never unwinds (invariant 1).
fn run<R: Outcome>(daemon_of: Option<u32>, f: impl FnOnce() -> R, begin: impl FnOnce()) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        begin();
        if let Some(parent) = daemon_of {
            os::end_with_parent().expect("the kernel knows the option");
            // A parent that died before that sends no signal any more.
            if os::parent_pid() != parent {
                os::exit_now(PANICKED);
            }
        }
        f().into_code()
    }));
    let code = ended.unwrap_or_else(|payload| {
        mem::forget(payload); // its drop might panic, and nobody needs the memory any more
        PANICKED
    });
    let _ = catch_unwind(|| io::stdout().flush());
    // The handles that it inherited are dropped by nobody; the last one out removes a name nevertheless.
    let _ = catch_unwind(segment::leave_all);
    os::exit_now(code)
}
