//! A `ByteQueue` whose words, and whose messages' lengths, a peer overwrites with garbage: what may
//! wait for nothing answers with a message, a refusal or `Corrupt`, and touches nothing outside.

use crate::corrupt::{MEANING, WORDS, bytes, garbage, scribble, until_corrupt};
use crate::{BODY, HOLDERS, STEPS, config, holders, watchdog};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::Memory;
use shmkit::{ByteQueue, GetError, PutError};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    /// A control word.
    Garbage(usize, u64),
    /// A unit of the ring or of its spill area: a length word, perhaps.
    Length(usize, u64),
    TryPut(usize),
    PutTimeout(usize),
    Reserve(usize),
    TryGet,
    GetTimeout,
    GetWith,
    TryIter,
    Look,
    /// With free locks and a closed ring even these can't wait.
    CloseAndDrain,
}

fn step() -> impl Strategy<Value = Step> {
    let word = prop_oneof![
        9 => proptest::sample::select(&MEANING[..]),
        1 => 0..WORDS,
    ];
    let len = || 0..100usize;
    prop_oneof![
        3 => (word, garbage()).prop_map(|(word, value)| Step::Garbage(word, value)),
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

fn run(units: usize, steps: &[(usize, Step)]) {
    const CANARY: u8 = 0xa5;
    let slots = 2 * units - 1;
    let memories = holders(8 * slots);
    let memory = &memories[0];
    let queue = ByteQueue::create_in(memory.clone(), 8 * units).unwrap();
    let queues: Vec<_> = memories[1..]
        .iter()
        .map(|memory| ByteQueue::open_in(memory.clone()).unwrap())
        .chain([queue])
        .collect();
    let end = BODY + 8 * (WORDS + slots);
    let len = memory.len() - end;
    assert!(len >= 256, "room to notice strays");
    let behind = memory.base().as_ptr().wrapping_add(end);
    // SAFETY: inside the memory, behind the slots, where nothing of the queue's is.
    unsafe { behind.write_bytes(CANARY, len) };
    let header = bytes(memory, 0, BODY);

    for (who, step) in steps {
        let queue = &queues[*who];
        let max = queue.max_message_len();
        let too_long = |len| PutError::TooLong { len, max };
        match *step {
            Step::Garbage(word, value) => scribble(memory, word, value),
            Step::Length(unit, value) => scribble(memory, WORDS + unit % slots, value),
            Step::TryPut(len) => {
                let put = queue.try_put(&vec![1; len]);
                assert_eq!(put == Err(too_long(len)), len > max);
                assert_ne!(put, Err(PutError::TimedOut));
            }
            Step::PutTimeout(len) => {
                let put = queue.put_timeout(&vec![2; len], Duration::ZERO);
                assert!(
                    !matches!(put, Err(PutError::Full | PutError::Busy)),
                    "{put:?}"
                );
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
                assert!(
                    !matches!(got, Err(GetError::Empty | GetError::Busy)),
                    "{got:?}"
                );
            }
            Step::GetWith => {
                let got = queue.try_get_with(|message| message.iter().map(|b| u64::from(*b)).sum());
                let most = 255 * max as u64;
                assert!(got.is_err() || got.is_ok_and(|sum: u64| sum <= most));
            }
            // The one panic that is documented. A wrong copy of tail that is within the capacity
            // is believed once, before the real one is looked at.
            Step::TryIter => {
                let got = until_corrupt(|| queue.try_iter().count());
                assert!(got.is_none_or(|got| got <= 2 * units), "{got:?} messages");
            }
            Step::Look => {
                assert!(queue.used() <= queue.capacity());
                assert_eq!(queue.capacity(), 8 * units);
                let _ = (queue.is_empty(), queue.is_closed());
                assert!(!format!("{queue:?}").is_empty());
            }
            Step::CloseAndDrain => {
                for lock in [0, 16] {
                    scribble(memory, lock, 0);
                }
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
    let behind = bytes(memory, end, memory.len());
    assert_eq!(behind, vec![CANARY; len], "written behind the slots");
    assert_eq!(bytes(memory, 0, BODY), header, "written to the header");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_queue_of_messages_survives_garbage(
        units in 1..=10usize,
        steps in vec((0..HOLDERS, step()), 1..STEPS),
    ) {
        let _watchdog = watchdog("garbage lengths");
        run(units, &steps);
    }
}

/// A length is believed only as far as what is committed: not to the end of the ring.
#[test]
fn a_length_beyond_what_is_committed_is_corrupt() {
    let memory = holders(128).swap_remove(0);
    let queue = ByteQueue::create_in(memory.clone(), 64).unwrap();
    queue.put(b"12345678").unwrap();
    for len in [9, 16, 56, 57, 1 << 32, u64::MAX - 7, u64::MAX] {
        scribble(&memory, WORDS, len);
        let mut buffer = vec![7];
        assert_eq!(queue.try_get(), Err(GetError::Corrupt), "{len}");
        assert_eq!(queue.get_into(&mut buffer), Err(GetError::Corrupt));
        assert_eq!(
            queue.get_with(|_| unreachable!()),
            Err::<(), _>(GetError::Corrupt)
        );
        assert_eq!(buffer, [7]);
    }
    // Nothing was taken, no lock is left held: with its length back the message is there.
    scribble(&memory, WORDS, 8);
    assert_eq!(queue.try_get().unwrap(), b"12345678");
}
