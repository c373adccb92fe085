//! `Array` against a `Vec` and a flag for its poison.

use crate::ops::{BODY, Crew, End, Sample, die, die_holding, holders, message_of_panic};
use crate::{Aligned, Borders, HOLDERS, STEPS, Wide, ends, properties, scribble};
use bytemuck::bytes_of;
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{AccessError, Array, ArrayGuard, OutOfBounds, TimedOut};
use std::sync::{LockResult, TryLockError};
use std::time::Duration;

/// The offsets of the journal's word and of the poison, and the least offset of the elements.
const INTENT: usize = BODY + 8;
const POISONED: usize = BODY + 16;
const DATA: usize = BODY + 128;

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(usize),
    Set(usize, u64),
    ReadAt(usize, usize),
    WriteAt(usize, usize, u64),
    Lock(usize, u64),
    TryLock(usize, u64),
    /// The timed forms, in which nobody has to wait: a dead holder's lock is taken over.
    GetTimeout(usize),
    SetTimeout(usize, u64),
    ReadAtTimeout(usize, usize),
    WriteAtTimeout(usize, usize, u64),
    LockTimeout(usize, u64),
    /// Under a guard, beside which each timed form gives up.
    TimeOut(u64),
    /// Writes, then comes to an end: the array has the new element, and is poisoned.
    EndWithGuard(End, usize, u64),
    /// Writes, forgets the guard, and then dies.
    ForgetGuard(usize, u64),
    /// Dies with the lock, before a write or after one.
    DieHolding,
    /// Dies after the commit of a `set`, with the element half written.
    DieInJournal(usize, u64),
    /// Dies before the commit of a `set`, with the slot half written.
    DieBeforeJournal(u64),
    /// Dies with a word in the journal that no operation writes.
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
        1 => index.clone().prop_map(Step::GetTimeout),
        1 => element().prop_map(|(i, n)| Step::SetTimeout(i, n)),
        1 => (index.clone(), index.clone()).prop_map(|(i, many)| Step::ReadAtTimeout(i, many)),
        1 => (index.clone(), index.clone(), any.clone())
            .prop_map(|(i, many, n)| Step::WriteAtTimeout(i, many, n)),
        1 => element().prop_map(|(i, n)| Step::LockTimeout(i, n)),
        1 => any.clone().prop_map(Step::TimeOut),
        3 => (ends(), element()).prop_map(|(end, (i, n))| Step::EndWithGuard(end, i, n)),
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

struct Model<T> {
    elements: Vec<T>,
    poisoned: bool,
}

impl<T: Sample> Model<T> {
    /// Refuses a range that is out of bounds.
    fn check(&self, offset: usize, count: usize) -> Result<(), OutOfBounds> {
        let len = self.elements.len();
        if offset + count <= len {
            Ok(())
        } else {
            Err(OutOfBounds { offset, count, len })
        }
    }

    /// Compares the poison and the elements, and returns the guard.
    fn guard<'a>(&self, locked: LockResult<ArrayGuard<'a, T>>) -> ArrayGuard<'a, T> {
        assert_eq!(locked.is_err(), self.poisoned);
        let guard = locked.unwrap_or_else(|poisoned| poisoned.into_inner());
        assert_eq!(*guard, *self.elements);
        guard
    }
}

/// Tries each timed form through every handle, while this thread has a guard.
fn time_out<T: Sample>(handles: &[Array<T>], n: u64) {
    const LATE: Result<(), AccessError> = Err(AccessError::TimedOut);
    let soon = Duration::ZERO;
    // Another thread, since this one would wait for itself.
    let tries = || {
        let new = T::sample(n);
        for array in handles {
            assert_eq!(array.get_timeout(0, soon), Err(TimedOut));
            assert_eq!(array.set_timeout(0, new, soon), LATE);
            assert_eq!(array.read_at_timeout(0, &mut [new], soon), LATE);
            assert_eq!(array.write_at_timeout(0, &[new], soon), LATE);
            assert_eq!(array.to_vec_timeout(soon), Err(TimedOut));
            let locked = array.lock_timeout(soon).map(drop);
            assert!(matches!(locked, Err(TryLockError::WouldBlock)));
        }
    };
    std::thread::scope(|scope| scope.spawn(tries).join().unwrap());
}

fn run<T: Sample>((len, steps): (usize, Vec<(usize, Step)>)) {
    let mut model = Model {
        elements: (0..len as u64).map(T::sample).collect::<Vec<_>>(),
        poisoned: false,
    };
    let memories = holders((len + 1) * size_of::<T>());
    let mut crew = Crew::new(memories, |memory| Array::create_in(memory, &model.elements));
    for (who, step) in steps {
        let (array, memory) = (&crew.handles[who], &crew.memories[who]);
        // Some steps need an existing element.
        let inside = |index: usize| index % len;
        let data = DATA.next_multiple_of(align_of::<T>());
        match step {
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
                let others = crew.handles.iter().map(Array::try_lock);
                for other in others {
                    assert!(matches!(other, Err(TryLockError::WouldBlock)));
                }
                guard[inside(i)] = T::sample(n);
                model.elements[inside(i)] = T::sample(n);
            }
            Step::GetTimeout(i) => {
                let found = array.get_timeout(i, Duration::ZERO);
                assert_eq!(found, Ok(model.elements.get(i).copied()));
            }
            Step::SetTimeout(i, n) => {
                let checked = model.check(i, 1);
                let set = array.set_timeout(i, T::sample(n), Duration::MAX);
                assert_eq!(set, checked.map_err(AccessError::from));
                if checked.is_ok() {
                    model.elements[i] = T::sample(n);
                }
            }
            Step::ReadAtTimeout(i, many) => {
                let mut out = vec![T::sample(1); many];
                let checked = model.check(i, many);
                let read = array.read_at_timeout(i, &mut out, Duration::ZERO);
                assert_eq!(read, checked.map_err(AccessError::from));
                if checked.is_ok() {
                    assert_eq!(out, model.elements[i..i + many]);
                }
            }
            Step::WriteAtTimeout(i, many, n) => {
                let new: Vec<T> = (n..).take(many).map(T::sample).collect();
                let checked = model.check(i, many);
                let written = array.write_at_timeout(i, &new, Duration::ZERO);
                assert_eq!(written, checked.map_err(AccessError::from));
                if checked.is_ok() {
                    model.elements[i..i + many].copy_from_slice(&new);
                }
                let all = array.to_vec_timeout(Duration::ZERO);
                assert_eq!(all.as_ref(), Ok(&model.elements));
            }
            Step::LockTimeout(i, n) => {
                let locked = array.lock_timeout(Duration::ZERO);
                let locked = locked.map_err(|refusal| match refusal {
                    TryLockError::Poisoned(poisoned) => poisoned,
                    TryLockError::WouldBlock => panic!("nobody alive has it"),
                });
                model.guard(locked)[inside(i)] = T::sample(n);
                model.elements[inside(i)] = T::sample(n);
            }
            Step::TimeOut(n) => {
                let guard = model.guard(array.lock());
                time_out(&crew.handles, n);
                drop(guard);
            }
            Step::EndWithGuard(end, i, n) => {
                let ended = End::catch(|| {
                    let mut guard = model.guard(array.lock());
                    guard[inside(i)] = T::sample(n);
                    end.come(memory)
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
                drop(array.to_vec()); // first finishes what another dead holder began
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
                // Far from a word that stands for an element.
                let garbage = garbage | 1 << 40;
                scribble(memory, INTENT, &garbage.to_le_bytes());
                die_holding(memory, BODY);
                model.poisoned = true;
            }
            Step::ClearPoison => {
                array.clear_poison();
                model.poisoned = false;
            }
            Step::Clone => crew.clone_handle(who),
            Step::Reopen => crew.reopen(who),
        }
        // The holder that asks first recovers, so each holder has its turn.
        for array in crew.handles[who..].iter().chain(&crew.handles[..who]) {
            assert_eq!(array.is_poisoned(), model.poisoned, "after {step:?}");
            assert_eq!(array.to_vec(), model.elements, "after {step:?}");
            assert_eq!(array.len(), len);
        }
    }
}

properties! {
    run, (1..=10usize, vec((0..HOLDERS, step()), 1..STEPS));
    an_array_of_bytes_is_like_a_vec: u8;
    an_array_of_words_is_like_a_vec: u64;
    an_array_of_three_bytes_is_like_a_vec: [u8; 3];
    an_array_of_structs_is_like_a_vec: Wide;
    an_array_of_aligned_structs_is_like_a_vec: Aligned;
}

/// Steps of a peer that overwrites the control words with garbage. Each of them must end, and touch
/// nothing but the elements and the slot. Only a corrupt lock word may panic.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Intent(u64),
    Poisoned(u64),
    /// A word that names no holder that ever was.
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

/// Runs `f`; returns `None` if it panics with the message that the lock word is corrupt.
fn until_corrupt<R>(f: impl FnOnce() -> R) -> Option<R> {
    const CORRUPT: &str = "the lock word of the array names an owner that never was";
    let message = |text: String| assert!(text.starts_with(CORRUPT), "{text}");
    message_of_panic(f).map_err(message).ok()
}

fn survive<T: Sample>((len, steps): (usize, Vec<(usize, Damage)>)) {
    let memories = Borders::holders((len + 1) * size_of::<T>());
    let init = vec![T::sample(0); len];
    let crew = Crew::new(memories, |memory| Array::create_in(memory, &init));
    let memory = &crew.memories[0];
    let end = DATA.next_multiple_of(align_of::<T>()) + (len + 1) * size_of::<T>();
    let borders = Borders::new(memory, end);
    for (who, step) in steps {
        let array = &crew.handles[who];
        match step {
            Damage::Intent(word) => scribble(memory, INTENT, &word.to_le_bytes()),
            Damage::Poisoned(word) => scribble(memory, POISONED, &word.to_le_bytes()),
            Damage::Lock(word) => {
                scribble(memory, BODY, &word.to_le_bytes());
                assert_eq!(until_corrupt(|| array.get(0)), None);
                scribble(memory, BODY, &[0; 8]);
            }
            Damage::DieHolding => die_holding(&crew.memories[who], BODY),
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
    borders.check();
}

properties! {
    survive, (1..=10usize, vec((0..HOLDERS, damage()), 1..STEPS));
    an_array_of_words_survives_garbage: u64;
    an_array_of_structs_survives_garbage: Wide;
    an_array_of_aligned_structs_survives_garbage: Aligned;
}
