//! A killer among the workers of a pool that has many tasks.

use crate::crew::{children_of, kill_child, supervisor};
use crate::fork::{Name, Rng, set_limit};
use crate::tasks::{blocks, pool};
use shmkit::{Array, Process, TaskError, Value};
use std::collections::BTreeSet;
use std::time::Duration;

const TASKS: usize = 10_000;
const WORKERS: usize = 4;
const KILLS: u64 = 100;

/// The length of a task's result: now and then the result is too long for one message.
fn len_of(number: usize) -> usize {
    match number % 50 {
        0 => 100_000,
        short => short,
    }
}

/// Counts its run, and takes some time.
fn task((number, runs): (usize, Array<u64>)) -> (usize, Vec<u8>) {
    let before = runs.get(number).expect("one a task");
    runs.set(number, before + 1).expect("one a task");
    let mut sum = number as u64;
    for _ in 0..20_000 {
        sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    (number, vec![1; len_of(number)])
}

/// Kills random workers, until it has killed `KILLS` of them.
fn kill_workers(supervisor: u32, killed: &Value<u64>) {
    let mut rng = Rng::new();
    while killed.get() < KILLS {
        let crew = children_of(supervisor);
        if !crew.is_empty() && kill_child(supervisor, crew[rng.index(crew.len())]) {
            killed.update(|n| *n += 1);
        }
        // This sleep draws the instant of the next kill.
        std::thread::sleep(Duration::from_micros(rng.below(4000)));
    }
}

pub(crate) fn torture() {
    let name = Name::new("runs");
    let runs = Array::create(&name.0, &[0u64; TASKS]).expect("create");
    let killed = Value::new(0u64).expect("create");
    let pool = pool(WORKERS);
    let supervisor = supervisor();
    // The workers that replace dead ones inherit this limit, and send long results in pieces.
    set_limit(supervisor, libc::RLIMIT_FSIZE, 6 << 20);
    let killer = Process::builder()
        .daemon(true)
        .spawn(|| kill_workers(supervisor, &killed))
        .expect("a killer");
    let before = blocks();
    // The rounds of tasks go on until the killer is done, and for one round more.
    let (mut rounds, mut hits, mut twice) = (0, 0, 0);
    let mut dead = BTreeSet::new();
    let mut last = false;
    loop {
        rounds += 1;
        let outcomes = pool.map_results(task, (0..TASKS).map(|n| (n, runs.clone())));
        assert_eq!(outcomes.len(), TASKS);
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let ran = runs.get(number).expect("one a task");
            match outcome {
                Ok((found, bytes)) => {
                    assert_eq!(found, number);
                    assert_eq!(bytes, vec![1; len_of(number)]);
                    let wrong = "ran more than once, or not at all";
                    assert_eq!(ran, rounds, "task {number} {wrong}");
                }
                Err(TaskError::WorkerDied { pid, exit_code: -9 }) => {
                    hits += 1;
                    dead.insert(pid);
                    twice += u64::from(ran > rounds);
                    runs.set(number, rounds).expect("one a task");
                }
                Err(error) => panic!("task {number}: {error}"),
            }
        }
        if last {
            break;
        }
        last = killed.get() >= KILLS;
    }
    assert!(killer.join().expect("join").success());
    let kills = killed.get();
    println!("  {rounds} rounds of {TASKS} tasks, {kills} kills, {hits} of them hit a task");
    assert_eq!(twice, 0);
    assert!(hits <= kills, "{hits} tasks ended by {kills} kills");
    assert!(hits > 0, "no kill hit a task");
    assert_eq!(blocks(), before, "a dead worker's result is left");
    pool.join().expect("join");
    drop(runs);
    assert!(
        !name.exists(),
        "a killed worker's handle is no reason to stay"
    );
}
