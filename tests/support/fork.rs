//! What the tests that fork share: a runner without libtest's threads, forking, waiting, and passing
//! a word on.
#![allow(dead_code)] // each test binary uses its own part

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Tests by name, for [`run`].
pub(crate) type Tests = &'static [(&'static str, fn())];

/// The table of these functions, each named by its path.
#[allow(unused_macros)] // one test binary makes its table by other macros
macro_rules! tests {
    ($($(#[$meta:meta])* $test:path),* $(,)?) => {
        &[$($(#[$meta])* (stringify!($test), $test as fn())),*]
    };
}
#[allow(unused_imports)]
pub(crate) use tests;

/// Runs the tests whose names contain one of the program's arguments, or all: one after the other, by
/// a process with one thread, and each in a fork of its own, so that none inherits another's segments.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let mut failed = Vec::new();
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let began = Instant::now();
        let status = Child::fork(test).wait();
        let verdict = if status == 0 { "ok" } else { "FAILED" };
        if status != 0 {
            failed.push(*name);
        }
        println!("test {name} ... {verdict} ({:?})", began.elapsed());
    }
    assert!(failed.is_empty(), "tests failed: {failed:?}");
}

/// Says why a test can't be run here; with `SHMKIT_REQUIRE_ALL` set, as CI does, that fails it.
pub(crate) fn not_run(why: &str) {
    assert!(std::env::var_os("SHMKIT_REQUIRE_ALL").is_none(), "{why}");
    println!("  not run: {why}");
}

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

    /// Whether the kernel says that it sleeps.
    pub(crate) fn sleeps(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).expect("a child");
        let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
        rest.starts_with('S')
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
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Has the process killed if it is still there then: a test that hangs fails.
pub(crate) fn end_after(limit: Duration) {
    let seconds = limit.as_secs().try_into().expect("a few seconds");
    // SAFETY: it takes a number; the signal's default is the end.
    unsafe { libc::alarm(seconds) };
}

/// What a process does that is to be ended by somebody else.
pub(crate) fn for_ever() -> ! {
    end_after(LIMIT);
    loop {
        std::thread::park();
    }
}

/// Whether this process has any children, ended ones that nobody waited for included.
pub(crate) fn has_children() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: integers and pointers, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for what is found.
    let failed = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    if failed == -1 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
    }
    failed == 0
}

/// What this process's descriptors lead to.
pub(crate) fn descriptors() -> Vec<String> {
    let listing = std::fs::read_dir("/proc/self/fd").expect("list the descriptors");
    let mut found: Vec<String> = listing
        .filter_map(|fd| std::fs::read_link(fd.expect("list").path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.ends_with("/fd")) // the listing's own
        .collect();
    found.sort();
    found
}

/// Runs `f` with one of the standard streams led into a pipe; what was written there, by this process
/// and by any other that has the stream (and has ended by then).
pub(crate) fn captured(stream: i32, f: impl FnOnce()) -> String {
    let (mut from, to) = pipe().expect("a pipe");
    // SAFETY: it takes a number.
    let kept = unsafe { libc::dup(stream) };
    assert!(kept >= 0, "keep the stream");
    let lead_to = |fd: i32| {
        // SAFETY: it takes numbers.
        assert_eq!(unsafe { libc::dup2(fd, stream) }, stream, "lead the stream");
    };
    lead_to(to.as_raw_fd());
    let ended = catch_unwind(AssertUnwindSafe(f));
    lead_to(kept);
    // SAFETY: it is this function's own.
    drop(unsafe { OwnedFd::from_raw_fd(kept) });
    drop(to);
    let mut text = String::new();
    from.read_to_string(&mut text).expect("text");
    if let Err(payload) = ended {
        eprint!("{text}"); // where the panic's own text may be
        resume_unwind(payload);
    }
    text
}

/// Tells when all who have its other end are gone: every process forked meanwhile has it.
pub(crate) struct Witness(PipeReader, PipeWriter);

impl Witness {
    pub(crate) fn new() -> Self {
        let (from, to) = pipe().expect("a pipe");
        Self(from, to)
    }

    /// To be called by the others: this is read by [`outlive`](Self::outlive).
    pub(crate) fn say(&self, what: &str) {
        (&self.1).write_all(what.as_bytes()).expect("say");
    }

    /// Waits until nobody but the caller has it; what the others said.
    pub(crate) fn outlive(self) -> String {
        let Self(mut from, to) = self;
        drop(to);
        let mut said = String::new();
        from.read_to_string(&mut said).expect("text");
        said
    }
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
