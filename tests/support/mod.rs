//! For tests whose processes are programs: children that play a role in this same test binary, and a
//! watchdog.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

pub mod checks;
mod common;

#[allow(unused_imports)]
pub(crate) use common::*;
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Aborts the whole process with a message unless the test drops this in time: a test that hangs fails.
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

/// The role for which [`start`] started this process, and its arguments; `None` in the test run itself.
pub fn my_role() -> Option<(String, Vec<String>)> {
    let words = std::env::var(ROLE).ok()?;
    let mut words = words.split('\u{1f}').map(str::to_owned);
    Some((words.next()?, words.collect()))
}

/// Plays the role for which [`start`] started this process, and exits. A test binary has one
/// `#[test] fn role()` that calls this, which does nothing in the test run itself.
pub fn play(roles: impl FnOnce(&str, &[&str])) {
    if let Some((role, args)) = my_role() {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        roles(&role, &args);
        std::process::exit(0);
    }
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

/// Starts a child in a role. The child's standard output is thrown away: a role reports through segments,
/// its exit status, or standard error.
pub fn start(role: &str, args: &[&str]) -> Kid {
    Kid(command(role, args).spawn().expect("start a child"))
}

/// A child that does not outlive the test.
pub struct Kid(pub Child);

impl Kid {
    /// Waits for the child's end, and fails unless the child ended well.
    pub fn finish(mut self) {
        let status = self.0.wait().expect("wait for a child");
        assert!(status.success(), "a child failed: {status}");
    }

    /// Kills the child, and waits until the kernel has closed its files.
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
