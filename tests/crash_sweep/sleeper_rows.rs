//! Rows in which a third process sleeps until the swept child commits. A death between the commit and the
//! wake-up loses the wake-up: the sleeper must find the commit by itself, in time.

use crate::contents::{CONSUMERS, HEAD, Numbered, PRODUCERS, TAIL, filled};
use crate::endpoint_rows::own_and_get;
use crate::queue_rows::{CLOSE, GET_1, Item, PUT_9, item};
use crate::row::{Family, First, Outcome, Row, expect, succeed, timed};
use crate::step::{self, Raw};
use shmkit::{GetError, PutError, Queue};
use std::ops::Deref;
use std::time::Duration;

/// A queue with a sleeper, and how the sleeper is served.
pub(crate) struct Served {
    items: &'static [u64],
    sleeper: Sleeper,
    /// The word to which the operation commits, by its offset, and the word's value afterwards.
    committed: (u64, u64),
    /// A survivor does this for the sleeper if the child died before its commit.
    instead: fn(&Queue<Item>) -> bool,
    /// The sleeper's exit status, if the dead child served it and if a survivor did.
    status: [u8; 2],
    /// The items in the queue when the sleeper has ended, and whether the queue is closed.
    left: (&'static [u64], bool),
}

const NOT_EMPTY: u64 = 256;
pub(crate) const NOT_FULL: u64 = 384;
const CLOSED: u64 = 1 << 63;

/// The sleeper gives up after this time, which is longer than a survivor may wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// The third process exits with the number of the item that it took or put, or with one of these two.
type Sleeper = fn(&Queue<Item>) -> u8;
const FOUND_CLOSED: u8 = 100;
const WENT_WRONG: u8 = 102;

fn status_of_get(got: Result<Item, GetError>) -> u8 {
    match got {
        Ok([first, ..]) => u8::try_from(first / 1000).unwrap_or(WENT_WRONG),
        Err(GetError::Closed) => FOUND_CLOSED,
        Err(_) => WENT_WRONG,
    }
}

fn status_of_put(put: Result<(), PutError>) -> u8 {
    match put {
        Ok(()) => 4,
        Err(PutError::Closed) => FOUND_CLOSED,
        Err(_) => WENT_WRONG,
    }
}

const GETTER: Sleeper = |queue| status_of_get(queue.get_timeout(PATIENCE));
const PUTTER: Sleeper = |queue| status_of_put(queue.put_timeout(item(4), PATIENCE));
const CONSUMER: Sleeper = |queue| {
    let side = queue.consumer();
    status_of_get(side.and_then(|mut side| side.get_timeout(PATIENCE)))
};
const PRODUCER: Sleeper = |queue| {
    let side = queue.producer();
    status_of_put(side.and_then(|mut side| side.put_timeout(item(4), PATIENCE)))
};

pub(crate) fn rows() -> [Row<Served>; 6] {
    [
        put("Queue::put, a getter asleep", GETTER),
        get("Queue::get, a putter asleep", |room| GET_1(room), PUTTER),
        put("Queue::put, a consumer asleep", CONSUMER),
        get(
            "Consumer::get, a producer asleep",
            |room| own_and_get(room),
            PRODUCER,
        ),
        close("Queue::close, a producer asleep", &[1, 2, 3], PRODUCER),
        close("Queue::close, a getter asleep", &[], GETTER),
    ]
}

fn put(name: &'static str, sleeper: Sleeper) -> Row<Served> {
    let served = Served {
        items: &[],
        sleeper,
        committed: (TAIL, 1),
        instead: |queue| queue.put(item(5)).is_ok(),
        status: [9, 5],
        left: (&[], false),
    };
    Row::new(name, |room| PUT_9(room), served)
}

fn get(name: &'static str, operate: fn(&Bedroom) -> bool, sleeper: Sleeper) -> Row<Served> {
    let served = Served {
        items: &[1, 2, 3],
        sleeper,
        committed: (HEAD, 1),
        instead: GET_1,
        status: [4, 4],
        left: (&[2, 3, 4], false),
    };
    Row::new(name, operate, served)
}

fn close(name: &'static str, items: &'static [u64], sleeper: Sleeper) -> Row<Served> {
    let served = Served {
        items,
        sleeper,
        committed: (TAIL, CLOSED | items.len() as u64),
        instead: CLOSE,
        status: [FOUND_CLOSED; 2],
        left: (items, true),
    };
    Row::new(name, |room| CLOSE(room), served)
}

/// The queue, and the process that sleeps for it.
pub(crate) struct Bedroom {
    queue: Queue<Item>,
    sleeper: Option<libc::pid_t>,
}

impl Bedroom {
    /// Waits until both the queue's flag and the kernel say that the sleeper sleeps.
    fn settle(&self, name: &str) -> Result<(), String> {
        let raw = Raw::open(name)?;
        let pid = self.sleeper.unwrap_or_default();
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            let stat = stat.map_err(|error| format!("look at the sleeper: {error}"))?;
            let state = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next());
            let flagged = (raw.word(NOT_EMPTY) | raw.word(NOT_FULL)) & 1 != 0;
            match state {
                Some('S') if flagged => return Ok(()),
                Some('R' | 'S' | 'D') => std::thread::yield_now(),
                other => return Err(format!("the sleeper is in state {other:?}")),
            }
        }
    }

    /// Waits for the sleeper's end, which must come in time, and returns its exit status.
    fn wait_for_sleeper(&mut self) -> Result<i32, String> {
        let pid = self.sleeper.take().ok_or("no sleeper")?;
        let status = timed("the sleeper's waking up", || step::wait_for(pid))??;
        Ok(libc::WEXITSTATUS(status))
    }
}

impl Deref for Bedroom {
    type Target = Queue<Item>;

    fn deref(&self) -> &Queue<Item> {
        &self.queue
    }
}

impl Drop for Bedroom {
    fn drop(&mut self) {
        if let Some(pid) = self.sleeper.take() {
            step::kill_and_reap(pid);
        }
    }
}

impl Family for Served {
    type Handle = Bedroom;
    const LOCKS: &'static [u64] = &[PRODUCERS, CONSUMERS];

    fn prepare(&self, name: &str) -> Result<Bedroom, String> {
        let queue = filled(name, 0, self.items)?;
        let sleeper = Some(step::start_untraced(|| (self.sleeper)(&queue))?);
        let bedroom = Bedroom { queue, sleeper };
        bedroom.settle(name)?;
        Ok(bedroom)
    }

    fn judge(&self, mut attached: Bedroom, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = succeed("open", || Queue::open(name))?;
        let (word, value) = self.committed;
        let [by_the_dead, by_a_survivor] = self.status;
        let (outcome, status) = if Raw::open(name)?.word(word) == value {
            (Outcome::After, by_the_dead)
        } else {
            let [one, _] = first.order(&attached.queue, &newcomer);
            let done = timed("a survivor's operation instead", || (self.instead)(one))?;
            expect("whether a survivor's operation went right", done, true)?;
            (Outcome::Before, by_a_survivor)
        };
        let found = attached.wait_for_sleeper()?;
        expect("the sleeper's status", found, i32::from(status))?;

        let survivors = first.order(&attached.queue, &newcomer);
        let (items, closed) = Queue::look(survivors)?;
        expect("what is left", (&*items, closed), self.left)?;
        Queue::use_on(survivors, closed)?;
        Ok(outcome)
    }
}
