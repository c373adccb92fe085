//! [`HeapMemory`]: memory without any other process, with deaths on demand.

use super::layout::MAX_ALIGN;
use super::memory::Memory;
use crate::sync::{HolderState, Liveness, new_identity};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Plain heap memory with simulated holders and simulated deaths: for unit tests, models and fuzzing.
///
/// ```
/// use shmkit::memory::HeapMemory;
/// use shmkit::Value;
/// use std::sync::Arc;
///
/// # fn main() -> shmkit::Result<()> {
/// let one = Arc::new(HeapMemory::new(4096));
/// let other = Arc::new(one.attach());
/// let value = Value::create_in(one.clone(), 1u64)?;
/// let seen = Value::<u64>::open_in(other)?;
///
/// // The first holder dies inside an update: nothing of it shows, and nobody waits for it.
/// let died = HeapMemory::until_death(|| {
///     value.update(|v| {
///         *v = 2;
///         // SAFETY: no other thread uses this holder.
///         unsafe { one.die() }
///     })
/// });
/// assert!(died.is_none());
/// assert_eq!(seen.swap(3), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HeapMemory {
    block: Arc<Block>,
    number: AtomicU64,
}

#[derive(Debug)]
struct Block {
    base: NonNull<u8>,
    layout: Layout,
    identity: (u64, u64),
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    last: u64,
    living: BTreeSet<u64>,
}

// SAFETY: the bytes are reached only through `base`, by the rules of `Memory`; the rest is locked.
unsafe impl Send for Block {}
// SAFETY: as for `Send`.
unsafe impl Sync for Block {}

impl Block {
    fn holders<R>(&self, f: impl FnOnce(&mut Holders) -> R) -> R {
        f(&mut self.holders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn draw(&self) -> u64 {
        self.holders(|holders| {
            holders.last += 1;
            holders.living.insert(holders.last);
            holders.last
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `HeapMemory::new` allocated the bytes with this very layout, and nobody has freed them.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl HeapMemory {
    /// Allocates `len` bytes of zeros, and makes their first holder.
    ///
    /// ```
    /// use shmkit::memory::{HeapMemory, Memory};
    ///
    /// let memory = HeapMemory::new(4096);
    /// assert_eq!(memory.len(), 4096);
    /// ```
    ///
    /// # Panics
    /// If `len` is 0 or larger than an allocation can be.
    #[must_use]
    pub fn new(len: usize) -> Self {
        assert!(len > 0, "expected at least 1 byte, found 0");
        let layout = Layout::from_size_align(len, MAX_ALIGN).expect("a size that can be allocated");
        // SAFETY: the size is not 0.
        let base = unsafe { alloc_zeroed(layout) };
        let block = Arc::new(Block {
            base: NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout)),
            layout,
            identity: new_identity(),
            holders: Mutex::default(),
        });
        Self::holder_of(block)
    }

    fn holder_of(block: Arc<Block>) -> Self {
        let number = AtomicU64::new(block.draw());
        Self { block, number }
    }

    /// Returns the same bytes for one more holder, which stands for another process.
    ///
    /// ```
    /// use shmkit::memory::{HeapMemory, HolderState, Liveness, Memory};
    /// use std::sync::atomic::Ordering;
    ///
    /// let one = HeapMemory::new(4096);
    /// let other = one.attach();
    /// let number = other.number().load(Ordering::Relaxed);
    /// assert_eq!(one.holder_state(number), HolderState::Alive);
    /// drop(other);
    /// assert_eq!(one.holder_state(number), HolderState::Dead);
    /// ```
    #[must_use]
    pub fn attach(&self) -> Self {
        Self::holder_of(Arc::clone(&self.block))
    }

    /// Kills this holder here and now, as `kill -9` does: its locks stay held by a dead number, and the guards
    /// on the stack commit and release nothing. The death unwinds up to
    /// [`until_death`](Self::until_death); from there on the memory has a new holder number. The example
    /// stands [at the type](HeapMemory).
    ///
    /// # Safety
    /// No other thread is in a call on a handle over this holder. (A killed process stops all its threads,
    /// which this function can't; others would take over that thread's locks while it still writes.)
    ///
    /// Nobody uses a slice afterwards that this holder's [`ArrayGuard`](crate::ArrayGuard),
    /// [`Reservation`](crate::Reservation) or chunk ([`WriteChunk`](crate::WriteChunk),
    /// [`ReadChunk`](crate::ReadChunk)) gave out, or that the closure of
    /// [`ByteQueue::get_with`](crate::ByteQueue::get_with) got: the next holder writes those bytes.
    pub unsafe fn die(&self) -> ! {
        let died = self.number.swap(self.block.draw(), Ordering::Relaxed);
        self.block.holders(|holders| holders.living.remove(&died));
        resume_unwind(Box::new(Death))
    }

    /// Runs `f` to its end, or to a simulated death in it; returns `None` for a death.
    ///
    /// ```
    /// use shmkit::memory::HeapMemory;
    ///
    /// let memory = HeapMemory::new(4096);
    /// assert_eq!(HeapMemory::until_death(|| 7), Some(7));
    /// // SAFETY: nobody else uses this holder.
    /// let died = HeapMemory::until_death(|| unsafe { memory.die() });
    /// assert!(died.is_none());
    /// ```
    pub fn until_death<R>(f: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Death>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// The payload with which a simulated death unwinds.
struct Death;

impl Drop for HeapMemory {
    fn drop(&mut self) {
        let number = self.number.load(Ordering::Relaxed);
        self.block.holders(|holders| holders.living.remove(&number));
    }
}

impl Liveness for HeapMemory {
    fn holder_state(&self, number: u64) -> HolderState {
        self.block.holders(|holders| {
            if holders.living.contains(&number) {
                HolderState::Alive
            } else if (1..=holders.last).contains(&number) {
                HolderState::Dead
            } else {
                HolderState::NeverDrawn
            }
        })
    }

    fn identity(&self) -> (u64, u64) {
        self.block.identity
    }
}

// SAFETY: the block is aligned to a page, is freed with its last holder, and is reached only through
// `base`; numbers are drawn under a lock from a counter that only grows.
unsafe impl Memory for HeapMemory {
    fn base(&self) -> NonNull<u8> {
        self.block.base
    }

    fn len(&self) -> usize {
        self.block.layout.size()
    }

    fn number(&self) -> &AtomicU64 {
        &self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_comes_again_at_an_address_is_other_memory() {
        let mut identities = BTreeSet::new();
        for _ in 0..100 {
            let memory = HeapMemory::new(4096);
            assert_eq!(memory.attach().identity(), memory.identity());
            assert!(identities.insert(memory.identity()), "it was there before");
        }
    }
}
