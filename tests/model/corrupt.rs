//! A `Queue` whose control words a peer overwrites with garbage. Operations that never wait long answer
//! with an item, a refusal or `Corrupt`, and touch nothing outside the ring.

use crate::ops::{BODY, CONTROL, Crew, Sample, message_of_panic};
use crate::{Aligned, Borders, HOLDERS, STEPS, properties, scribble};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{GetError, PutError, Queue};
use std::time::Duration;

/// How many control words a ring has.
pub(crate) const WORDS: usize = CONTROL / 8;

/// The control words in use: each side's lock, count, and copy of the other side's count; the events.
const USED: [usize; 8] = [0, 1, 2, 16, 17, 18, 32, 48];

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

/// Frees both sides' locks.
pub(crate) fn free_locks(memory: &HeapMemory) {
    for lock in [0, 16] {
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
            // Only the iterator may panic. A getter believes a wrong copy of `tail` within the capacity
            // once, before it loads the real `tail`.
            Step::TryIter => {
                let got = until_corrupt(|| queue.try_iter().count());
                assert!(got.is_none_or(|got| got <= 2 * capacity), "{got:?} items");
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
