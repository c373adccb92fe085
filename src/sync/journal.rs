//! [`Journal`]: what the holder of a lock is about to do to elements in place, so that whoever takes
//! the lock over from a dead one finishes it, or says that it can't be finished.
//!
//! One word says what is in hand, and a slot beside the elements has room for one of them.
//!
//! | `intent` | means | who takes over from a dead owner |
//! |---|---|---|
//! | `0` | nothing is in hand | goes on |
//! | `1` | a guard, or a write of several elements | poisons, then stores 0 |
//! | `2 + i` | element i: its new value is in the slot, whole | copies it to the element, then stores 0 |
//! | any other | a peer wrote where it must not | as for 1: nobody knows what was in hand |
//!
//! | step | one element | several, or a guard |
//! |---|---|---|
//! | 1 | copies the value to the slot | stores intent 1 |
//! | 2 | stores intent `2 + i`: the commit | writes |
//! | 3 | copies the slot to the element | (a panic in step 2: poisons) |
//! | 4 | stores intent 0 | stores intent 0 |
//!
//! Invariants, for whoever holds the lock and has recovered:
//! 1. *An element is whole, and one that somebody wrote, unless the array is poisoned.* It is in the
//!    middle of a copy only while the intent is not 0.
//! 2. *While the intent is `2 + i` the slot is whole, and stays as it is*: it is written before the
//!    intent, and by nobody while that stands.
//! 3. *A death poisons exactly where something was in hand that nobody else can finish.*
//!
//! If a process dies: before step 2 nothing of it shows; the slot is nobody's. Between 2 and 4 the
//! next owner does step 3 again, whole, and whoever dies in that is in the same place: the copy and
//! the store may be repeated. Poisoning comes before the store of 0, so that a death between the two
//! poisons again.
//!
//! Orderings: every word and element here is the lock owner's alone, and its acquire and release
//! order them between the living. A dead owner was cut off between two of its instructions, as by a
//! signal handler that never returns, and whatever came before is seen by whoever found it dead (see
//! `lock`). So it is the compiler alone that must keep the steps in their order, and
//! [`compiler_fence`] has it do so.

use super::atomic::{AtomicU64, Ordering};
use std::sync::atomic::compiler_fence;

const NOTHING: u64 = 0;
const MANY: u64 = 1;
const ELEMENTS: u64 = 2;

/// What is in hand, and whether what is guarded is poisoned. Zeroed memory is a valid one: nothing,
/// and no.
///
/// All but the questions, and [`clear_poison`](Self::clear_poison), is for the lock's owner.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Journal {
    /// See the table; written by the lock's owner alone.
    intent: AtomicU64,
    /// Not 0: poisoned. Set by the lock's owner, cleared by anybody.
    poisoned: AtomicU64,
}

impl Journal {
    /// Element `index`, whose new value is in the slot, is to be written.
    #[inline]
    pub fn begin_element(&self, index: u64) {
        self.intend(ELEMENTS + index);
    }

    /// Any number of elements may change from here on.
    #[inline]
    pub fn begin_many(&self) {
        self.intend(MANY);
    }

    /// What was in hand is done.
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

    /// To be called by whoever took the lock over from a dead owner, before anything else: settles
    /// what that one had in hand. `redo` copies the slot to the element of that index, one of `len`.
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

    /// Whether something is in hand, or was when its owner died.
    #[inline]
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.intent.load(Ordering::Relaxed) != NOTHING
    }

    /// What is guarded may be half done, for whoever looks next.
    #[cold]
    pub fn poison(&self) {
        self.poisoned.store(1, Ordering::Relaxed);
    }

    /// Whether somebody poisoned it, and nobody has cleared that.
    #[inline]
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed) != 0
    }

    /// It is as it should be again.
    pub fn clear_poison(&self) {
        self.poisoned.store(0, Ordering::Relaxed);
    }
}
