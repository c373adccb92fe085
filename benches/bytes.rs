//! `ByteQueue` between two processes against a pipe between them, for messages of 16 B to 1 MiB; against
//! the memcpy that any passing on takes, for messages of 1 MiB that are written and read in place.
//! And `MessageQueue`, against nothing.
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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use support::{Spread, describe, in_turns, is_brief, pin, two_cpus};

/// Ends a run that hangs.
const LIMIT_SECONDS: u32 = 600;

const SIZES: [usize; 9] = [
    16,
    64,
    256,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
];

/// As many messages as fit at least: enough for both sides to be at work.
const DEEP: usize = 4;

/// Messages before the clock starts, for which the pages of either side are mapped.
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

    /// GB in a second, for all of them in that time.
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
    // SAFETY: without a handler for it, the signal just ends this process.
    unsafe { libc::alarm(LIMIT_SECONDS) };
    let cpus = two_cpus();
    let rounds = if is_brief() { 1 } else { 9 };
    pin(cpus[0]);
    for size in SIZES {
        let load = Load::new(size);
        let queue = ByteQueue::new((DEEP * (size + 8)).max(64 << 10)).expect("an anonymous queue");
        let (ours, pipes) = in_turns(
            rounds,
            || load.rate(through_queue(&load, &queue, cpus, Way::Put)),
            || load.rate(through_pipe(&load, cpus)),
        );
        let ratio = Spread::of(ours.iter().zip(&pipes).map(|(a, b)| a / b).collect());
        println!("{size} B: queue: {} GB/s", Spread::of(ours));
        println!("{size} B: pipe: {} GB/s", Spread::of(pipes));
        println!("ratio queue/pipe, {size} B: {ratio}");
    }
    let load = Load::new(1 << 20);
    let queue = ByteQueue::new(DEEP * (load.size() + 8)).expect("an anonymous queue");
    let (ours, theirs) = in_turns(
        rounds,
        || load.rate(through_queue(&load, &queue, cpus, Way::InPlace)),
        || load.rate(by_memcpy(&load)),
    );
    let ratio = Spread::of(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect());
    println!("1 MiB, in place: queue: {} GB/s", Spread::of(ours));
    println!("1 MiB: memcpy: {} GB/s", Spread::of(theirs));
    println!("ratio queue/memcpy, 1 MiB in place: {ratio}, goal 0.9");
    messages(cpus, rounds);
}

#[derive(Clone, Copy)]
enum Way {
    Put,
    InPlace,
}

fn through_queue(load: &Load, queue: &ByteQueue, cpus: [usize; 2], way: Way) -> Duration {
    let start = Value::new(0u64).expect("an anonymous value");
    let child = fork(|| {
        pin(cpus[1]);
        for n in 0..WARM + load.count {
            if n == WARM {
                start.set(1);
            }
            match way {
                Way::Put => queue.put(&load.message).expect("an open queue"),
                Way::InPlace => {
                    let mut room = queue.reserve(load.size()).expect("an open queue");
                    room.copy_from_slice(&load.message);
                    room.commit(load.size()).expect("an open queue");
                }
            }
        }
    });
    let expected = touch(&load.message);
    let take = |count: usize| {
        for _ in 0..count {
            let found = queue.get_with(touch).expect("a message");
            assert_eq!(found, expected);
        }
    };
    take(WARM);
    start.wait_until(|stage| *stage == 1);
    let began = Instant::now();
    take(load.count);
    let took = began.elapsed();
    assert!(wait(child), "the child failed");
    took
}

fn through_pipe(load: &Load, cpus: [usize; 2]) -> Duration {
    let start = Value::new(0u64).expect("an anonymous value");
    let (mut from, mut to): (PipeReader, PipeWriter) = pipe().expect("a pipe");
    // As long as a user may make it; where it may not be that long it stays as it is.
    // SAFETY: it takes an open descriptor and a number.
    unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
    let child = fork(|| {
        pin(cpus[1]);
        for n in 0..WARM + load.count {
            if n == WARM {
                start.set(1);
            }
            to.write_all(&load.message).expect("an open pipe");
        }
    });
    let expected = touch(&load.message);
    let mut message = vec![0; load.size()];
    let mut take = |count: usize| {
        for _ in 0..count {
            from.read_exact(&mut message).expect("a message");
            assert_eq!(touch(&message), expected);
        }
    };
    take(WARM);
    start.wait_until(|stage| *stage == 1);
    let began = Instant::now();
    take(load.count);
    let took = began.elapsed();
    assert!(wait(child), "the child failed");
    took
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
        let child = fork(|| {
            pin(cpus[1]);
            start.set(1);
            let mut item = (0, text.to_owned());
            for n in 0..count {
                item.0 = n;
                queue.put(&item).expect("an open queue");
            }
        });
        start.wait_until(|stage| *stage == 1);
        let began = Instant::now();
        for n in 0..count {
            let (number, found) = queue.get().expect("an item");
            assert!(number == n && found == text);
        }
        let took = began.elapsed();
        assert!(wait(child), "the child failed");
        count as f64 / took.as_secs_f64() / 1e6
    };
    let rates = Spread::of((0..rounds).map(|_| run()).collect());
    println!("MessageQueue<(u64, String)> of 32 characters: {rates} M items/s");
}

#[cfg(not(feature = "serde"))]
fn messages(_: [usize; 2], _: usize) {}

/// Runs `f` in a forked child, which dies with its parent.
fn fork(f: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process has one thread; the child returns from nothing, it ends below.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1, "fork");
    if pid != 0 {
        return pid;
    }
    // SAFETY: asks the kernel for a signal at the parent's end, which touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let failed = catch_unwind(AssertUnwindSafe(f)).is_err();
    if failed {
        // SAFETY: it takes nothing.
        let parent = unsafe { libc::getppid() };
        // SAFETY: ends the parent, which waits for messages that won't come.
        unsafe { libc::kill(parent, libc::SIGABRT) };
    }
    // SAFETY: ends the child on the spot, without the destructors that are the parent's to run.
    unsafe { libc::_exit(i32::from(failed)) }
}

/// Waits for a child; says whether it ended well.
fn wait(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: `status` is alive; `pid` is a child of ours that nobody has waited for.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
