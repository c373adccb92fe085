//! Rows of [`Array`]: writes of one element of each kind, of several, and under a guard; and operations after
//! a death in the middle of these.
//!
//! Wherever a writer dies, an array that is not poisoned has only whole elements, and of several that were
//! written together all or none. The array is poisoned exactly if the dead writer had a guard, or was writing
//! several elements. The journal's word says whether it did, and the elements have to agree.

use crate::row::{Family, First, Outcome, Predecessor, Row, expect, succeed, text, timed};
use crate::step::{self, BODY, Raw, path_of};
use shmkit::bytemuck::bytes_of;
use shmkit::{Array, Element};
use std::fmt::Debug;
use std::fs::File;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

/// The array's length.
const LEN: usize = 4;
/// The element that an operation on one element writes.
const ONE: usize = 2;
/// The first of the elements that an operation on several writes.
const FROM: usize = 1;
/// The element that a predecessor writes.
const OTHER: usize = 0;

/// A whole element: every byte follows from its number, and differs between numbers.
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

/// The effect of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// The operation writes `sample(2)` to the element `ONE`.
    One,
    /// The operation writes `sample(2)` to three elements. A death in the middle poisons the array.
    Several,
    /// The operation writes nothing.
    Nothing,
}

/// The effect of a predecessor, once somebody has recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The predecessor leaves the array as it was.
    Nothing,
    /// The predecessor leaves `sample(3)` in the element `OTHER`.
    Other,
    /// The predecessor leaves `sample(3)` in the element `OTHER`, and poison.
    Poison,
}

/// The effects of the operation and of the predecessor. Each element is `sample(1)` at first.
pub(crate) struct Written<T> {
    writes: Writes,
    left: Left,
    element: PhantomData<T>,
}

type ArrayRow<T> = Row<Written<T>>;
type Operate<T> = fn(&Subject<T>) -> bool;

fn reads<T: Sample>(name: &'static str, operate: Operate<T>) -> ArrayRow<T> {
    let written = Written {
        writes: Writes::Nothing,
        left: Left::Nothing,
        element: PhantomData,
    };
    Row::new(name, operate, written)
}

fn writes_one<T: Sample>(name: &'static str, operate: Operate<T>) -> ArrayRow<T> {
    let mut row = reads(name, operate);
    row.family.writes = Writes::One;
    row
}

fn writes_several<T: Sample>(name: &'static str, operate: Operate<T>) -> ArrayRow<T> {
    let mut row = reads(name, operate);
    row.family.writes = Writes::Several;
    row
}

fn set<T: Sample>(name: &'static str) -> ArrayRow<T> {
    writes_one(name, |array| array.set(ONE, T::sample(2)).is_ok())
}

fn write_at<T: Sample>(name: &'static str) -> ArrayRow<T> {
    writes_several(name, |array| {
        array.write_at(FROM, &[T::sample(2); 3]).is_ok()
    })
}

fn guard<T: Sample>(name: &'static str) -> ArrayRow<T> {
    writes_several(name, |array| {
        let mut guard = array.lock().expect("not poisoned");
        guard[FROM..].fill(T::sample(2));
        true
    })
}

const SET_OTHER: Operate<Wide> = |array| array.set(OTHER, Wide::sample(3)).is_ok();

const BEFORE_THE_JOURNAL: Death = (
    Predecessor::when(SET_OTHER, |raw| raw.word(SLOT) != 0),
    Left::Nothing,
);

const IN_MID_JOURNAL: Death = (
    Predecessor::when(SET_OTHER, |raw| raw.word(INTENT) == ELEMENTS + OTHER as u64),
    Left::Other,
);

const IN_MID_COPY: Death = (
    Predecessor::when(SET_OTHER, |raw| {
        (raw.word(DATA) == OLD) != (raw.word(DATA + 16) == OLD)
    }),
    Left::Other,
);

const WITH_A_GUARD: Death = (
    Predecessor::by_itself(|array| {
        let mut guard = array.lock().expect("not poisoned");
        guard[OTHER] = Wide::sample(3);
        step::die()
    }),
    Left::Poison,
);

/// A predecessor, and the effect of its death.
type Death = (Predecessor<Subject<Wide>>, Left);

impl ArrayRow<Wide> {
    fn after_death(mut self, (predecessor, left): Death) -> Self {
        self.family.left = left;
        self.after(predecessor)
    }
}

pub(crate) fn bytes() -> [ArrayRow<u8>; 2] {
    [
        set("Array::set, 1 byte"),
        write_at("Array::write_at, 3 of 1 byte"),
    ]
}

pub(crate) fn triples() -> [ArrayRow<[u8; 3]>; 1] {
    [set("Array::set, 3 bytes")]
}

pub(crate) fn words() -> [ArrayRow<u64>; 2] {
    [
        set("Array::set, 8 bytes"),
        guard("Array::lock+write+drop, 8 bytes"),
    ]
}

pub(crate) fn wides() -> Vec<ArrayRow<Wide>> {
    vec![
        set("Array::set, 24 bytes"),
        writes_one("Array::write_at, 1 of 24 bytes", |array| {
            array.write_at(ONE, &[Wide::sample(2)]).is_ok()
        }),
        write_at("Array::write_at, 3 of 24 bytes"),
        guard("Array::lock+write+drop, 24 bytes"),
        reads("Array::to_vec", |array| {
            array.to_vec() == [Wide::sample(1); LEN]
        }),
        set("Array::set, after a death in mid-journal").after_death(IN_MID_JOURNAL),
        reads("Array::get, after a death in mid-journal", |array| {
            array.get(OTHER) == Some(Wide::sample(3))
        })
        .after_death(IN_MID_JOURNAL),
        reads("Array::read_at, after a death in mid-journal", |array| {
            let mut out = [Wide::sample(9); 2];
            array.read_at(OTHER, &mut out).is_ok() && out == [Wide::sample(3), Wide::sample(1)]
        })
        .after_death(IN_MID_JOURNAL),
        reads("Array::is_poisoned, after a death with a guard", |array| {
            array.is_poisoned()
        })
        .after_death(WITH_A_GUARD),
        set("Array::set, after a death in mid-copy").after_death(IN_MID_COPY),
        set("Array::set, after a death before the journal").after_death(BEFORE_THE_JOURNAL),
        set("Array::set, after a death with a guard").after_death(WITH_A_GUARD),
        writes_several("Array::lock, after a death with a guard", |array| {
            let mut guard = array.lock().expect_err("poisoned").into_inner();
            guard[ONE] = Wide::sample(2);
            array.clear_poison();
            // The guard is still there, so a death poisons the array again.
            true
        })
        .after_death(WITH_A_GUARD),
        writes_one("control: an element without the journal", |array| {
            array.overwrite(ONE, &Wide::sample(2))
        })
        .control(),
        writes_several("control: several elements by as many sets", |array| {
            (FROM..LEN).all(|index| array.set(index, Wide::sample(2)).is_ok())
        })
        .control(),
    ]
}

const LOCK: u64 = 0;
const INTENT: u64 = 8;
const POISONED: u64 = 16;
const DATA: u64 = 128;
/// The journal's slot, in an array of `Wide`.
const SLOT: u64 = DATA + 24 * LEN as u64;

/// The journal's word for a guard, and for element 0.
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
    /// Writes an element in two halves, past the protocol.
    fn overwrite(&self, index: usize, value: &Wide) -> bool {
        let at = BODY + DATA + (index * size_of::<Wide>()) as u64;
        let (half, rest) = bytes_of(value).split_at(12);
        let file = &self.file;
        file.write_all_at(half, at).is_ok() && file.write_all_at(rest, at + 12).is_ok()
    }
}

impl<T: Sample> Written<T> {
    /// Returns the numbers of the elements. Fails for an element that nobody wrote.
    fn numbers(elements: &[T]) -> Result<[u8; LEN], String> {
        let number_of = |element: &T| (1..=3).find(|number| *element == T::sample(*number));
        let mut numbers = [0; LEN];
        expect("the length", elements.len(), LEN)?;
        for (number, element) in numbers.iter_mut().zip(elements) {
            *number = number_of(element).ok_or(format!("nobody wrote {element:?}"))?;
        }
        Ok(numbers)
    }

    /// Tells from the elements of an array that is not poisoned whether the operation has committed.
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

impl<T: Sample> Family for Written<T> {
    type Handle = Subject<T>;
    const LOCKS: &'static [u64] = &[LOCK];

    fn commits(&self) -> bool {
        self.writes != Writes::Nothing
    }

    fn prepare(&self, name: &str) -> Result<Subject<T>, String> {
        let array = Array::create(name, &[T::sample(1); LEN]).map_err(text)?;
        let file = File::options()
            .write(true)
            .open(path_of(name))
            .map_err(text)?;
        Ok(Subject { array, file })
    }

    fn judge(&self, attached: Subject<T>, name: &str, first: First) -> Result<Outcome, String> {
        let raw = Raw::open(name)?;
        let (in_hand, was_poisoned) = (raw.word(INTENT) == MANY, raw.word(POISONED) != 0);
        let newcomer = succeed("open", || Array::<T>::open(name))?;
        let [one, other] = first.order(&attached.array, &newcomer);

        let poisoned = timed("is_poisoned", || one.is_poisoned())?;
        expect("the poison", poisoned, in_hand || was_poisoned)?;
        let found = timed("to_vec", || one.to_vec())?;
        let same = timed("to_vec", || other.to_vec())?;
        expect("what the other reads", same, found.clone())?;
        let outcome = if self.writes == Writes::Several {
            match poisoned {
                true => Outcome::Before, // the elements may be anything
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
        succeed("set", || one.set(0, T::sample(9)))?;
        let all: [T; LEN] = std::array::from_fn(|_| T::sample(8));
        succeed("write_at", || other.write_at(1, &all[1..]))?;
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
        let words = [INTENT, POISONED].map(|word| raw.word(word));
        expect("the journal and the poison at the end", words, [0; 2])?;
        Ok(outcome)
    }
}
