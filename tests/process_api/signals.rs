//! The signals of a new child.

use crate::fork::for_ever;
use crate::{join, spawn};
use shmkit::Process;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the handler writes, as the handlers of event loops do.
static SELF_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn write_to_pipe(_: i32) {
    let fd: RawFd = SELF_PIPE.load(Ordering::Relaxed);
    // SAFETY: the byte is alive; a handler may write.
    unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
}

fn handle(signal: i32, action: usize) {
    // SAFETY: one of the system's own actions, or a function that lives as long as the program.
    assert_ne!(unsafe { libc::signal(signal, action) }, libc::SIG_ERR);
}

fn block(signal: i32) {
    // SAFETY: integers, for which zeros are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is alive.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: the set is alive, and the one before is not asked for.
    let failed =
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    assert_eq!(failed, 0);
}

/// Returns the pipe to which the handlers of this process write.
fn install_handlers() -> std::io::PipeReader {
    let (from, to) = std::io::pipe().expect("a pipe");
    SELF_PIPE.store(to.as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(to);
    for signal in [
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGCHLD,
        libc::SIGRTMAX(),
    ] {
        handle(signal, write_to_pipe as *const () as usize);
    }
    from
}

/// Returns how often the handlers ran.
fn handled(from: std::io::PipeReader) -> usize {
    // SAFETY: this function's caller owns the descriptor, and gave it up.
    unsafe { libc::close(SELF_PIPE.swap(-1, Ordering::Relaxed)) };
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut { from }, &mut all).expect("read");
    all.len()
}

/// Reads a set of signals of this process from /proc.
fn signals(set: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let found = status.lines().find_map(|line| line.strip_prefix(set));
    u64::from_str_radix(found.expect("a set").trim(), 16).expect("a number")
}

fn has(set: u64, signal: i32) -> bool {
    set & 1 << (signal - 1) != 0
}

pub(crate) fn a_child_is_terminated_although_its_parent_handles_that() {
    let pipe = install_handlers();
    handle(libc::SIGCHLD, libc::SIG_DFL);
    block(libc::SIGTERM);
    for daemon in [false, true] {
        let child = Process::builder().daemon(daemon).spawn(for_ever);
        let child = child.expect("spawn");
        child.terminate().expect("terminate");
        assert_eq!(join(&child), Some(-15));
    }
    assert_eq!(handled(pipe), 0, "a child told its parent to end");
}

pub(crate) fn a_child_handles_nothing_but_faults_and_blocks_nothing() {
    let _pipe = install_handlers();
    handle(libc::SIGHUP, libc::SIG_IGN);
    block(libc::SIGUSR2);
    let child = spawn(|| {
        assert_eq!(signals("SigBlk:"), 0);
        let ignored = signals("SigIgn:");
        assert!(has(ignored, libc::SIGHUP), "{ignored:x}");
        assert!(!has(ignored, libc::SIGTERM), "{ignored:x}");
        let handled = signals("SigCgt:");
        let faults = [libc::SIGSEGV, libc::SIGBUS];
        assert!(
            faults.iter().all(|fault| has(handled, *fault)),
            "{handled:x}"
        );
        assert_eq!(handled.count_ones(), 2, "{handled:x}");
    });
    assert_eq!(join(&child), Some(0));
    // The parent has what it had.
    assert!(has(signals("SigBlk:"), libc::SIGUSR2));
    assert!(has(signals("SigCgt:"), libc::SIGRTMAX()));
    assert!(!has(signals("SigBlk:"), libc::SIGTERM));
}

/// Runs in the child, inside `fork`.
extern "C" fn send_a_signal_to_the_child() {
    // SAFETY: it takes numbers.
    assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
}

pub(crate) fn a_signal_in_the_middle_of_a_start_runs_no_handler_in_the_child() {
    let pipe = install_handlers();
    handle(libc::SIGCHLD, libc::SIG_DFL);
    // SAFETY: a plain function.
    unsafe { libc::pthread_atfork(None, None, Some(send_a_signal_to_the_child)) };
    let child = Process::spawn(for_ever).expect("spawn");
    assert_eq!(join(&child), Some(-15));
    assert_eq!(handled(pipe), 0);
}
