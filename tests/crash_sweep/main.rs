//! The crash sweep: it runs a child one instruction at a time and kills the child with SIGKILL after 1, 2, 3 …
//! instructions of an operation, until a child gets through. After each death it asks two survivors: one was
//! attached all along, the other opens the segment by its name after the death. They take turns in acting first.
//!
//! A new operation is a row in one of the files `*_rows.rs`; a new type is a new `Family` (`row`). The rows
//! called `control` are wrong on purpose, and show in each run that the sweep finds faults.
//!
//! | form | asked for by | what it sweeps |
//! |---|---|---|
//! | quick | `cargo test` | some points of each row, within its first 4,200 instructions |
//! | CI | `-- --ci` | every instruction of every row up to 2,500 of them; of longer ones 1,000 points |
//! | full | `-- --full` | every instruction of every row, each with either survivor first |
//!
//! The CI form sweeps `segment_rows`, which are long, before and after each system call, and after each store to
//! the segment: nothing else can be seen by others. Where possible, the CI form runs a child to
//! shortly before its point (`path`) and steps it from there; the other forms step it all the way.
//!
//! Further arguments choose the rows whose names contain one of them.
//!
//! The test has a single thread, because its children are forks that go on working.

#[cfg(target_arch = "x86_64")]
mod array_rows;
#[cfg(target_arch = "x86_64")]
mod bytes_rows;
#[cfg(target_arch = "x86_64")]
mod contents;
#[cfg(target_arch = "x86_64")]
mod endpoint_rows;
#[cfg(target_arch = "x86_64")]
mod lock_rows;
#[cfg(target_arch = "x86_64")]
mod path;
#[cfg(all(target_arch = "x86_64", feature = "serde"))]
mod pool_rows;
#[cfg(target_arch = "x86_64")]
mod queue_rows;
#[cfg(target_arch = "x86_64")]
mod row;
#[cfg(target_arch = "x86_64")]
mod segment_rows;
#[cfg(all(target_arch = "x86_64", feature = "shared_memory"))]
mod shmem_rows;
#[cfg(target_arch = "x86_64")]
mod sleeper_rows;
#[cfg(target_arch = "x86_64")]
mod step;
#[cfg(target_arch = "x86_64")]
mod sweep;
#[cfg(target_arch = "x86_64")]
mod value_rows;
#[cfg(target_arch = "x86_64")]
mod watchdog;

use std::process::ExitCode;

/// Says why the sweep can't run. With `SHMKIT_REQUIRE_ALL` set this is a failure.
fn not_run(why: &str) -> ExitCode {
    println!("crash_sweep: not run: {why}");
    if std::env::var_os("SHMKIT_REQUIRE_ALL").is_some() {
        eprintln!("crash_sweep: SHMKIT_REQUIRE_ALL makes that a failure");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    not_run("needs x86-64")
}

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    x86_64::main()
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::{
        array_rows, bytes_rows, endpoint_rows, lock_rows, not_run, queue_rows, segment_rows,
        sleeper_rows, step, value_rows, watchdog,
    };
    use crate::row::{Family, Row};
    use crate::sweep::{Form, Report, sweep};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    const FULL: Form = Form {
        name: "full",
        exhaustive: usize::MAX,
        points: usize::MAX,
        steps: usize::MAX,
        farthest: usize::MAX,
        jumps: false,
        both_orders: true,
    };
    const CI: Form = Form {
        name: "CI",
        exhaustive: 2500,
        points: 1000,
        jumps: true,
        both_orders: false,
        ..FULL
    };
    const QUICK: Form = Form {
        name: "quick",
        exhaustive: 0,
        points: 20,
        steps: 5000,
        farthest: 4200,
        jumps: false,
        both_orders: false,
    };

    struct Table {
        form: Form,
        /// Parts of names; empty for all rows.
        wanted: Vec<String>,
        name: String,
        passed: usize,
        failed: usize,
    }

    impl Table {
        fn add<F: Family>(&mut self, rows: impl IntoIterator<Item = Row<F>>) {
            for row in rows {
                let is_wanted = |part: &String| row.name.contains(part.as_str());
                if self.wanted.is_empty() || self.wanted.iter().any(is_wanted) {
                    self.print(&sweep(&row, self.form, &self.name), row.is_control);
                }
            }
        }

        fn print(&mut self, report: &Report, is_control: bool) {
            let more = if report.is_cut { ">" } else { "" };
            println!(
                "{:<46} {:>6} {:>6} {:>6} {:>8} {:>6} {:>7} {:>6} {:>6} {:>6.1} {:>5.1}",
                report.name,
                format!("{more}{}", report.instructions),
                report.stride,
                report.points,
                report.verdicts,
                report.astray,
                report.holding,
                report.before,
                report.after,
                report.longest.as_secs_f64() * 1e3,
                report.seconds,
            );
            for violation in &report.violations {
                let kind = if is_control { "found" } else { "VIOLATION" };
                println!("    {kind}: {violation}");
            }
            match &report.failure {
                Some(failure) => {
                    println!("    FAILED: {failure}");
                    self.failed += 1;
                }
                None => self.passed += 1,
            }
        }
    }

    pub(super) fn main() -> ExitCode {
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        if has("--list") {
            println!("crash_sweep: test");
            return ExitCode::SUCCESS;
        }
        // Other flags are libtest's, which `cargo test` passes to every test alike.
        let wanted = arguments.iter().filter(|word| !word.starts_with("--"));
        let mut table = Table {
            form: match (has("--full"), has("--ci")) {
                (true, _) => FULL,
                (_, true) => CI,
                _ => QUICK,
            },
            wanted: wanted.cloned().collect(),
            name: format!("test-crash-sweep-{}", std::process::id()),
            passed: 0,
            failed: 0,
        };
        watchdog::install(&step::path_of(&table.name));
        if let Err(error) = step::stay_on_this_cpu() {
            println!("not pinned to one CPU, so slower: {error}");
        }
        match step::Child::start(|| true) {
            Err(error) if error.starts_with(step::TRACING_REFUSED) => return not_run(&error),
            _ => {}
        }
        // A process runs some code only once. These calls run it here, and so outside of all swept operations.
        let queue = shmkit::Queue::<u8>::new(1).expect("an anonymous queue");
        let _ = queue.get_timeout(Duration::from_millis(1));
        drop(queue.producer().expect("nobody else's"));

        let start = Instant::now();
        println!(
            "crash sweep, {} form, {} build",
            table.form.name,
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
        );
        println!(
            "{:<46} {:>6} {:>6} {:>6} {:>8} {:>6} {:>7} {:>6} {:>6} {:>6} {:>5}",
            "row",
            "instr.",
            "stride",
            "points",
            "verdicts",
            "astray",
            "holding",
            "before",
            "after",
            "max ms",
            "s"
        );
        table.add(lock_rows::rows());
        table.add(value_rows::rows());
        table.add(array_rows::bytes());
        table.add(array_rows::triples());
        table.add(array_rows::words());
        table.add(array_rows::wides());
        table.add(queue_rows::rows());
        table.add(endpoint_rows::rows());
        table.add(bytes_rows::rows());
        table.add(sleeper_rows::rows());
        table.add(segment_rows::rows());
        #[cfg(feature = "serde")]
        {
            table.add(crate::pool_rows::messages());
            table.add(crate::pool_rows::takes());
        }
        #[cfg(feature = "shared_memory")]
        table.add(crate::shmem_rows::rows());
        println!(
            "instr.: instructions of the whole operation. points: where children were killed, `stride` \
             instructions apart (0: at system calls and stores). verdicts: deaths judged.\nastray: children that had to be stepped all the way. \
             holding: died holding a lock. before, after: died before or after the commit. max ms: a \
             survivor's longest call."
        );
        if table.form.farthest < usize::MAX {
            println!(
                "A sample: in the release build `-- --ci` kills after every instruction. A length with \
                 `>` goes beyond what this form steps through."
            );
        }
        println!(
            "{} passed, {} failed in {:.1} s",
            table.passed,
            table.failed,
            start.elapsed().as_secs_f64()
        );
        if table.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
