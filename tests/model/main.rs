//! Property tests: `Value`, `Array` and `Queue` over heap memory, with several holders of which some
//! die in the middle of their work, do what a plain variable, a `Vec` and a `VecDeque` do; and a ring
//! or a journal whose words are overwritten with garbage answers with errors or poison, not with
//! panics, hangs or stray accesses.
//!
//! Everything runs on one thread and makes no system call but the clock's, so Miri can run it too:
//! `cargo +nightly miri test --test model`.

#[path = "../support/mod.rs"]
mod support;

mod array;
mod bytes;
mod bytes_corrupt;
mod corrupt;
mod endpoints;
mod queue;
mod value;

use bytemuck::{Pod, Zeroable};
use proptest::test_runner::Config;
use shmkit::Element;
use shmkit::internals::{Deadline, Holder, Lock, LockId, LockWord, Wait};
use shmkit::memory::{HeapMemory, Memory};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

/// Where a body, which begins with its first lock word, lies in memory.
const BODY: usize = 512;

/// How many take part.
const HOLDERS: usize = 3;

/// An element that can be made from a number, so that different numbers make different elements
/// (as far as the size goes), without a byte that is always the same.
trait Sample: Element + PartialEq + Debug {
    fn sample(number: u64) -> Self;
}

fn scramble(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0123_4567_89ab_cdef
}

impl Sample for u8 {
    fn sample(number: u64) -> Self {
        number.to_le_bytes()[0]
    }
}

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
        bytemuck::cast([1, 2, 3].map(|part| scramble(number ^ part << 60)))
    }
}

/// As large as its alignment, which is beyond that of the control words' integers.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
struct Aligned([u64; 8]);

impl Sample for Aligned {
    fn sample(number: u64) -> Self {
        Self([0, 1, 2, 3, 4, 5, 6, 7].map(|part| scramble(number ^ part << 60)))
    }
}

/// As many cases as `PROPTEST_CASES` says, or 64 of up to 400 steps; few under Miri, which is slow.
/// No file of past failures: a test has no business to write to the checkout.
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

/// How many steps a case has at most.
const STEPS: usize = if cfg!(miri) { 40 } else { 400 };

/// A limit for a whole property: some hundred times what it takes.
fn watchdog(what: &'static str) -> Option<support::Watchdog> {
    // Under Miri its thread would outlive the test.
    (!cfg!(miri)).then(|| support::Watchdog::new(what, Duration::from_secs(120)))
}

/// Memory for `len` bytes of elements, and its holders.
fn holders(len: usize) -> Vec<Arc<HeapMemory>> {
    let first = HeapMemory::new(BODY + 1024 + len);
    let others: Vec<_> = (1..HOLDERS).map(|_| first.attach()).collect();
    [first].into_iter().chain(others).map(Arc::new).collect()
}

/// The holder takes the lock whose word is at `offset`, and dies with it.
fn die_holding(memory: &HeapMemory, offset: usize) {
    let died = HeapMemory::until_death(|| {
        let word = memory.base().as_ptr().wrapping_add(offset);
        // SAFETY: inside the memory, which is aligned; a lock word is an atomic, and the body has
        // one there.
        let word = unsafe { &*word.cast::<LockWord>() };
        let holder = Holder {
            number: memory.number(),
            others: memory,
        };
        let patience = Wait::Until(Deadline::after(Duration::from_secs(60)));
        let guard = Lock::new(word, holder, LockId(9)).lock(patience);
        let _guard = guard.expect("nobody alive holds it");
        die(memory)
    });
    assert!(died.is_none());
}

/// A simulated death, here and now.
fn die(memory: &HeapMemory) -> ! {
    // SAFETY: these tests have one thread for each memory.
    unsafe { memory.die() }
}

/// A panic of the user's, which does not print.
fn panic_quietly() -> ! {
    resume_unwind(Box::new(Quiet))
}

/// What it unwinds with.
struct Quiet;

/// Runs `f` up to its end or its `panic_quietly`.
fn until_panic<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Quiet>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// What the panic in `f` says, which is a copy's of an endpoint, and is not printed.
fn copy_says<R>(f: impl FnOnce() -> R) -> String {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_expected = |text: &&str| text.contains(OF_A_COPY);
            if !info.payload().downcast_ref().is_some_and(is_expected) {
                hook(info);
            }
        }));
    });
    let payload = catch_unwind(AssertUnwindSafe(f)).err();
    let payload = payload.expect("expected a panic, found none");
    let text = payload.downcast_ref::<&str>().copied();
    text.expect("a text").to_owned()
}

/// What an endpoint says that is not its process's own.
const OF_A_COPY: &str = "the endpoint is its parent's";
