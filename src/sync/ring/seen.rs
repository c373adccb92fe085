//! [`Seen`]: what one handle knows of a ring, in the process's own memory, where no other process writes: the
//! capacity, and how far the counts have come.
//!
//! Invariants:
//! 1. *`count` never runs ahead of the side's count, and `end` never runs ahead of the true end of the side's
//!    positions.* Both come from counts that were loaded from shared memory, and counts only grow. So old values
//!    stay true, whoever else has put and taken since: another thread, another handle, another process, or, for
//!    the copy that a fork makes, the parent.
//! 2. *Positions from the side's count up to `end` belong to the side*: the other side never takes positions
//!    back. Two values that different threads stored are therefore as good as two values of one store.
//!
//! A handle that meets a count which went back behind these values reports `Corrupt`. Shared memory alone could
//! not tell a count that somebody overwrote from an older one. A stray write that might be the truth is believed:
//! a count that moves on within the ring, or a lock that becomes free.

use super::Refusal;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What one handle and its clones have seen of a ring. A new handle has seen no count.
#[derive(Debug)]
pub struct Seen {
    /// How many slots the ring has: checked when the segment was opened, and never read again.
    pub(super) capacity: u64,
    pub(super) producers: SideSeen,
    pub(super) consumers: SideSeen,
}

impl Seen {
    /// Returns what a new handle of a ring with so many slots has seen.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            producers: SideSeen::default(),
            consumers: SideSeen::default(),
        }
    }
}

/// What was seen by one side, on a line of its own: two threads may share a handle, one for each side.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct SideSeen {
    /// A count that this side had reached. Written under the side's lock, or right after its release.
    count: AtomicU64,
    /// The end of the positions that belonged to this side at its last look at the other side's count: that
    /// count for consumers, and that count plus the capacity for producers. Written under the side's lock.
    end: AtomicU64,
}

impl SideSeen {
    /// Returns how many positions from `count` on are known to belong to this side, if they are at least
    /// `enough`, or all there can be. `None` asks for a look at the other side's count.
    #[inline(always)]
    pub(super) fn known(&self, count: u64, enough: u64, capacity: u64) -> Option<u64> {
        // Relaxed: whoever stored these had loaded the counts with Acquire, and handed that on by releasing
        // the side's lock.
        let known = self.end.load(Ordering::Relaxed).wrapping_sub(count);
        let is_sound = count >= self.count.load(Ordering::Relaxed);
        (is_sound && (enough.min(capacity)..=capacity).contains(&known)).then_some(known)
    }

    /// Records a look at both counts: this side's, and the end that follows from the other side's.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`] if one of them has gone back since it was seen.
    #[inline(always)]
    pub(super) fn look(&self, count: u64, end: u64) -> Result<(), Refusal> {
        let seen = self.count.load(Ordering::Relaxed);
        if count < seen || end < self.end.load(Ordering::Relaxed) {
            return Err(Refusal::Corrupt);
        }
        self.count.store(count, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Records that this side's count has reached `count`. Called after the commit: a fork may copy these words
    /// at any time, and the copy must be true even if the parent dies before its commit.
    #[inline(always)]
    pub(super) fn committed(&self, count: u64) {
        self.count.store(count, Ordering::Relaxed);
    }
}
