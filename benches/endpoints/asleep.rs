//! Round trips between sleeping processes: through two queues, and through two bare futexes.

use crate::Setup;
use crate::support::pin;
use crate::support::process::{Line, Shared, finish, fork, futex_wait, futex_wake};
use crate::trips::{END, owned_echo, owned_trip, plain_echo, plain_trip, with_echo};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a sleeper is left alone, so that it has stopped spinning and sleeps: the same time for all.
const LEAVE_ALONE: Duration = Duration::from_millis(1);

fn leave_alone() {
    let start = Instant::now();
    while start.elapsed() < LEAVE_ALONE {
        std::hint::spin_loop();
    }
}

/// How often this process gave up its CPU so far.
fn sleeps_so_far() -> i64 {
    // SAFETY: a structure of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is alive.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    usage.ru_nvcsw
}

/// The microseconds of a round trip on which both sides sleep: each side answers only when the other has
/// had time to fall asleep, and this time is not counted. `trip` sends the time, and returns the answer.
///
/// Of many trips this is the longest of the fastest tenth. A woken process may find its CPU taken by other
/// work of the machine; then it waits for this work, and not for its waker.
fn time_trips(setup: Setup, mut trip: impl FnMut(u64) -> u64) -> f64 {
    let before = sleeps_so_far();
    let trips = (0..setup.sleeps).map(|_| {
        leave_alone();
        both_halves(trip(clock())).as_secs_f64() * 1e6
    });
    let mut trips: Vec<f64> = trips.collect();
    trips.sort_by(f64::total_cmp);
    let slept = sleeps_so_far() - before;
    // A busy machine lets the other side come so late that a trip needs no sleep, now and then.
    assert!(
        slept * 10 >= i64::from(setup.sleeps) * 8,
        "slept {slept} times in {} trips",
        setup.sleeps
    );
    trips[trips.len() / 10]
}

/// Nanoseconds of the clock that all processes share.
fn clock() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is alive; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The low bits of an answer: how long its question was on the way. The bits above say when the answer
/// left.
const HALF_BITS: u32 = 28;

fn answer(asked: u64) -> u64 {
    let half = clock().saturating_sub(asked).min((1 << HALF_BITS) - 1);
    leave_alone();
    clock() << HALF_BITS | half
}

/// The time of both halves, at the answer's arrival. A half lasts from the waker's call to the return of
/// the woken process.
fn both_halves(answer: u64) -> Duration {
    let (left, half) = (answer >> HALF_BITS, answer & ((1 << HALF_BITS) - 1));
    let now = clock() & (u64::MAX >> HALF_BITS);
    Duration::from_nanos(now.saturating_sub(left) + half)
}

pub(crate) fn queues(setup: Setup) -> f64 {
    with_echo(setup, plain_echo(answer), |there, back| {
        time_trips(setup, plain_trip(there, back))
    })
}

pub(crate) fn endpoints(setup: Setup) -> f64 {
    with_echo(setup, owned_echo(answer), |there, back| {
        time_trips(setup, owned_trip(there, back))
    })
}

fn sleep_on(word: &AtomicU32, seen: u32) -> u32 {
    loop {
        let now = word.load(Ordering::Acquire);
        if now != seen {
            return now;
        }
        futex_wait(word, seen);
    }
}

/// A futex for each direction, and a word beside it for the item.
pub(crate) fn futexes(setup: Setup) -> f64 {
    let shared = Shared::new();
    let [there, back, low, high] = shared.lines();
    let write = |item: u64| {
        low.0.store(item as u32, Ordering::Relaxed);
        high.0.store((item >> 32) as u32, Ordering::Relaxed);
    };
    let read = || {
        let (low, high) = (
            low.0.load(Ordering::Relaxed),
            high.0.load(Ordering::Relaxed),
        );
        u64::from(high) << 32 | u64::from(low)
    };
    let tell = |line: &Line, number| {
        line.0.store(number, Ordering::Release);
        futex_wake(&line.0);
    };
    let child = fork(
        || {
            pin(setup.cpus[1]);
            let mut seen = 0;
            loop {
                seen = sleep_on(&there.0, seen);
                if seen == END {
                    break;
                }
                write(answer(read()));
                tell(back, seen);
            }
        },
        || tell(back, END),
    );
    pin(setup.cpus[0]);
    let mut last = 0;
    let trip = time_trips(setup, |item| {
        write(item);
        tell(there, last + 1);
        assert_eq!(sleep_on(&back.0, last), last + 1);
        last += 1;
        read()
    });
    tell(there, END);
    finish(child);
    trip
}
