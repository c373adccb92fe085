//! [`Ring`]: positions, space, waiting and closing of a bounded queue. It knows no item type.
//!
//! Two locks: producers share one, consumers the other. `tail` counts what was ever put, `head`
//! what was ever taken; slot `p % capacity` belongs to position `p`.
//!
//! | step | put (producers' lock) | get (consumers' lock) |
//! |---|---|---|
//! | 1 | room? `tail - head < capacity` | anything? `head < tail` |
//! | 2 | write slot `tail` | copy slot `head` out |
//! | 3 | **CAS tail → tail + n: the commit** | **store head + n: the commit** |
//! | 4 | unlock (with 3, where one instruction can do both), wake consumers | unlock, wake producers |
//!
//! Invariants:
//! 1. `head <= tail <= head + capacity`, and both only grow. Read from shared memory they are
//!    checked, and anything else is `Corrupt`; no index leaves the slots in any case.
//! 2. *Slots from `head` to `tail` belong to the consumers' side, all others to the producers'.*
//!    Within a side they belong to the owner of its lock. So nobody reads what is being written.
//! 3. *`tail`'s top bit says closed, and nothing is put after it*: the one word says both, and a
//!    commit is a CAS on it. Who sees closed and empty may say so: no put will succeed any more.
//! 4. *`head_seen` and `tail_seen` never run ahead of what they copy*; they are re-read when
//!    the ring looks full or empty, and after a take-over.
//!
//! Orderings: the commit CAS is Release and pairs with the consumers' Acquire load of tail, so that
//! an item is whole when it is seen; the commit store of head is Release and pairs with the
//! producers' Acquire load of head, so that a slot is written only after it was copied out. A copy
//! of the other side's counter is handed on by the lock's own release and acquire. Then the
//! unlocking swap and a full fence come before the look at the sleepers' flag (see `sync::event`).
//!
//! If a process dies: before its commit nothing has happened, whatever the slot holds; after
//! it, the item is in, or out. There is nothing to repair: recovery is reading two counters
//! again and checking them. A wake-up that dies with it is slept through for at most a nap.

mod claim;
mod owned;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{CountedLock, Event, Holder, LockError, Patience, full_fence_after_rmw};
pub use claim::{Items, Lot, Room};
pub use owned::{OwnedHead, OwnedTail};

/// The bit of `tail` that says closed.
const CLOSED: u64 = 1 << 63;

/// One side's words, on a line of their own. Zeroed memory is a valid one.
#[repr(C, align(128))]
#[derive(Debug, Default)]
struct Side {
    /// The lock, and the positions committed by this side. The producers' count has the top bit for
    /// closed, which alone is written without the lock.
    lock: CountedLock,
    /// A copy of the other side's count, at most that. Read and written under `lock`.
    seen: AtomicU64,
    /// How many pauses this side lets go by when it next has to wait; 0 is none tried yet. A hint,
    /// written under `lock`.
    gap: AtomicU64,
}

impl Side {
    /// How many pauses to let go by before the first look; under the lock.
    #[cold]
    fn gap(&self) -> u32 {
        match self.gap.load(Ordering::Relaxed) {
            0 => FIRST_GAP,
            gap => u32::try_from(gap).map_or(LONGEST_GAP, |gap| gap.min(LONGEST_GAP)),
        }
    }

    /// Learns from a wait that ended with `found` positions, where an item, or a batch of them, takes
    /// `per_item`; under the lock.
    ///
    /// A faster side that looked after every item would take the cache lines away from the slower
    /// one each time, and both would go at the speed of those. So a stream is to be passed on in
    /// batches, and a single item, as in a conversation, at once. Which of the two it is shows in
    /// what a pause brings: more than one item, and it was worth it; more than half the ring, and the
    /// other side was about to run into its end. Where pauses have become short a stream would not
    /// show any more, so now and then a long one is tried.
    #[cold]
    fn tune(&self, found: u64, per_item: u64, capacity: u64) {
        let gap = u64::from(self.gap());
        let most = u64::from(LONGEST_GAP).min(capacity / per_item / 2).max(1);
        let next = if self.lock.count.load(Ordering::Relaxed) & PROBE == 0 {
            u64::from(FIRST_GAP)
        } else if (per_item + 1..=capacity / 2).contains(&found) {
            gap * 2
        } else {
            gap / 2
        };
        self.gap.store(next.clamp(1, most), Ordering::Relaxed);
    }
}

/// An event on a line of its own, which is written only when somebody sleeps.
#[repr(C, align(128))]
#[derive(Debug, Default)]
struct Bell(Event);

/// A ring's words in shared memory. Zeroed memory is a valid one, and empty.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RingWords {
    producers: Side,
    consumers: Side,
    not_empty: Bell,
    not_full: Bell,
}

#[cfg(not(loom))]
const _: () = {
    use crate::layout::LINE;
    use std::mem::{offset_of, size_of};
    assert!(offset_of!(Side, lock) == 0);
    assert!(offset_of!(CountedLock, count) == 8);
    assert!(offset_of!(Side, seen) == 16);
    assert!(offset_of!(Side, gap) == 24);
    assert!(offset_of!(RingWords, consumers) == LINE);
    assert!(offset_of!(RingWords, not_empty) == 2 * LINE);
    assert!(offset_of!(RingWords, not_full) == 3 * LINE);
    assert!(size_of::<RingWords>() == 4 * LINE);
};

/// Why a side could not go on. Each queue type says it in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Full or empty, and the caller was not to wait.
    NotNow,
    /// Full or empty, or the lock was held, until the deadline.
    TimedOut,
    /// The lock is held, and the caller was not to wait.
    Busy,
    /// Closed; for a consumer, and empty.
    Closed,
    /// The shared words contradict each other.
    Corrupt,
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy => Self::Busy,
            LockError::TimedOut => Self::TimedOut,
            LockError::Corrupt => Self::Corrupt,
        }
    }
}

/// Positions `start` to `start + len - 1`, this side's to write or to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first position, modulo nothing: the caller maps it to a slot.
    pub start: u64,
    /// How many; at least 1.
    pub len: u64,
    /// How many positions behind these are this side's too: what may be fetched ahead.
    pub ahead: u64,
}

impl Span {
    /// No position at all, which no claim has.
    pub const EMPTY: Self = Self {
        start: 0,
        len: 0,
        ahead: 0,
    };
}

/// A ring, seen by one of its holders.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    words: &'a RingWords,
    capacity: u64,
    holder: Holder<'a>,
}

/// The longest time a side lets go by to have a batch pile up, in pauses (of some 10 to 40 ns).
const LONGEST_GAP: u32 = 512;

/// What a side begins with, and tries again where `count & PROBE` is 0.
const FIRST_GAP: u32 = 64;
const PROBE: u64 = 1023;

impl<'a> Ring<'a> {
    /// The ring at `words`; `capacity` is this process's own copy, checked when it opened.
    #[inline]
    #[must_use]
    pub fn new(words: &'a RingWords, capacity: u64, holder: Holder<'a>) -> Self {
        Self {
            words,
            capacity,
            holder,
        }
    }

    /// Puts up to `most` items (at least 1) in one commit: waits for room for one, has `write` fill
    /// the slots of the span it is given, commits. Returns how many.
    #[inline]
    pub fn put(
        self,
        most: u64,
        patience: Patience,
        write: impl FnOnce(Span),
    ) -> Result<u64, Refusal> {
        let room = self.claim_room(1, most, patience)?;
        let span = room.span();
        write(span);
        room.commit(Lot::items(span.len))?;
        Ok(span.len)
    }

    /// Takes up to `most` items (at least 1) in one commit: waits for one, has `read` copy them out,
    /// commits. What `read` does not return from is not taken.
    #[inline]
    pub fn get<R>(
        self,
        most: u64,
        patience: Patience,
        read: impl FnOnce(Span) -> R,
    ) -> Result<R, Refusal> {
        let items = self.claim_items(most, patience)?;
        let span = items.span();
        let result = read(span);
        items.commit(Lot::items(span.len));
        Ok(result)
    }

    /// Head, then tail with its top bit: taken one after the other, so `tail - head` may be too
    /// large by what was put and taken in between.
    fn counts(self) -> (u64, u64) {
        let head = self.words.consumers.lock.count.load(Ordering::Acquire);
        let tail = self.words.producers.lock.count.load(Ordering::Acquire);
        (head, tail)
    }

    /// Lets no more be put, and wakes everybody. Takes no lock; closing again does nothing more.
    pub fn close(self) {
        self.words
            .producers
            .lock
            .count
            .fetch_or(CLOSED, Ordering::AcqRel);
        full_fence_after_rmw();
        self.words.not_empty.0.notify_all();
        self.words.not_full.0.notify_all();
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.words.producers.lock.count.load(Ordering::Acquire) & CLOSED != 0
    }

    /// How many items there are, or were a moment ago; never more than the capacity.
    #[must_use]
    pub fn len(self) -> u64 {
        let (head, tail) = self.counts();
        (tail & !CLOSED).wrapping_sub(head).min(self.capacity)
    }

    /// Whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}
