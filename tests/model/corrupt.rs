//! A ring whose words a peer overwrites with garbage: what may wait for nothing answers with an
//! item, a refusal or `Corrupt`, and touches nothing outside the ring's slots.

use crate::{Aligned, BODY, HOLDERS, STEPS, Sample, config, holders, until_panic, watchdog};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::{HeapMemory, Memory};
use shmkit::{GetError, PutError, Queue};
use std::time::Duration;

/// The ring's control words: four lines of 128 bytes.
pub(crate) const WORDS: usize = 64;

/// The words that mean something: each side's lock, count, and copy of the other's; the events.
pub(crate) const MEANING: [usize; 8] = [0, 1, 2, 16, 17, 18, 32, 48];

#[derive(Clone, Debug)]
enum Step {
    Garbage(usize, u64),
    TryPut,
    PutTimeout,
    TryGet,
    GetTimeout,
    TryIter,
    Look,
    /// With free locks and a closed ring even these can't wait.
    CloseAndDrain(usize),
}

/// Anything, and with preference what lies near a border: 0, the bit for closed, the end.
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

fn step() -> impl Strategy<Value = Step> {
    let word = prop_oneof![
        9 => proptest::sample::select(&MEANING[..]),
        1 => 0..WORDS,
    ];
    prop_oneof![
        6 => (word, garbage()).prop_map(|(word, value)| Step::Garbage(word, value)),
        3 => Just(Step::TryPut),
        1 => Just(Step::PutTimeout),
        3 => Just(Step::TryGet),
        1 => Just(Step::GetTimeout),
        1 => Just(Step::TryIter),
        1 => Just(Step::Look),
        1 => (1..13usize).prop_map(Step::CloseAndDrain),
    ]
}

/// Overwrites one of the words that begin with the ring's own.
pub(crate) fn scribble(memory: &HeapMemory, word: usize, value: u64) {
    assert!(BODY + 8 * (word + 1) <= memory.len());
    let word = memory.base().as_ptr().wrapping_add(BODY + 8 * word);
    // SAFETY: inside the memory, aligned, and this is the only thread.
    unsafe { word.cast::<u64>().write(value) };
}

/// A copy of the bytes from `from` up to `to`.
pub(crate) fn bytes(memory: &HeapMemory, from: usize, to: usize) -> Vec<u8> {
    let first = memory.base().as_ptr().wrapping_add(from);
    let mut copy = vec![0; to - from];
    assert!(to <= memory.len());
    // SAFETY: inside the memory, and this is the only thread.
    unsafe { first.copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
    copy
}

fn run<T: Sample>(capacity: usize, steps: &[(usize, Step)]) {
    const CANARY: u8 = 0xa5;
    let memories = holders(capacity * size_of::<T>());
    let memory = &memories[0];
    let queue = Queue::<T>::create_in(memory.clone(), capacity).unwrap();
    let queues: Vec<_> = memories[1..]
        .iter()
        .map(|memory| Queue::<T>::open_in(memory.clone()).unwrap())
        .chain([queue])
        .collect();
    let end = BODY + 8 * WORDS + capacity * size_of::<T>();
    let len = memory.len() - end;
    assert!(len >= 256, "room to notice strays");
    let behind = memory.base().as_ptr().wrapping_add(end);
    // SAFETY: inside the memory, behind the slots, where nothing of the queue's is.
    unsafe { behind.write_bytes(CANARY, len) };
    let header = bytes(memory, 0, BODY);

    for (who, step) in steps {
        let queue = &queues[*who];
        let item = T::sample(*who as u64);
        match *step {
            Step::Garbage(word, value) => scribble(memory, word, value),
            Step::TryPut => {
                let put = queue.try_put(item);
                assert_ne!(put, Err(PutError::TimedOut));
            }
            Step::PutTimeout => {
                let put = queue.put_timeout(item, Duration::ZERO);
                assert!(
                    !matches!(put, Err(PutError::Full | PutError::Busy)),
                    "{put:?}"
                );
            }
            Step::TryGet => {
                let got = queue.try_get();
                assert_ne!(got, Err(GetError::TimedOut));
            }
            Step::GetTimeout => {
                let got = queue.get_timeout(Duration::ZERO);
                assert!(
                    !matches!(got, Err(GetError::Empty | GetError::Busy)),
                    "{got:?}"
                );
            }
            // The one panic that is documented. A wrong copy of tail that is within the capacity
            // is believed once, before the real one is looked at.
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
                for lock in [0, 16] {
                    scribble(memory, lock, 0);
                }
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
    let behind = bytes(memory, end, memory.len());
    assert_eq!(behind, vec![CANARY; len], "written behind the slots");
    assert_eq!(bytes(memory, 0, BODY), header, "written to the header");
}

/// Runs `f` up to its end, or to the panic with `Corrupt`'s text.
pub(crate) fn until_corrupt<R>(f: impl FnOnce() -> R) -> Option<R> {
    until_panic(|| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            assert_eq!(text, Some("the queue's indices are corrupt"));
            crate::panic_quietly()
        })
    })
}

macro_rules! survives_garbage {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(capacity in 1..=10usize, steps in vec((0..HOLDERS, step()), 1..STEPS)) {
                    let _watchdog = watchdog(stringify!($name));
                    run::<$element>(capacity, &steps);
                }
            )*
        }
    };
}

survives_garbage! {
    a_queue_of_bytes_survives_garbage: u8;
    a_queue_of_words_survives_garbage: u64;
    a_queue_of_aligned_structs_survives_garbage: Aligned;
}
