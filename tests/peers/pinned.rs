//! Two processes on one CPU: a waiter that spins would keep its peer from answering.

use crate::sleeping::{stay_on, this_cpu};
use crate::support::{Name, start};
use crate::turn;
use shmkit::Queue;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

const TRIPS: u32 = 300;
const ROUNDS: usize = 7;

/// The most round trips of a pipe that one of two queues may last. A waiter that spun took 53.
const MOST: f64 = 10.0;

/// Role: on that CPU, sends every item back.
pub(crate) fn echo(there: &str, back: &str, cpu: &str) {
    stay_on(cpu.parse().expect("a CPU"));
    let there = Queue::<u64>::open(there).expect("open a queue");
    let back = Queue::<u64>::open(back).expect("open a queue");
    for item in &there {
        back.put(item).expect("there is space");
    }
}

/// Returns the time of a round trip.
fn time(mut trip: impl FnMut(u64)) -> Duration {
    let began = Instant::now();
    (0..TRIPS).for_each(|trips| trip(trips.into()));
    began.elapsed() / TRIPS
}

fn send(pipe: &mut PipeWriter, item: u64) {
    pipe.write_all(&item.to_ne_bytes())
        .expect("write to a pipe");
}

fn receive(pipe: &mut PipeReader) -> Option<u64> {
    let mut item = [0; 8];
    pipe.read_exact(&mut item).ok()?;
    Some(u64::from_ne_bytes(item))
}

fn compare_with_a_pipe() {
    let cpu = this_cpu();
    stay_on(cpu);
    let names = [Name::new("there"), Name::new("back")];
    let [there, back] = [0, 1].map(|n| Queue::create(&*names[n], 4).expect("create a queue"));
    let kid = start("echo", &[&names[0], &names[1], &cpu.to_string()]);
    let (mut question, mut asked) = pipe().expect("a pipe");
    let (mut answer, mut answered) = pipe().expect("a pipe");
    thread::scope(|scope| {
        // A started thread stays on the CPU of its starter.
        scope.spawn(move || {
            while let Some(item) = receive(&mut question) {
                send(&mut answered, item);
            }
        });
        let by_queue = |item| {
            there.put(item).expect("there is space");
            assert_eq!(back.get(), Ok(item));
        };
        let mut by_pipe = |item| {
            send(&mut asked, item);
            assert_eq!(receive(&mut answer), Some(item));
        };
        by_queue(0); // the peer is there
        let rounds = [(); ROUNDS].map(|()| (time(by_queue), time(&mut by_pipe)));
        drop(asked);
        there.close();
        let of = |pick: fn(&(Duration, Duration)) -> Duration| rounds.iter().map(pick).min();
        let (queue, pipe) = (of(|round| round.0).unwrap(), of(|round| round.1).unwrap());
        let ratio = queue.as_secs_f64() / pipe.as_secs_f64();
        println!("a round trip on one CPU: {queue:?}, by pipes {pipe:?}, ratio {ratio:.1}");
        assert!(ratio < MOST, "{ratio}");
    });
    kid.finish();
}

#[test]
fn on_one_cpu_a_round_trip_lasts_about_as_long_as_a_pipes() {
    let _turn = turn("a round trip on one CPU");
    let pinned = thread::spawn(compare_with_a_pipe);
    pinned.join().expect("the comparison");
}
