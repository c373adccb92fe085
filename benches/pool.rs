//! `Pool::map` of a trivial function, one message a task, and of functions with long results, in turns with
//! Python's `multiprocessing.Pool.map(chunksize=1)` and, for the distance to threads, with rayon.

mod support;

use rayon::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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

/// Bytes, which serde moves as one piece.
struct Lump(Vec<u8>);

impl Serialize for Lump {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct Bytes;

impl serde::de::Visitor<'_> for Bytes {
    type Value = Lump;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lump, E> {
        Ok(Lump(bytes.to_vec()))
    }
}

impl<'de> Deserialize<'de> for Lump {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

fn lump(len: usize) -> Lump {
    Lump(vec![7; len])
}

/// The lengths of long results, and how many tasks a round has of each.
const LONG: [(usize, usize); 5] = [
    (64 << 10, 2_000),
    (128 << 10, 1_000),
    (512 << 10, 300),
    (2 << 20, 80),
    (8 << 20, 20),
];

/// Says `ready`, and then, for each line with a number of tasks and the length of their results (0 for
/// numbers), how many seconds they took.
const PYTHON: &str = "
import multiprocessing, sys, time
def increment(n):
    return n + 1
def lump(length):
    return bytes([7]) * length
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(int(sys.argv[1])) as pool:
        assert pool.map(increment, range(100), chunksize=1) == list(range(1, 101))
        print('ready', flush=True)
        for line in sys.stdin:
            count, length = map(int, line.split())
            function, args = (lump, [length] * count) if length else (increment, range(count))
            began = time.perf_counter()
            results = pool.map(function, args, chunksize=1)
            took = time.perf_counter() - began
            assert len(results[-1]) == length if length else results[-1] == count
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
    fn map(&mut self, tasks: u64, len: usize) -> f64 {
        let to = self.to.as_mut().expect("open until dropped");
        writeln!(to, "{tasks} {len}").expect("ask python3");
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

/// How many tasks with results of `len` bytes the pool does a second.
fn long_rate(pool: &Pool, tasks: usize, len: usize) -> f64 {
    let began = Instant::now();
    let results = pool
        .map(lump, std::iter::repeat_n(len, tasks))
        .expect("map");
    let took = began.elapsed();
    assert!(
        results
            .iter()
            .all(|lump| lump.0.len() == len && lump.0[len - 1] == 7)
    );
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
        Some(mut python) => {
            report_tasks(
                [&our_name, "Python's Pool.map(chunksize=1)"],
                ", goal at least 20",
                in_turns(rounds, || ours(tasks), || python.map(pythons, 0)),
            );
            for (len, count) in LONG {
                let count = if is_brief() { 2 } else { count };
                let ours = || long_rate(&pool, count, len);
                report_tasks(
                    [&format!("results of {} KiB", len >> 10), "Python's"],
                    "",
                    in_turns(rounds, ours, || python.map(count as u64, len)),
                );
            }
        }
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
