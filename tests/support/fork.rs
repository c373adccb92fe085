//! For tests whose processes are forks: a runner without libtest's threads, children, pipes between
//! processes, limits, and the texts of panics.
#![allow(dead_code)] // each test binary uses its own part

#[path = "common.rs"]
mod common;

#[allow(unused_imports)]
pub(crate) use common::*;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Tests by name, for [`run`].
pub(crate) type Tests = &'static [(&'static str, fn())];

/// A table of test functions, each named by its path.
#[allow(unused_macros)] // the test `pool` makes its table by other macros
macro_rules! tests {
    ($($(#[$meta:meta])* $test:path),* $(,)?) => {
        &[$($(#[$meta])* (stringify!($test), $test as fn())),*]
    };
}
#[allow(unused_imports)]
pub(crate) use tests;

/// Runs the tests whose names contain one of the program's arguments, or all tests, one after another.
/// This process has one thread, and each test runs in a fork of its own and so inherits no segments of
/// another test.
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

/// A forked child.
pub(crate) struct Child(libc::pid_t);

impl Child {
    /// Forks. The child runs `f` and exits: with 0, or with 101 if `f` panicked.
    pub(crate) fn fork(f: impl FnOnce()) -> Self {
        Self::fork_with((), |()| f()).0
    }

    /// Forks with something that both processes own afterwards: `f` gets the child's copy, and the caller
    /// gets its own back.
    pub(crate) fn fork_with<T>(inherited: T, f: impl FnOnce(T)) -> (Self, T) {
        match raw_fork() {
            0 => {
                let result = catch_unwind(AssertUnwindSafe(|| f(inherited)));
                exit(if result.is_ok() { 0 } else { 101 })
            }
            pid => (Self(pid), inherited),
        }
    }

    /// The child that a [`raw_fork`] made.
    pub(crate) fn of(pid: libc::pid_t) -> Self {
        Self(pid)
    }

    /// Waits for the child's end. Returns its exit code, or 128 plus the signal that killed it.
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

    pub(crate) fn sleeps(&self) -> bool {
        state_of(self.0.cast_unsigned()) == Some('S')
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

/// A fork whose child goes on at the call: the child gets 0, the parent gets the child's pid. The child
/// does not outlive a failed test for long.
pub(crate) fn raw_fork() -> libc::pid_t {
    // SAFETY: the child uses nothing that another thread may have left half done. There are no other
    // threads, or (in one test) only threads that allocate, for which the C library provides.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        end_after(LIMIT);
    }
    pid
}

/// Ends the process at once; nothing is dropped.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it ends the process.
    unsafe { libc::_exit(code) }
}

/// The most time that any process of these tests may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Has the kernel kill this process at that time: a test that hangs fails.
pub(crate) fn end_after(limit: Duration) {
    let seconds = limit.as_secs().try_into().expect("a few seconds");
    // SAFETY: it takes a number; by default, the signal ends the process.
    unsafe { libc::alarm(seconds) };
}

/// For a process that another one is to end.
pub(crate) fn for_ever() -> ! {
    end_after(LIMIT);
    loop {
        std::thread::park();
    }
}

/// Waits for a child's end, or only looks for one, and leaves the child to be waited for again.
fn wait_and_leave(whose: libc::idtype_t, pid: u32, options: i32) -> std::io::Result<()> {
    // SAFETY: integers and pointers, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = options | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: there is room for what the kernel tells.
    match unsafe { libc::waitid(whose, pid, &raw mut info, options) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether this process has any children, zombies included.
pub(crate) fn has_children() -> bool {
    match wait_and_leave(libc::P_ALL, 0, libc::WNOHANG) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
            false
        }
    }
}

/// Waits until a child has ended, and leaves it a zombie.
pub(crate) fn await_end(pid: u32) {
    wait_and_leave(libc::P_PID, pid, 0).expect("nobody has reaped the child");
}

/// Waits until any child has ended and is a zombie, or no child is left.
pub(crate) fn await_any_end() {
    loop {
        match wait_and_leave(libc::P_ALL, 0, 0) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// From here on, a handler for `SIGCHLD` reaps every child that has ended, as in many daemons.
pub(crate) fn reap_by_handler() {
    extern "C" fn reap(_: i32) {
        // SAFETY: it takes numbers, and no room for a status; handlers may call it.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    }
    // SAFETY: a function that lives as long as the program.
    let before = unsafe { libc::signal(libc::SIGCHLD, reap as *const () as usize) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Sets the soft limit of a process's resource (of this process for pid 0). Returns the limit before.
pub(crate) fn set_limit(pid: u32, resource: libc::__rlimit_resource_t, most: u64) -> u64 {
    let pid = pid.cast_signed();
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let last_error = std::io::Error::last_os_error;
    // SAFETY: room for the limit, and none is set.
    let failed = unsafe { libc::prlimit(pid, resource, std::ptr::null(), &raw mut limit) };
    assert_eq!(failed, 0, "read the limit: {}", last_error());
    let before = std::mem::replace(&mut limit.rlim_cur, most);
    // SAFETY: a limit to read, and the one before is not asked for.
    let failed = unsafe { libc::prlimit(pid, resource, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(failed, 0, "set the limit: {}", last_error());
    before
}

/// Limits the descriptors that this process may have open. Returns the limit before.
pub(crate) fn limit_descriptors(most: u64) -> u64 {
    set_limit(0, libc::RLIMIT_NOFILE, most)
}

/// Root becomes nobody, because neither a file's mode nor a limit on processes stops root.
pub(crate) fn root_becomes_nobody() {
    // SAFETY: it has no conditions.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: it takes a number.
        assert_eq!(unsafe { libc::setuid(65_534) }, 0, "become nobody");
    }
}

/// The paths to which this process's descriptors lead, sorted.
pub(crate) fn descriptors() -> Vec<String> {
    descriptors_of("self")
}

/// The paths to which the descriptors of a process lead, sorted.
pub(crate) fn descriptors_of(pid: &str) -> Vec<String> {
    let listing = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("list the descriptors");
    let mut found: Vec<String> = listing
        .filter_map(|fd| std::fs::read_link(fd.expect("list").path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.ends_with("/fd")) // the listing's own
        .collect();
    found.sort();
    found
}

/// Leads a standard stream to where the descriptor leads.
pub(crate) fn lead(stream: i32, to: i32) {
    // SAFETY: it takes numbers.
    assert_eq!(unsafe { libc::dup2(to, stream) }, stream, "lead the stream");
}

/// Runs `f` with one of the standard streams led into a pipe. Returns the text that came through the pipe,
/// from this process and from any other that has the stream and has ended by then.
pub(crate) fn captured(stream: i32, f: impl FnOnce()) -> String {
    let (mut from, to) = pipe().expect("a pipe");
    // SAFETY: it takes a number.
    let kept = unsafe { libc::dup(stream) };
    assert!(kept >= 0, "keep the stream");
    lead(stream, to.as_raw_fd());
    let ended = catch_unwind(AssertUnwindSafe(f));
    lead(stream, kept);
    // SAFETY: the descriptor is this function's own.
    drop(unsafe { OwnedFd::from_raw_fd(kept) });
    drop(to);
    let mut text = String::new();
    from.read_to_string(&mut text).expect("text");
    if let Err(payload) = ended {
        eprint!("{text}"); // which may contain the panic's own text
        resume_unwind(payload);
    }
    text
}

/// A pipe that tells when every process forked meanwhile has ended: each of them has its other end.
pub(crate) struct Witness(PipeReader, PipeWriter);

impl Witness {
    pub(crate) fn new() -> Self {
        let (from, to) = pipe().expect("a pipe");
        Self(from, to)
    }

    /// The end of the pipe whose copies [`outlive`](Self::outlive) waits for.
    pub(crate) fn end(&self) -> &PipeWriter {
        &self.1
    }

    /// A forked process says this to the one that calls [`outlive`](Self::outlive).
    pub(crate) fn say(&self, what: &str) {
        (&self.1).write_all(what.as_bytes()).expect("say");
    }

    /// Waits until only the caller has the pipe. Returns what the others said.
    pub(crate) fn outlive(self) -> String {
        let Self(mut from, to) = self;
        drop(to);
        let mut said = String::new();
        from.read_to_string(&mut said).expect("text");
        said
    }
}

/// A pipe between the processes of a fork tree: one byte for each event that one of them tells another.
pub(crate) struct Line(PipeReader, PipeWriter);

impl Line {
    pub(crate) fn new() -> Self {
        let (from, to) = pipe().expect("a pipe");
        Self(from, to)
    }

    pub(crate) fn tell(&self) {
        (&self.1).write_all(b".").expect("tell");
    }

    pub(crate) fn hear(&self) {
        (&self.0).read_exact(&mut [0]).expect("hear");
    }
}

/// Makes a call that must not take long.
pub(crate) fn soon<R>(what: &str, call: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = call();
    let took = began.elapsed();
    println!("  {what}: {took:?}");
    assert!(took < Duration::from_secs(2), "{what} took {took:?}");
    result
}

/// The result of `f`, or the text of the panic that ended `f`, which is not printed.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    result.map_err(|payload| {
        let fixed = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = fixed.or_else(|| payload.downcast_ref::<String>().cloned());
        text.expect("a panic says something")
    })
}

/// The text of the panic that ends `f`.
pub(crate) fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match caught(f) {
        Ok(_) => panic!("expected a panic, found none"),
        Err(text) => text,
    }
}

/// Runs `f`, which forks inside: `None` in the parent; in the child, the text of its panic.
pub(crate) fn panic_of_child(f: impl FnOnce()) -> Option<String> {
    let parent = std::process::id();
    match (caught(f), std::process::id() == parent) {
        (Ok(()), true) => None,
        (Err(text), false) => Some(text),
        (Err(text), true) => panic!("{text}"),
        (Ok(()), false) => panic!("the child's copy went on as if it were its own"),
    }
}
