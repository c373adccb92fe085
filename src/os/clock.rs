//! Clocks, sleeping, and the number of CPUs.

use std::cell::Cell;
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

/// Returns whether this thread may run on more than one CPU. With a single CPU, spinning only delays the other
/// side, unless that side runs on a CPU which this thread may not use.
///
/// The system is asked at every 64th call: a thread that waits often notices soon that its affinity changed,
/// and the question costs a wait next to nothing.
pub(crate) fn spinning_pays() -> bool {
    const CALLS: u32 = 64;
    thread_local! {
        // The number of calls before the next question, and the last answer. Neither has a destructor.
        static ANSWER: Cell<(u32, bool)> = const { Cell::new((0, false)) };
    }
    let (calls, known) = ANSWER.get();
    let answer = if calls == 0 { has_many_cpus() } else { known };
    ANSWER.set((calls.checked_sub(1).unwrap_or(CALLS - 1), answer));
    answer
}

/// Returns whether this thread's affinity mask has more than one CPU that is online.
fn has_many_cpus() -> bool {
    // SAFETY: a set of CPUs is an array of integers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = size_of_val(&set);
    // SAFETY: `set` is alive and of the size that is passed; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size, &raw mut set) };
    // SAFETY: the call only reads the set.
    let count = unsafe { libc::CPU_COUNT(&set) };
    result != 0 || count > 1 // the call fails if the machine has more CPUs than the set has room for
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_on_one_cpu_is_told_not_to_spin() {
        std::thread::spawn(|| {
            spinning_pays();
            // SAFETY: as in `has_many_cpus`.
            let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: the call only asks for a number.
            let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap();
            // SAFETY: the kernel's number is inside the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
            // SAFETY: `set` is alive and of the size that is passed; 0 is the calling thread.
            let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
            assert_eq!(result, 0);
            let answers: Vec<_> = (0..128).map(|_| spinning_pays()).collect();
            assert_eq!(answers[64..], [false; 64], "the change is noticed in time");
        })
        .join()
        .unwrap();
    }
}
