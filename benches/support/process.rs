//! Forked children of a bench, and memory that they share with it besides the crate's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;

/// Runs `f` in a forked child, which dies with its parent. A child that fails runs `otherwise`, so that
/// nobody waits for it.
pub(crate) fn fork(f: impl FnOnce(), otherwise: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process has only its main thread; the child returns from nothing, since it ends
    // below.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1, "fork");
    if pid != 0 {
        return pid;
    }
    // SAFETY: asks the kernel for a signal at the parent's end, which touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let result = catch_unwind(AssertUnwindSafe(f));
    if result.is_err() {
        otherwise();
    }
    // SAFETY: ends the child on the spot, without the destructors that are the parent's to run.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// Waits for a child, and fails unless it ended well.
pub(crate) fn finish(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `status` is alive; `pid` is a child of ours that nobody has waited for.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let well = waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    assert!(well, "a child failed");
}

/// Two words, on cache lines of their own.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Line(pub(crate) AtomicU32);

/// Lines that this process shares with its children; unmapped when this is dropped.
pub(crate) struct Shared(*mut libc::c_void);

const LEN: usize = 4096;

impl Shared {
    pub(crate) fn new() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), LEN, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED, "map a page");
        Self(page)
    }

    pub(crate) fn lines(&self) -> &[Line; 4] {
        // SAFETY: a page of zeros, which are atomics alone, mapped as long as `self` lives.
        unsafe { &*self.0.cast() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and borrowed by nobody any more.
        unsafe { libc::munmap(self.0, LEN) };
    }
}

/// Sleeps while the word is `seen`; may return for no reason.
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32) {
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the word is alive; no time-out is a null pointer.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            seen,
            forever,
        )
    };
}

/// Wakes one sleeper.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is alive, and only its address is used.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
