//! Twelve named tasks for as many workers as there are CPUs: as many are done at a time, in waves.

use crate::show::{Outcome, check, failure, name, say};
use serde::{Deserialize, Serialize};
use shmkit::{Pool, Value};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

const TASKS: usize = 12;

/// What a task takes. It stands for work, and leaves the CPUs to who needs them.
const WORK: Duration = Duration::from_millis(100);

/// A worker needs less than this to get to work, by far.
const LIMIT: Duration = Duration::from_secs(30);

/// When the pool was made. The workers, forks, have it too.
static START: OnceLock<Instant> = OnceLock::new();

fn now() -> Duration {
    START.get().expect("it is set before the pool").elapsed()
}

/// What a task is given.
#[derive(Serialize, Deserialize)]
struct Job {
    name: String,
    /// How many tasks have begun.
    begun: Value<u64>,
    /// The first so many meet, which shows that as many workers are at work at once.
    meet: u64,
}

/// What it reports.
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

/// How many are under way when a task begins, itself included; the most of that.
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

/// When a task was under way: a column is a quarter of its work. No wider than a screen.
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
