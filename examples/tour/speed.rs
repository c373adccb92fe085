//! Measures how many numbers a second go from one program to another, one by one, through a queue and through
//! a pipe.

use crate::show::{Failure, Outcome, Program, check, grouped, median, name, rows, say, timed};
use shmkit::Queue;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// The queue and the pipe take turns, so that the machine's other work slows both alike.
const ROUNDS: usize = 5;
const THROUGH_QUEUE: u64 = 5_000_000 / SLOWER;
const THROUGH_PIPE: u64 = 200_000 / SLOWER;

/// A debug build is slower, so it sends fewer numbers.
const SLOWER: u64 = if cfg!(debug_assertions) { 20 } else { 1 };

/// The queue has as much room as a pipe: 64 KiB.
const CAPACITY: usize = 65_536 / size_of::<u64>();

/// The step.
pub(crate) fn run() -> Outcome {
    let name = name("numbers");
    let queue = Queue::<u64>::create(&name, CAPACITY)?;
    let mut feeder = Program::start("feeder", &[&name])?;
    let (mut by_queue, mut by_pipe) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        by_queue.push(receive(THROUGH_QUEUE, || Ok(queue.get()?))?);
        let pipe = feeder.pipe();
        by_pipe.push(receive(THROUGH_PIPE, || {
            let mut bytes = [0; 8];
            pipe.read_exact(&mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        })?);
    }
    feeder.finish()?;
    let (queue, pipe) = (median(by_queue), median(by_pipe));
    let a_second = |rate: f64| format!("{:>11} a second", grouped(format!("{rate:.0}")));
    rows(&[
        ("Queue<u64>, put and get", a_second(queue)),
        ("a pipe, write and read ", a_second(pipe)),
        (
            "the queue is faster by ",
            format!("{:>11}", format!("{:.0} x", queue / pipe)),
        ),
    ]);
    if cfg!(debug_assertions) {
        say("\n   This is a debug build: with --release the queue is many times as fast.");
    }
    Ok(())
}

/// Receives the numbers from 0 to `count` - 1 in order, and returns how many came a second.
fn receive(count: u64, mut next: impl FnMut() -> Result<u64, Failure>) -> Result<f64, Failure> {
    // The first number shows that the other side has begun.
    check("the first number", 0, next()?)?;
    let (outcome, took) = timed(|| {
        for expected in 1..count {
            let found = next()?;
            if found != expected {
                return check("a number", expected, found);
            }
        }
        Ok(())
    });
    outcome?;
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    Ok((count - 1) as f64 / took.max(Duration::from_nanos(1)).as_secs_f64())
}

/// The other program.
pub(crate) fn feed(args: &[String]) -> Outcome {
    let queue = Queue::<u64>::open(args[0].as_str())?;
    // `io::stdout()` would collect the numbers and write them together.
    let mut pipe = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    for _ in 0..ROUNDS {
        for number in 0..THROUGH_QUEUE {
            queue.put(number)?;
        }
        for number in 0..THROUGH_PIPE {
            pipe.write_all(&number.to_le_bytes())?;
        }
    }
    Ok(())
}
