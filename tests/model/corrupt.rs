//! A `Queue` whose control words a peer overwrites with garbage. Operations that never wait long answer
//! with an item, a refusal or `Corrupt`, and touch nothing outside the ring.

use crate::ops::{BODY, CONTROL, Crew, Sample, message_of_panic};
use crate::{Aligned, Borders, HOLDERS, STEPS, copy, holders, properties, scribble};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{GetError, PutError, Queue};
use std::collections::VecDeque;
use std::time::Duration;

/// How many control words a ring has.
pub(crate) const WORDS: usize = CONTROL / 8;

/// The indices of the two sides' locks. A side's count is the word behind its lock, and its gap follows.
pub(crate) const PRODUCERS_LOCK: usize = 0;
pub(crate) const CONSUMERS_LOCK: usize = 16;

/// The bit of the producers' count that means closed.
const CLOSED: u64 = 1 << 63;

/// The control words in use: each side's lock, count and gap; the events.
const USED: [usize; 8] = [0, 1, 2, 16, 17, 18, 32, 48];

/// The words of these that say what is in the ring, and who has its sides.
pub(crate) const TRUSTED: [usize; 4] = [0, 1, 16, 17];

#[derive(Clone, Copy, Debug)]
enum Step {
    Garbage(usize, u64),
    TryPut,
    PutTimeout,
    TryGet,
    GetTimeout,
    TryIter,
    Look,
    /// Calls that can't wait, because the locks are free and the ring is closed.
    CloseAndDrain(usize),
}

/// Any word, preferably near a border: 0, the bit for closed, the capacity.
pub(crate) fn garbage() -> impl Strategy<Value = u64> {
    let near = |at: u64| (0..24u64).prop_map(move |by| at.wrapping_add(by).wrapping_sub(12));
    prop_oneof![
        near(0),
        near(1 << 63),
        near(1 << 62),
        near(64),
        any::<u64>()
    ]
}

/// The index of a control word.
pub(crate) fn words() -> impl Strategy<Value = usize> {
    prop_oneof![
        9 => proptest::sample::select(&USED[..]),
        1 => 0..WORDS,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (words(), garbage()).prop_map(|(word, value)| Step::Garbage(word, value)),
        3 => Just(Step::TryPut),
        1 => Just(Step::PutTimeout),
        3 => Just(Step::TryGet),
        1 => Just(Step::GetTimeout),
        1 => Just(Step::TryIter),
        1 => Just(Step::Look),
        1 => (1..13usize).prop_map(Step::CloseAndDrain),
    ]
}

/// Overwrites one word. Words are counted from the first control word.
pub(crate) fn set_word(memory: &HeapMemory, word: usize, value: u64) {
    scribble(memory, BODY + 8 * word, &value.to_ne_bytes());
}

/// Returns a word, counted likewise.
pub(crate) fn word(memory: &HeapMemory, word: usize) -> u64 {
    let at = BODY + 8 * word;
    u64::from_ne_bytes(copy(memory, at, at + 8).try_into().unwrap())
}

/// Frees both sides' locks.
pub(crate) fn free_locks(memory: &HeapMemory) {
    for lock in [PRODUCERS_LOCK, CONSUMERS_LOCK] {
        set_word(memory, lock, 0);
    }
}

pub(crate) fn is_outcome_of_put_timeout(put: &Result<(), PutError>) -> bool {
    !matches!(put, Err(PutError::Full))
}

pub(crate) fn is_outcome_of_get_timeout<T>(got: &Result<T, GetError>) -> bool {
    !matches!(got, Err(GetError::Empty))
}

fn run<T: Sample>((capacity, steps): (usize, Vec<(usize, Step)>)) {
    let memories = Borders::holders(capacity * size_of::<T>());
    let crew = Crew::new(memories, |memory| Queue::<T>::create_in(memory, capacity));
    let memory = &crew.memories[0];
    let borders = Borders::new(memory, BODY + CONTROL + capacity * size_of::<T>());

    for (who, step) in steps {
        let queue = &crew.handles[who];
        let item = T::sample(who as u64);
        match step {
            Step::Garbage(word, value) => set_word(memory, word, value),
            Step::TryPut => {
                let put = queue.try_put(item);
                assert_ne!(put, Err(PutError::TimedOut));
            }
            Step::PutTimeout => {
                let put = queue.put_timeout(item, Duration::ZERO);
                assert!(is_outcome_of_put_timeout(&put), "{put:?}");
            }
            Step::TryGet => {
                let got = queue.try_get();
                assert_ne!(got, Err(GetError::TimedOut));
            }
            Step::GetTimeout => {
                let got = queue.get_timeout(Duration::ZERO);
                assert!(is_outcome_of_get_timeout(&got), "{got:?}");
            }
            Step::TryIter => {
                let counted = counted(memory);
                let got = until_corrupt(|| queue.try_iter().count() as u64);
                assert!(
                    got.is_none_or(|got| got == 0 || got == counted),
                    "{got:?} of {counted}"
                );
            }
            Step::Look => {
                assert!(queue.len() <= capacity);
                assert_eq!(queue.capacity(), capacity);
                let _ = (queue.is_empty(), queue.is_full(), queue.is_closed());
                assert!(!format!("{queue:?}").is_empty());
            }
            Step::CloseAndDrain(many) => {
                free_locks(memory);
                queue.close();
                assert!(queue.is_closed());
                assert_eq!(queue.put_many(&vec![item; many]), Err(PutError::Closed));
                let mut out = vec![item; many];
                match queue.get_many(&mut out) {
                    Ok(got) => assert!((1..=many.min(capacity)).contains(&got), "{got} items"),
                    Err(error) => {
                        assert!(
                            matches!(error, GetError::Closed | GetError::Corrupt),
                            "{error}"
                        );
                    }
                }
            }
        }
    }
    borders.check();
}

/// Returns `tail - head`. An iterator takes exactly as many positions, unless somebody has the lock, or it panics
/// with `Corrupt`'s message; nothing else may panic.
pub(crate) fn counted(memory: &HeapMemory) -> u64 {
    let count = |lock| word(memory, lock + 1) & !CLOSED;
    count(PRODUCERS_LOCK).wrapping_sub(count(CONSUMERS_LOCK))
}

/// Runs `f`; returns `None` if it panics with `Corrupt`'s message.
pub(crate) fn until_corrupt<R>(f: impl FnOnce() -> R) -> Option<R> {
    let message = |text| assert_eq!(text, "the queue's indices are corrupt");
    message_of_panic(f).map_err(message).ok()
}

properties! {
    run, (1..=10usize, vec((0..HOLDERS, step()), 1..STEPS));
    a_queue_of_bytes_survives_garbage: u8;
    a_queue_of_words_survives_garbage: u64;
    a_queue_of_aligned_structs_survives_garbage: Aligned;
}

/// Values near the counts of a ring of `capacity`, and far away: distances from its `tail`.
pub(crate) fn lies(capacity: u64) -> impl Iterator<Item = u64> {
    let near =
        move |at: u64| (0..=4 * capacity).map(move |by| (at + by).wrapping_sub(2 * capacity));
    [0, CLOSED, CLOSED / 2].into_iter().flat_map(near)
}

/// No word but locks and counts says what is in the ring: whatever is written to the others, items come out once
/// and in order, and none is overwritten.
#[test]
fn only_locks_and_counts_are_believed() {
    const CAPACITY: usize = 4;
    let memory = holders(8 * CAPACITY).swap_remove(0);
    let queue = Queue::<u64>::create_in(memory.clone(), CAPACITY).unwrap();
    let mut model = VecDeque::new();
    let others = (0..WORDS).filter(|word| !TRUSTED.contains(word));
    let mut step = 0u64;
    for (at, by) in others.flat_map(|at| lies(CAPACITY as u64).map(move |by| (at, by))) {
        for _ in 0..5 {
            let lie = word(&memory, PRODUCERS_LOCK + 1).wrapping_add(by);
            set_word(&memory, at, lie);
            step += 1;
            if step * step % 11 < 5 {
                let got = queue.try_get();
                assert_eq!(
                    got,
                    model.pop_front().ok_or(GetError::Empty),
                    "word {at} is {lie:#x}"
                );
            } else {
                let is_full = model.len() == CAPACITY;
                let expected = if is_full { Err(PutError::Full) } else { Ok(()) };
                assert_eq!(queue.try_put(step), expected, "word {at} is {lie:#x}");
                model.extend((!is_full).then_some(step));
            }
        }
        set_word(&memory, at, 0);
    }
}

/// A count is not believed to go back behind what the handle, or a clone of it, has seen.
#[test]
fn a_count_that_went_back_is_corrupt() {
    let memory = holders(8 * 4).swap_remove(0);
    let queue = Queue::<u64>::create_in(memory.clone(), 4).unwrap();
    let clone = queue.clone();
    let (tail, head) = (PRODUCERS_LOCK + 1, CONSUMERS_LOCK + 1);
    assert_eq!(queue.put_many(&[1, 2, 3]), Ok(3));
    for lie in 0..3 {
        set_word(&memory, tail, lie);
        assert_eq!(clone.try_put(9), Err(PutError::Corrupt), "tail {lie}");
    }
    set_word(&memory, tail, 3);
    assert_eq!(
        [queue.try_put(4), queue.try_put(5)],
        [Ok(()), Err(PutError::Full)]
    );
    assert_eq!([(); 3].map(|()| queue.get()), [Ok(1), Ok(2), Ok(3)]);
    for lie in 0..3 {
        set_word(&memory, head, lie);
        assert_eq!(clone.try_get(), Err(GetError::Corrupt), "head {lie}");
    }
    set_word(&memory, head, 3);
    assert_eq!(queue.put_many(&[5, 6, 7, 8]), Ok(3)); // looks at head
    for lie in 0..3 {
        set_word(&memory, head, lie);
        assert_eq!(clone.try_put(9), Err(PutError::Corrupt), "head {lie}");
    }
    set_word(&memory, head, 3);
    let rest: Vec<u64> = clone.try_iter().collect();
    assert_eq!(rest, [4, 5, 6, 7]);
}
