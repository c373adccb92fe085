//! `Queue<u64>` between processes against crossbeam-channel between threads: items per second of
//! each, by turns, and their ratio. Same capacity, same CPUs, and every item is checked on arrival.
//!
//! `cargo bench --bench queue` measures; `-- --test` runs everything once, briefly. In the
//! environment: `SHMKIT_BENCH_ITEMS` items per run, `SHMKIT_BENCH_CAPACITY`, `SHMKIT_BENCH_ROUNDS`.
//!
//! In a run, the consumers' clocks start at a barrier that everybody has reached, and stop when their
//! last item has arrived; the slowest counts. Criterion's loop of equal iterations does not fit such
//! runs, so the loop is our own.

mod support;

use crossbeam_channel as channel;
use shmkit::{Queue, Value};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use support::process::{finish, fork};
use support::{Spread, describe, end_after, in_turns, is_brief, pin, report, setting, two_cpus};

/// An item is its producer's number, in the bits from here on, and a count that begins at 0.
const PRODUCER_SHIFT: u32 = 48;

/// The number of items, and the CPU of each side.
#[derive(Clone, Copy)]
struct Setup {
    capacity: usize,
    items: usize,
    producers: &'static [usize],
    consumers: &'static [usize],
}

impl Setup {
    /// The same with these sides.
    fn of(self, producers: &'static [usize], consumers: &'static [usize]) -> Self {
        Self {
            producers,
            consumers,
            ..self
        }
    }
}

fn main() {
    describe("queue");
    end_after(600);
    let brief = is_brief();
    let items = setting("SHMKIT_BENCH_ITEMS", if brief { 20_000 } else { 8_000_000 });
    let rounds = setting("SHMKIT_BENCH_ROUNDS", if brief { 1 } else { 9 });
    let capacity = setting("SHMKIT_BENCH_CAPACITY", 1024);
    let cpus = two_cpus();
    println!("capacity {capacity}, {items} items a run, CPUs {cpus:?}");

    // Sides of the machine, as indices of `cpus`; the least ratio to crossbeam, and to our own 1P1C.
    let all = Setup {
        capacity,
        items,
        producers: &[0],
        consumers: &[1],
    };
    let lines: [(&str, f64, f64, Setup); 5] = [
        ("1P1C", 2.5, 1.0, all),
        ("2P2C, a side a CPU", 1.0, 0.8, all.of(&[0, 0], &[1, 1])),
        ("2P2C, a pair a CPU", 1.0, 0.8, all.of(&[0, 1], &[1, 0])),
        ("4P4C", 1.0, 0.8, all.of(&[0, 1, 0, 1], &[1, 0, 1, 0])),
        ("16P16C", 1.0, 0.25, all.of(&SIXTEEN, &SIXTEEN)),
    ];
    let mut alone = None;
    for (name, goal, goal_alone, setup) in lines {
        let (ours, theirs) = in_turns(
            rounds,
            || throughput(setup, cpus, between_processes),
            || throughput(setup, cpus, between_threads),
        );
        let median = Spread::of(ours.clone()).median;
        let labels = ["queue between processes", "crossbeam between threads"];
        let labels = labels.map(|side| format!("{name}: {side}"));
        report(
            labels.each_ref().map(String::as_str),
            "M items/s",
            &format!("queue/crossbeam, {name}"),
            &format!(", goal at least {goal:.1}"),
            (ours, theirs),
        );
        let to_alone = median / *alone.get_or_insert(median);
        println!("ratio {name} / 1P1C: {to_alone:.2}, goal at least {goal_alone:.2}");
    }

    // The cost of other capacities: each against the usual one, in turns.
    for capacity in [64, 16 << 10, 1 << 20] {
        let setup = Setup { capacity, ..all };
        let (others, usual) = in_turns(
            rounds,
            || throughput(setup, cpus, between_processes),
            || throughput(all, cpus, between_processes),
        );
        let ratio = Spread::of_ratios(&others, &usual);
        let usual = all.capacity;
        println!("capacity {capacity}: {} M items/s", Spread::of(others));
        println!("ratio capacity {capacity} / {usual}: {ratio}, goal at least 0.5");
    }
}

const SIXTEEN: [usize; 16] = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1];

/// A run's items per second, in millions.
fn throughput(setup: Setup, cpus: [usize; 2], run: fn(Setup, [usize; 2]) -> Duration) -> f64 {
    setup.items as f64 / run(setup, cpus).as_secs_f64() / 1e6
}

/// The number of items that a side has to do, by its index among `sides`.
fn share(items: usize, index: usize, sides: usize) -> u64 {
    (items / sides + usize::from(index < items % sides)) as u64
}

/// Sends producer `index`'s share.
fn produce(setup: Setup, index: usize, mut send: impl FnMut(u64)) {
    let base = (index as u64) << PRODUCER_SHIFT;
    for count in 0..share(setup.items, index, setup.producers.len()) {
        send(base | count);
    }
}

/// Takes items until there are no more, checks that each producer's come in order (and, from a
/// single one, without a gap), and returns how many there were and the sum of their counts.
fn consume(setup: Setup, mut next: impl FnMut() -> Option<u64>) -> [u64; 2] {
    let gaps = setup.consumers.len() > 1;
    let mut expected = [0; 16];
    let (mut taken, mut sum) = (0, 0);
    while let Some(item) = next() {
        let count = item & ((1 << PRODUCER_SHIFT) - 1);
        let expected = &mut expected[(item >> PRODUCER_SHIFT) as usize];
        assert!(
            count == *expected || gaps && count > *expected,
            "item {item:#x} came when {expected} was due"
        );
        *expected = count + 1;
        taken += 1;
        sum += count;
    }
    [taken, sum]
}

/// Each item arrived once, if the numbers are right: order is checked as they come.
fn check_totals(setup: Setup, totals: &[[u64; 2]]) {
    let due = (0..setup.producers.len()).map(|i| share(setup.items, i, setup.producers.len()));
    let due_sum: u64 = due.map(|n| n * n.saturating_sub(1) / 2).sum();
    assert_eq!(totals.iter().map(|t| t[0]).sum::<u64>(), setup.items as u64);
    assert_eq!(totals.iter().map(|t| t[1]).sum::<u64>(), due_sum);
}

/// Everybody is a process of its own; the time is that of the slowest consumer.
fn between_processes(setup: Setup, cpus: [usize; 2]) -> Duration {
    let queue = Queue::<u64>::new(setup.capacity).expect("an anonymous queue");
    let results = Queue::<[u64; 3]>::new(setup.consumers.len()).expect("an anonymous queue");
    let arrived = Value::new(0).expect("an anonymous value");
    let finished = Value::new(0).expect("an anonymous value");
    let all = setup.producers.len() + setup.consumers.len();
    let meet = || {
        arrived.update(|n| *n += 1);
        while arrived.get() < all {
            thread::yield_now(); // not every side has a CPU of its own
        }
    };
    // A child that fails closes the queue, so that nobody waits for it.
    let close = || queue.close();
    let mut children = Vec::new();
    for (index, &cpu) in setup.producers.iter().enumerate() {
        let producer = || {
            pin(cpus[cpu]);
            meet();
            produce(setup, index, |item| queue.put(item).expect("an open queue"));
            let done = finished.update(|n| {
                *n += 1;
                *n
            });
            if done == setup.producers.len() {
                queue.close();
            }
        };
        children.push(fork(producer, close));
    }
    for &cpu in setup.consumers {
        let consumer = || {
            pin(cpus[cpu]);
            meet();
            let start = Instant::now();
            let [taken, sum] = consume(setup, || queue.get().ok());
            let took = start.elapsed().as_secs_f64();
            let result = [taken, sum, took.to_bits()];
            results.put(result).expect("an open queue");
        };
        children.push(fork(consumer, close));
    }
    children.into_iter().for_each(finish);
    let results: Vec<_> = results.try_iter().collect();
    let totals: Vec<_> = results.iter().map(|r| [r[0], r[1]]).collect();
    check_totals(setup, &totals);
    let took = results.iter().map(|r| f64::from_bits(r[2]));
    Duration::from_secs_f64(took.fold(0.0, f64::max))
}

/// The same between threads, through crossbeam-channel.
fn between_threads(setup: Setup, cpus: [usize; 2]) -> Duration {
    let (sender, receiver) = channel::bounded::<u64>(setup.capacity);
    let meet = Barrier::new(setup.producers.len() + setup.consumers.len());
    let meet = &meet;
    let results: Vec<_> = thread::scope(|scope| {
        for (index, &cpu) in setup.producers.iter().enumerate() {
            let sender = sender.clone();
            scope.spawn(move || {
                pin(cpus[cpu]);
                meet.wait();
                produce(setup, index, |item| sender.send(item).expect("a receiver"));
            });
        }
        drop(sender); // the last producer's end is the channel's
        let consumers: Vec<_> = setup
            .consumers
            .iter()
            .map(|&cpu| {
                let receiver = receiver.clone();
                scope.spawn(move || {
                    pin(cpus[cpu]);
                    meet.wait();
                    let start = Instant::now();
                    (consume(setup, || receiver.recv().ok()), start.elapsed())
                })
            })
            .collect();
        let joined = consumers.into_iter().map(|thread| thread.join());
        joined.map(|result| result.expect("a consumer")).collect()
    });
    let totals: Vec<_> = results.iter().map(|(totals, _)| *totals).collect();
    check_totals(setup, &totals);
    results
        .iter()
        .map(|(_, took)| *took)
        .max()
        .expect("a consumer")
}
