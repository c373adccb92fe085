//! `Pool::map` of a trivial function, one message a task, in turns with Python's
//! `multiprocessing.Pool.map(chunksize=1)` and, for the distance to threads, with rayon.

mod support;

use rayon::prelude::*;
use shmkit::Pool;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;
use support::{describe, in_turns, is_brief, report};

fn increment(n: u64) -> u64 {
    black_box(n) + 1
}

/// Says `ready`, and then, for each line with a number of tasks, how many seconds they took.
const PYTHON: &str = "
import multiprocessing, sys, time
def increment(n):
    return n + 1
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(int(sys.argv[1])) as pool:
        assert pool.map(increment, range(100), chunksize=1) == list(range(1, 101))
        print('ready', flush=True)
        for line in sys.stdin:
            args = range(int(line))
            began = time.perf_counter()
            results = pool.map(increment, args, chunksize=1)
            took = time.perf_counter() - began
            assert results[-1] == len(args)
            print(took, flush=True)
";

/// Python's pool, in a process of its own.
struct Python {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Python {
    /// `None` where there is no Python.
    fn start(workers: usize) -> Option<Self> {
        let started = Command::new("python3")
            .args(["-c", PYTHON, &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.ok()?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take()?);
        let mut python = Self { child, to, from };
        (python.line()?.trim() == "ready").then_some(python)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).ok()?;
        (read > 0).then_some(line)
    }

    /// Tasks a second.
    fn map(&mut self, tasks: u64) -> f64 {
        let to = self.to.as_mut().expect("open until dropped");
        writeln!(to, "{tasks}").expect("ask python3");
        let line = self.line().expect("python3 answers");
        let took: f64 = line.trim().parse().expect("seconds");
        tasks as f64 / took
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.wait();
    }
}

fn rate(tasks: u64, map: impl FnOnce(u64) -> Vec<u64>) -> f64 {
    let began = Instant::now();
    let results = map(tasks);
    let took = began.elapsed();
    assert!(results.into_iter().eq(1..=tasks));
    tasks as f64 / took.as_secs_f64()
}

fn report_tasks(names: [&str; 2], goal: &str, rates: (Vec<f64>, Vec<f64>)) {
    report(names, "tasks/s", &names.join(" / "), goal, rates);
}

fn main() {
    describe("pool");
    let workers = available_parallelism().map_or(1, usize::from);
    // Before any thread is started.
    let pool = Pool::with_workers(workers).expect("a pool");
    let ours = |tasks| rate(tasks, |tasks| pool.map(increment, 0..tasks).expect("map"));
    let (rounds, tasks, pythons) = if is_brief() {
        (1, 1_000, 100)
    } else {
        (11, 200_000, 20_000)
    };
    ours(tasks); // once to warm up
    let our_name = format!("Pool::map with {workers} workers");
    match Python::start(workers) {
        Some(mut python) => report_tasks(
            [&our_name, "Python's Pool.map(chunksize=1)"],
            ", goal at least 20",
            in_turns(rounds, || ours(tasks), || python.map(pythons)),
        ),
        None => println!("no python3 here: no ratio to its Pool.map"),
    }
    let rayons = |tasks: u64| {
        rate(tasks, |tasks| {
            // Rayon knows a vector's length, and can make jobs of one item.
            let args: Vec<u64> = (0..tasks).collect();
            let jobs = args.into_par_iter().with_max_len(1);
            jobs.map(increment).collect()
        })
    };
    rayons(tasks);
    report_tasks(
        ["rayon's map, one item a job", &our_name],
        "",
        in_turns(rounds, || rayons(tasks), || ours(tasks)),
    );
    pool.join().expect("join");
}
