//! Twice, a program is killed while it holds a lock, and another program that waits for the lock goes on.

use crate::show::{Failure, Outcome, Program, check, failure, name, rows};
use shmkit::{Queue, Value};
use std::thread::park;
use std::time::{Duration, Instant};

/// shmkit promises 100 ms plus scheduling, which may take long on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// The step.
pub(crate) fn run() -> Outcome {
    let mut all = kill_in_update()?;
    all.push(("", String::new()));
    all.extend(kill_in_get()?);
    rows(&all);
    Ok(())
}

type Rows = Vec<(&'static str, String)>;

fn kill_in_update() -> Result<Rows, Failure> {
    let name = name("counter");
    let counter = Value::create(&name, 41u64)?;
    let mut victim = Program::start("victim-of-update", &[&name])?;
    let half_done = victim.line()?;
    check(
        "a try while another is in it",
        None,
        counter.try_update(|_| ()),
    )?;
    let mut survivor = Program::start("survivor-of-update", &[&name])?;
    check(
        "the survivor's word",
        "about to update".to_owned(),
        survivor.line()?,
    )?;

    let killed = Instant::now();
    victim.kill()?;
    let counted = counter.wait_until_timeout(LIMIT, |n| *n != 41);
    let waited = killed.elapsed();
    let counted =
        counted.ok_or_else(|| failure("the survivor", "a turn", "a wait for the dead"))?;
    survivor.finish()?;
    check("41, and one more by the survivor", 42, counted)?;
    Ok(vec![
        ("in Value::update", half_done),
        (
            "killed there",
            format!("pid {}, with SIGKILL", victim.pid()),
        ),
        (
            "the next update",
            format!("was through {} later", milliseconds(waited)),
        ),
        (
            "the value",
            format!("{counted}: the 41 from before, and one more"),
        ),
    ])
}

fn kill_in_get() -> Result<Rows, Failure> {
    let (items_name, taken_name) = (name("items"), name("taken"));
    let items = Queue::<u64>::create(&items_name, 8)?;
    let taken = Queue::<u64>::create(&taken_name, 8)?;
    items.put_all(&[7, 8])?;
    let mut victim = Program::start("victim-of-get", &[&items_name])?;
    let half_done = victim.line()?;
    let mut survivor = Program::start("survivor-of-get", &[&items_name, &taken_name])?;
    check(
        "the survivor's word",
        "about to get".to_owned(),
        survivor.line()?,
    )?;
    check("what was taken before the kill", 0, taken.len())?;

    let killed = Instant::now();
    victim.kill()?;
    let first = taken.get_timeout(LIMIT)?;
    let waited = killed.elapsed();
    let second = taken.get_timeout(LIMIT)?;
    survivor.finish()?;
    check("what the survivor took", [7, 8], [first, second])?;
    Ok(vec![
        ("in Queue::get_with", half_done),
        (
            "killed there",
            format!("pid {}, with SIGKILL", victim.pid()),
        ),
        (
            "the next get",
            format!("was through {} later", milliseconds(waited)),
        ),
        (
            "the item",
            format!("went to the next: it took {first}, then {second}"),
        ),
    ])
}

/// Gets half-way through an update, says so, and stays in it.
pub(crate) fn die_in_update(args: &[String]) -> Outcome {
    let counter = Value::<u64>::open(args[0].as_str())?;
    counter.update(|n| {
        *n = 999;
        println!("a program has turned 41 into 999, and stays inside");
        loop {
            park();
        }
    })
}

/// Adds one to the counter.
pub(crate) fn update(args: &[String]) -> Outcome {
    let counter = Value::<u64>::open(args[0].as_str())?;
    println!("about to update");
    counter.update(|n| *n += 1);
    Ok(())
}

/// Begins to take an item, says so, and stays in the closure.
pub(crate) fn die_in_get(args: &[String]) -> Outcome {
    let items = Queue::<u64>::open(args[0].as_str())?;
    Ok(items.get_with(|item| {
        println!("a program has item {item} in hand, and stays inside");
        loop {
            park();
        }
    })?)
}

/// Takes two items, and passes them on.
pub(crate) fn get(args: &[String]) -> Outcome {
    let items = Queue::<u64>::open(args[0].as_str())?;
    let taken = Queue::<u64>::open(args[1].as_str())?;
    println!("about to get");
    for _ in 0..2 {
        taken.put(items.get()?)?;
    }
    Ok(())
}
