//! Property tests. Over heap memory, some of whose holders die in the middle of their work, `Value` does
//! what a plain variable does, `Array` what a `Vec` does, and the queues and endpoints what a `VecDeque`
//! does. A ring or a journal whose words are overwritten with garbage answers with errors or poison:
//! it neither panics nor hangs, and touches no other memory.
//!
//! Each property runs on one thread and makes no system call but the clock's, so Miri can run it too:
//! `cargo +nightly miri test --test model`.

#[path = "../support/mod.rs"]
mod support;

mod ops;

mod array;
mod bytes;
mod bytes_corrupt;
mod corrupt;
mod endpoints;
mod queue;
mod value;

use bytemuck::{Pod, Zeroable};
use ops::{BODY, End, Form, HOLDERS, Sample, holders, scramble};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use shmkit::memory::{HeapMemory, Memory};
use std::fmt::Debug;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

impl Sample for u64 {
    fn sample(number: u64) -> Self {
        scramble(number)
    }
}

impl Sample for [u8; 3] {
    fn sample(number: u64) -> Self {
        let [a, b, c, ..] = scramble(number).to_le_bytes();
        [a, b, c]
    }
}

/// 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Wide {
    id: u64,
    size: u32,
    kind: [u16; 2],
    sum: u64,
}

impl Sample for Wide {
    fn sample(number: u64) -> Self {
        bytemuck::cast(<[u64; 3]>::sample(number))
    }
}

/// An element as large as its alignment, which exceeds that of the control words' integers.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
struct Aligned([u64; 8]);

impl Sample for Aligned {
    fn sample(number: u64) -> Self {
        Self([0, 1, 2, 3, 4, 5, 6, 7].map(|part| scramble(number ^ part << 60)))
    }
}

/// An element of the least size that is not kept on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Large([u64; 8192]);

impl Sample for Large {
    fn sample(number: u64) -> Self {
        Self(std::array::from_fn(|part| {
            scramble(number ^ (part as u64) << 40)
        }))
    }
}

/// As many cases as `PROPTEST_CASES` says, or 64; few under Miri, which is slow. No file keeps past
/// failures, because a test must not write to the checkout.
fn config() -> Config {
    let default = Config::default();
    let cases = match std::env::var("PROPTEST_CASES") {
        Ok(_) => default.cases,
        Err(_) if cfg!(miri) => 3,
        Err(_) => 64,
    };
    Config {
        failure_persistence: None,
        cases,
        ..default
    }
}

/// Fewer cases, for large elements.
fn few() -> Config {
    let config = config();
    Config {
        cases: config.cases.div_ceil(10),
        ..config
    }
}

/// Runs `f` on a stack for many large elements. In a debug build, an interpreter's frame has space for each
/// copy of an element that the interpreter mentions.
fn with_stack(f: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(16 << 20);
        let outcome = thread.spawn_scoped(scope, f).unwrap().join();
        outcome.unwrap_or_else(|payload| resume_unwind(payload));
    });
}

/// How many steps a case of large elements has at most.
const FEW: usize = STEPS / 10;

/// How many steps a case has at most.
const STEPS: usize = if cfg!(miri) { 40 } else { 400 };

/// Ends a property that takes some hundred times as long as usual.
fn watchdog(what: &'static str) -> Option<support::Watchdog> {
    // Under Miri the watchdog's thread would outlive the test.
    (!cfg!(miri)).then(|| support::Watchdog::new(what, Duration::from_secs(120)))
}

/// One property for each named element type: `$run::<element>` passes with every input of the strategy.
macro_rules! properties {
    ($run:ident, $inputs:expr; $($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(crate::config())]
            $(
                #[test]
                fn $name(input in $inputs) {
                    let _watchdog = crate::watchdog(stringify!($name));
                    $run::<$element>(input);
                }
            )*
        }
    };
}
pub(crate) use properties;

/// Steps of the holders. Three of four cases leave out each step that closes, so that most cases use an
/// open queue to their end.
fn steps<S: Debug>(
    step: impl Strategy<Value = S>,
    closes: fn(&S) -> bool,
) -> impl Strategy<Value = Vec<(usize, S)>> {
    let may_close = proptest::bool::weighted(0.25);
    (may_close, vec((0..HOLDERS, step), 1..STEPS)).prop_map(move |(may_close, mut steps)| {
        steps.retain(|(_, step)| may_close || !closes(step));
        steps
    })
}

fn forms() -> impl Strategy<Value = Form> {
    proptest::sample::select(&[Form::Plain, Form::Try, Form::Timeout][..])
}

/// Two deaths for each panic, because more can go wrong with a death.
fn ends() -> impl Strategy<Value = End> {
    prop_oneof![2 => Just(End::Death), 1 => Just(End::Panic)]
}

/// Overwrites bytes of the memory past the handles.
fn scribble(memory: &HeapMemory, offset: usize, bytes: &[u8]) {
    assert!(offset + bytes.len() <= memory.len());
    let to = memory.base().as_ptr().wrapping_add(offset);
    // SAFETY: the place is inside the memory, and no other thread uses the memory.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// A copy of the bytes from `from` up to `to`.
fn copy(memory: &HeapMemory, from: usize, to: usize) -> Vec<u8> {
    let first = memory.base().as_ptr().wrapping_add(from);
    let mut copy = vec![0; to - from];
    assert!(to <= memory.len());
    // SAFETY: the bytes are inside the memory, and no other thread uses the memory.
    unsafe { first.copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
    copy
}

/// Notices strays: writes to the header, or behind the last byte of a body.
struct Borders {
    memory: Arc<HeapMemory>,
    header: Vec<u8>,
    end: usize,
    behind: Vec<u8>,
}

impl Borders {
    /// Memory with room for `len` bytes of elements, and for strays.
    fn holders(len: usize) -> Vec<Arc<HeapMemory>> {
        holders(len + 512)
    }

    /// Remembers all bytes outside of the body, which ends at the offset `end`. The segment must be laid out.
    fn new(memory: &Arc<HeapMemory>, end: usize) -> Self {
        const CANARY: u8 = 0xa5;
        let behind = vec![CANARY; memory.len() - end];
        assert!(behind.len() >= 256, "room to notice strays");
        scribble(memory, end, &behind);
        Self {
            memory: memory.clone(),
            header: copy(memory, 0, BODY),
            end,
            behind,
        }
    }

    /// Fails if one of those bytes has changed.
    fn check(&self) {
        let behind = copy(&self.memory, self.end, self.memory.len());
        assert_eq!(behind, self.behind, "written behind the body");
        let header = copy(&self.memory, 0, BODY);
        assert_eq!(header, self.header, "written to the header");
    }
}
