//! Many tasks, and a killer.

use crate::crew::{children_of, kill_child, supervisor};
use shmkit::{Array, Pool, Process, TaskError, Value};
use std::collections::BTreeSet;
use std::time::Duration;

const TASKS: usize = 10_000;
const WORKERS: usize = 4;
const KILLS: u64 = 100;

/// Counts the run of its number, and takes some time.
fn task((number, runs): (u64, Array<u64>)) -> (u64, Vec<u8>) {
    let at = usize::try_from(number).expect("small");
    let before = runs.get(at).expect("one a task");
    runs.set(at, before + 1).expect("one a task");
    let mut sum = number;
    for _ in 0..20_000 {
        sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    // Now and then a result that needs a segment of its own.
    let len = if number % 50 == 0 {
        100_000
    } else {
        number % 50
    };
    (number, vec![1; usize::try_from(len).expect("small")])
}

/// Kills random workers until it has killed so many.
fn kill_workers(supervisor: u32, killed: &Value<u64>) {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(std::process::id());
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    while killed.get() < KILLS {
        let crew = children_of(supervisor);
        if !crew.is_empty() {
            let len = u64::try_from(crew.len()).expect("small");
            let victim = crew[usize::try_from(random() % len).expect("small")];
            if kill_child(supervisor, victim) {
                killed.update(|n| *n += 1);
            }
        }
        std::thread::sleep(Duration::from_micros(random() % 4000));
    }
}

pub(crate) fn torture() {
    let name = crate::fork::Name::new("runs");
    let runs = Array::create(&name.0, &[0u64; TASKS]).expect("create");
    let killed = Value::new(0u64).expect("create");
    let pool = Pool::with_workers(WORKERS).expect("a pool");
    let supervisor = supervisor();
    let killer = Process::builder()
        .daemon(true)
        .spawn(|| kill_workers(supervisor, &killed))
        .expect("a killer");
    // As long as there are kills to come there is work, a round of it at a time.
    let (mut rounds, mut hits, mut twice) = (0, 0, 0);
    let mut dead = BTreeSet::new();
    let mut last = false;
    loop {
        rounds += 1;
        let all: Vec<u64> = (0..TASKS as u64).collect();
        let outcomes = pool.map_results(task, all.iter().map(|n| (*n, runs.clone())));
        assert_eq!(outcomes.len(), TASKS);
        for (number, outcome) in all.iter().zip(outcomes) {
            let ran = runs
                .get(usize::try_from(*number).expect("small"))
                .expect("one a task");
            match outcome {
                Ok((found, bytes)) => {
                    assert_eq!(found, *number);
                    let len = if number % 50 == 0 {
                        100_000
                    } else {
                        number % 50
                    };
                    assert_eq!(bytes.len() as u64, len);
                    assert!(bytes.iter().all(|byte| *byte == 1));
                    assert_eq!(
                        ran, rounds,
                        "task {number} ran more than once, or not at all"
                    );
                }
                Err(TaskError::WorkerDied { pid, exit_code: -9 }) => {
                    hits += 1;
                    dead.insert(pid);
                    twice += u64::from(ran > rounds);
                    runs.set(usize::try_from(*number).expect("small"), rounds)
                        .expect("one a task");
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
    pool.join().expect("join");
    drop(runs);
    assert!(
        !name.exists(),
        "a killed worker's handle is no reason to stay"
    );
}
