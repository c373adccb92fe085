//! Every call into the operating system: thin, without policy, `io::Result` out.
//!
//! `libc` appears in this folder alone; a test enforces it. What a call may assume about its
//! arguments is in the types (descriptors are borrowed, pointers come as atomics).

#[cfg(not(loom))]
mod file;
#[cfg(not(loom))]
mod fork;
mod futex;
#[cfg(not(loom))]
mod process;
#[cfg(all(feature = "serde", not(loom)))]
mod socket;

#[cfg(not(loom))]
pub(crate) use file::*;
#[cfg(not(loom))]
pub(crate) use fork::*;
pub(crate) use futex::{Futex32, Futex64};
#[cfg(not(loom))]
pub(crate) use process::*;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) use socket::*;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

/// Turns a `-1` return into the thread's `errno`.
#[inline]
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Time since an arbitrary point on `CLOCK_MONOTONIC`: the clock that futex waits use too.
pub(crate) fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live timespec; CLOCK_MONOTONIC exists on every Linux, so this can't fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Whether more than one CPU is online, asked once: where not, spinning only delays the other side.
///
/// The number of CPUs online, not the affinity mask: a process pinned to one CPU may well be
/// waiting for one that runs on another.
pub(crate) fn spinning_pays() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| {
        // SAFETY: sysconf reads no memory of ours.
        let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        online > 1
    })
}
