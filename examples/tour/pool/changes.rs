//! The tasks of a pool can change a value and an array that go to them by name, but not the caller's plain
//! variable, of which each worker has its own.

use crate::show::{Outcome, check, name, say, spaced};
use shmkit::{Array, Pool, Value};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// A plain variable, of which each process has its own.
static PLAIN: Mutex<u64> = Mutex::new(0);

const TASKS: u64 = 4;

/// The time limit for a worker to start, which takes far less.
const LIMIT: Duration = Duration::from_secs(30);

fn plain() -> u64 {
    *PLAIN.lock().expect("nobody panicked")
}

/// The task adds one to each number. It returns its worker's id, and the worker's plain variable. The first
/// task waits for a second, so that both workers have tasks.
fn add_one((value, array): (Value<u64>, Array<u64>)) -> (u32, u64) {
    *PLAIN.lock().expect("nobody panicked") += 1;
    value.update(|value| *value += 1);
    for element in array.lock().expect("nobody died").iter_mut() {
        *element += 1;
    }
    let both = value.wait_until_timeout(LIMIT, |value| *value >= 2);
    both.expect("another task, in the other worker");
    (std::process::id(), plain())
}

fn row(who: &str, plain: impl ToString, value: impl ToString, array: &str) {
    let (plain, value) = (plain.to_string(), value.to_string());
    say(format!("   {who:24}   {plain:>14}   {value:>10}   {array}"));
}

/// The step.
pub(crate) fn run() -> Outcome {
    let value = Value::<u64>::create(name("pool-value"), 0)?;
    let array = Array::<u64>::create(name("pool-array"), &[0, 10, 20, 30])?;
    let elements = || spaced(&array.to_vec());
    row("", "plain variable", "Value<u64>", "Array<u64>");
    row("this process, before", plain(), value.get(), &elements());
    let pool = Pool::with_workers(2)?;
    let args = (0..TASKS).map(|_| (value.clone(), array.clone()));
    let reports = pool.map(add_one, args)?;
    pool.join()?;
    let mut workers: HashMap<u32, Vec<u64>> = HashMap::new();
    for (pid, plain) in reports {
        row(
            &format!("a task, in worker {pid}"),
            plain,
            "+ 1",
            "+ 1 each",
        );
        workers.entry(pid).or_default().push(plain);
    }
    row("this process, after", plain(), value.get(), &elements());

    check("the plain variable", 0, plain())?;
    check("the shared value", TASKS, value.get())?;
    let changed: Vec<u64> = [0, 10, 20, 30].map(|n| n + TASKS).to_vec();
    check("the shared array", changed, array.to_vec())?;
    check("workers with a task", 2, workers.len())?;
    for (pid, mut plain) in workers {
        plain.sort_unstable();
        let counted: Vec<u64> = (1..=plain.len() as u64).collect();
        check(&format!("the variable of worker {pid}"), counted, plain)?;
    }
    Ok(())
}
