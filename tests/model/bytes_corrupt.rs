//! A `ByteQueue` whose control words and messages' lengths a peer overwrites with garbage. Operations that
//! never wait long answer with a message, a refusal or `Corrupt`, and touch nothing outside the ring.

use crate::corrupt::{
    PRODUCERS_LOCK, TRUSTED, WORDS, counted, free_locks, garbage, is_outcome_of_get_timeout,
    is_outcome_of_put_timeout, lies, set_word, until_corrupt, word, words,
};
use crate::ops::{BODY, CONTROL, Crew};
use crate::{Borders, HOLDERS, STEPS, config, holders, watchdog};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::{ByteQueue, GetError, PutError};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Overwrites a control word.
    Garbage(usize, u64),
    /// Overwrites a unit of the ring or of its spill area, which may hold a message's length.
    Length(usize, u64),
    TryPut(usize),
    PutTimeout(usize),
    Reserve(usize),
    TryGet,
    GetTimeout,
    GetWith,
    TryIter,
    Look,
    /// Calls that can't wait, because the locks are free and the ring is closed.
    CloseAndDrain,
}

fn step() -> impl Strategy<Value = Step> {
    let len = || 0..100usize;
    prop_oneof![
        3 => (words(), garbage()).prop_map(|(word, value)| Step::Garbage(word, value)),
        8 => (any::<usize>(), garbage()).prop_map(|(unit, value)| Step::Length(unit, value)),
        6 => len().prop_map(Step::TryPut),
        1 => len().prop_map(Step::PutTimeout),
        2 => len().prop_map(Step::Reserve),
        4 => Just(Step::TryGet),
        1 => Just(Step::GetTimeout),
        2 => Just(Step::GetWith),
        1 => Just(Step::TryIter),
        1 => Just(Step::Look),
        1 => Just(Step::CloseAndDrain),
    ]
}

fn run(units: usize, steps: Vec<(usize, Step)>) {
    let slots = 2 * units - 1;
    let memories = Borders::holders(8 * slots);
    let crew = Crew::new(memories, |memory| ByteQueue::create_in(memory, 8 * units));
    let memory = &crew.memories[0];
    let borders = Borders::new(memory, BODY + CONTROL + 8 * slots);

    for (who, step) in steps {
        let queue = &crew.handles[who];
        let max = queue.max_message_len();
        let too_long = |len| PutError::TooLong { len, max };
        match step {
            Step::Garbage(word, value) => set_word(memory, word, value),
            Step::Length(unit, value) => set_word(memory, WORDS + unit % slots, value),
            Step::TryPut(len) => {
                let put = queue.try_put(&vec![1; len]);
                assert_eq!(put == Err(too_long(len)), len > max);
                assert_ne!(put, Err(PutError::TimedOut));
            }
            Step::PutTimeout(len) => {
                let put = queue.put_timeout(&vec![2; len], Duration::ZERO);
                assert!(is_outcome_of_put_timeout(&put), "{put:?}");
            }
            Step::Reserve(len) => {
                if let Ok(mut room) = queue.try_reserve(len) {
                    room.fill(3);
                    assert_eq!(*room, *vec![3; len]);
                    let put = room.commit(len);
                    assert_eq!(put, Ok(()), "nobody came in between");
                }
            }
            Step::TryGet => {
                let got = queue.try_get();
                assert!(got.as_ref().is_ok_and(|got| got.len() <= max) || got.is_err());
                assert_ne!(got, Err(GetError::TimedOut));
            }
            Step::GetTimeout => {
                let got = queue.get_timeout(Duration::ZERO);
                assert!(is_outcome_of_get_timeout(&got), "{got:?}");
            }
            Step::GetWith => {
                let got = queue.try_get_with(|message| message.iter().map(|b| u64::from(*b)).sum());
                let most = 255 * max as u64;
                assert!(got.is_err() || got.is_ok_and(|sum: u64| sum <= most));
            }
            Step::TryIter => {
                let counted = counted(memory);
                let used = |message: Vec<u8>| 1 + message.len().div_ceil(8) as u64;
                let got = until_corrupt(|| queue.try_iter().map(used).sum::<u64>());
                assert!(
                    got.is_none_or(|got| got == 0 || got == counted),
                    "{got:?} units of {counted}"
                );
            }
            Step::Look => {
                assert!(queue.used() <= queue.capacity());
                assert_eq!(queue.capacity(), 8 * units);
                let _ = (queue.is_empty(), queue.is_closed());
                assert!(!format!("{queue:?}").is_empty());
            }
            Step::CloseAndDrain => {
                free_locks(memory);
                queue.close();
                assert!(queue.is_closed());
                assert_eq!(queue.put(b""), Err(PutError::Closed));
                match queue.get() {
                    Ok(got) => assert!(got.len() <= max),
                    Err(error) => assert!(
                        matches!(error, GetError::Closed | GetError::Corrupt),
                        "{error}"
                    ),
                }
            }
        }
    }
    borders.check();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_queue_of_messages_survives_garbage(
        units in 1..=10usize,
        steps in vec((0..HOLDERS, step()), 1..STEPS),
    ) {
        let _watchdog = watchdog("garbage lengths");
        run(units, steps);
    }
}

/// A length that reaches beyond the committed units is corrupt, even inside the ring.
#[test]
fn a_length_beyond_what_is_committed_is_corrupt() {
    let memory = holders(128).swap_remove(0);
    let queue = ByteQueue::create_in(memory.clone(), 64).unwrap();
    queue.put(b"12345678").unwrap();
    for len in [9, 16, 56, 57, 1 << 32, u64::MAX - 7, u64::MAX] {
        set_word(&memory, WORDS, len);
        let mut buffer = vec![7];
        assert_eq!(queue.try_get(), Err(GetError::Corrupt), "{len}");
        assert_eq!(queue.get_into(&mut buffer), Err(GetError::Corrupt));
        assert_eq!(
            queue.get_with(|_| unreachable!()),
            Err::<(), _>(GetError::Corrupt)
        );
        assert_eq!(buffer, [7]);
    }
    // The refused gets took nothing and left no lock held: with its length mended, the message comes.
    set_word(&memory, WORDS, 8);
    assert_eq!(queue.try_get().unwrap(), b"12345678");
}

/// No word but locks and counts says which bytes are whose: whatever is written to the others, no reservation
/// overlaps a message that somebody reads in place, and no message that is read overlaps a reservation.
#[test]
fn no_other_word_makes_two_loans_of_the_same_bytes() {
    const UNITS: usize = 8;
    let memory = holders(8 * (2 * UNITS - 1)).swap_remove(0);
    let queue = ByteQueue::create_in(memory.clone(), 64).unwrap();
    let overlaps = |a: &[u8], b: &[u8]| {
        let (a, b) = (a.as_ptr_range(), b.as_ptr_range());
        a.start < b.end && b.start < a.end
    };
    let others = (0..WORDS).filter(|word| !TRUSTED.contains(word));
    for (at, by) in others.flat_map(|at| lies(UNITS as u64).map(move |by| (at, by))) {
        let lie = || word(&memory, PRODUCERS_LOCK + 1).wrapping_add(by);
        queue.put(&[1; 17]).unwrap();
        queue.put(&[2; 8]).unwrap();
        let in_place = queue.get_with(|message| {
            set_word(&memory, at, lie());
            for len in [0, 8, 40] {
                let room = queue.try_reserve(len);
                assert_eq!(
                    room.is_ok(),
                    len < 16,
                    "{len} bytes, word {at}, {by:#x} behind tail"
                );
                assert!(room.is_err() || !overlaps(&room.unwrap(), message));
            }
            assert_eq!(message, [1; 17], "word {at}, {by:#x} behind tail");
        });
        in_place.unwrap();
        let room = queue.try_reserve(8).unwrap();
        set_word(&memory, at, lie());
        let in_place = queue.try_get_with(|message| {
            assert_eq!(message, [2; 8], "word {at}, {by:#x} behind tail");
            assert!(!overlaps(&room, message));
        });
        in_place.unwrap();
        drop(room);
        set_word(&memory, at, lie());
        assert_eq!(
            queue.try_get(),
            Err(GetError::Empty),
            "word {at}, {by:#x} behind tail"
        );
        set_word(&memory, at, 0);
    }
}
