//! Sequences of a `ByteQueue`'s operations over several holders, some of which die in the middle,
//! against a `VecDeque` of messages.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shmkit_fuzz::of_holders;
use shmkit_fuzz::ops::bytes::{Op, run};

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    ops: Vec<(u8, Op)>,
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity % 600) + 1;
    run(capacity, &of_holders(&input.ops));
});
