//! Surroundings: each body, a representative use of the crate, runs in each surrounding, an untidy world in which
//! programs run. A body fails there only for want of what the surrounding lacks, and leaves nothing.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts of the
//! names to run, each of the form `surrounding: body`.

#[path = "../support/fork.rs"]
mod fork;

mod bodies;
mod signals;
mod worlds;

use bodies::{BODIES, Body};
use fork::{Child, Witness};
use std::time::Instant;
use worlds::{WORLDS, World};

fn main() {
    let args = std::env::args().skip(1);
    let wanted: Vec<String> = args.filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = Vec::new();
    for world in WORLDS {
        for body in BODIES {
            let name = format!("{}: {}", world.name, body.name);
            if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
                continue;
            }
            let began = Instant::now();
            let told = run(world, body);
            let verdict = match told.as_str() {
                "done" => "ok".to_owned(),
                "lacks" => "ok, refused".to_owned(),
                _ => match told.strip_prefix("not run: ") {
                    Some(why) => {
                        fork::not_run(why);
                        "not run".to_owned()
                    }
                    None => {
                        failed.push(name.clone());
                        format!("FAILED: {told}")
                    }
                },
            };
            println!("test {name} ... {verdict} ({:?})", began.elapsed());
        }
    }
    assert!(failed.is_empty(), "tests failed: {failed:?}");
}

/// Runs a body in a process of its own. Returns `done`, `lacks`, or the reason why not.
fn run(world: &World, body: &Body) -> String {
    let witness = Witness::new();
    let child = Child::fork(|| {
        // SAFETY: the call takes numbers.
        unsafe { libc::setpgid(0, 0) };
        let told = (world.enter)(&|| {
            std::panic::set_hook(Box::new(|_| ()));
            let before = worlds::left();
            let told = match fork::caught(body.run) {
                Ok(Ok(())) => "done".to_owned(),
                Ok(Err(error)) if (world.lacks)(&error) => "lacks".to_owned(),
                Ok(Err(error)) => format!("refused: {error}"),
                Err(panic) => format!("panicked: {panic}"),
            };
            let now = worlds::left();
            match now == before {
                true => told,
                false => format!("{told}, and left: {before:?} before, {now:?} now"),
            }
        });
        witness.say(&told.unwrap_or_else(|why| format!("not run: {why}")));
        if fork::has_children() {
            // A body that failed left processes, which would wait for ever.
            // SAFETY: the call takes numbers; the group is this process's own.
            unsafe { libc::kill(0, libc::SIGKILL) };
        }
    });
    let status = child.wait();
    let told = witness.outlive();
    match status {
        0 => told,
        _ => format!("exit code {status}, told {told:?}"),
    }
}
