//! Clocks, sleeping, and the number of CPUs.

use std::sync::OnceLock;
use std::time::Duration;
#[cfg(not(loom))]
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time since an arbitrary point on `CLOCK_MONOTONIC`, the clock that futex waits use too.
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

/// Returns the time since 1970 by the wall clock; zero if the clock stands before that.
#[cfg(not(loom))]
pub(crate) fn wall_clock() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Sleeps for `time`: for pauses between two tries, where there is nothing to be woken by.
#[cfg(not(loom))]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Returns how many CPUs this process may use; at least 1.
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns whether more than one CPU is online; the system is asked once. With a single CPU, spinning only
/// delays the other side.
///
/// This is the number of CPUs online, not the affinity mask: a process that is pinned to one CPU may well
/// be waiting for one that runs on another.
pub(crate) fn spinning_pays() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| {
        // SAFETY: sysconf reads no memory of ours.
        let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        online > 1
    })
}
