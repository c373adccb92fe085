//! The two sides: a process each, which meet, move numbers, and check them.

use crate::support::process::{Line, Shared, fork};
use crate::support::{end_after, pin};
use shmkit::Value;
use std::fmt;
use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::thread::yield_now;
use std::time::Instant;

/// Ends a run that hangs: each of its processes ends itself.
pub(crate) const LIMIT_SECONDS: u32 = 60;

#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) capacity: usize,
    pub(crate) rounds: usize,
    /// The producer's, and the consumer's.
    pub(crate) cpus: [usize; 2],
}

/// Moves this many numbers, and returns how many it moved a second.
pub(crate) type Measure = Box<dyn FnMut(u64) -> f64>;

/// The pause of a side that found no room, or no item, before it tries again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    Yield,
    /// As many hints to the CPU that this is a spin.
    Spin(u32),
}

impl Pause {
    pub(crate) fn until<T>(self, mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(result) = attempt() {
                return result;
            }
            match self {
                Self::Yield => yield_now(),
                Self::Spin(hints) => (0..hints).for_each(|_| spin_loop()),
            }
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yield => f.write_str("yielding"),
            Self::Spin(1) => f.write_str("spinning"),
            Self::Spin(hints) => write!(f, "pauses of {hints} spins"),
        }
    }
}

/// A name that no other process uses.
pub(crate) fn segment_name(what: &str) -> String {
    format!("shmkit-peers-{}-{what}", std::process::id())
}

/// Measures a queue that both sides inherit.
pub(crate) fn inherited<Q: 'static>(
    setup: Setup,
    queue: Q,
    send: impl Fn(&Q, u64) + 'static,
    receive: impl Fn(&Q) -> u64 + 'static,
) -> Measure {
    Box::new(move |items| {
        let (sender, receiver) = (|item| send(&queue, item), || receive(&queue));
        between_processes(setup, items, || sender, || receiver)
    })
}

/// Sends the numbers from 0 on, which have to arrive in order; returns how many arrived a second, by the
/// consumer's clock. Each side makes its end itself, before they meet.
pub(crate) fn between_processes<S: FnMut(u64), R: FnMut() -> u64>(
    setup: Setup,
    items: u64,
    sender: impl FnOnce() -> S,
    receiver: impl FnOnce() -> R,
) -> f64 {
    let shared = Shared::new();
    let seconds = Value::new(0.0).expect("an anonymous value");
    let [ready, done, ..] = shared.lines();
    let begin = |cpu| {
        end_after(LIMIT_SECONDS);
        pin(cpu);
    };
    let [put_on, get_on] = setup.cpus;
    let producer = fork(
        || {
            begin(put_on);
            let mut send = sender();
            meet(ready);
            (0..items).for_each(&mut send);
            meet(done); // the sender's end stays open until every item has arrived
        },
        || (),
    );
    let consumer = fork(
        || {
            begin(get_on);
            let mut receive = receiver();
            meet(ready);
            let start = Instant::now();
            for item in 0..items {
                assert_eq!(receive(), item, "out of order");
            }
            seconds.set(start.elapsed().as_secs_f64());
            meet(done);
        },
        || (),
    );
    finish_both([producer, consumer]);
    items as f64 / seconds.get()
}

/// Waits for the other side.
fn meet(line: &Line) {
    line.0.fetch_add(1, Ordering::AcqRel);
    while line.0.load(Ordering::Acquire) < 2 {
        yield_now(); // both may share one CPU
    }
}

/// Waits for both. If the first one to end ends badly, the other might wait for it, and is killed.
fn finish_both(children: [libc::pid_t; 2]) {
    let (first, first_well) = wait_for_one();
    assert!(children.contains(&first), "another child ended");
    if !first_well {
        for other in children.into_iter().filter(|&child| child != first) {
            // SAFETY: touches no memory; a child's id is its own until it is waited for.
            unsafe { libc::kill(other, libc::SIGKILL) };
        }
    }
    let (_, second_well) = wait_for_one();
    assert!(first_well && second_well, "a side failed");
}

/// Waits for the next child to end; says whether it ended well.
fn wait_for_one() -> (libc::pid_t, bool) {
    let mut status = 0;
    // SAFETY: `status` is alive.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    assert_ne!(pid, -1, "no child to wait for");
    let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    (pid, well)
}
