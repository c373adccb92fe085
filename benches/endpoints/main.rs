//! A queue's endpoints between processes against `rtrb` between threads, one by one and in batches;
//! and round trips through two queues against the barest ones there are: two cache lines between
//! spinning processes, two futexes between sleeping ones.
//!
//! By turns, on the same two CPUs, every item checked. `cargo bench --bench endpoints` measures;
//! `-- --test` runs everything once, briefly. In the environment: `SHMKIT_BENCH_ITEMS`,
//! `SHMKIT_BENCH_ROUNDS`, `SHMKIT_BENCH_CAPACITY`, and `SHMKIT_BENCH_ONLY`, a part of a line's name.

#![allow(clippy::cast_possible_truncation)] // counts of items and nanoseconds, far from any limit

mod asleep;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod trips;

use support::{Spread, describe, end_after, in_turns, is_brief, setting, two_cpus};

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
    end_after(900);
    let brief = is_brief();
    let items = if brief { 20_000 } else { 16_000_000 };
    let setup = Setup {
        capacity: setting("SHMKIT_BENCH_CAPACITY", 1024),
        items: setting("SHMKIT_BENCH_ITEMS", items) as u64,
        rounds: setting("SHMKIT_BENCH_ROUNDS", if brief { 1 } else { 11 }),
        trips: if brief { 1000 } else { 500_000 },
        sleeps: if brief { 5 } else { 200 },
        cpus: two_cpus(),
    };
    println!(
        "capacity {}, {} items a run, two pinned CPUs: {:?}",
        setup.capacity, setup.items, setup.cpus
    );

    let stream = Line("M items/s", "at least 1", setup);
    stream.measure(
        "endpoints one by one / rtrb",
        stream::one_by_one,
        stream::rtrb_one_by_one,
    );
    stream.measure(
        "endpoints in chunks of 64 / rtrb's chunks",
        stream::in_chunks,
        stream::rtrb_in_chunks,
    );
    Line("ns", "at most 2.5", setup).measure(
        "round trip, endpoints / bare cache lines",
        trips::endpoints,
        trips::lines,
    );
    Line("ns", "at most 4", setup).measure(
        "round trip, put and get / bare cache lines",
        trips::queues,
        trips::lines,
    );
    let asleep = Line("us", "at most 1.15", setup);
    asleep.measure(
        "round trip asleep, put and get / bare futexes",
        asleep::queues,
        asleep::futexes,
    );
    asleep.measure(
        "round trip asleep, endpoints / bare futexes",
        asleep::endpoints,
        asleep::futexes,
    );
}

/// The unit of a line's figures, and the goal for their ratio.
struct Line(&'static str, &'static str, Setup);

impl Line {
    fn measure(&self, name: &str, ours: fn(Setup) -> f64, theirs: fn(Setup) -> f64) {
        let Self(unit, goal, setup) = *self;
        if std::env::var("SHMKIT_BENCH_ONLY").is_ok_and(|part| !name.contains(&part)) {
            return;
        }
        let (ours, theirs) = in_turns(setup.rounds, || ours(setup), || theirs(setup));
        let ratio = Spread::of_ratios(&ours, &theirs);
        println!("{name}: ours {} {unit}", Spread::of(ours));
        println!("{name}: theirs {} {unit}", Spread::of(theirs));
        println!("ratio {name}: {ratio}, goal {goal}");
    }
}
