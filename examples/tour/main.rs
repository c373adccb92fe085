//! What shmkit does, shown between real processes: `cargo run --release --example tour`.
//!
//! Each step starts programs of its own (this program again, in a role), which share memory by name, or forks
//! processes, which inherit it, or makes a pool, whose tasks get it by name. The step prints the results and
//! checks them. The exit code is 0 only if every step showed what it should.

mod arrays;
mod daemons;
mod inherited;
mod jobs;
mod killed;
mod letters;
mod photo;
#[cfg(feature = "serde")]
mod pool;
mod show;
mod speed;
mod values;

use shmkit::Process;
use show::{Failure, Outcome, check, failure, say};
use std::process::exit;
use std::time::{Duration, Instant};

/// The time limit for a step, far longer than any step takes on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Step {
    title: &'static str,
    run: fn() -> Outcome,
}

const STEPS: &[Step] = &[
    Step {
        title: "A queue between a writer and a reader",
        run: letters::run,
    },
    Step {
        title: "A plain variable, and a value that all programs share",
        run: values::run,
    },
    Step {
        title: "A plain vector, and an array that a child can change",
        run: arrays::run,
    },
    Step {
        title: "Inherited by a fork, or opened by name",
        run: inherited::run,
    },
    Step {
        title: "A struct of your own, between programs that each define it",
        run: jobs::run,
    },
    Step {
        title: "Killed in the middle of its work",
        run: killed::run,
    },
    Step {
        title: "A photograph, block by block",
        run: photo::run,
    },
    Step {
        title: "Two daemons at one picture, one of them terminated half-way",
        run: daemons::run,
    },
    #[cfg(feature = "serde")]
    Step {
        title: "Twelve tasks for a pool with a worker for each CPU",
        run: pool::waves::run,
    },
    #[cfg(feature = "serde")]
    Step {
        title: "A queue between two tasks of a pool",
        run: pool::letters::run,
    },
    #[cfg(feature = "serde")]
    Step {
        title: "A plain variable, and what the tasks of a pool can change",
        run: pool::changes::run,
    },
    Step {
        title: "Speed, beside a pipe",
        run: speed::run,
    },
];

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next() {
        None => exit(tour()),
        Some(role) => exit(play(&role, &args.collect::<Vec<_>>())),
    }
}

/// Runs one of the programs that a step starts.
fn play(role: &str, args: &[String]) -> i32 {
    let part = match role {
        "writer" => letters::write,
        "reader" => letters::read,
        "changer" => values::change,
        "opener" => inherited::open,
        "worker" => jobs::worker::work,
        "stranger" => jobs::open_as_numbers,
        "victim-of-update" => killed::die_in_update,
        "survivor-of-update" => killed::update,
        "victim-of-get" => killed::die_in_get,
        "survivor-of-get" => killed::get,
        "sender" => photo::send,
        "feeder" => speed::feed,
        _ => {
            eprintln!("tour: takes no arguments");
            return 1;
        }
    };
    show::end_with_parent();
    match part(args) {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("{role}: {failure}");
            1
        }
    }
}

fn tour() -> i32 {
    let started = Instant::now();
    show::prefix(); // chosen here, so that all forked processes have it
    say("shmkit: shared memory between processes, which survives their being killed");
    say("Every program below is a process of its own, and opens what it shares by name;");
    say("a forked child inherits it; a pool's task is given it.");
    for (number, step) in (1..).zip(STEPS) {
        say(format!("\n{number}. {}\n", step.title));
        let label = format!("step {number}, {:?}", step.title);
        match in_own_process(&label, step) {
            Ok(0) => {}
            Ok(_) => {
                show::remove_own_names();
                return 1; // the step has said why
            }
            Err(failure) => return fail(&label, &failure),
        }
    }
    say("\nAfterwards\n");
    let left = show::left_behind();
    if let Err(failure) = check("names of this tour in /dev/shm", Vec::new(), left) {
        return fail("the look at what is left", &failure);
    }
    say("   Nothing of this tour is left in /dev/shm.");
    let seconds = started.elapsed().as_secs_f64();
    say(format!(
        "   All {} steps showed what they should, in {seconds:.1} s.",
        STEPS.len()
    ));
    0
}

/// Runs a step in a process of its own, so that the step may use threads and can be killed if it hangs.
/// Returns its exit code.
fn in_own_process(label: &str, step: &Step) -> Result<i32, Failure> {
    let process = Process::builder().name(label).daemon(true).spawn(|| {
        let outcome = (step.run)();
        outcome.map_or_else(|failure| fail(label, &failure), |()| 0)
    })?;
    if process.join_timeout(PATIENCE)?.is_none() {
        process.kill()?;
        process.join()?;
        let expected = format!("an end within {PATIENCE:?}");
        return Err(failure("it hangs", expected, "a step that goes on"));
    }
    match process.exit_code() {
        Some(code @ (0 | 1)) => Ok(code),
        other => Err(failure("how the step ended", 0, format!("{other:?}"))),
    }
}

fn fail(label: &str, failure: &Failure) -> i32 {
    say(format!("\nFAILED in {label}: {failure}"));
    show::remove_own_names();
    1
}
