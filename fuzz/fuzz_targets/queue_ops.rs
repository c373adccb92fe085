//! Sequences of a `Queue`'s operations over several holders, some of which die in the middle, against
//! a `VecDeque`: puts and gets, and endpoints with their chunks.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shmkit_fuzz::of_holders;
use shmkit_fuzz::ops::queue::{Op, run};

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u8,
    wide: bool,
    ops: Vec<(u8, Op)>,
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity % 40) + 1;
    let ops = of_holders(&input.ops);
    if input.wide {
        run::<[u64; 3]>(capacity, &ops);
    } else {
        run::<u8>(capacity, &ops);
    }
});
