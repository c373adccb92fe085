//! A storm of signals.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many signals have come.
static CAME: AtomicU32 = AtomicU32::new(0);

/// Runs a body in a storm, and returns its report.
pub(crate) fn in_storm(flags: libc::c_int, body: &dyn Fn() -> String) -> Result<String, String> {
    storm(flags)?;
    let told = body();
    match CAME.load(Ordering::Relaxed) {
        0 => Ok(format!("{told}, but no signal came")),
        _ => Ok(told),
    }
}

/// Has a timer send this process a signal ten thousand times a second, for which there is a handler with these
/// flags. Returns why that can't be.
fn storm(flags: libc::c_int) -> Result<(), String> {
    extern "C" fn count(_: libc::c_int) {
        CAME.fetch_add(1, Ordering::Relaxed);
    }
    let failed = || std::io::Error::last_os_error().to_string();
    // SAFETY: the fields are integers and addresses, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = flags;
    // SAFETY: the action is alive, and its handler lives as long as the program.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    // SAFETY: as for the action.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGUSR1;
    let mut timer = std::ptr::null_mut();
    // SAFETY: the event and the place for the timer are alive.
    if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } == -1 {
        return Err(failed());
    }
    let often = libc::timespec {
        tv_sec: 0,
        tv_nsec: 100_000,
    };
    let times = libc::itimerspec {
        it_interval: often,
        it_value: often,
    };
    // SAFETY: the timer was just made, and the times are alive.
    match unsafe { libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(failed()),
    }
}
