//! `Array` against a `Vec` and a flag for its poison.

use crate::{
    Aligned, BODY, HOLDERS, STEPS, Sample, Wide, config, die, die_holding, holders, panic_quietly,
    until_panic, watchdog,
};
use bytemuck::bytes_of;
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::{HeapMemory, Memory};
use shmkit::{Array, ArrayGuard, OutOfBounds};
use std::sync::{Arc, LockResult, TryLockError};

/// Where the journal's word and the poison lie, and where the elements begin.
const INTENT: usize = BODY + 8;
const POISONED: usize = BODY + 16;
const DATA: usize = BODY + 128;

#[derive(Clone, Debug)]
enum Step {
    Get(usize),
    Set(usize, u64),
    ReadAt(usize, usize),
    WriteAt(usize, usize, u64),
    Lock(usize, u64),
    TryLock(usize, u64),
    /// Writes, then panics: it shows, and poisons.
    PanicWithGuard(usize, u64),
    /// Writes, then dies: it shows, and poisons.
    DieWithGuard(usize, u64),
    /// Forgets the guard, and then dies.
    ForgetGuard(usize, u64),
    /// Dies with the lock in its hand, before it has begun or after it has ended.
    DieHolding,
    /// Dies behind the commit of a `set`, the element half written.
    DieInJournal(usize, u64),
    /// The same, with nothing of the element in the slot yet.
    DieBeforeJournal(u64),
    /// Dies with a word in the journal that nobody writes.
    DieWithGarbage(u64),
    ClearPoison,
    Clone,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000u64;
    let index = 0..12usize; // of up to 10 elements
    let element = || (index.clone(), any.clone());
    prop_oneof![
        2 => index.clone().prop_map(Step::Get),
        4 => element().prop_map(|(i, n)| Step::Set(i, n)),
        2 => (index.clone(), index.clone()).prop_map(|(i, many)| Step::ReadAt(i, many)),
        4 => (index.clone(), index.clone(), any.clone())
            .prop_map(|(i, many, n)| Step::WriteAt(i, many, n)),
        3 => element().prop_map(|(i, n)| Step::Lock(i, n)),
        2 => element().prop_map(|(i, n)| Step::TryLock(i, n)),
        1 => element().prop_map(|(i, n)| Step::PanicWithGuard(i, n)),
        2 => element().prop_map(|(i, n)| Step::DieWithGuard(i, n)),
        1 => element().prop_map(|(i, n)| Step::ForgetGuard(i, n)),
        1 => Just(Step::DieHolding),
        4 => element().prop_map(|(i, n)| Step::DieInJournal(i, n)),
        1 => any.clone().prop_map(Step::DieBeforeJournal),
        1 => proptest::num::u64::ANY.prop_map(Step::DieWithGarbage),
        4 => Just(Step::ClearPoison),
        1 => Just(Step::Clone),
        1 => Just(Step::Reopen),
    ]
}

/// Writes bytes past the array.
pub(crate) fn scribble(memory: &HeapMemory, offset: usize, bytes: &[u8]) {
    assert!(offset + bytes.len() <= memory.len());
    let to = memory.base().as_ptr().wrapping_add(offset);
    // SAFETY: inside the memory, and this is the only thread.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

struct Model<T> {
    elements: Vec<T>,
    poisoned: bool,
}

impl<T: Sample> Model<T> {
    /// What a range is to be refused with, if it is.
    fn check(&self, offset: usize, count: usize) -> Result<(), OutOfBounds> {
        let len = self.elements.len();
        if offset + count <= len {
            Ok(())
        } else {
            Err(OutOfBounds { offset, count, len })
        }
    }

    /// The guard that was to come, with what it was to come with.
    fn guard<'a>(&self, locked: LockResult<ArrayGuard<'a, T>>) -> ArrayGuard<'a, T> {
        assert_eq!(locked.is_err(), self.poisoned);
        let guard = locked.unwrap_or_else(|poisoned| poisoned.into_inner());
        assert_eq!(*guard, *self.elements);
        guard
    }
}

fn run<T: Sample>(len: usize, steps: &[(usize, Step)]) {
    let mut memories = holders((len + 1) * size_of::<T>());
    let mut model = Model {
        elements: (0..len as u64).map(T::sample).collect::<Vec<_>>(),
        poisoned: false,
    };
    let mut arrays: Vec<Array<T>> = memories
        .iter()
        .enumerate()
        .map(|(i, memory)| match i {
            0 => Array::create_in(memory.clone(), &model.elements).unwrap(),
            _ => Array::open_in(memory.clone()).unwrap(),
        })
        .collect();
    for (who, step) in steps {
        let (array, memory) = (&arrays[*who], &memories[*who]);
        // Of the steps that want an element there is.
        let inside = |index: usize| index % len;
        let data = DATA.next_multiple_of(align_of::<T>());
        match *step {
            Step::Get(i) => assert_eq!(array.get(i), model.elements.get(i).copied()),
            Step::Set(i, n) => {
                let checked = model.check(i, 1);
                assert_eq!(array.set(i, T::sample(n)), checked);
                if checked.is_ok() {
                    model.elements[i] = T::sample(n);
                }
            }
            Step::ReadAt(i, many) => {
                let mut out = vec![T::sample(1); many];
                let checked = model.check(i, many);
                assert_eq!(array.read_at(i, &mut out), checked);
                let expected = match checked {
                    Ok(()) => model.elements[i..i + many].to_vec(),
                    Err(_) => vec![T::sample(1); many],
                };
                assert_eq!(out, expected);
            }
            Step::WriteAt(i, many, n) => {
                let new: Vec<T> = (n..).take(many).map(T::sample).collect();
                let checked = model.check(i, many);
                assert_eq!(array.write_at(i, &new), checked);
                if checked.is_ok() {
                    model.elements[i..i + many].copy_from_slice(&new);
                }
            }
            Step::Lock(i, n) => {
                model.guard(array.lock())[inside(i)] = T::sample(n);
                model.elements[inside(i)] = T::sample(n);
            }
            Step::TryLock(i, n) => {
                let locked = array.try_lock().map_err(|refusal| match refusal {
                    TryLockError::Poisoned(poisoned) => poisoned,
                    TryLockError::WouldBlock => panic!("nobody alive has it"),
                });
                let mut guard = model.guard(locked);
                let others = arrays.iter().map(Array::try_lock);
                for other in others {
                    assert!(matches!(other, Err(TryLockError::WouldBlock)));
                }
                guard[inside(i)] = T::sample(n);
                model.elements[inside(i)] = T::sample(n);
            }
            Step::PanicWithGuard(i, n) => {
                let ended = until_panic(|| {
                    let mut guard = model.guard(array.lock());
                    guard[inside(i)] = T::sample(n);
                    panic_quietly()
                });
                assert!(ended.is_none());
                model.elements[inside(i)] = T::sample(n);
                model.poisoned = true;
            }
            Step::DieWithGuard(i, n) => {
                let ended = HeapMemory::until_death(|| {
                    let mut guard = model.guard(array.lock());
                    guard[inside(i)] = T::sample(n);
                    die(memory)
                });
                assert!(ended.is_none());
                model.elements[inside(i)] = T::sample(n);
                model.poisoned = true;
            }
            Step::ForgetGuard(i, n) => {
                let mut guard = model.guard(array.lock());
                guard[inside(i)] = T::sample(n);
                std::mem::forget(guard);
                assert!(HeapMemory::until_death(|| die(memory)).is_none());
                model.elements[inside(i)] = T::sample(n);
                model.poisoned = true;
            }
            Step::DieHolding => die_holding(memory, BODY),
            Step::DieInJournal(i, n) => {
                drop(array.to_vec()); // so that nobody else's death is overwritten
                let (i, new) = (inside(i), T::sample(n));
                scribble(memory, data + len * size_of::<T>(), bytes_of(&new));
                scribble(memory, INTENT, &(2 + i as u64).to_le_bytes());
                let half = size_of::<T>() / 2;
                scribble(memory, data + i * size_of::<T>(), &bytes_of(&new)[..half]);
                die_holding(memory, BODY);
                model.elements[i] = new;
            }
            Step::DieBeforeJournal(n) => {
                drop(array.to_vec());
                let new = T::sample(n);
                let half = &bytes_of(&new)[..size_of::<T>() / 2];
                scribble(memory, data + len * size_of::<T>(), half);
                die_holding(memory, BODY);
            }
            Step::DieWithGarbage(garbage) => {
                drop(array.to_vec());
                // Far from what means an element.
                let garbage = garbage | 1 << 40;
                scribble(memory, INTENT, &garbage.to_le_bytes());
                die_holding(memory, BODY);
                model.poisoned = true;
            }
            Step::ClearPoison => {
                array.clear_poison();
                model.poisoned = false;
            }
            Step::Clone => {
                let clone = array.clone();
                assert_eq!(clone.was_created(), array.was_created());
                arrays[*who] = clone;
            }
            Step::Reopen => {
                memories[*who] = Arc::new(memory.attach());
                arrays[*who] = Array::open_in(memories[*who].clone()).unwrap();
                assert!(!arrays[*who].was_created());
            }
        }
        // In turn, who asks first is the one that comes upon a death.
        for array in arrays[*who..].iter().chain(&arrays[..*who]) {
            assert_eq!(array.is_poisoned(), model.poisoned, "after {step:?}");
            assert_eq!(array.to_vec(), model.elements, "after {step:?}");
            assert_eq!(array.len(), len);
        }
    }
}

macro_rules! like_a_vec {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(len in 1..=10usize, steps in vec((0..HOLDERS, step()), 1..STEPS)) {
                    let _watchdog = watchdog(stringify!($name));
                    run::<$element>(len, &steps);
                }
            )*
        }
    };
}

like_a_vec! {
    an_array_of_bytes_is_like_a_vec: u8;
    an_array_of_words_is_like_a_vec: u64;
    an_array_of_three_bytes_is_like_a_vec: [u8; 3];
    an_array_of_structs_is_like_a_vec: Wide;
    an_array_of_aligned_structs_is_like_a_vec: Aligned;
}

/// The control words are overwritten with anything: no hang, no access outside the elements and the
/// slot, and no panic but the one that is documented, for the lock.
#[derive(Clone, Debug)]
enum Damage {
    Intent(u64),
    Poisoned(u64),
    /// A word that names nobody who lives.
    Lock(u64),
    DieHolding,
    Use(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let near = |at: u64| (0..24u64).prop_map(move |by| at.wrapping_add(by).wrapping_sub(12));
    let garbage = move || prop_oneof![near(0), near(1 << 63), near(1 << 61), any::<u64>()];
    prop_oneof![
        3 => garbage().prop_map(Damage::Intent),
        1 => garbage().prop_map(Damage::Poisoned),
        1 => garbage().prop_map(|word| Damage::Lock(word | 1 << 62)),
        1 => Just(Damage::Lock(1)),
        3 => Just(Damage::DieHolding),
        6 => (0..10usize).prop_map(Damage::Use),
    ]
}

/// Runs `f` up to its end, or to the panic that says that the lock word is corrupt.
fn until_corrupt<R>(f: impl FnOnce() -> R) -> Option<R> {
    until_panic(|| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.expect("a text");
            assert!(text.starts_with("the lock word of the array names an owner that never was"));
            panic_quietly()
        })
    })
}

fn survive<T: Sample>(len: usize, steps: &[(usize, Damage)]) {
    const CANARY: u8 = 0xa5;
    let memories = holders((len + 1) * size_of::<T>());
    let memory = &memories[0];
    let init = vec![T::sample(0); len];
    let array = Array::create_in(memory.clone(), &init).unwrap();
    let arrays: Vec<_> = memories[1..]
        .iter()
        .map(|memory| Array::<T>::open_in(memory.clone()).unwrap())
        .chain([array])
        .collect();
    let end = DATA.next_multiple_of(align_of::<T>()) + (len + 1) * size_of::<T>();
    let behind = vec![CANARY; memory.len() - end];
    assert!(behind.len() >= 256, "room to notice strays");
    scribble(memory, end, &behind);
    let header = crate::corrupt::bytes(memory, 0, BODY);
    for (who, step) in steps {
        let array = &arrays[*who];
        match *step {
            Damage::Intent(word) => scribble(memory, INTENT, &word.to_le_bytes()),
            Damage::Poisoned(word) => scribble(memory, POISONED, &word.to_le_bytes()),
            Damage::Lock(word) => {
                scribble(memory, BODY, &word.to_le_bytes());
                assert_eq!(until_corrupt(|| array.get(0)), None);
                scribble(memory, BODY, &[0; 8]);
            }
            Damage::DieHolding => die_holding(&memories[*who], BODY),
            Damage::Use(i) => {
                let _ = array.is_poisoned();
                assert_eq!(array.set(i, T::sample(1)).is_ok(), i < len);
                let _ = (array.get(i), array.to_vec());
                let _ = array.write_at(i, &[T::sample(2); 3]);
                let mut guard = array
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                guard.fill(T::sample(3));
                drop(guard);
                assert_eq!(array.to_vec(), vec![T::sample(3); len]);
            }
        }
    }
    let found = crate::corrupt::bytes(memory, end, memory.len());
    assert_eq!(found, behind, "written behind the slot");
    assert_eq!(
        crate::corrupt::bytes(memory, 0, BODY),
        header,
        "written to the header"
    );
}

macro_rules! survives_garbage {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(len in 1..=10usize, steps in vec((0..HOLDERS, damage()), 1..STEPS)) {
                    let _watchdog = watchdog(stringify!($name));
                    survive::<$element>(len, &steps);
                }
            )*
        }
    };
}

survives_garbage! {
    an_array_of_words_survives_garbage: u64;
    an_array_of_structs_survives_garbage: Wide;
    an_array_of_aligned_structs_survives_garbage: Aligned;
}
