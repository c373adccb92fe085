//! What the tests that use several processes share: unique names, children that play a role in this
//! same test binary, and a watchdog.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// A segment's name that no other test, and no other run, uses. The name is unlinked when this is
/// dropped, whoever holds the segment.
pub struct Name(String);

impl Name {
    pub fn new(what: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("test-{what}-{}-{count}", std::process::id()))
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(format!("/dev/shm/{}", self.0));
    }
}

/// Ends the whole process with a message if it is not dropped in time: a test that hangs fails.
pub struct Watchdog(#[allow(dead_code)] Sender<()>);

impl Watchdog {
    pub fn new(what: &'static str, limit: Duration) -> Self {
        let (alive, dropped) = channel::<()>();
        std::thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln!`, which the test harness would swallow with the abort.
                let _ = writeln!(
                    std::io::stderr(),
                    "watchdog: {what} did not end within {limit:?}"
                );
                std::process::abort();
            }
        });
        Self(alive)
    }
}

const ROLE: &str = "SHMKIT_TEST_ROLE";

/// The role this process was started for with [`start`], and its arguments; `None` in the test
/// itself. A test binary has one `#[test] fn role()` that asks this, plays it and exits.
pub fn my_role() -> Option<(String, Vec<String>)> {
    let words = std::env::var(ROLE).ok()?;
    let mut words = words.split('\u{1f}').map(str::to_owned);
    Some((words.next()?, words.collect()))
}

/// A command that runs this test binary again, in a role: its `#[test] fn role()` alone.
pub fn command(role: &str, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command
        .args(["--exact", "role", "--nocapture", "--test-threads=1"])
        .env(ROLE, [&[role], args].concat().join("\u{1f}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Starts a child in a role. Its standard output is thrown away; what it has to say goes through
/// segments, its exit status, or standard error.
pub fn start(role: &str, args: &[&str]) -> Kid {
    Kid(command(role, args).spawn().expect("start a child"))
}

/// A child that does not outlive the test.
pub struct Kid(pub Child);

impl Kid {
    /// Waits for it, and fails unless it ended well.
    pub fn finish(mut self) {
        let status = self.0.wait().expect("wait for a child");
        assert!(status.success(), "a child failed: {status}");
    }

    /// SIGKILL, and the wait until the kernel is done with it.
    pub fn kill_and_reap(mut self) -> ExitStatus {
        let _ = self.0.kill();
        self.0.wait().expect("wait for a child")
    }
}

impl Deref for Kid {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Kid {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
