//! Round trips between spinning processes: through two queues, and through two bare cache lines.

use crate::Setup;
use crate::support::pin;
use crate::support::process::{Line, Shared, finish, fork};
use shmkit::Queue;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs `part` with two queues, while a child answers through the second every item of the first.
pub(crate) fn with_echo(
    setup: Setup,
    echo: impl FnOnce(&Queue<u64>, &Queue<u64>),
    part: impl FnOnce(&Queue<u64>, &Queue<u64>) -> f64,
) -> f64 {
    let there = Queue::<u64>::new(setup.capacity).expect("an anonymous queue");
    let back = Queue::<u64>::new(setup.capacity).expect("an anonymous queue");
    let child = fork(
        || {
            pin(setup.cpus[1]);
            echo(&there, &back);
        },
        || back.close(),
    );
    pin(setup.cpus[0]);
    let result = part(&there, &back);
    there.close();
    finish(child);
    result
}

/// Answers by plain calls, with what `reply` makes of each item.
pub(crate) fn plain_echo(reply: impl Fn(u64) -> u64) -> impl FnOnce(&Queue<u64>, &Queue<u64>) {
    move |there, back| {
        while let Ok(item) = there.get() {
            back.put(reply(item)).expect("open");
        }
    }
}

/// Answers through endpoints.
pub(crate) fn owned_echo(reply: impl Fn(u64) -> u64) -> impl FnOnce(&Queue<u64>, &Queue<u64>) {
    move |there, back| {
        let mut there = there.consumer().expect("nobody else's");
        let mut back = back.producer().expect("nobody else's");
        while let Ok(item) = there.get() {
            back.put(reply(item)).expect("open");
        }
    }
}

/// A trip by plain calls: sends an item, and returns the answer.
pub(crate) fn plain_trip(there: &Queue<u64>, back: &Queue<u64>) -> impl FnMut(u64) -> u64 {
    |item| {
        there.put(item).expect("open");
        back.get().expect("open")
    }
}

/// A trip through endpoints.
pub(crate) fn owned_trip(there: &Queue<u64>, back: &Queue<u64>) -> impl FnMut(u64) -> u64 {
    let mut there = there.producer().expect("nobody else's");
    let mut back = back.consumer().expect("nobody else's");
    move |item| {
        there.put(item).expect("open");
        back.get().expect("open")
    }
}

/// The nanoseconds of a round trip, after a few to warm up.
fn time_trips(setup: Setup, mut trip: impl FnMut(u64) -> u64) -> f64 {
    let mut run = |trips: u32| (0..u64::from(trips)).for_each(|n| assert_eq!(trip(n), n + 1));
    run(setup.trips / 10);
    let start = Instant::now();
    run(setup.trips);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(setup.trips)
}

pub(crate) fn queues(setup: Setup) -> f64 {
    with_echo(setup, plain_echo(|item| item + 1), |there, back| {
        time_trips(setup, plain_trip(there, back))
    })
}

pub(crate) fn endpoints(setup: Setup) -> f64 {
    with_echo(setup, owned_echo(|item| item + 1), |there, back| {
        time_trips(setup, owned_trip(there, back))
    })
}

/// Waits for another value of the line than `seen`.
fn spin_on(line: &Line, seen: u32) -> u32 {
    loop {
        let now = line.0.load(Ordering::Acquire);
        if now != seen {
            return now;
        }
    }
}

/// Ends a child that waits for another value.
pub(crate) const END: u32 = u32::MAX;

pub(crate) fn lines(setup: Setup) -> f64 {
    let shared = Shared::new();
    let [there, back, ..] = shared.lines();
    let child = fork(
        || {
            pin(setup.cpus[1]);
            let mut seen = 0;
            while seen != END {
                seen = spin_on(there, seen);
                back.0.store(seen, Ordering::Release);
            }
        },
        || back.0.store(END, Ordering::Release),
    );
    pin(setup.cpus[0]);
    let mut last = 0;
    let took = time_trips(setup, |n| {
        there.0.store(last + 1, Ordering::Release);
        assert_eq!(spin_on(back, last), last + 1);
        last += 1;
        n + 1
    });
    there.0.store(END, Ordering::Release);
    finish(child);
    took
}
