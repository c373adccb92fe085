//! Rows in which a third process sleeps for what the swept child does. A death between the commit
//! and the wake-up loses that wake-up: the sleeper must find out by itself, in time.

use crate::queue_rows::{
    CAPACITY, CONSUMERS, GET_1, HEAD, Item, PRODUCERS, PUT_9, TAIL, item, look, open, use_on,
};
use crate::step::{self, Raw};
use crate::sweep::{First, Outcome, Predecessor, Row, expect, timed};
use shmkit::{GetError, PutError, Queue};
use std::time::Duration;

/// One row.
pub(crate) struct SleeperRow {
    name: &'static str,
    items: &'static [u64],
    /// What the third process waits for; its exit status.
    sleeper: fn(&Queue<Item>) -> u8,
    operate: fn(&Queue<Item>) -> bool,
    committed: fn(&Raw) -> bool,
    /// What a survivor does for the sleeper, where the dead did not come to it.
    instead: fn(&Queue<Item>) -> bool,
    /// The sleeper's exit status, thanks to the dead and to the survivor.
    served: [u8; 2],
    /// The items that are left when the sleeper is gone, and whether the queue is closed.
    left: (&'static [u64], bool),
}

const NOT_EMPTY: u64 = 256;
pub(crate) const NOT_FULL: u64 = 384;
const CLOSED: u64 = 1 << 63;

/// Longer than a survivor may wait: to run into it is a violation.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sleeper that takes an item: its status is the item's number, or 100 for a closed queue.
const GETTER: fn(&Queue<Item>) -> u8 = |queue| match queue.get_timeout(PATIENCE) {
    Ok([first, ..]) => u8::try_from(first / 1000).unwrap_or(101),
    Err(GetError::Closed) => 100,
    Err(_) => 102,
};

pub(crate) const ROWS: &[SleeperRow] = &[
    SleeperRow {
        name: "Queue::put, a getter asleep",
        items: &[],
        sleeper: GETTER,
        operate: PUT_9,
        committed: |raw| raw.word(TAIL) == 1,
        instead: |queue| queue.put(item(5)).is_ok(),
        served: [9, 5],
        left: (&[], false),
    },
    SleeperRow {
        name: "Queue::get, a putter asleep",
        items: &[1, 2, 3],
        sleeper: |queue| match queue.put_timeout(item(4), PATIENCE) {
            Ok(()) => 4,
            Err(_) => 102,
        },
        operate: GET_1,
        committed: |raw| raw.word(HEAD) == 1,
        instead: GET_1,
        served: [4, 4],
        left: (&[2, 3, 4], false),
    },
    SleeperRow {
        name: "Queue::put, a consumer asleep",
        items: &[],
        sleeper: |queue| match queue
            .consumer()
            .and_then(|mut side| side.get_timeout(PATIENCE))
        {
            Ok([first, ..]) => u8::try_from(first / 1000).unwrap_or(101),
            Err(_) => 102,
        },
        operate: PUT_9,
        committed: |raw| raw.word(TAIL) == 1,
        instead: |queue| queue.put(item(5)).is_ok(),
        served: [9, 5],
        left: (&[], false),
    },
    SleeperRow {
        name: "Consumer::get, a producer asleep",
        items: &[1, 2, 3],
        sleeper: |queue| {
            let put = queue
                .producer()
                .and_then(|mut side| side.put_timeout(item(4), PATIENCE));
            if put.is_ok() { 4 } else { 102 }
        },
        operate: |queue| queue.consumer().and_then(|mut side| side.get()) == Ok(item(1)),
        committed: |raw| raw.word(HEAD) == 1,
        instead: GET_1,
        served: [4, 4],
        left: (&[2, 3, 4], false),
    },
    SleeperRow {
        name: "Queue::close, a producer asleep",
        items: &[1, 2, 3],
        sleeper: |queue| {
            let put = queue
                .producer()
                .and_then(|mut side| side.put_timeout(item(4), PATIENCE));
            if put == Err(PutError::Closed) {
                100
            } else {
                102
            }
        },
        operate: |queue| {
            queue.close();
            true
        },
        committed: |raw| raw.word(TAIL) == CLOSED | 3,
        instead: |queue| {
            queue.close();
            true
        },
        served: [100, 100],
        left: (&[1, 2, 3], true),
    },
    SleeperRow {
        name: "Queue::close, a getter asleep",
        items: &[],
        sleeper: GETTER,
        operate: |queue| {
            queue.close();
            true
        },
        committed: |raw| raw.word(TAIL) == CLOSED,
        instead: |queue| {
            queue.close();
            true
        },
        served: [100, 100],
        left: (&[], true),
    },
];

/// The queue, and the sleeper.
pub(crate) struct Bedroom {
    queue: Queue<Item>,
    sleeper: Option<libc::pid_t>,
}

impl Bedroom {
    /// Waits until the sleeper has said that it sleeps, and the kernel says so too.
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

    /// The sleeper's end, for which nobody has to wait long.
    fn wait_for_sleeper(&mut self) -> Result<i32, String> {
        let pid = self.sleeper.take().ok_or("no sleeper")?;
        let status = timed("the sleeper's waking up", || step::wait_for(pid))??;
        Ok(libc::WEXITSTATUS(status))
    }
}

impl Drop for Bedroom {
    fn drop(&mut self) {
        if let Some(pid) = self.sleeper.take() {
            step::kill_and_reap(pid);
        }
    }
}

impl Row for SleeperRow {
    type Handle = Bedroom;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        true
    }

    fn locks(&self) -> &'static [u64] {
        &[PRODUCERS, CONSUMERS]
    }

    fn prepare(&self, name: &str) -> Result<Bedroom, String> {
        let queue = Queue::create(name, CAPACITY).map_err(|error| error.to_string())?;
        for number in self.items {
            let put = queue.put(item(*number));
            put.map_err(|error| error.to_string())?;
        }
        let sleeper = Some(step::start_untraced(|| (self.sleeper)(&queue))?);
        let bedroom = Bedroom { queue, sleeper };
        bedroom.settle(name)?;
        Ok(bedroom)
    }

    fn predecessor(&self) -> Option<&Predecessor<Bedroom>> {
        None
    }

    fn operate(&self, bedroom: &Bedroom) -> bool {
        (self.operate)(&bedroom.queue)
    }

    fn judge(&self, mut attached: Bedroom, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = open(name)?;
        let raw = Raw::open(name)?;
        let outcome = if (self.committed)(&raw) {
            Outcome::After
        } else {
            Outcome::Before
        };
        if outcome == Outcome::Before {
            let [one, _] = first.order(&attached.queue, &newcomer);
            let done = timed("a survivor's doing", || (self.instead)(one))?;
            expect("whether it was right", done, true)?;
        }
        let [by_the_dead, by_a_survivor] = self.served;
        let expected = match outcome {
            Outcome::After => by_the_dead,
            Outcome::Before => by_a_survivor,
        };
        let status = attached.wait_for_sleeper()?;
        expect("the sleeper's status", status, i32::from(expected))?;

        let survivors = first.order(&attached.queue, &newcomer);
        let (items, closed) = look(survivors)?;
        expect("what is left", (&*items, closed), self.left)?;
        use_on(survivors, closed)?;
        Ok(outcome)
    }
}
