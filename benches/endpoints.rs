//! A queue's endpoints between processes against `rtrb` between threads, one by one and in batches;
//! and round trips through two queues against the barest ones there are: two cache lines between
//! spinning processes, two futexes between sleeping ones.
//!
//! By turns, on the same two CPUs, every item checked. `cargo bench --bench endpoints` measures;
//! `-- --test` runs everything once, briefly. In the environment: `SHMKIT_BENCH_ITEMS`,
//! `SHMKIT_BENCH_ROUNDS`, `SHMKIT_BENCH_CAPACITY`, and `SHMKIT_BENCH_ONLY`, a part of a line's name.

#![allow(clippy::cast_possible_truncation)] // counts of items and nanoseconds, far from any limit

#[path = "support/process.rs"]
mod process;
mod support;

use process::{Line, Shared, finish, fork, futex_wait, futex_wake};
use shmkit::{Queue, Value};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Spread, describe, in_turns, is_brief, pin, two_cpus};

/// Ends a run that hangs.
const LIMIT_SECONDS: u32 = 900;
const BATCH: usize = 64;
const CPUS: &str = "two pinned CPUs";

#[derive(Clone, Copy)]
struct Setup {
    capacity: usize,
    items: u64,
    rounds: usize,
    trips: u32,
    sleeps: u32,
    cpus: [usize; 2],
}

fn main() {
    describe("endpoints");
    // SAFETY: without a handler for it, the signal just ends this process.
    unsafe { libc::alarm(LIMIT_SECONDS) };
    let setting = |name: &str, default: usize| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: a number")),
        Err(_) => default,
    };
    let brief = is_brief();
    let setup = Setup {
        capacity: setting("SHMKIT_BENCH_CAPACITY", 1024),
        items: setting(
            "SHMKIT_BENCH_ITEMS",
            if brief { 20_000 } else { 16_000_000 },
        ) as u64,
        rounds: setting("SHMKIT_BENCH_ROUNDS", if brief { 1 } else { 11 }),
        trips: if brief { 1000 } else { 500_000 },
        sleeps: if brief { 5 } else { 200 },
        cpus: two_cpus(),
    };
    println!(
        "capacity {}, {} items a run, {CPUS}: {:?}",
        setup.capacity, setup.items, setup.cpus
    );

    let per_second = |took: Duration| setup.items as f64 / took.as_secs_f64() / 1e6;
    more(
        setup,
        "endpoints one by one / rtrb",
        || per_second(stream(setup, put_each, get_each)),
        || per_second(rtrb_stream(setup, push_each, pop_each)),
    );
    more(
        setup,
        "endpoints in chunks of 64 / rtrb's chunks",
        || per_second(stream(setup, put_chunks, get_chunks)),
        || per_second(rtrb_stream(setup, push_chunks, pop_chunks)),
    );
    let each = |took: Duration| took.as_secs_f64() * 1e9 / f64::from(setup.trips);
    fewer(
        setup,
        "round trip, endpoints / bare cache lines",
        2.5,
        "ns",
        || each(endpoint_trips(setup)),
        || each(line_trips(setup)),
    );
    fewer(
        setup,
        "round trip, put and get / bare cache lines",
        4.0,
        "ns",
        || each(queue_trips(setup)),
        || each(line_trips(setup)),
    );
    fewer(
        setup,
        "round trip asleep, put and get / bare futexes",
        1.15,
        "us",
        || sleepy_queues(setup),
        || sleepy_futexes(setup),
    );
    fewer(
        setup,
        "round trip asleep, endpoints / bare futexes",
        1.15,
        "us",
        || sleepy_endpoints(setup),
        || sleepy_futexes(setup),
    );
}

fn wanted(name: &str) -> bool {
    std::env::var("SHMKIT_BENCH_ONLY").map_or(true, |part| name.contains(&part))
}

/// Items per second: the more the better, and as many as the others have.
fn more(setup: Setup, name: &str, ours: impl FnMut() -> f64, theirs: impl FnMut() -> f64) {
    report(setup, name, "M items/s", "at least 1", ours, theirs);
}

/// Times: the less the better, and at most `most` times the others'.
fn fewer(
    setup: Setup,
    name: &str,
    most: f64,
    unit: &str,
    ours: impl FnMut() -> f64,
    theirs: impl FnMut() -> f64,
) {
    report(setup, name, unit, &format!("at most {most}"), ours, theirs);
}

fn report(
    setup: Setup,
    name: &str,
    unit: &str,
    goal: &str,
    ours: impl FnMut() -> f64,
    theirs: impl FnMut() -> f64,
) {
    if !wanted(name) {
        return;
    }
    let (ours, theirs) = in_turns(setup.rounds, ours, theirs);
    let ratio = Spread::of(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect());
    println!("{name}: ours {} {unit}", Spread::of(ours));
    println!("{name}: theirs {} {unit}", Spread::of(theirs));
    println!("ratio {name}: {ratio}, goal {goal}");
}

/// What a consumer does with each item.
struct Check(u64);

impl Check {
    fn take(&mut self, item: u64) {
        assert_eq!(item, self.0, "out of order");
        self.0 += 1;
    }
}

type Ours = fn(&Queue<u64>, u64);

fn put_each(queue: &Queue<u64>, items: u64) {
    let mut producer = queue.producer().expect("nobody else's");
    (0..items).for_each(|item| producer.put(item).expect("open"));
}

fn get_each(queue: &Queue<u64>, items: u64) {
    let mut consumer = queue.consumer().expect("nobody else's");
    let mut check = Check(0);
    (0..items).for_each(|_| check.take(consumer.get().expect("open")));
}

fn put_chunks(queue: &Queue<u64>, items: u64) {
    let mut producer = queue.producer().expect("nobody else's");
    let mut next = 0;
    while next < items {
        let most = BATCH.min((items - next) as usize);
        let mut chunk = producer.chunk(most).expect("open");
        for slot in chunk.iter_mut() {
            *slot = next;
            next += 1;
        }
        chunk.commit_all().expect("open");
    }
}

fn get_chunks(queue: &Queue<u64>, items: u64) {
    let mut consumer = queue.consumer().expect("nobody else's");
    let mut check = Check(0);
    while check.0 < items {
        let chunk = consumer.chunk(BATCH).expect("open");
        chunk.iter().for_each(|item| check.take(*item));
        chunk.release_all();
    }
}

/// Between processes; the time is that of the consumer.
fn stream(setup: Setup, put: Ours, get: Ours) -> Duration {
    let queue = Queue::<u64>::new(setup.capacity).expect("an anonymous queue");
    let met = Value::new(0).expect("an anonymous value");
    let time = Value::new(0u64).expect("an anonymous value");
    let meet = || {
        met.update(|n| *n += 1);
        while met.get() < 2 {
            thread::yield_now();
        }
    };
    let producer = fork(
        || {
            pin(setup.cpus[0]);
            meet();
            put(&queue, setup.items);
        },
        || queue.close(),
    );
    let consumer = fork(
        || {
            pin(setup.cpus[1]);
            meet();
            let start = Instant::now();
            get(&queue, setup.items);
            time.set(start.elapsed().as_nanos() as u64);
        },
        || queue.close(),
    );
    finish(producer);
    finish(consumer);
    Duration::from_nanos(time.get())
}

type Push = fn(&mut rtrb::Producer<u64>, u64);
type Pop = fn(&mut rtrb::Consumer<u64>, u64);

fn push_each(producer: &mut rtrb::Producer<u64>, items: u64) {
    for item in 0..items {
        while producer.push(item).is_err() {
            std::hint::spin_loop();
        }
    }
}

fn pop_each(consumer: &mut rtrb::Consumer<u64>, items: u64) {
    let mut check = Check(0);
    while check.0 < items {
        match consumer.pop() {
            Ok(item) => check.take(item),
            Err(_) => std::hint::spin_loop(),
        }
    }
}

fn push_chunks(producer: &mut rtrb::Producer<u64>, items: u64) {
    let mut next = 0;
    while next < items {
        let most = BATCH.min((items - next) as usize);
        let Ok(mut chunk) = producer.write_chunk(most) else {
            std::hint::spin_loop();
            continue;
        };
        let (first, second) = chunk.as_mut_slices();
        for slot in first.iter_mut().chain(second) {
            *slot = next;
            next += 1;
        }
        chunk.commit_all();
    }
}

fn pop_chunks(consumer: &mut rtrb::Consumer<u64>, items: u64) {
    let mut check = Check(0);
    while check.0 < items {
        let most = BATCH.min((items - check.0) as usize);
        let Ok(chunk) = consumer.read_chunk(most) else {
            std::hint::spin_loop();
            continue;
        };
        let (first, second) = chunk.as_slices();
        first
            .iter()
            .chain(second)
            .for_each(|item| check.take(*item));
        chunk.commit_all();
    }
}

fn rtrb_stream(setup: Setup, push: Push, pop: Pop) -> Duration {
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(setup.capacity);
    let meet = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(setup.cpus[0]);
            meet.wait();
            push(&mut producer, setup.items);
        });
        let consumer = scope.spawn(|| {
            pin(setup.cpus[1]);
            meet.wait();
            let start = Instant::now();
            pop(&mut consumer, setup.items);
            start.elapsed()
        });
        consumer.join().expect("a consumer")
    })
}

/// Two queues, and a child that answers through the second what comes through the first; in between
/// the caller's own part runs.
fn with_echo(
    setup: Setup,
    echo: fn(&Queue<u64>, &Queue<u64>),
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

fn echo_plain(there: &Queue<u64>, back: &Queue<u64>) {
    while let Ok(item) = there.get() {
        back.put(item + 1).expect("open");
    }
}

fn echo_owned(there: &Queue<u64>, back: &Queue<u64>) {
    let mut there = there.consumer().expect("nobody else's");
    let mut back = back.producer().expect("nobody else's");
    while let Ok(item) = there.get() {
        back.put(item + 1).expect("open");
    }
}

/// Times as many round trips, after a few to warm up.
fn time_trips(trips: u32, mut trip: impl FnMut(u64) -> u64) -> Duration {
    let mut run = |trips: u32| (0..u64::from(trips)).for_each(|n| assert_eq!(trip(n), n + 1));
    run(trips / 10);
    let start = Instant::now();
    run(trips);
    start.elapsed()
}

fn queue_trips(setup: Setup) -> Duration {
    let seconds = with_echo(setup, echo_plain, |there, back| {
        let trip = |n| {
            there.put(n).expect("open");
            back.get().expect("open")
        };
        time_trips(setup.trips, trip).as_secs_f64()
    });
    Duration::from_secs_f64(seconds)
}

fn endpoint_trips(setup: Setup) -> Duration {
    let seconds = with_echo(setup, echo_owned, |there, back| {
        let mut there = there.producer().expect("nobody else's");
        let mut back = back.consumer().expect("nobody else's");
        let trip = |n| {
            there.put(n).expect("open");
            back.get().expect("open")
        };
        time_trips(setup.trips, trip).as_secs_f64()
    });
    Duration::from_secs_f64(seconds)
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

const END: u32 = u32::MAX;

fn line_trips(setup: Setup) -> Duration {
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
    let took = time_trips(setup.trips, |n| {
        there.0.store(last + 1, Ordering::Release);
        assert_eq!(spin_on(back, last), last + 1);
        last += 1;
        n + 1
    });
    there.0.store(END, Ordering::Release);
    finish(child);
    took
}

/// How long a sleeper is left alone, so that it has stopped spinning and sleeps. The same for all.
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

/// A round trip in microseconds, of trips on which both sides sleep: each answers only when the other
/// has had time to fall asleep, and that time is not counted. `trip` returns what the two halves took,
/// each from the waking side's call to the woken one's return.
///
/// Of many trips the first tenth's longest: one that is woken may find its CPU taken by somebody else
/// who works on this machine, and then waits for that one and not for the waker.
fn sleepy(setup: Setup, mut trip: impl FnMut() -> Duration) -> f64 {
    let before = sleeps_so_far();
    let trips = (0..setup.sleeps).map(|_| {
        leave_alone();
        trip().as_secs_f64() * 1e6
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

/// What an answer says: how long its question was on the way, and when the answer left.
const HALF_BITS: u32 = 28;

fn answer(asked: u64) -> u64 {
    let half = clock().saturating_sub(asked).min((1 << HALF_BITS) - 1);
    leave_alone();
    clock() << HALF_BITS | half
}

/// Both halves, at the answer's arrival.
fn both_halves(answer: u64) -> Duration {
    let (left, half) = (answer >> HALF_BITS, answer & ((1 << HALF_BITS) - 1));
    let now = clock() & (u64::MAX >> HALF_BITS);
    Duration::from_nanos(now.saturating_sub(left) + half)
}

fn sleepy_queues(setup: Setup) -> f64 {
    let echo = |there: &Queue<u64>, back: &Queue<u64>| {
        while let Ok(asked) = there.get() {
            back.put(answer(asked)).expect("open");
        }
    };
    with_echo(setup, echo, |there, back| {
        sleepy(setup, || {
            there.put(clock()).expect("open");
            both_halves(back.get().expect("open"))
        })
    })
}

fn sleepy_endpoints(setup: Setup) -> f64 {
    let echo = |there: &Queue<u64>, back: &Queue<u64>| {
        let mut there = there.consumer().expect("nobody else's");
        let mut back = back.producer().expect("nobody else's");
        while let Ok(asked) = there.get() {
            back.put(answer(asked)).expect("open");
        }
    };
    with_echo(setup, echo, |there, back| {
        let mut there = there.producer().expect("nobody else's");
        let mut back = back.consumer().expect("nobody else's");
        sleepy(setup, || {
            there.put(clock()).expect("open");
            both_halves(back.get().expect("open"))
        })
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
fn sleepy_futexes(setup: Setup) -> f64 {
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
    let trip = sleepy(setup, || {
        write(clock());
        tell(there, last + 1);
        assert_eq!(sleep_on(&back.0, last), last + 1);
        last += 1;
        both_halves(read())
    });
    tell(there, END);
    finish(child);
    trip
}
