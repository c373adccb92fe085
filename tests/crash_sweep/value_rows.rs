//! Rows of [`Value`]: a value of eight words, so that a torn value is found.

use crate::row::{Family, First, Outcome, Predecessor, Row, expect, succeed, text, timed};
use crate::step::{self, Raw};
use shmkit::Value;

type Wide = [u64; 8];

/// A whole value: every word follows from its number.
fn wide(number: u64) -> Wide {
    std::array::from_fn(|i| number * 1000 + i as u64 + 1)
}

/// The effect of an operation. The operation finds `wide(1)`, and stores `wide(2)` or nothing.
pub(crate) struct Stored {
    stores: bool,
    /// Another writer stores `wide(1)` and `wide(2)` in turn, after each instruction, unless the lock is taken.
    outrun: bool,
}

type Operate = fn(&Value<Wide>) -> bool;

fn stores(name: &'static str, operate: Operate) -> Row<Stored> {
    let stored = Stored {
        stores: true,
        outrun: false,
    };
    Row::new(name, operate, stored)
}

fn reads(name: &'static str, operate: Operate) -> Row<Stored> {
    let mut row = stores(name, operate);
    row.family.stores = false;
    row
}

impl Row<Stored> {
    fn outrun(mut self) -> Self {
        self.family.outrun = true;
        self
    }
}

const LOCK: u64 = 0;
const VERSION: u64 = 256;
/// The first and the last word of the slot that the first write fills: zeros until then.
const SLOT_BEGIN: u64 = 264 + 64;
const SLOT_END: u64 = SLOT_BEGIN + 56;

const SET: Operate = |value| {
    value.set(wide(2));
    true
};
const UPDATE: Operate = |value| value.update(|now| std::mem::replace(now, wide(2)) == wide(1));

const IN_MID_COPY: Predecessor<Value<Wide>> = Predecessor::when(
    |value| {
        value.set(wide(3));
        true
    },
    |raw| raw.word(SLOT_BEGIN) != 0 && raw.word(SLOT_END) == 0,
);

const IN_A_CLOSURE: Predecessor<Value<Wide>> = Predecessor::by_itself(|value| {
    value.update(|now| {
        *now = wide(3);
        step::die();
    });
    true
});

pub(crate) fn rows() -> Vec<Row<Stored>> {
    vec![
        stores("Value::set", SET),
        stores("Value::set_from", |value| {
            value.set_from(&wide(2));
            true
        }),
        stores("Value::update", UPDATE),
        stores("Value::swap", |value| value.swap(wide(2)) == wide(1)),
        stores("Value::compare_exchange, equal", |value| {
            value.compare_exchange(wide(1), wide(2)) == Ok(wide(1))
        }),
        reads("Value::compare_exchange, different", |value| {
            value.compare_exchange(wide(3), wide(2)) == Err(wide(1))
        }),
        reads("Value::get", |value| value.get() == wide(1)),
        reads("Value::get_into", |value| {
            let mut found = wide(3);
            value.get_into(&mut found);
            found == wide(1)
        }),
        // This operation would never end if a reader did not take the lock at last.
        reads("Value::get, outrun by a writer", |value| {
            [wide(1), wide(2)].contains(&value.get())
        })
        .outrun(),
        stores("Value::set, after a death in mid-copy", SET).after(IN_MID_COPY),
        stores("Value::update, after a death in mid-copy", UPDATE).after(IN_MID_COPY),
        stores("Value::update, after a death in its closure", UPDATE).after(IN_A_CLOSURE),
    ]
}

impl Family for Stored {
    type Handle = Value<Wide>;
    const LOCKS: &'static [u64] = &[LOCK];

    fn commits(&self) -> bool {
        self.stores
    }

    fn prepare(&self, name: &str) -> Result<Value<Wide>, String> {
        Value::create(name, wide(1)).map_err(text)
    }

    fn meanwhile(&self) -> Option<fn(&Value<Wide>, &Raw)> {
        self.outrun.then_some(|attached, raw| {
            if raw.word(LOCK) == 0 {
                attached.set(wide(raw.word(VERSION) % 2 + 1));
            }
        })
    }

    fn judge(&self, attached: Value<Wide>, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = succeed("open", || Value::<Wide>::open(name))?;
        let [one, other] = first.order(&attached, &newcomer);

        let found = timed("get", || one.get())?;
        expect("what the other gets", timed("get", || other.get())?, found)?;
        let number = match found {
            found if found == wide(1) => 1,
            found if found == wide(2) => 2,
            torn => return Err(format!("a value that nobody stored: {torn:?}")),
        };
        if !self.outrun {
            let version = Raw::open(name)?.word(VERSION);
            expect("the version", version, number - 1)?;
        }

        let seen = timed("update", || {
            one.update(|now| std::mem::replace(now, wide(11)))
        })?;
        expect("what an update finds", seen, found)?;
        expect("after an update", timed("get", || other.get())?, wide(11))?;
        timed("set", || other.set(wide(12)))?;
        expect("a swap", timed("swap", || one.swap(wide(13)))?, wide(12))?;
        expect("after a swap", timed("get", || other.get())?, wide(13))?;
        Ok(if number == 1 || self.outrun {
            Outcome::Before
        } else {
            Outcome::After
        })
    }
}
