//! Twelve named tasks for a pool with a worker for each CPU: the workers do the tasks in waves.

use crate::show::{Outcome, check, failure, name, say};
use serde::{Deserialize, Serialize};
use shmkit::{Pool, Value};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

const TASKS: usize = 12;

/// How long a task sleeps, which stands for work and leaves the CPUs to others.
const WORK: Duration = Duration::from_millis(100);

/// The time limit for a worker to start, which takes far less.
const LIMIT: Duration = Duration::from_secs(30);

/// The time at which the pool was made. The workers inherit it.
static START: OnceLock<Instant> = OnceLock::new();

fn now() -> Duration {
    START.get().expect("it is set before the pool").elapsed()
}

/// A task's argument.
#[derive(Serialize, Deserialize)]
struct Job {
    name: String,
    /// How many tasks have begun.
    begun: Value<u64>,
    /// The first `meet` tasks wait for each other, which shows that as many workers work at once.
    meet: u64,
}

/// A task's result.
#[derive(Serialize, Deserialize)]
struct Report {
    name: String,
    pid: u32,
    from: Duration,
    to: Duration,
}

fn work(job: Job) -> Report {
    let from = now();
    job.begun.update(|begun| *begun += 1);
    let met = job
        .begun
        .wait_until_timeout(LIMIT, |begun| *begun >= job.meet);
    met.expect("a worker for each of the first tasks");
    sleep(WORK);
    Report {
        name: job.name,
        pid: std::process::id(),
        from,
        to: now(),
    }
}

/// The step.
pub(crate) fn run() -> Outcome {
    let begun = Value::create(name("begun"), 0)?;
    START.get_or_init(Instant::now);
    let pool = Pool::new()?;
    let at_once = pool.workers().min(TASKS);
    let jobs = (1..=TASKS).map(|number| Job {
        name: format!("task {number}"),
        begun: begun.clone(),
        meet: at_once as u64,
    });
    let mut reports = pool.map(work, jobs)?;
    pool.join()?;

    say(format!("   {:7}   {:11}   from     to", "", "worker"));
    reports.sort_by_key(|report| report.from);
    for report in &reports {
        let (name, pid) = (&report.name, report.pid);
        let (from, to) = (report.from.as_millis(), report.to.as_millis());
        let bar = bar(report);
        say(format!(
            "   {name:7}   pid {pid:<7}   {from:>4}   {to:>4} ms   {bar}"
        ));
    }
    say(format!("   {TASKS} tasks, {at_once} at a time"));

    let mut names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    names.sort_by_key(|name| (name.len(), *name));
    let all: Vec<String> = (1..=TASKS).map(|number| format!("task {number}")).collect();
    check(
        "the tasks done",
        all,
        names.iter().map(ToString::to_string).collect(),
    )?;
    let mut pids: Vec<u32> = reports.iter().map(|report| report.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    check("workers with a task", at_once, pids.len())?;
    let own = std::process::id();
    check("tasks of this process", false, pids.contains(&own))?;
    check("the most tasks at once", at_once, most_at_once(&reports))?;
    let took = reports.iter().map(|report| report.to).max();
    let least = WORK * u32::try_from(TASKS.div_ceil(at_once))?;
    match took {
        Some(took) if took >= least => Ok(()),
        other => Err(failure(
            "the time for all",
            format!("at least {least:?}"),
            format!("{other:?}"),
        )),
    }
}

/// Returns how many tasks, at most, were under way when a task began.
fn most_at_once(reports: &[Report]) -> usize {
    let under_way = |at: Duration| {
        let these = reports.iter().filter(|r| r.from <= at && at < r.to);
        these.count()
    };
    reports
        .iter()
        .map(|report| under_way(report.from))
        .max()
        .unwrap_or(0)
}

/// Draws when a task was under way, no wider than a screen. A column is a quarter of a task's time.
fn bar(report: &Report) -> String {
    let column = |at: Duration| {
        let at = 4.0 * at.as_secs_f64() / WORK.as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small, and positive
        let at = at.round() as usize;
        at.min(32)
    };
    let (from, to) = (column(report.from), column(report.to));
    " ".repeat(from) + &"#".repeat(to - from)
}
