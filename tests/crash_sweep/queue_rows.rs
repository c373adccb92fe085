//! Rows of [`Queue`], for three items of eight words each, so that a torn item is found.

use crate::contents::{CONSUMERS, Contents, HEAD, Numbered, PRODUCERS, at_commit_of_put, row};
use crate::row::{Predecessor, Row, expect, succeed, text, timed};
use crate::step::{self, BOUND};
use shmkit::{GetError, PutError, Queue};

pub(crate) type Item = [u64; 8];
pub(crate) type QueueRow = Row<Contents<Queue<Item>>>;

/// A whole item: every word follows from its number.
pub(crate) fn item(number: u64) -> Item {
    std::array::from_fn(|i| number * 1000 + i as u64 + 1)
}

fn number_of(found: Item) -> Result<u64, String> {
    let number = found[0] / 1000;
    if found == item(number) {
        Ok(number)
    } else {
        Err(format!("a torn item: {found:?}"))
    }
}

const CAPACITY: usize = 3;

/// The verdict of a `take_with`'s closure.
pub(crate) fn accept(accepts: bool) -> Result<(), ()> {
    if accepts { Ok(()) } else { Err(()) }
}

pub(crate) const PUT_9: fn(&Queue<Item>) -> bool = |queue| queue.put(item(9)).is_ok();
pub(crate) const GET_1: fn(&Queue<Item>) -> bool = |queue| queue.get() == Ok(item(1));
pub(crate) const CLOSE: fn(&Queue<Item>) -> bool = |queue| {
    queue.close();
    true
};
const PUT_8: fn(&Queue<Item>) -> bool = |queue| queue.put(item(8)).is_ok();

pub(crate) fn rows() -> Vec<QueueRow> {
    let row = row::<Queue<Item>>;
    vec![
        row("Queue::put, empty", PUT_9).leaves(&[9]),
        row("Queue::put, part-filled", PUT_9)
            .finds(&[1])
            .leaves(&[1, 9]),
        row("Queue::put, wrapping", PUT_9)
            .turned(4)
            .finds(&[1, 2])
            .leaves(&[1, 2, 9]),
        row("Queue::try_put, full", |queue| {
            queue.try_put(item(9)) == Err(PutError::Full)
        })
        .finds(&[1, 2, 3]),
        row("Queue::put, closed", |queue| {
            queue.put(item(9)) == Err(PutError::Closed)
        })
        .finds_closed(&[1]),
        row("Queue::try_get, empty", |queue| {
            queue.try_get() == Err(GetError::Empty)
        })
        .turned(1),
        row("Queue::get, empty and closed", |queue| {
            queue.get() == Err(GetError::Closed)
        })
        .finds_closed(&[]),
        row("Queue::get, part-filled", GET_1)
            .finds(&[1, 2])
            .leaves(&[2]),
        row("Queue::get, full", GET_1)
            .finds(&[1, 2, 3])
            .leaves(&[2, 3]),
        row("Queue::get, wrapping", GET_1)
            .turned(5)
            .finds(&[1, 2])
            .leaves(&[2]),
        row("Queue::get, the last of a closed one", GET_1)
            .finds_closed(&[1])
            .leaves_closed(&[]),
        row("Queue::get_with", |queue| {
            queue.get_with(|found| *found == item(1)) == Ok(true)
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("Queue::try_get_with", |queue| {
            queue.try_get_with(|found| *found == item(1)) == Ok(true)
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("Queue::take_with, accepted", |queue| {
            queue.take_with(|found| accept(*found == item(1))) == Ok(Ok(()))
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("Queue::take_with, refused", |queue| {
            queue.take_with(|found| accept(*found != item(1))) == Ok(Err(()))
        })
        .finds(&[1, 2]),
        row("Queue::put_many, across the wrap", |queue| {
            queue.put_many(&[item(8), item(9)]) == Ok(2)
        })
        .turned(2)
        .finds(&[1])
        .leaves(&[1, 8, 9]),
        row("Queue::put_many, more than fit", |queue| {
            queue.put_many(&[item(7), item(8), item(9)]) == Ok(2)
        })
        .finds(&[1])
        .leaves(&[1, 7, 8]),
        row("Queue::get_many, across the wrap", |queue| {
            let mut out = [item(0); 2];
            queue.get_many(&mut out) == Ok(2) && out == [item(1), item(2)]
        })
        .turned(2)
        .finds(&[1, 2, 3])
        .leaves(&[3]),
        row("Queue::close", CLOSE)
            .finds(&[1, 2])
            .leaves_closed(&[1, 2]),
        row("Queue::put, after a death in put", PUT_9)
            .finds(&[1])
            .after(Predecessor::when(PUT_8, |raw| raw.word(PRODUCERS) != 0))
            .leaves(&[1, 9]),
        row("Queue::put, after a death at put's commit", PUT_9)
            .prepared(&[])
            .finds(&[8])
            .after(Predecessor::when_disturbed(PUT_8, |raw| {
                at_commit_of_put(raw, 1)
            }))
            .leaves(&[8, 9]),
        row("Queue::get, after a death in get_with", GET_1)
            .finds(&[1, 2])
            .after(Predecessor::by_itself(|queue| {
                queue.get_with(|_| step::die()).is_ok()
            }))
            .leaves(&[2]),
        row("Queue::get, after a death in take_with", GET_1)
            .finds(&[1, 2])
            .after(Predecessor::by_itself(|queue| {
                queue
                    .take_with(|_| -> Result<(), ()> { step::die() })
                    .is_ok()
            }))
            .leaves(&[2]),
        row("Queue::get, after a death at get's commit", GET_1)
            .turned(1)
            .prepared(&[8, 1])
            .finds(&[1])
            .after(Predecessor::when(
                |queue| queue.get() == Ok(item(8)),
                |raw| raw.word(CONSUMERS) != 0 && raw.word(HEAD) == 2,
            ))
            .leaves(&[]),
    ]
}

/// An item of a survivor's own.
const OWN: u64 = 50;

impl Numbered for Queue<Item> {
    fn create(name: &str) -> shmkit::Result<Self> {
        Queue::create(name, CAPACITY)
    }

    fn open(name: &str) -> shmkit::Result<Self> {
        Queue::open(name)
    }

    fn put_number(&self, number: u64) -> Result<(), PutError> {
        self.put(item(number))
    }

    fn turn(&self, count: u64) -> Result<(), String> {
        self.put(item(20 + count)).map_err(text)?;
        self.get().map(drop).map_err(text)
    }

    fn close(&self) {
        self.close();
    }

    fn look(survivors: [&Self; 2]) -> Result<(Vec<u64>, bool), String> {
        let [one, other] = survivors;
        let closed = one.is_closed();
        expect("what the other says of closed", other.is_closed(), closed)?;
        let len = timed("len", || one.len())?;
        expect("the other's len", timed("len", || other.len())?, len)?;

        let own = !closed && len < CAPACITY;
        let (put, expected) = match (closed, own) {
            (true, _) => (one.try_put(item(OWN)), Err(PutError::Closed)),
            (_, false) => (
                timed("try_put", || one.try_put(item(OWN)))?,
                Err(PutError::Full),
            ),
            (_, true) => (timed("put", || one.put_timeout(item(OWN), BOUND))?, Ok(())),
        };
        expect("a survivor's put", put, expected)?;

        let mut items = Vec::new();
        for survivor in survivors.iter().cycle().take(len + usize::from(own)) {
            let got = succeed("a survivor's get", || survivor.get_timeout(BOUND))?;
            items.push(number_of(got)?);
        }
        if own {
            expect("the last item", items.pop(), Some(OWN))?;
        }
        let end = if closed {
            GetError::Closed
        } else {
            GetError::Empty
        };
        for survivor in survivors {
            expect(
                "a get when all was taken",
                survivor.try_get(),
                Err(end.clone()),
            )?;
        }
        Ok((items, closed))
    }

    fn use_on([one, other]: [&Self; 2], closed: bool) -> Result<(), String> {
        if closed {
            return Ok(());
        }
        let numbers = || OWN + 1..OWN + 1 + CAPACITY as u64;
        let in_turn = || numbers().zip([one, other].into_iter().cycle());
        for (number, survivor) in in_turn() {
            let put = timed("put", || survivor.put_timeout(item(number), BOUND))?;
            expect("a put of theirs", put, Ok(()))?;
        }
        expect("their len", (one.len(), other.len()), (CAPACITY, CAPACITY))?;
        expect(
            "a put too many",
            other.try_put(item(OWN)),
            Err(PutError::Full),
        )?;
        for (number, survivor) in in_turn() {
            let got = timed("get", || survivor.get_timeout(BOUND))?;
            expect("an item of theirs", got, Ok(item(number)))?;
        }
        other.close();
        expect("after closing", one.get(), Err(GetError::Closed))
    }
}
