//! What shmkit does, shown between real processes: `cargo run --release --example tour`.
//!
//! Each step starts programs of its own (this one again, in a role), has them meet under a name, shows
//! what came of it, and checks it. The exit code is 0 only if every step showed what it should.

mod jobs;
mod killed;
mod letters;
mod photo;
mod show;
mod speed;
mod values;

use show::{Outcome, check, say};
use std::process::exit;
use std::time::{Duration, Instant};

/// Longer than any step takes by far, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Step {
    title: &'static str,
    run: fn() -> Outcome,
}

const STEPS: [Step; 6] = [
    Step {
        title: "A queue between a writer and a reader",
        run: letters::run,
    },
    Step {
        title: "A plain variable, and a value that all programs share",
        run: values::run,
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

/// One of the programs that a step starts.
fn play(role: &str, args: &[String]) -> i32 {
    let part = match role {
        "writer" => letters::write,
        "reader" => letters::read,
        "changer" => values::change,
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
    say("shmkit: shared memory between processes, which survives their being killed");
    say("Every program below is a process of its own, and opens what it shares by name.");
    for (number, step) in (1..).zip(&STEPS) {
        say(format!("\n{number}. {}\n", step.title));
        let label = format!("step {number}, {:?}", step.title);
        let watchdog = show::watchdog(PATIENCE, label.clone());
        let outcome = (step.run)();
        drop(watchdog);
        if let Err(failure) = outcome {
            return fail(&label, &failure);
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

fn fail(label: &str, failure: &show::Failure) -> i32 {
    say(format!("\nFAILED in {label}: {failure}"));
    show::remove_own_names();
    1
}
