//! Rows of [`Queue`]: items of eight words, so that a torn one is seen, in a queue of three.

use crate::step::{self, BOUND, Raw};
use crate::sweep::{Dies, First, Outcome, Predecessor, Row, expect, timed};
use shmkit::{GetError, PutError, Queue};

pub(crate) type Item = [u64; 8];

/// An item that is whole: every word follows from its number.
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

pub(crate) const CAPACITY: usize = 3;

/// One row: a state, an operation, and what it makes of the state.
pub(crate) struct QueueRow {
    pub(crate) name: &'static str,
    /// How many items went through before: where in the slots things begin.
    pub(crate) turned: u64,
    /// The items that the operation finds, by number, and whether the queue is closed.
    pub(crate) items: &'static [u64],
    /// What was put, where the predecessor got as far as changing it.
    pub(crate) prepared: Option<&'static [u64]>,
    pub(crate) closed: bool,
    pub(crate) operate: fn(&Queue<Item>) -> bool,
    pub(crate) predecessor: Option<Predecessor<Queue<Item>>>,
    /// The items afterwards, and whether the queue is closed; `None` where nothing changes.
    pub(crate) after: Option<(&'static [u64], bool)>,
}

pub(crate) const BASE: QueueRow = QueueRow {
    name: "",
    turned: 0,
    items: &[],
    prepared: None,
    closed: false,
    operate: |_| true,
    predecessor: None,
    after: None,
};

pub(crate) const PRODUCERS: u64 = 0;
pub(crate) const TAIL: u64 = 8;
pub(crate) const CONSUMERS: u64 = 128;
pub(crate) const HEAD: u64 = 136;

pub(crate) const PUT_9: fn(&Queue<Item>) -> bool = |queue| queue.put(item(9)).is_ok();
pub(crate) const GET_1: fn(&Queue<Item>) -> bool = |queue| queue.get() == Ok(item(1));
const PUT_8: fn(&Queue<Item>) -> bool = |queue| queue.put(item(8)).is_ok();

pub(crate) const ROWS: &[QueueRow] = &[
    QueueRow {
        name: "Queue::put, empty",
        operate: PUT_9,
        after: Some((&[9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::put, part-filled",
        items: &[1],
        operate: PUT_9,
        after: Some((&[1, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::put, wrapping",
        turned: 4,
        items: &[1, 2],
        operate: PUT_9,
        after: Some((&[1, 2, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::try_put, full",
        items: &[1, 2, 3],
        operate: |queue| queue.try_put(item(9)) == Err(PutError::Full),
        ..BASE
    },
    QueueRow {
        name: "Queue::put, closed",
        items: &[1],
        closed: true,
        operate: |queue| queue.put(item(9)) == Err(PutError::Closed),
        ..BASE
    },
    QueueRow {
        name: "Queue::try_get, empty",
        turned: 1,
        operate: |queue| queue.try_get() == Err(GetError::Empty),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, empty and closed",
        closed: true,
        operate: |queue| queue.get() == Err(GetError::Closed),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, part-filled",
        items: &[1, 2],
        operate: GET_1,
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, full",
        items: &[1, 2, 3],
        operate: GET_1,
        after: Some((&[2, 3], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, wrapping",
        turned: 5,
        items: &[1, 2],
        operate: GET_1,
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, the last of a closed one",
        items: &[1],
        closed: true,
        operate: GET_1,
        after: Some((&[], true)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get_with",
        items: &[1, 2],
        operate: |queue| queue.get_with(|found| *found == item(1)) == Ok(true),
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::try_get_with",
        items: &[1, 2],
        operate: |queue| queue.try_get_with(|found| *found == item(1)) == Ok(true),
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::put_many, across the wrap",
        turned: 2,
        items: &[1],
        operate: |queue| queue.put_many(&[item(8), item(9)]) == Ok(2),
        after: Some((&[1, 8, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::put_many, more than fit",
        items: &[1],
        operate: |queue| queue.put_many(&[item(7), item(8), item(9)]) == Ok(2),
        after: Some((&[1, 7, 8], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get_many, across the wrap",
        turned: 2,
        items: &[1, 2, 3],
        operate: |queue| {
            let mut out = [item(0); 2];
            queue.get_many(&mut out) == Ok(2) && out == [item(1), item(2)]
        },
        after: Some((&[3], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::close",
        items: &[1, 2],
        operate: |queue| {
            queue.close();
            true
        },
        after: Some((&[1, 2], true)),
        ..BASE
    },
    QueueRow {
        name: "Queue::put, after a death in put",
        items: &[1],
        operate: PUT_9,
        predecessor: Some(Predecessor {
            operate: PUT_8,
            dies: Dies::When(|raw| raw.word(PRODUCERS) != 0),
        }),
        after: Some((&[1, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::put, after a death at put's commit",
        prepared: Some(&[]),
        items: &[8],
        operate: PUT_9,
        predecessor: Some(Predecessor {
            operate: PUT_8,
            // With a sleeper to be woken, commit and unlocking are two steps on every machine.
            dies: Dies::WhenDisturbed(|raw| {
                raw.mark_sleeper(PRODUCERS);
                raw.word(PRODUCERS) != 0 && raw.word(TAIL) == 1
            }),
        }),
        after: Some((&[8, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, after a death in get_with",
        items: &[1, 2],
        operate: GET_1,
        predecessor: Some(Predecessor {
            operate: |queue| queue.get_with(|_| step::die()).is_ok(),
            dies: Dies::ByItself,
        }),
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, after a death at get's commit",
        turned: 1,
        prepared: Some(&[8, 1]),
        items: &[1],
        operate: GET_1,
        predecessor: Some(Predecessor {
            operate: |queue| queue.get() == Ok(item(8)),
            dies: Dies::When(|raw| raw.word(CONSUMERS) != 0 && raw.word(HEAD) == 2),
        }),
        after: Some((&[], false)),
        ..BASE
    },
];

impl Row for QueueRow {
    type Handle = Queue<Item>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        self.after.is_some()
    }

    fn locks(&self) -> &'static [u64] {
        &[PRODUCERS, CONSUMERS]
    }

    fn prepare(&self, name: &str) -> Result<Queue<Item>, String> {
        let queue = Queue::create(name, CAPACITY).map_err(|error| error.to_string())?;
        let broken = |error: &dyn std::error::Error| error.to_string();
        for number in 0..self.turned {
            // Numbers of their own: what stays in a slot is nobody's item.
            let put = queue.put(item(20 + number));
            put.map_err(|error| broken(&error))?;
            queue.get().map_err(|error| broken(&error))?;
        }
        for number in self.prepared.unwrap_or(self.items) {
            queue.put(item(*number)).map_err(|error| broken(&error))?;
        }
        if self.closed {
            queue.close();
        }
        Ok(queue)
    }

    fn predecessor(&self) -> Option<&Predecessor<Queue<Item>>> {
        self.predecessor.as_ref()
    }

    fn operate(&self, queue: &Queue<Item>) -> bool {
        (self.operate)(queue)
    }

    fn judge(&self, attached: Queue<Item>, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = open(name)?;
        let survivors = first.order(&attached, &newcomer);
        let (items, closed) = look(survivors)?;
        let outcome = if (&*items, closed) == (self.items, self.closed) {
            Outcome::Before
        } else if Some((&*items, closed)) == self.after {
            Outcome::After
        } else {
            return Err(format!("a state that is none: {items:?}, closed: {closed}"));
        };
        use_on(survivors, closed)?;
        let raw = Raw::open(name)?;
        expect("the producers' lock at the end", raw.word(PRODUCERS), 0)?;
        expect("the consumers' lock at the end", raw.word(CONSUMERS), 0)?;
        Ok(outcome)
    }
}

pub(crate) fn open(name: &str) -> Result<Queue<Item>, String> {
    timed("open", || Queue::open(name))?.map_err(|error| error.to_string())
}

/// An item of a survivor's own.
const OWN: u64 = 50;

/// What the survivors find in the queue, and whether they find it closed: they put an item of their
/// own behind it if they can, and take all.
pub(crate) fn look(survivors: [&Queue<Item>; 2]) -> Result<(Vec<u64>, bool), String> {
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
        let got = timed("get", || survivor.get_timeout(BOUND))?;
        items.push(number_of(
            got.map_err(|error| format!("a survivor's get: {error}"))?,
        )?);
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

/// The queue, empty by now, goes on as if nothing had been: exact in its capacity, and in order.
pub(crate) fn use_on(survivors: [&Queue<Item>; 2], closed: bool) -> Result<(), String> {
    let [one, other] = survivors;
    if closed {
        return Ok(());
    }
    let numbers = || OWN + 1..OWN + 1 + CAPACITY as u64;
    for (number, survivor) in numbers().zip(survivors.iter().cycle()) {
        let put = timed("put", || survivor.put_timeout(item(number), BOUND))?;
        expect("a put of theirs", put, Ok(()))?;
    }
    expect("their len", (one.len(), other.len()), (CAPACITY, CAPACITY))?;
    expect(
        "a put too many",
        other.try_put(item(OWN)),
        Err(PutError::Full),
    )?;
    for (number, survivor) in numbers().zip(survivors.iter().cycle()) {
        let got = timed("get", || survivor.get_timeout(BOUND))?;
        expect("an item of theirs", got, Ok(item(number)))?;
    }
    other.close();
    expect("after closing", one.get(), Err(GetError::Closed))
}
