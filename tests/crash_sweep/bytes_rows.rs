//! Rows of [`ByteQueue`]: messages whose every byte follows from their number, in a ring of 12 units.

use crate::queue_rows::{CONSUMERS, HEAD, PRODUCERS, TAIL};
use crate::step::{self, BOUND, Raw};
use crate::sweep::{Dies, First, Outcome, Predecessor, Row, expect, timed};
use shmkit::{ByteQueue, GetError, PutError};

/// In bytes: room for three messages of 17 to 24 bytes, or for one of 88.
const CAPACITY: usize = 96;

/// How long the message of a number is. Some end with a unit, some in one, some are empty.
fn len(number: u64) -> usize {
    match number {
        0 => 0,
        1..10 => 16 + usize::try_from(number).expect("small"),
        _ => CAPACITY - 8,
    }
}

/// A message that is whole: its length, and every byte, follow from its number.
fn message(number: u64) -> Vec<u8> {
    (0..len(number)).map(|at| byte(number, at)).collect()
}

fn byte(number: u64, at: usize) -> u8 {
    let at = u64::try_from(at).expect("small");
    (number * 16 + 1 + at * 7).to_le_bytes()[0]
}

/// What a message takes of the capacity.
fn room(number: u64) -> usize {
    8 + len(number).next_multiple_of(8)
}

fn number_of(found: &[u8]) -> Result<u64, String> {
    (0..=20)
        .find(|number| found == message(*number))
        .ok_or_else(|| format!("a torn message: {found:?}"))
}

/// One row: a state, an operation, and what it makes of the state.
pub(crate) struct BytesRow {
    name: &'static str,
    /// How many units went through before: where in the ring things begin.
    turned: usize,
    /// The messages that the operation finds, by number.
    messages: &'static [u64],
    operate: fn(&ByteQueue) -> bool,
    predecessor: Option<Predecessor<ByteQueue>>,
    /// What was put, where the predecessor got as far as changing it.
    prepared: Option<&'static [u64]>,
    /// The messages afterwards; `None` where nothing changes.
    after: Option<&'static [u64]>,
}

const BASE: BytesRow = BytesRow {
    name: "",
    turned: 0,
    messages: &[],
    operate: |_| true,
    predecessor: None,
    prepared: None,
    after: None,
};

const PUT_9: fn(&ByteQueue) -> bool = |queue| queue.put(&message(9)) == Ok(());
const PUT_8: fn(&ByteQueue) -> bool = |queue| queue.put(&message(8)) == Ok(());
const GET_1: fn(&ByteQueue) -> bool = |queue| queue.get() == Ok(message(1));
/// Reserves more than it commits.
const RESERVE_9: fn(&ByteQueue) -> bool = |queue| {
    let Ok(mut room) = queue.reserve(len(9) + 8) else {
        return false;
    };
    room[..len(9)].copy_from_slice(&message(9));
    room.commit(len(9)) == Ok(())
};

pub(crate) const ROWS: &[BytesRow] = &[
    BytesRow {
        name: "ByteQueue::put, empty",
        operate: PUT_9,
        after: Some(&[9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::put, of no bytes",
        messages: &[1],
        operate: |queue| queue.put(b"") == Ok(()),
        after: Some(&[1, 0]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::put, over the end",
        turned: 10,
        operate: PUT_9,
        after: Some(&[9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::put, behind one over the end",
        turned: 10,
        messages: &[1],
        operate: PUT_9,
        after: Some(&[1, 9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::put, the longest, over the end",
        turned: 11,
        operate: |queue| queue.put(&message(10)) == Ok(()),
        after: Some(&[10]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::try_put, full",
        messages: &[1, 2, 3],
        operate: |queue| queue.try_put(b"") == Err(PutError::Full),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get",
        messages: &[1, 2],
        operate: GET_1,
        after: Some(&[2]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get, over the end",
        turned: 10,
        messages: &[1, 2],
        operate: GET_1,
        after: Some(&[2]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get, the longest, over the end",
        turned: 11,
        messages: &[10],
        operate: |queue| queue.get() == Ok(message(10)),
        after: Some(&[]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get_into",
        messages: &[1, 2],
        operate: |queue| {
            let mut buffer = Vec::new();
            queue.get_into(&mut buffer) == Ok(len(1)) && buffer == message(1)
        },
        after: Some(&[2]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get_with",
        turned: 10,
        messages: &[1, 2],
        operate: |queue| queue.get_with(|found| found == message(1)) == Ok(true),
        after: Some(&[2]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::reserve, commit",
        turned: 10,
        messages: &[1],
        operate: RESERVE_9,
        after: Some(&[1, 9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::reserve, drop",
        turned: 10,
        messages: &[1],
        operate: |queue| {
            let Ok(mut room) = queue.reserve(len(9)) else {
                return false;
            };
            room.copy_from_slice(&message(9));
            drop(room);
            true
        },
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::put, after a death in put",
        messages: &[1],
        operate: PUT_9,
        predecessor: Some(Predecessor {
            operate: PUT_8,
            dies: Dies::When(|raw| raw.word(PRODUCERS) != 0),
        }),
        after: Some(&[1, 9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::put, after a death at its commit",
        prepared: Some(&[]),
        messages: &[8],
        operate: PUT_9,
        predecessor: Some(Predecessor {
            operate: PUT_8,
            // With a sleeper to be woken, commit and unlocking are two steps on every machine.
            dies: Dies::WhenDisturbed(|raw| {
                raw.mark_sleeper(PRODUCERS);
                raw.word(PRODUCERS) != 0 && raw.word(TAIL) == 4
            }),
        }),
        after: Some(&[8, 9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::reserve, after a death in one",
        turned: 10,
        messages: &[1],
        operate: RESERVE_9,
        predecessor: Some(Predecessor {
            operate: |queue| {
                let mut room = queue.reserve(len(1)).expect("room");
                room.fill(0xee);
                step::die()
            },
            dies: Dies::ByItself,
        }),
        after: Some(&[1, 9]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get, after a death in get_with",
        turned: 10,
        messages: &[1, 2],
        operate: GET_1,
        predecessor: Some(Predecessor {
            operate: |queue| queue.get_with(|_| step::die()).is_ok(),
            dies: Dies::ByItself,
        }),
        after: Some(&[2]),
        ..BASE
    },
    BytesRow {
        name: "ByteQueue::get, after a death at its commit",
        prepared: Some(&[8, 1]),
        messages: &[1],
        operate: GET_1,
        predecessor: Some(Predecessor {
            operate: |queue| queue.get() == Ok(message(8)),
            dies: Dies::When(|raw| raw.word(CONSUMERS) != 0 && raw.word(HEAD) == 4),
        }),
        after: Some(&[]),
        ..BASE
    },
];

impl Row for BytesRow {
    type Handle = ByteQueue;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        self.after.is_some()
    }

    fn locks(&self) -> &'static [u64] {
        &[PRODUCERS, CONSUMERS]
    }

    fn prepare(&self, name: &str) -> Result<ByteQueue, String> {
        let queue = ByteQueue::create(name, CAPACITY).map_err(|error| error.to_string())?;
        for _ in 0..self.turned {
            queue.put(b"").map_err(|error| error.to_string())?;
            queue.get().map_err(|error| error.to_string())?;
        }
        for number in self.prepared.unwrap_or(self.messages) {
            let put = queue.put(&message(*number));
            put.map_err(|error| error.to_string())?;
        }
        Ok(queue)
    }

    fn predecessor(&self) -> Option<&Predecessor<ByteQueue>> {
        self.predecessor.as_ref()
    }

    fn operate(&self, queue: &ByteQueue) -> bool {
        (self.operate)(queue)
    }

    fn judge(&self, attached: ByteQueue, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = timed("open", || ByteQueue::open(name))?;
        let newcomer = newcomer.map_err(|error| error.to_string())?;
        let survivors = first.order(&attached, &newcomer);
        let messages = look(survivors)?;
        let outcome = if messages == self.messages {
            Outcome::Before
        } else if Some(&*messages) == self.after {
            Outcome::After
        } else {
            return Err(format!("a state that is none: {messages:?}"));
        };
        use_on(survivors)?;
        let raw = Raw::open(name)?;
        expect("the producers' lock at the end", raw.word(PRODUCERS), 0)?;
        expect("the consumers' lock at the end", raw.word(CONSUMERS), 0)?;
        Ok(outcome)
    }
}

/// What the survivors find in the queue: they put a message of their own behind it if they can, and
/// take all.
fn look(survivors: [&ByteQueue; 2]) -> Result<Vec<u64>, String> {
    const OWN: u64 = 5;
    let [one, other] = survivors;
    let used = timed("used", || one.used())?;
    expect("what the other says is used", other.used(), used)?;
    let fits = used + room(OWN) <= CAPACITY;
    let put = timed("try_put", || one.try_put(&message(OWN)))?;
    let expected = if fits { Ok(()) } else { Err(PutError::Full) };
    expect("a survivor's put", put, expected)?;

    let (mut messages, mut taken) = (Vec::new(), 0);
    for survivor in survivors.iter().cycle() {
        match timed("get", || survivor.try_get())? {
            Ok(found) => messages.push(number_of(&found)?),
            Err(GetError::Empty) => break,
            Err(error) => return Err(format!("a survivor's get: {error}")),
        }
        taken += room(*messages.last().expect("just put there"));
    }
    let mut due = used;
    if fits {
        due += room(OWN);
        expect("the last message", messages.pop(), Some(OWN))?;
    }
    expect("what was used", taken, due)?;
    Ok(messages)
}

/// The queue, empty by now, goes on as if nothing had been: exact in its capacity, and in order, for
/// as long as it takes to begin everywhere in the ring.
fn use_on(survivors: [&ByteQueue; 2]) -> Result<(), String> {
    let [one, other] = survivors;
    for _ in 0..CAPACITY / 8 {
        let put = timed("put", || one.put_timeout(&message(10), BOUND))?;
        expect("a put of the longest", put, Ok(()))?;
        expect("a put too many", other.try_put(b""), Err(PutError::Full))?;
        let got = timed("get", || other.get_timeout(BOUND))?;
        expect("their longest", got, Ok(message(10)))?;
        let put = timed("put", || other.put_timeout(b"", BOUND))?;
        expect("a put of nothing", put, Ok(()))?;
        expect("nothing", one.try_get(), Ok(Vec::new()))?;
    }
    other.close();
    expect("after closing", one.get(), Err(GetError::Closed))
}
