//! The watchdog: an alarm that ends this process with a message, whereupon the kernel kills the tracee. A
//! watchdog with a thread would be in the way of the forks.

use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

static ROW: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static ROW_LEN: AtomicUsize = AtomicUsize::new(0);
static POINT: AtomicUsize = AtomicUsize::new(0);
static LEFTOVER: OnceLock<CString> = OnceLock::new();

/// From here on, an alarm prints a message and removes the path `leftover`.
pub(crate) fn install(leftover: &str) {
    LEFTOVER.get_or_init(|| CString::new(leftover).expect("no NUL in a path"));
    let handler: extern "C" fn(libc::c_int) = bark;
    // SAFETY: `bark` does only what a signal handler may.
    unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
}

/// Sets the time limit for the next kill point.
pub(crate) fn feed(row: &'static str, point: usize, limit: Duration) {
    POINT.store(point, Ordering::Relaxed);
    ROW_LEN.store(row.len(), Ordering::Relaxed);
    ROW.store(row.as_ptr().cast_mut(), Ordering::Relaxed);
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::alarm(u32::try_from(limit.as_secs()).unwrap_or(u32::MAX)) };
}

extern "C" fn bark(_: libc::c_int) {
    let mut digits = [0; 20];
    let (mut point, mut begin) = (POINT.load(Ordering::Relaxed), digits.len());
    while begin == digits.len() || point > 0 {
        begin -= 1;
        digits[begin] = b'0' + u8::try_from(point % 10).unwrap_or(0);
        point /= 10;
    }
    say(b"\ncrash_sweep: hangs: ");
    let (row, len) = (ROW.load(Ordering::Relaxed), ROW_LEN.load(Ordering::Relaxed));
    // SAFETY: the row's name is a `&'static str`, stored before the alarm was set.
    unsafe { libc::write(2, row.cast(), len) };
    say(b", killed after instruction ");
    say(&digits[begin..]);
    say(b": 1 failed\n");
    if let Some(path) = LEFTOVER.get() {
        // SAFETY: the C string is alive, and `unlink` is safe in a signal handler.
        unsafe { libc::unlink(path.as_ptr()) };
    }
    // SAFETY: the call ends this process, and is safe in a signal handler.
    unsafe { libc::_exit(1) };
}

fn say(text: &[u8]) {
    // SAFETY: `write` is safe in a signal handler, and the bytes are alive.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}
