//! What the benches share: a description of the machine, pinning to CPUs, and ratios of two things that are
//! timed in turns, so that a change of the machine's mood hits both.
#![allow(dead_code)] // each bench uses its own part

pub(crate) mod process;

use std::fmt;
use std::fs::read_to_string;
use std::mem::{size_of, zeroed};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// Tells whether this run only shows that the bench works: `cargo bench -- --test` (or `--quick`), or
/// `cargo test --benches`, which does not pass the `--bench` that `cargo bench` does.
pub(crate) fn is_brief() -> bool {
    let has = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    has("--test") || has("--quick") || !has("--bench")
}

/// Returns a number from the environment, or the default.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: a number")),
        Err(_) => default,
    }
}

/// Has the kernel end this process if it hangs.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: touches no memory; the signal's default is the end.
    unsafe { libc::alarm(seconds) };
}

/// Prints the machine on which the figures below were measured.
pub(crate) fn describe(bench: &str) {
    let line_of = |path, key| {
        let text = read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(|| "unknown CPU".into(), |(_, it)| it.trim().to_owned())
    };
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "unknown rustc".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "{bench}: {}, {} CPUs, Linux {}, {rustc}{}",
        line_of("/proc/cpuinfo", "model name"),
        available_parallelism().map_or(0, usize::from),
        kernel.trim(),
        if is_brief() {
            "; a brief run, whose figures mean nothing"
        } else {
            ""
        },
    );
}

/// The CPUs for the two sides: the first two that this process may use, or the only one, twice.
pub(crate) fn two_cpus() -> [usize; 2] {
    // SAFETY: a set of CPUs is an array of integers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `set` is alive and of the size that is passed; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    assert_eq!(result, 0, "sched_getaffinity");
    let mut allowed = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| {
        // SAFETY: only reads the set, and `cpu` is within it.
        unsafe { libc::CPU_ISSET(cpu, &set) }
    });
    let first = allowed.next().expect("a process may use some CPU");
    [first, allowed.next().unwrap_or(first)]
}

/// Keeps the calling thread, and what it forks or starts, on one CPU.
pub(crate) fn pin(cpu: usize) {
    // SAFETY: as in `two_cpus`.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: only writes the set, and `cpu` is within it.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is alive and of the size that is passed; 0 is the calling thread.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    assert_eq!(result, 0, "sched_setaffinity");
}

/// A median, and the range around it: of all figures, or of the middle half of many, since some of many
/// fell victim to the machine's other work.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) rounds: usize,
}

/// With this many figures, the outer ones are left out of the range.
const MANY: usize = 50;

impl Spread {
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let rounds = figures.len();
        let cut = if rounds < MANY { 0 } else { rounds / 4 };
        Self {
            median: figures[rounds / 2],
            least: figures[cut],
            most: figures[rounds - 1 - cut],
            rounds,
        }
    }

    /// The ratio of the figures, round by round.
    pub(crate) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = if self.median < 100.0 { 2 } else { 0 };
        let half = if self.rounds < MANY {
            ""
        } else {
            "half of them "
        };
        write!(
            f,
            "{:.places$} (median of {}, {half}{:.places$} to {:.places$})",
            self.median, self.rounds, self.least, self.most
        )
    }
}

/// Runs `ours` and `theirs` in turns, each round's order the reverse of the last one's, and returns
/// the figures of each.
pub(crate) fn in_turns<A>(
    rounds: usize,
    mut ours: impl FnMut() -> A,
    mut theirs: impl FnMut() -> A,
) -> (Vec<A>, Vec<A>) {
    let (mut our_figures, mut their_figures) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            our_figures.push(ours());
            their_figures.push(theirs());
        } else {
            their_figures.push(theirs());
            our_figures.push(ours());
        }
    }
    (our_figures, their_figures)
}

/// Prints the figures of both, each on a line that begins with its label, and the line of their ratio.
pub(crate) fn report(
    labels: [&str; 2],
    unit: &str,
    ratio: &str,
    goal: &str,
    (ours, theirs): (Vec<f64>, Vec<f64>),
) {
    let spread = Spread::of_ratios(&ours, &theirs);
    println!("{}: {} {unit}", labels[0], Spread::of(ours));
    println!("{}: {} {unit}", labels[1], Spread::of(theirs));
    println!("ratio {ratio}: {spread}{goal}");
}

/// Times two operations in turns, prints the cost of each, and their ratio round by round. `goal` is the
/// largest ratio that is good enough.
pub(crate) fn compare(
    names: [&str; 2],
    goal: Option<f64>,
    mut ours: impl FnMut(),
    mut theirs: impl FnMut(),
) {
    let (rounds, at_least) = if is_brief() {
        (1, Duration::from_micros(100))
    } else {
        // Many short slices: on a busy machine most go by without an interruption.
        (151, Duration::from_millis(2))
    };
    let times = in_turns(
        rounds,
        || nanoseconds(at_least, &mut ours),
        || nanoseconds(at_least, &mut theirs),
    );
    let goal = goal.map_or_else(String::new, |goal| format!(", goal at most {goal}"));
    report(names, "ns", &names.join(" / "), &goal, times);
}

/// The average time of one call of `operation`, over calls that take `at_least` this long in all.
fn nanoseconds(at_least: Duration, operation: &mut impl FnMut()) -> f64 {
    let mut calls = 1u32;
    loop {
        let start = Instant::now();
        for _ in 0..calls {
            operation();
        }
        let took = start.elapsed();
        if took >= at_least {
            return took.as_secs_f64() * 1e9 / f64::from(calls);
        }
        calls = calls.saturating_mul(2);
    }
}
