//! Rows of [`ByteQueue`], in a ring of 12 units. Every byte of a message follows from the message's number.

use crate::contents::{
    CONSUMERS, Contents, HEAD, Numbered, PRODUCERS, at_commit_of_put, row, take_all,
};
use crate::queue_rows::accept;
use crate::row::{Predecessor, Row, expect, text, timed};
use crate::step::{self, BOUND};
use shmkit::{ByteQueue, GetError, PutError};

/// The ring's bytes: room for three messages of 17 to 24 bytes, or for one of 88.
const CAPACITY: usize = 96;

/// The length of a message. Some messages end with a unit, some inside one, and one is empty.
fn len(number: u64) -> usize {
    match number {
        0 => 0,
        1..10 => 16 + usize::try_from(number).expect("small"),
        _ => CAPACITY - 8,
    }
}

/// A whole message: its length and every byte follow from its number.
fn message(number: u64) -> Vec<u8> {
    (0..len(number)).map(|at| byte(number, at)).collect()
}

fn byte(number: u64, at: usize) -> u8 {
    let at = u64::try_from(at).expect("small");
    (number * 16 + 1 + at * 7).to_le_bytes()[0]
}

/// How much of the capacity a message takes.
fn room(number: u64) -> usize {
    8 + len(number).next_multiple_of(8)
}

fn number_of(found: Vec<u8>) -> Result<u64, String> {
    (0..=20)
        .find(|number| found == message(*number))
        .ok_or_else(|| format!("a torn message: {found:?}"))
}

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

pub(crate) fn rows() -> Vec<Row<Contents<ByteQueue>>> {
    let row = row::<ByteQueue>;
    vec![
        row("ByteQueue::put, empty", PUT_9).leaves(&[9]),
        row("ByteQueue::put, of no bytes", |queue| {
            queue.put(b"") == Ok(())
        })
        .finds(&[1])
        .leaves(&[1, 0]),
        row("ByteQueue::put, over the end", PUT_9)
            .turned(10)
            .leaves(&[9]),
        row("ByteQueue::put, behind one over the end", PUT_9)
            .turned(10)
            .finds(&[1])
            .leaves(&[1, 9]),
        row("ByteQueue::put, the longest, over the end", |queue| {
            queue.put(&message(10)) == Ok(())
        })
        .turned(11)
        .leaves(&[10]),
        row("ByteQueue::try_put, full", |queue| {
            queue.try_put(b"") == Err(PutError::Full)
        })
        .finds(&[1, 2, 3]),
        row("ByteQueue::get", GET_1).finds(&[1, 2]).leaves(&[2]),
        row("ByteQueue::get, over the end", GET_1)
            .turned(10)
            .finds(&[1, 2])
            .leaves(&[2]),
        row("ByteQueue::get, the longest, over the end", |queue| {
            queue.get() == Ok(message(10))
        })
        .turned(11)
        .finds(&[10])
        .leaves(&[]),
        row("ByteQueue::get_into", |queue| {
            let mut buffer = Vec::new();
            queue.get_into(&mut buffer) == Ok(len(1)) && buffer == message(1)
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("ByteQueue::get_with", |queue| {
            queue.get_with(|found| found == message(1)) == Ok(true)
        })
        .turned(10)
        .finds(&[1, 2])
        .leaves(&[2]),
        row("ByteQueue::take_with, accepted", |queue| {
            queue.take_with(|found| accept(found == message(1))) == Ok(Ok(()))
        })
        .turned(10)
        .finds(&[1, 2])
        .leaves(&[2]),
        row("ByteQueue::take_with, refused", |queue| {
            queue.take_with(|found| accept(found != message(1))) == Ok(Err(()))
        })
        .turned(10)
        .finds(&[1, 2]),
        row("ByteQueue::reserve, commit", RESERVE_9)
            .turned(10)
            .finds(&[1])
            .leaves(&[1, 9]),
        row("ByteQueue::reserve, drop", |queue| {
            let Ok(mut room) = queue.reserve(len(9)) else {
                return false;
            };
            room.copy_from_slice(&message(9));
            drop(room);
            true
        })
        .turned(10)
        .finds(&[1]),
        row("ByteQueue::put, after a death in put", PUT_9)
            .finds(&[1])
            .after(Predecessor::when(PUT_8, |raw| raw.word(PRODUCERS) != 0))
            .leaves(&[1, 9]),
        row("ByteQueue::put, after a death at its commit", PUT_9)
            .prepared(&[])
            .finds(&[8])
            .after(Predecessor::when_disturbed(PUT_8, |raw| {
                at_commit_of_put(raw, 4)
            }))
            .leaves(&[8, 9]),
        row("ByteQueue::reserve, after a death in one", RESERVE_9)
            .turned(10)
            .finds(&[1])
            .after(Predecessor::by_itself(|queue| {
                let mut room = queue.reserve(len(1)).expect("room");
                room.fill(0xee);
                step::die()
            }))
            .leaves(&[1, 9]),
        row("ByteQueue::get, after a death in get_with", GET_1)
            .turned(10)
            .finds(&[1, 2])
            .after(Predecessor::by_itself(|queue| {
                queue.get_with(|_| step::die()).is_ok()
            }))
            .leaves(&[2]),
        row("ByteQueue::get, after a death in take_with", GET_1)
            .turned(10)
            .finds(&[1, 2])
            .after(Predecessor::by_itself(|queue| {
                queue
                    .take_with(|_| -> Result<(), ()> { step::die() })
                    .is_ok()
            }))
            .leaves(&[2]),
        row("ByteQueue::get, after a death at its commit", GET_1)
            .prepared(&[8, 1])
            .finds(&[1])
            .after(Predecessor::when(
                |queue| queue.get() == Ok(message(8)),
                |raw| raw.word(CONSUMERS) != 0 && raw.word(HEAD) == 4,
            ))
            .leaves(&[]),
    ]
}

/// A message of a survivor's own.
const OWN: u64 = 5;

impl Numbered for ByteQueue {
    fn create(name: &str) -> shmkit::Result<Self> {
        ByteQueue::create(name, CAPACITY)
    }

    fn open(name: &str) -> shmkit::Result<Self> {
        ByteQueue::open(name)
    }

    fn put_number(&self, number: u64) -> Result<(), PutError> {
        self.put(&message(number))
    }

    fn turn(&self, _count: u64) -> Result<(), String> {
        self.put(b"").map_err(text)?;
        self.get().map(drop).map_err(text)
    }

    fn close(&self) {
        self.close();
    }

    fn look(survivors: [&Self; 2]) -> Result<(Vec<u64>, bool), String> {
        let [one, other] = survivors;
        let used = timed("used", || one.used())?;
        expect("what the other says is used", other.used(), used)?;
        let fits = used + room(OWN) <= CAPACITY;
        let put = timed("try_put", || one.try_put(&message(OWN)))?;
        let expected = if fits { Ok(()) } else { Err(PutError::Full) };
        expect("a survivor's put", put, expected)?;

        let mut messages = take_all(survivors, |survivor| survivor.try_get(), number_of)?;
        let taken: usize = messages.iter().map(|number| room(*number)).sum();
        let mut due = used;
        if fits {
            due += room(OWN);
            expect("the last message", messages.pop(), Some(OWN))?;
        }
        expect("what was used", taken, due)?;
        Ok((messages, false))
    }

    /// The longest message begins once at every unit of the ring.
    fn use_on([one, other]: [&Self; 2], _closed: bool) -> Result<(), String> {
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
}
