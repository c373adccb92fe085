//! Forks, and other programs' starts, beside threads that open and drop.

use crate::fork::{Child, Name, descriptors_of, until};
use shmkit::{Queue, Value};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const OPENERS: usize = 3;
const FORKS: usize = 200;

/// A fork waits for the opens and drops of other threads: neither side hangs, and no child keeps a name that
/// it does not hold.
pub(crate) fn forks_beside_threads_that_open_and_drop_never_hang() {
    let names: Vec<Name> = (0..OPENERS)
        .map(|n| Name::new(&format!("opener-{n}")))
        .collect();
    let kept = Name::new("kept");
    let value = Value::create(&kept.0, 0u64).expect("create");
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let value = Value::open_or_create(&name.0, 0u64).expect("open or create");
                    value.update(|n| *n += 1);
                    drop(value);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..FORKS {
            let before = rounds.load(Ordering::Relaxed);
            let child = Child::fork(|| {
                value.update(|n| *n += 1);
                let own = Name::new("own");
                let queue = Queue::<u64>::open_or_create(&own.0, 4).expect("open or create");
                queue.put(1).expect("put");
                assert_eq!(queue.get(), Ok(1));
                drop(queue);
                assert!(!own.exists());
                let other = Value::open_or_create(&names[round % OPENERS].0, 0u64);
                other.expect("open or create").update(|n| *n += 1);
                drop(value.clone());
            });
            child.finish();
            until("the openers' next round", || {
                rounds.load(Ordering::Relaxed) != before
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(value.get(), FORKS as u64);
    assert_eq!(kept.holders(), 1);
    println!(
        "  {FORKS} forks beside {} opens",
        rounds.load(Ordering::Relaxed)
    );
    drop(value);
    for name in names.iter().chain([&kept]) {
        // A child that exits without dropping may be the last one out.
        drop(Value::open_or_create(&name.0, 0u64));
        assert!(!name.exists());
    }
}

/// The argument that makes this binary the program that [`descriptors_of_a_program`] starts.
pub(crate) const PROGRAM: &str = "be-a-program";

/// The program that [`descriptors_of_a_program`] starts: it says so, and waits for the end of its input.
pub(crate) fn program() {
    println!("running");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The paths to which the descriptors of a program lead that this process starts.
fn descriptors_of_a_program(forking: bool) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command
        .arg(PROGRAM)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if forking {
        // SAFETY: the hook does nothing. `Command` forks if there is a hook, and spawns otherwise.
        unsafe { command.pre_exec(|| Ok(())) };
    }
    let mut program = command.spawn().expect("start a program");
    let mut line = String::new();
    let mut output = BufReader::new(program.stdout.take().expect("piped"));
    output.read_line(&mut line).expect("read");
    assert_eq!(line, "running\n");
    let found = descriptors_of(&program.id().to_string());
    drop(program.stdin.take());
    assert!(program.wait().expect("wait").success());
    found
}

pub(crate) fn a_started_program_inherits_no_descriptor() {
    let name = Name::new("started");
    let named = Value::create(&name.0, 1u64).expect("create");
    let nameless = Queue::<u64>::new(4).expect("create");
    let passed_on = named.try_clone_fd().expect("reopen");
    let look = || {
        for forking in [false, true] {
            let found = descriptors_of_a_program(forking);
            assert!(found.len() >= 3, "{found:?}");
            let ours = |path: &&String| path.contains("shm") || path.contains("memfd");
            assert_eq!(found.iter().find(ours), None, "{found:?}");
        }
    };
    look();
    Child::fork(look).finish();
    // Both segments are still in use here.
    named.set(2);
    nameless.put(1).expect("put");
    assert_eq!(name.holders(), 1, "no started program is a holder");
    drop(passed_on);
}
