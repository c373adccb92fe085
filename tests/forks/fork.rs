//! Forking, waiting, and passing a word on.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A forked child.
pub(crate) struct Child(libc::pid_t);

impl Child {
    /// Forks; the child runs `f` and exits: 0, or 101 if that panicked.
    pub(crate) fn fork(f: impl FnOnce()) -> Self {
        match raw_fork() {
            0 => {
                let well = catch_unwind(AssertUnwindSafe(f)).is_ok();
                exit(if well { 0 } else { 101 })
            }
            pid => Self(pid),
        }
    }

    /// The other side of a [`raw_fork`].
    pub(crate) fn of(pid: libc::pid_t) -> Self {
        Self(pid)
    }

    /// Its exit code, or 128 and the signal that killed it.
    pub(crate) fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: a child of our own, and room for its status.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0, "wait for a child");
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        }
    }

    pub(crate) fn finish(self) {
        assert_eq!(self.wait(), 0, "a child failed");
    }

    pub(crate) fn kill(self) {
        // SAFETY: a child of our own that is not waited for yet.
        assert_eq!(unsafe { libc::kill(self.0, libc::SIGKILL) }, 0);
        assert_eq!(self.wait(), 128 + libc::SIGKILL);
    }
}

/// A fork whose child goes on here: 0 for it, its pid for the parent. The child does not outlive a
/// failed test for long.
pub(crate) fn raw_fork() -> libc::pid_t {
    // SAFETY: the child makes use of nothing that another thread may have left half done: there are
    // no other threads, or (in one test) only ones that allocate, which the C library allows for.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        end_after(LIMIT);
    }
    pid
}

/// Ends the process: nothing is dropped.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it ends the process.
    unsafe { libc::_exit(code) }
}

/// How long any process of these tests may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Has the process killed if it is still there then: a test that hangs fails.
fn end_after(limit: Duration) {
    let seconds = limit.as_secs().try_into().expect("a few seconds");
    // SAFETY: it takes a number; the signal's default is the end.
    unsafe { libc::alarm(seconds) };
}

/// A way to tell other processes of a fork tree something: one byte for each thing.
pub(crate) struct Line {
    from: File,
    to: File,
}

impl Line {
    pub(crate) fn new() -> Self {
        let (from, to) = pipe().expect("a pipe");
        Self {
            from: OwnedFd::from(from).into(),
            to: OwnedFd::from(to).into(),
        }
    }

    pub(crate) fn tell(&self) {
        (&self.to).write_all(b".").expect("tell");
    }

    pub(crate) fn hear(&self) {
        (&self.from).read_exact(&mut [0]).expect("hear");
    }
}

/// A name that no other run uses; unlinked when the process that made it up drops it.
pub(crate) struct Name(pub(crate) String, u32);

impl Name {
    pub(crate) fn new(what: &str) -> Self {
        let pid = std::process::id();
        Self(format!("test-fork-{what}-{pid}"), pid)
    }

    /// Whether it leads anywhere.
    pub(crate) fn exists(&self) -> bool {
        std::fs::exists(format!("/dev/shm/{}", self.0)).expect("look at /dev/shm")
    }

    pub(crate) fn holders(&self) -> usize {
        shmkit::inspect(&self.0).expect("inspect").holders
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.1 == std::process::id() {
            let _ = std::fs::remove_file(format!("/dev/shm/{}", self.0));
        }
    }
}

/// Makes a call that has no business taking long.
pub(crate) fn soon<R>(what: &str, call: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = call();
    let took = began.elapsed();
    println!("  {what}: {took:?}");
    assert!(took < Duration::from_secs(2), "{what} took {took:?}");
    result
}

/// What came of `f`, or what the panic said that ended it, without its being printed.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        });
        text.expect("a panic says something")
    })
}

/// What a panic said.
pub(crate) fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match caught(f) {
        Ok(_) => panic!("expected a panic, found none"),
        Err(text) => text,
    }
}

/// Runs what forks inside: `None` in the parent; in the child, what it panicked with.
pub(crate) fn panic_of_child(f: impl FnOnce()) -> Option<String> {
    let parent = std::process::id();
    match (caught(f), std::process::id() == parent) {
        (Ok(()), true) => None,
        (Err(text), false) => Some(text),
        (Err(text), true) => panic!("{text}"),
        (Ok(()), false) => panic!("the child's copy went on as if it were its own"),
    }
}
