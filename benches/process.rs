//! Starting a process and waiting for its end, against a bare `fork` and `waitpid`: with nothing to
//! renew in the child, and with segments open, which both have.

mod support;

use shmkit::{Process, Queue};
use std::io::Error;
use support::{compare, describe};

/// A process started and waited for by the crate.
fn by_crate() {
    let process = Process::spawn(|| ()).expect("spawn");
    assert!(process.join().expect("join").success());
}

/// The same by hand.
fn by_hand() {
    // SAFETY: this process has a single thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: it ends the child.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0, "fork: {}", Error::last_os_error());
    let mut status = 0;
    // SAFETY: a child of our own, and room for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}

/// A child's exit code, to show that it runs what it was given.
fn answer() -> i32 {
    let process = Process::spawn(|| 42).expect("spawn");
    process.join().expect("join");
    process.exit_code().expect("joined")
}

fn main() {
    describe("process");
    assert_eq!(answer(), 42);
    compare(
        ["spawn and join", "fork and waitpid"],
        Some(1.1),
        by_crate,
        by_hand,
    );
    let open: Vec<_> = (0..8).map(|_| Queue::<u64>::new(64)).collect();
    assert!(open.iter().all(Result::is_ok));
    compare(
        [
            "spawn and join with 8 segments open",
            "fork and waitpid with 8 segments open",
        ],
        Some(1.1),
        by_crate,
        by_hand,
    );
}
