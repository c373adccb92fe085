//! `ByteQueue` between two processes against a pipe between them, for messages of 16 B to 1 MiB; against
//! the memcpy that any passing on takes, for messages of 1 MiB that are written and read in place;
//! and `MessageQueue`, against nothing.
//!
//! `cargo bench --bench bytes` measures; `-- --test` runs everything once, briefly.
//!
//! The producer is a forked child on a CPU of its own. It copies each message from memory that it
//! keeps; the consumer reads one word of every cache line, and checks their sum. The clock starts
//! when both have passed some on, and stops with the last message.

mod support;

use shmkit::{ByteQueue, Value};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use support::process::{finish, fork};
use support::{describe, end_after, in_turns, is_brief, pin, report, two_cpus};

/// From 16 B to 1 MiB, each four times the last one.
const SIZES: usize = 9;

/// The least number of messages that fit: enough for both sides to be at work.
const DEEP: usize = 4;

/// Messages before the clock starts: the pages of either side are mapped for them.
const WARM: usize = 4 * DEEP;

/// A cache line, in words.
const LINE: usize = 8;

/// The messages of one size that a run sends, over and over.
struct Load {
    message: Vec<u8>,
    count: usize,
}

impl Load {
    fn new(size: usize) -> Self {
        let bytes = if is_brief() { 1 << 20 } else { 1 << 28 };
        let words = (0..size as u64 / 8).flat_map(|n| (n * n + 1).to_le_bytes());
        Self {
            message: words.collect(),
            // Many small ones take as long as few large ones.
            count: (bytes / (size + 256)).max(8),
        }
    }

    fn size(&self) -> usize {
        self.message.len()
    }

    /// GB in a second, if all messages took that time.
    fn rate(&self, took: Duration) -> f64 {
        (self.size() * self.count) as f64 / took.as_secs_f64() / 1e9
    }
}

/// Touches every cache line of a message.
fn touch(message: &[u8]) -> u64 {
    let (words, []) = message.as_chunks::<8>() else {
        panic!("a message of another size");
    };
    let firsts = words.iter().step_by(LINE);
    firsts.fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

fn main() {
    describe("bytes");
    end_after(600);
    let cpus = two_cpus();
    let rounds = if is_brief() { 1 } else { 9 };
    pin(cpus[0]);
    for size in (0..SIZES).map(|n| 16 << (2 * n)) {
        let load = Load::new(size);
        let queue = ByteQueue::new((DEEP * (size + 8)).max(64 << 10)).expect("an anonymous queue");
        let put = || queue.put(&load.message).expect("an open queue");
        let rates = in_turns(
            rounds,
            || load.rate(through_queue(&load, &queue, cpus, put)),
            || load.rate(through_pipe(&load, cpus)),
        );
        let labels = [&*format!("{size} B: queue"), &format!("{size} B: pipe")];
        let ratio = format!("queue/pipe, {size} B");
        report(labels, "GB/s", &ratio, "", rates);
    }
    let load = Load::new(1 << 20);
    let queue = ByteQueue::new(DEEP * (load.size() + 8)).expect("an anonymous queue");
    let write_in_place = || {
        let mut room = queue.reserve(load.size()).expect("an open queue");
        room.copy_from_slice(&load.message);
        room.commit(load.size()).expect("an open queue");
    };
    let rates = in_turns(
        rounds,
        || load.rate(through_queue(&load, &queue, cpus, write_in_place)),
        || load.rate(by_memcpy(&load)),
    );
    let labels = ["1 MiB, in place: queue", "1 MiB: memcpy"];
    let ratio = "queue/memcpy, 1 MiB in place";
    report(labels, "GB/s", ratio, ", goal 0.9", rates);
    messages(cpus, rounds);
}

/// Has a child send the messages, and takes them here; returns the time that all but the first took.
fn pass_on(
    load: &Load,
    cpus: [usize; 2],
    mut send: impl FnMut(),
    mut take: impl FnMut(),
) -> Duration {
    let start = Value::new(0u64).expect("an anonymous value");
    let child = fork(
        || {
            pin(cpus[1]);
            for n in 0..WARM + load.count {
                if n == WARM {
                    start.set(1);
                }
                send();
            }
        },
        abort_parent,
    );
    (0..WARM).for_each(|_| take());
    start.wait_until(|stage| *stage == 1);
    let began = Instant::now();
    (0..load.count).for_each(|_| take());
    let took = began.elapsed();
    finish(child);
    took
}

fn through_queue(load: &Load, queue: &ByteQueue, cpus: [usize; 2], send: impl Fn()) -> Duration {
    let expected = touch(&load.message);
    pass_on(load, cpus, send, || {
        let found = queue.get_with(touch).expect("a message");
        assert_eq!(found, expected);
    })
}

fn through_pipe(load: &Load, cpus: [usize; 2]) -> Duration {
    let (mut from, mut to): (PipeReader, PipeWriter) = pipe().expect("a pipe");
    // As long as a user may make it; a pipe that may not be this long stays as it is.
    // SAFETY: it takes an open descriptor and a number.
    unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
    let expected = touch(&load.message);
    let mut message = vec![0; load.size()];
    let send = || to.write_all(&load.message).expect("an open pipe");
    pass_on(load, cpus, send, || {
        from.read_exact(&mut message).expect("a message");
        assert_eq!(touch(&message), expected);
    })
}

/// The copying alone, to as many places in turn as the queue has.
fn by_memcpy(load: &Load) -> Duration {
    let mut places = vec![vec![1u8; load.size()]; DEEP]; // written, so mapped
    let began = Instant::now();
    for turn in 0..load.count {
        places[turn % DEEP].copy_from_slice(&load.message);
        std::hint::black_box(&mut places);
    }
    let took = began.elapsed();
    assert_eq!(touch(&places[0]), touch(&load.message));
    took
}

#[cfg(feature = "serde")]
fn messages(cpus: [usize; 2], rounds: usize) {
    let count = if is_brief() { 1000 } else { 2_000_000u64 };
    let text = "a text of some thirty characters";
    let queue = shmkit::MessageQueue::<(u64, String)>::new(64 << 10).expect("a queue");
    let run = || {
        let start = Value::new(0u64).expect("an anonymous value");
        let send = || {
            pin(cpus[1]);
            start.set(1);
            let mut item = (0, text.to_owned());
            for n in 0..count {
                item.0 = n;
                queue.put(&item).expect("an open queue");
            }
        };
        let child = fork(send, abort_parent);
        start.wait_until(|stage| *stage == 1);
        let began = Instant::now();
        for n in 0..count {
            let (number, found) = queue.get().expect("an item");
            assert!(number == n && found == text);
        }
        let took = began.elapsed();
        finish(child);
        count as f64 / took.as_secs_f64() / 1e6
    };
    let rates = support::Spread::of((0..rounds).map(|_| run()).collect());
    println!("MessageQueue<(u64, String)> of 32 characters: {rates} M items/s");
}

#[cfg(not(feature = "serde"))]
fn messages(_: [usize; 2], _: usize) {}

/// Ends the parent of a child that failed: it waits for messages that won't come.
fn abort_parent() {
    // SAFETY: it takes nothing.
    let parent = unsafe { libc::getppid() };
    // SAFETY: touches no memory; the parent lives as long as this child.
    unsafe { libc::kill(parent, libc::SIGABRT) };
}
