//! What the fuzz targets share: holders of one piece of heap memory, and their deaths.

use arbitrary::Arbitrary;
use shmkit::internals::{Deadline, Holder, Lock, LockId, LockWord, Wait};
use shmkit::memory::{HeapMemory, Memory};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Where a body begins, which the producers' lock is the first word of.
pub const PRODUCERS: usize = 512;

/// Where the consumers' lock lies.
pub const CONSUMERS: usize = 512 + 128;

/// How many take part.
pub const HOLDERS: usize = 3;

/// One of the holders.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Who(u8);

impl Who {
    /// Its index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0) % HOLDERS
    }
}

/// How a holder ends what it is in the middle of.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum End {
    /// It dies.
    Death,
    /// Its own code panics.
    Panic,
}

impl End {
    /// Comes to this end.
    pub fn come(self, memory: &HeapMemory) -> ! {
        match self {
            Self::Death => die(memory),
            // Not `panic!`: the fuzzer's hook would end everything.
            Self::Panic => resume_unwind(Box::new(Quiet)),
        }
    }

    /// Runs what may come to either end; `None` if it did.
    pub fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
        let caught = catch_unwind(AssertUnwindSafe(|| HeapMemory::until_death(f)));
        match caught {
            Ok(result) => result,
            Err(payload) if payload.is::<Quiet>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// What a panic unwinds with.
struct Quiet;

/// The holder dies.
fn die(memory: &HeapMemory) -> ! {
    // SAFETY: a target has one thread, and no slice of a reservation outlives the unwinding.
    unsafe { memory.die() }
}

/// Memory with room for `len` bytes of elements, and its holders.
#[must_use]
pub fn holders(len: usize) -> Vec<Arc<HeapMemory>> {
    let first = HeapMemory::new(1024 + len);
    let others: Vec<_> = (1..HOLDERS).map(|_| first.attach()).collect();
    [first].into_iter().chain(others).map(Arc::new).collect()
}

/// The holder takes the lock at `offset`, and dies with it.
pub fn die_holding(memory: &HeapMemory, offset: usize) {
    let died = HeapMemory::until_death(|| {
        let word = memory.base().as_ptr().wrapping_add(offset);
        // SAFETY: inside the memory and aligned; a lock word is an atomic, and there is one there.
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
