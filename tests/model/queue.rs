//! `Queue` against a `VecDeque` with a capacity.

use crate::ops::Sample;
use crate::ops::queue::{Op, run};
use crate::{Aligned, FEW, Large, Wide, ends, few, forms, properties, steps, with_stack};
use proptest::prelude::*;

fn ops() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let many = || 0..13u8;
    let op = prop_oneof![
        21 => forms().prop_map(Op::Put),
        6 => many().prop_map(Op::PutMany),
        3 => many().prop_map(Op::PutAll),
        15 => forms().prop_map(Op::Get),
        6 => many().prop_map(Op::GetMany),
        2 => many().prop_map(Op::PutManyTimeout),
        2 => many().prop_map(Op::PutAllTimeout),
        2 => many().prop_map(Op::GetManyTimeout),
        8 => forms().prop_map(Op::GetWith),
        6 => (forms(), any::<bool>()).prop_map(|(form, takes)| Op::TakeWith(form, takes)),
        3 => Just(Op::PutInGetWith),
        6 => ends().prop_map(Op::EndInGetWith),
        2 => Just(Op::DieProducing),
        2 => Just(Op::DieConsuming),
        3 => (many(), many()).prop_map(|(ask, commit)| Op::WriteChunk(ask, commit)),
        2 => (many(), ends()).prop_map(|(ask, end)| Op::EndInWriteChunk(ask, end)),
        3 => (many(), many()).prop_map(|(ask, release)| Op::ReadChunk(ask, release)),
        2 => (many(), ends()).prop_map(|(ask, end)| Op::EndInReadChunk(ask, end)),
        2 => many().prop_map(Op::TryIter),
        1 => Just(Op::Close),
        2 => Just(Op::Clone),
        2 => Just(Op::Reopen),
    ];
    steps(op, |op| matches!(op, Op::Close))
}

fn capacity() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..=10usize, 1 => Just(64)]
}

fn like_a_deque<T: Sample>((capacity, ops): (usize, Vec<(usize, Op)>)) {
    run::<T>(capacity, &ops);
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn large_structs_queue_like_in_a_deque(capacity in 1..=3usize, mut ops in ops()) {
        ops.truncate(FEW);
        with_stack(|| run::<Large>(capacity, &ops));
    }
}

properties! {
    like_a_deque, (capacity(), ops());
    bytes_queue_like_in_a_deque: u8;
    words_queue_like_in_a_deque: u64;
    three_bytes_queue_like_in_a_deque: [u8; 3];
    structs_queue_like_in_a_deque: Wide;
    aligned_structs_queue_like_in_a_deque: Aligned;
}
