//! `ByteQueue` against a `VecDeque` of messages, whose capacity is counted in units of 8 bytes.

use crate::ops::bytes::{Len, Op, run, units};
use crate::ops::{BODY, CONTROL};
use crate::{config, ends, forms, steps, watchdog};
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{ByteQueue, Error, PutError};
use std::sync::Arc;

fn ops() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let len = || {
        prop_oneof![
            6 => 0..20 as Len,
            4 => any::<Len>(),
            1 => Just(-2), // the longest
            1 => Just(-1), // too long
        ]
    };
    let op = prop_oneof![
        20 => (forms(), len()).prop_map(|(form, len)| Op::Put(form, len)),
        8 => (forms(), len(), len()).prop_map(|(form, len, of)| Op::Reserve(form, len, of)),
        2 => len().prop_map(Op::DropReservation),
        5 => (ends(), len()).prop_map(|(end, len)| Op::EndWithReservation(end, len)),
        12 => forms().prop_map(Op::Get),
        6 => forms().prop_map(Op::GetInto),
        6 => forms().prop_map(Op::GetWith),
        6 => (forms(), any::<bool>()).prop_map(|(form, takes)| Op::TakeWith(form, takes)),
        4 => proptest::option::of(len()).prop_map(Op::PutInGetWith),
        6 => (forms(), ends()).prop_map(|(form, end)| Op::EndInGetWith(form, end)),
        2 => Just(Op::DieProducing),
        2 => Just(Op::DieConsuming),
        2 => (0..13u8).prop_map(Op::TryIter),
        1 => Just(Op::Close),
        2 => Just(Op::Clone),
        2 => Just(Op::Reopen),
    ];
    steps(op, |op| matches!(op, Op::Close))
}

fn capacity() -> impl Strategy<Value = usize> {
    prop_oneof![1 => 1..=16usize, 4 => 17..=200usize, 1 => Just(256)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_queue_like_in_a_deque(capacity in capacity(), ops in ops()) {
        let _watchdog = watchdog("messages");
        run(capacity, &ops);
    }
}

/// A message of each length is whole wherever in the ring it begins, and damages no other message.
#[test]
fn a_message_of_any_length_is_whole_wherever_it_begins() {
    const UNITS: usize = if cfg!(miri) { 3 } else { 9 };
    let _watchdog = watchdog("every place");
    // The exact length of the control words, the slots and the spill area.
    let needed = BODY + CONTROL + 8 * (2 * UNITS - 1);
    let too_small = ByteQueue::create_in(Arc::new(HeapMemory::new(needed - 1)), 8 * UNITS);
    assert!(
        matches!(too_small, Err(Error::NoSpace { .. })),
        "{too_small:?}"
    );
    let queue = ByteQueue::create_in(Arc::new(HeapMemory::new(needed)), 8 * UNITS).unwrap();
    let mut made = 0u8;
    let mut make = |len: usize| {
        made = made.wrapping_add(1);
        vec![made; len]
    };
    for begin in 0..UNITS {
        for len in 0..=queue.max_message_len() {
            // As many messages follow as fit, so that damage to one of them is noticed.
            let mut messages = vec![make(len)];
            let mut left = UNITS - units(len);
            while left > 0 {
                messages.push(make(if left > 1 { 1 + left % 8 } else { 0 }));
                left -= units(messages.last().unwrap().len());
            }
            for message in &messages {
                queue.try_put(message).unwrap();
            }
            assert_eq!(queue.try_put(b""), Err(PutError::Full));
            assert_eq!(queue.used(), queue.capacity());
            assert!(queue.try_iter().eq(messages), "at {begin}, of {len} bytes");
        }
        // The next round begins one unit further on.
        queue.try_put(b"").unwrap();
        queue.try_get().unwrap();
    }
}
