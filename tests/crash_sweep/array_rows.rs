//! Rows of [`Array`]: writes of one element of each kind, of several, under a guard, and what
//! follows a death in the middle of them.
//!
//! Whatever dies where: an array that is not poisoned has nothing but elements that somebody wrote,
//! whole, and of several that were written together all or none. It is poisoned exactly where a
//! guard, or a write of several, was in hand: the journal's word says so, and what is found in the
//! elements has to agree with it.

use crate::step::{self, BODY, Raw, path_of};
use crate::sweep::{Dies, First, Outcome, Predecessor, Row, expect, timed};
use shmkit::bytemuck::bytes_of;
use shmkit::{Array, Element};
use std::fmt::Debug;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

/// How many elements there are.
const LEN: usize = 4;
/// The element that is written where one is.
const ONE: usize = 2;
/// The elements that are written where several are.
const FROM: usize = 1;
/// The element that a predecessor writes.
const OTHER: usize = 0;

/// An element that is whole: every byte of it follows from its number, and is another in another.
pub(crate) trait Sample: Element + PartialEq + Debug {
    fn sample(number: u8) -> Self;
}

impl Sample for u8 {
    fn sample(number: u8) -> Self {
        number
    }
}

impl Sample for u64 {
    fn sample(number: u8) -> Self {
        u64::from_le_bytes([number; 8])
    }
}

impl Sample for [u8; 3] {
    fn sample(number: u8) -> Self {
        [number; 3]
    }
}

/// 24 bytes.
pub(crate) type Wide = [u64; 3];

impl Sample for Wide {
    fn sample(number: u8) -> Self {
        [u64::sample(number); 3]
    }
}

/// What the operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// `sample(2)` to the element `ONE`.
    One,
    /// `sample(2)` to three elements, or whatever of it when the array is then poisoned.
    Several,
    /// Nothing.
    Nothing,
}

/// What a predecessor leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// All as it was.
    Nothing,
    /// `sample(3)` in the element `OTHER`, once somebody has recovered.
    Other,
    /// Poison, once somebody has recovered, and `sample(3)` in the element `OTHER`.
    Poison,
}

/// One row: the operation on an array that has `sample(1)` everywhere.
pub(crate) struct ArrayRow<T: Element> {
    name: &'static str,
    operate: fn(&Subject<T>) -> bool,
    writes: Writes,
    after: Option<Predecessor<Subject<T>>>,
    left: Left,
    control: bool,
}

impl<T: Sample> ArrayRow<T> {
    const SET: Self = Self {
        name: "",
        operate: |array| array.set(ONE, T::sample(2)).is_ok(),
        writes: Writes::One,
        after: None,
        left: Left::Nothing,
        control: false,
    };
    const WRITE_AT: Self = Self {
        operate: |array| array.write_at(FROM, &[T::sample(2); 3]).is_ok(),
        writes: Writes::Several,
        ..Self::SET
    };
    const GUARD: Self = Self {
        operate: |array| {
            let mut guard = array.lock().expect("not poisoned");
            guard[FROM..].fill(T::sample(2));
            true
        },
        ..Self::WRITE_AT
    };
}

pub(crate) const BYTES: &[ArrayRow<u8>] = &[
    ArrayRow {
        name: "Array::set, 1 byte",
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::write_at, 3 of 1 byte",
        ..ArrayRow::WRITE_AT
    },
];

pub(crate) const TRIPLES: &[ArrayRow<[u8; 3]>] = &[ArrayRow {
    name: "Array::set, 3 bytes",
    ..ArrayRow::SET
}];

pub(crate) const WORDS: &[ArrayRow<u64>] = &[
    ArrayRow {
        name: "Array::set, 8 bytes",
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::lock+write+drop, 8 bytes",
        ..ArrayRow::GUARD
    },
];

pub(crate) const WIDES: &[ArrayRow<Wide>] = &[
    ArrayRow {
        name: "Array::set, 24 bytes",
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::write_at, 1 of 24 bytes",
        operate: |array| array.write_at(ONE, &[Wide::sample(2)]).is_ok(),
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::write_at, 3 of 24 bytes",
        ..ArrayRow::WRITE_AT
    },
    ArrayRow {
        name: "Array::lock+write+drop, 24 bytes",
        ..ArrayRow::GUARD
    },
    ArrayRow {
        name: "Array::to_vec",
        operate: |array| array.to_vec() == [Wide::sample(1); LEN],
        writes: Writes::Nothing,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::set, after a death in mid-journal",
        after: Some(IN_MID_JOURNAL),
        left: Left::Other,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::get, after a death in mid-journal",
        operate: |array| array.get(OTHER) == Some(Wide::sample(3)),
        writes: Writes::Nothing,
        after: Some(IN_MID_JOURNAL),
        left: Left::Other,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::read_at, after a death in mid-journal",
        operate: |array| {
            let mut out = [Wide::sample(9); 2];
            array.read_at(OTHER, &mut out).is_ok() && out == [Wide::sample(3), Wide::sample(1)]
        },
        writes: Writes::Nothing,
        after: Some(IN_MID_JOURNAL),
        left: Left::Other,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::is_poisoned, after a death with a guard",
        operate: |array| array.is_poisoned(),
        writes: Writes::Nothing,
        after: Some(WITH_A_GUARD),
        left: Left::Poison,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::set, after a death in mid-copy",
        after: Some(Predecessor {
            operate: |array| array.set(OTHER, Wide::sample(3)).is_ok(),
            dies: Dies::When(|raw| (raw.word(DATA) == OLD) != (raw.word(DATA + 16) == OLD)),
        }),
        left: Left::Other,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::set, after a death before the journal",
        after: Some(Predecessor {
            operate: |array| array.set(OTHER, Wide::sample(3)).is_ok(),
            dies: Dies::When(|raw| raw.word(SLOT) != 0),
        }),
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::set, after a death with a guard",
        after: Some(WITH_A_GUARD),
        left: Left::Poison,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "Array::lock, after a death with a guard",
        operate: |array| {
            let mut guard = array.lock().expect_err("poisoned").into_inner();
            guard[ONE] = Wide::sample(2);
            array.clear_poison();
            // What follows is a write under a guard like any other: a death poisons again.
            true
        },
        writes: Writes::Several,
        after: Some(WITH_A_GUARD),
        left: Left::Poison,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "control: an element without the journal",
        operate: |array| array.overwrite(ONE, &Wide::sample(2)),
        control: true,
        ..ArrayRow::SET
    },
    ArrayRow {
        name: "control: several elements by as many sets",
        operate: |array| (FROM..LEN).all(|index| array.set(index, Wide::sample(2)).is_ok()),
        control: true,
        ..ArrayRow::WRITE_AT
    },
];

const IN_MID_JOURNAL: Predecessor<Subject<Wide>> = Predecessor {
    operate: |array| array.set(OTHER, Wide::sample(3)).is_ok(),
    dies: Dies::When(|raw| raw.word(INTENT) == ELEMENTS + OTHER as u64),
};

const WITH_A_GUARD: Predecessor<Subject<Wide>> = Predecessor {
    operate: |array| {
        let mut guard = array.lock().expect("not poisoned");
        guard[OTHER] = Wide::sample(3);
        step::die()
    },
    dies: Dies::ByItself,
};

const LOCK: u64 = 0;
const INTENT: u64 = 8;
const POISONED: u64 = 16;
const DATA: u64 = 128;
/// The journal's, of an array of `Wide`.
const SLOT: u64 = DATA + 24 * LEN as u64;

/// What the journal's word says of a guard, and of element 0.
const MANY: u64 = 1;
const ELEMENTS: u64 = 2;
/// A word of `sample(1)`.
const OLD: u64 = 0x0101_0101_0101_0101;

/// An array, and the file that it lies in.
pub(crate) struct Subject<T: Element> {
    array: Array<T>,
    file: File,
}

impl<T: Element> Deref for Subject<T> {
    type Target = Array<T>;

    fn deref(&self) -> &Array<T> {
        &self.array
    }
}

impl Subject<Wide> {
    /// Writes an element past all protocol, in two halves.
    fn overwrite(&self, index: usize, value: &Wide) -> bool {
        let at = BODY + DATA + (index * size_of::<Wide>()) as u64;
        let (half, rest) = bytes_of(value).split_at(12);
        let file = &self.file;
        file.write_all_at(half, at).is_ok() && file.write_all_at(rest, at + 12).is_ok()
    }
}

impl<T: Sample> ArrayRow<T> {
    /// The numbers of the elements, or of the first that nobody wrote.
    fn numbers(elements: &[T]) -> Result<[u8; LEN], String> {
        let number_of = |element: &T| (1..=3).find(|number| *element == T::sample(*number));
        let mut numbers = [0; LEN];
        expect("the length", elements.len(), LEN)?;
        for (number, element) in numbers.iter_mut().zip(elements) {
            *number = number_of(element).ok_or(format!("nobody wrote {element:?}"))?;
        }
        Ok(numbers)
    }

    /// Whether the operation shows in an array that is whole.
    fn shows(&self, numbers: [u8; LEN]) -> Result<Outcome, String> {
        let before = match self.left {
            Left::Nothing => [1, 1, 1, 1],
            Left::Other | Left::Poison => [3, 1, 1, 1],
        };
        let mut after = before;
        match self.writes {
            Writes::One => after[ONE] = 2,
            Writes::Several if self.left == Left::Poison => after[ONE] = 2,
            Writes::Several => after[FROM..].fill(2),
            Writes::Nothing => {}
        }
        match numbers {
            _ if numbers == before => Ok(Outcome::Before),
            _ if numbers == after => Ok(Outcome::After),
            mixed => Err(format!("the elements: {mixed:?}")),
        }
    }
}

impl<T: Sample> Row for ArrayRow<T> {
    type Handle = Subject<T>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        self.writes != Writes::Nothing
    }

    fn is_control(&self) -> bool {
        self.control
    }

    fn locks(&self) -> &'static [u64] {
        &[LOCK]
    }

    fn prepare(&self, name: &str) -> Result<Subject<T>, String> {
        let array = Array::create(name, &[T::sample(1); LEN]).map_err(|error| error.to_string())?;
        let file = File::options().write(true).open(path_of(name));
        let file = file.map_err(|error| error.to_string())?;
        Ok(Subject { array, file })
    }

    fn predecessor(&self) -> Option<&Predecessor<Subject<T>>> {
        self.after.as_ref()
    }

    fn operate(&self, array: &Subject<T>) -> bool {
        (self.operate)(array)
    }

    fn judge(&self, attached: Subject<T>, name: &str, first: First) -> Result<Outcome, String> {
        let raw = Raw::open(name)?;
        let (in_hand, was_poisoned) = (raw.word(INTENT) == MANY, raw.word(POISONED) != 0);
        let newcomer = timed("open", || Array::<T>::open(name))?;
        let newcomer = newcomer.map_err(|error| error.to_string())?;
        let [one, other] = first.order(&attached.array, &newcomer);

        let poisoned = timed("is_poisoned", || one.is_poisoned())?;
        expect("the poison", poisoned, in_hand || was_poisoned)?;
        let found = timed("to_vec", || one.to_vec())?;
        expect(
            "what the other reads",
            timed("to_vec", || other.to_vec())?,
            found.clone(),
        )?;
        let outcome = if self.writes == Writes::Several {
            match poisoned {
                true => Outcome::Before, // whatever shows
                false => self.shows(Self::numbers(&found)?)?,
            }
        } else {
            expect("the poison", poisoned, self.left == Left::Poison)?;
            self.shows(Self::numbers(&found)?)?
        };

        let locked = timed("lock", || match other.lock() {
            Ok(guard) => (false, guard.to_vec()),
            Err(error) => (true, error.into_inner().to_vec()),
        })?;
        expect("a guard", locked, (poisoned, found))?;
        timed("set", || one.set(0, T::sample(9)))?.map_err(|error| error.to_string())?;
        let all: [T; LEN] = std::array::from_fn(|_| T::sample(8));
        timed("write_at", || other.write_at(1, &all[1..]))?.map_err(|error| error.to_string())?;
        expect("the poison after writes", one.is_poisoned(), poisoned)?;
        other.clear_poison();
        let guard = timed("lock", || one.lock())?;
        let mut guard = guard.map_err(|_| "still poisoned")?;
        expect("after writes", guard[0], T::sample(9))?;
        expect("after writes", &guard[1..], &all[1..])?;
        guard[0] = T::sample(8);
        drop(guard);
        expect(
            "in the end",
            timed("to_vec", || other.to_vec())?,
            all.to_vec(),
        )?;
        let words = [LOCK, INTENT, POISONED].map(|word| raw.word(word));
        expect("the control words at the end", words, [0; 3])?;
        Ok(outcome)
    }
}
