//! [`Journal`]: the record of what the owner of a lock is about to do to elements in place. The process
//! that takes the lock over from a dead owner finishes the work, or learns that nobody can finish it.
//!
//! One word, the intent, says what is in progress. A slot beside the elements has space for one element.
//!
//! | `intent` | meaning | the next owner after a death |
//! |---|---|---|
//! | `0` | nothing is in progress | goes on |
//! | `1` | a guard, or a write of several elements | poisons, then stores 0 |
//! | `2 + i` | element i: its new value is in the slot, whole | copies the slot to the element, then stores 0 |
//! | any other | a peer wrote where it must not | does as for 1: nobody knows what was in progress |
//!
//! | step | one element | several elements, or a guard |
//! |---|---|---|
//! | 1 | copies the value to the slot | stores intent 1 |
//! | 2 | stores intent `2 + i`: the commit | writes |
//! | 3 | copies the slot to the element | (a panic in step 2: poisons) |
//! | 4 | stores intent 0 | stores intent 0 |
//!
//! Invariants, for an owner of the lock that has recovered:
//! 1. *An element is whole, and somebody wrote it, unless the array is poisoned.* An element is in the
//!    middle of a copy only while the intent is not 0.
//! 2. *While the intent is `2 + i`, the slot is whole and stays as it is*: the owner writes the slot
//!    before the intent, and nobody writes the slot while that intent stands.
//! 3. *A death poisons exactly if something was in progress that nobody else can finish.*
//!
//! If a process dies before step 2, nothing of the write shows, and the slot belongs to nobody. If it dies
//! between 2 and 4, the next owner does step 3 again, whole. An owner that dies while it does so leaves the
//! same state: the copy and the store may be repeated. Poisoning comes before the store of 0, so that a
//! death between the two poisons again.
//!
//! Orderings: every word and element here belongs to the lock's owner alone, and the lock's acquire and
//! release order the accesses of the living. A dead owner was cut off between two of its instructions, as
//! by a signal handler that never returns; whoever finds it dead sees everything that came before (see
//! `lock`). Only the compiler is left to keep the steps in order, and [`compiler_fence`] makes it do so.

use super::atomic::{AtomicU64, Ordering};
use std::sync::atomic::compiler_fence;

const NOTHING: u64 = 0;
const MANY: u64 = 1;
const ELEMENTS: u64 = 2;

/// The record of what is in progress, and the mark of poisoned elements. Zeroed memory is a valid journal:
/// nothing is in progress, and nothing is poisoned.
///
/// Only the lock's owner may call the methods that write, except for [`clear_poison`](Self::clear_poison).
#[repr(C)]
#[derive(Debug, Default)]
pub struct Journal {
    /// See the table. The lock's owner alone writes it.
    intent: AtomicU64,
    /// Not 0 means poisoned. The lock's owner sets it, anybody clears it.
    poisoned: AtomicU64,
}

impl Journal {
    /// Commits the write of element `index`, whose new value is in the slot.
    #[inline]
    pub fn begin_element(&self, index: u64) {
        self.intend(ELEMENTS + index);
    }

    /// Records that any number of elements may change from here on.
    #[inline]
    pub fn begin_many(&self) {
        self.intend(MANY);
    }

    /// Records that nothing is in progress any more.
    #[inline]
    pub fn end(&self) {
        self.intend(NOTHING);
    }

    #[inline]
    fn intend(&self, what: u64) {
        compiler_fence(Ordering::SeqCst);
        self.intent.store(what, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Finishes, or poisons, what a dead owner had in progress. The process that took the lock over calls
    /// this before anything else. `redo` copies the slot to the element of the given index, which is below
    /// `len`.
    pub fn recover(&self, len: u64, redo: impl FnOnce(u64)) {
        let intent = self.intent.load(Ordering::Relaxed);
        if intent == NOTHING {
            return;
        }
        match intent.checked_sub(ELEMENTS) {
            Some(index) if index < len => redo(index),
            _ => self.poison(),
        }
        self.end();
    }

    /// Returns whether something is in progress, or was when the owner died.
    #[inline]
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.intent.load(Ordering::Relaxed) != NOTHING
    }

    /// Marks the elements as possibly half written.
    #[cold]
    pub fn poison(&self) {
        self.poisoned.store(1, Ordering::Relaxed);
    }

    /// Returns whether the elements are poisoned, and nobody has cleared the mark.
    #[inline]
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed) != 0
    }

    /// Declares the elements whole again.
    pub fn clear_poison(&self) {
        self.poisoned.store(0, Ordering::Relaxed);
    }
}
