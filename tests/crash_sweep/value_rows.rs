//! Rows of [`Value`]: a value of eight words, so that a torn one is seen.

use crate::step::{self, Raw};
use crate::sweep::{Dies, First, Outcome, Predecessor, Row, expect, timed};
use shmkit::Value;

type Wide = [u64; 8];

/// A value that is whole: every word follows from its number.
fn wide(number: u64) -> Wide {
    std::array::from_fn(|i| number * 1000 + i as u64 + 1)
}

/// One row: the operation, which stores `wide(2)` where `wide(1)` was.
pub(crate) struct ValueRow {
    name: &'static str,
    operate: fn(&Value<Wide>) -> bool,
    after: Option<Predecessor<Value<Wide>>>,
    /// Whether anything is stored.
    stores: bool,
    /// Whether another writer stores `wide(1)` and `wide(2)` in turn, after each instruction, as long
    /// as it is not locked out.
    outrun: bool,
}

const BASE: ValueRow = ValueRow {
    name: "",
    operate: |_| true,
    after: None,
    stores: true,
    outrun: false,
};

const LOCK: u64 = 0;
const VERSION: u64 = 256;
/// Words of the slot that the first write goes to: zeros until then.
const SLOT_BEGIN: u64 = 264 + 64;
const SLOT_END: u64 = SLOT_BEGIN + 56;

pub(crate) const ROWS: &[ValueRow] = &[
    ValueRow {
        name: "Value::set",
        operate: |value| {
            value.set(wide(2));
            true
        },
        ..BASE
    },
    ValueRow {
        name: "Value::update",
        operate: |value| value.update(|now| std::mem::replace(now, wide(2)) == wide(1)),
        ..BASE
    },
    ValueRow {
        name: "Value::swap",
        operate: |value| value.swap(wide(2)) == wide(1),
        ..BASE
    },
    ValueRow {
        name: "Value::compare_exchange, equal",
        operate: |value| value.compare_exchange(wide(1), wide(2)) == Ok(wide(1)),
        ..BASE
    },
    ValueRow {
        name: "Value::compare_exchange, different",
        operate: |value| value.compare_exchange(wide(3), wide(2)) == Err(wide(1)),
        stores: false,
        ..BASE
    },
    ValueRow {
        name: "Value::get",
        operate: |value| value.get() == wide(1),
        stores: false,
        ..BASE
    },
    // Without an end, if a reader never asked for the lock.
    ValueRow {
        name: "Value::get, outrun by a writer",
        operate: |value| [wide(1), wide(2)].contains(&value.get()),
        stores: false,
        outrun: true,
        ..BASE
    },
    ValueRow {
        name: "Value::set, after a death in mid-copy",
        operate: |value| {
            value.set(wide(2));
            true
        },
        after: Some(DIED_IN_MID_COPY),
        ..BASE
    },
    ValueRow {
        name: "Value::update, after a death in mid-copy",
        operate: |value| value.update(|now| std::mem::replace(now, wide(2)) == wide(1)),
        after: Some(DIED_IN_MID_COPY),
        ..BASE
    },
    ValueRow {
        name: "Value::update, after a death in its closure",
        operate: |value| value.update(|now| std::mem::replace(now, wide(2)) == wide(1)),
        after: Some(Predecessor {
            operate: |value| {
                value.update(|now| {
                    *now = wide(3);
                    step::die();
                });
                true
            },
            dies: Dies::ByItself,
        }),
        ..BASE
    },
];

const DIED_IN_MID_COPY: Predecessor<Value<Wide>> = Predecessor {
    operate: |value| {
        value.set(wide(3));
        true
    },
    dies: Dies::When(|raw| raw.word(SLOT_BEGIN) != 0 && raw.word(SLOT_END) == 0),
};

impl Row for ValueRow {
    type Handle = Value<Wide>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        self.stores
    }

    fn locks(&self) -> &'static [u64] {
        &[LOCK]
    }

    fn prepare(&self, name: &str) -> Result<Value<Wide>, String> {
        Value::create(name, wide(1)).map_err(|error| error.to_string())
    }

    fn predecessor(&self) -> Option<&Predecessor<Value<Wide>>> {
        self.after.as_ref()
    }

    fn operate(&self, value: &Value<Wide>) -> bool {
        (self.operate)(value)
    }

    fn has_meanwhile(&self) -> bool {
        self.outrun
    }

    fn meanwhile(&self, attached: &Value<Wide>, raw: &Raw) {
        if self.outrun && raw.word(LOCK) == 0 {
            attached.set(wide(raw.word(VERSION) % 2 + 1));
        }
    }

    fn judge(&self, attached: Value<Wide>, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = timed("open", || Value::<Wide>::open(name))?;
        let newcomer = newcomer.map_err(|error| error.to_string())?;
        let [one, other] = first.order(&attached, &newcomer);

        let found = timed("get", || one.get())?;
        expect("what the other gets", timed("get", || other.get())?, found)?;
        let number = match found {
            found if found == wide(1) => 1,
            found if found == wide(2) => 2,
            torn => return Err(format!("a value that nobody stored: {torn:?}")),
        };
        let raw = Raw::open(name)?;
        if !self.outrun {
            expect("the version", raw.word(VERSION), number - 1)?;
        }

        let seen = timed("update", || {
            one.update(|now| std::mem::replace(now, wide(11)))
        })?;
        expect("what an update finds", seen, found)?;
        expect("after an update", timed("get", || other.get())?, wide(11))?;
        timed("set", || other.set(wide(12)))?;
        expect("a swap", timed("swap", || one.swap(wide(13)))?, wide(12))?;
        expect("after a swap", timed("get", || other.get())?, wide(13))?;
        expect("the lock word at the end", raw.word(LOCK), 0)?;
        Ok(if number == 1 || self.outrun {
            Outcome::Before
        } else {
            Outcome::After
        })
    }
}
