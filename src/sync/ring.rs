//! [`Ring`]: positions, space, waiting and closing of a bounded queue. The ring knows no item type.
//!
//! There are two locks: producers share one, consumers the other. `tail` counts the items that were ever
//! put, `head` the items that were ever taken. Slot `p % capacity` belongs to position `p`.
//!
//! | step | put (producers' lock) | get (consumers' lock) |
//! |---|---|---|
//! | 1 | is there space, as far as this handle has seen (`seen`)? | is there an item, as far as it has seen? |
//! | | else load head: `tail - head < capacity`? | else load tail: `head < tail`? |
//! | 2 | write slot `tail` | copy slot `head` out |
//! | 3 | **CAS tail → tail + n: the commit** | **store head + n: the commit** |
//! | 4 | unlock (with 3, if one instruction can do both), wake consumers | unlock, wake producers |
//!
//! Invariants:
//! 1. `head <= tail <= head + capacity`, and both only grow. Every count that is read from shared memory is
//!    loaded once and checked, against the other count and against what the handle has seen; counts that
//!    break this are `Corrupt`. No index leaves the slots in any case.
//! 2. *Slots from `head` to `tail` belong to the consumers' side, all others to the producers'.* Within
//!    a side they belong to the owner of the side's lock. So nobody reads what somebody is writing.
//! 3. *`tail`'s top bit means closed, and nothing is put after it is set.* Count and closed-bit share one
//!    word, and a commit is a CAS on it, so a commit can't slip in after a close. Therefore a consumer that
//!    sees closed and empty may say so: no put will succeed any more.
//! 4. *What a handle has seen of the other side's count never runs ahead of that count* (`seen`). The handle
//!    loads the count again when the ring looks full or empty. No process believes another's copy of a count.
//!
//! Orderings: the commit CAS of `tail` is Release and pairs with the consumers' Acquire load of `tail`, so
//! that an item is whole when a consumer sees it. The commit store of `head` is Release and pairs with the
//! producers' Acquire load of `head`, so that a producer writes a slot only after it was copied out. What a
//! handle has seen is read relaxed: whoever stored it had loaded the count with Acquire, and handed that on by
//! releasing the lock. Last come the unlocking swap and a full fence, and then the look at the sleepers'
//! flag (see `event`).
//!
//! If a process dies before its commit, nothing has happened, whatever the slot holds. If it dies after the
//! commit, the item is in, or out. There is nothing to repair: the next owner reads the two counts, as after any
//! lock. If a wake-up dies with the process, the sleepers sleep for at most a nap.

mod claim;
mod owned;
mod seen;
mod side;

use super::atomic::Ordering;
use super::counted::CountedLock;
use super::cpu::full_fence_after_rmw;
use super::event::Event;
use super::liveness::Holder;
use super::lock::LockError;
use super::wait::Wait;
pub use claim::{Claim, Commit, ReadClaim, WriteClaim};
pub use owned::{OwnedHead, OwnedSide, OwnedTail};
pub use seen::Seen;
use side::SideWords;
pub use side::{Consumers, Producers, Side};

/// The bit of `tail` that means closed.
const CLOSED: u64 = 1 << 63;

/// An event on a line of its own, which is written only when somebody sleeps.
#[repr(C, align(128))]
#[derive(Debug, Default)]
struct PaddedEvent(Event);

/// A ring's words in shared memory. Zeroed memory is a valid, empty ring.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RingWords {
    producers: SideWords,
    consumers: SideWords,
    not_empty: PaddedEvent,
    not_full: PaddedEvent,
}

#[cfg(not(loom))]
const _: () = {
    use super::atomic::LINE;
    use std::mem::{offset_of, size_of};
    assert!(offset_of!(SideWords, lock) == 0);
    assert!(offset_of!(CountedLock, count) == 8);
    assert!(offset_of!(SideWords, gap) == 16);
    assert!(offset_of!(RingWords, consumers) == LINE);
    assert!(offset_of!(RingWords, not_empty) == 2 * LINE);
    assert!(offset_of!(RingWords, not_full) == 3 * LINE);
    assert!(size_of::<RingWords>() == 4 * LINE);
};

/// The reason why a side could not go on, which each type of queue turns into an error of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The ring is full, or empty, and the caller does not wait.
    NotNow,
    /// The ring was full, or empty, until the deadline.
    TimedOut,
    /// The lock is held, or was until the deadline.
    Busy,
    /// The ring is closed, and for a consumer also empty.
    Closed,
    /// The shared words contradict each other.
    Corrupt,
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy | LockError::TimedOut => Self::Busy,
            LockError::Corrupt => Self::Corrupt,
        }
    }
}

#[cfg(not(loom))]
impl From<Refusal> for crate::error::PutError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotNow => Self::Full,
            Refusal::TimedOut => Self::TimedOut,
            Refusal::Busy => Self::Busy,
            Refusal::Closed => Self::Closed,
            Refusal::Corrupt => Self::Corrupt,
        }
    }
}

#[cfg(not(loom))]
impl From<Refusal> for crate::error::GetError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotNow => Self::Empty,
            Refusal::TimedOut => Self::TimedOut,
            Refusal::Busy => Self::Busy,
            Refusal::Closed => Self::Closed,
            Refusal::Corrupt => Self::Corrupt,
        }
    }
}

/// Positions `start` to `start + len - 1`, which a side may write or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first position. The caller maps positions to slots.
    pub start: u64,
    /// How many positions there are; at least 1.
    pub len: u64,
    /// How many positions after these belong to the side too. Their slots may be prefetched, and a read
    /// commit may include them.
    pub ahead: u64,
}

impl Span {
    /// A span without positions. No claim has such a span.
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
    seen: &'a Seen,
    holder: Holder<'a>,
}

impl<'a> Ring<'a> {
    /// Returns the ring at `words`. `seen` belongs to the handle, and to this ring alone.
    #[inline]
    #[must_use]
    pub fn new(words: &'a RingWords, seen: &'a Seen, holder: Holder<'a>) -> Self {
        Self {
            words,
            seen,
            holder,
        }
    }

    #[inline(always)]
    fn capacity(self) -> u64 {
        self.seen.capacity
    }

    /// Puts up to `most` items (at least 1) in one commit: waits for space for one item, lets `write`
    /// fill the slots of the span, and commits. Returns how many items were put.
    #[inline]
    pub fn put(self, most: u64, wait: Wait, write: impl FnOnce(Span)) -> Result<u64, Refusal> {
        let claim = self.claim_write(1, most, wait)?;
        let span = claim.span();
        write(span);
        claim.commit(Commit::items(span.len))?;
        Ok(span.len)
    }

    /// Takes up to `most` items (at least 1) in one commit: waits for one item, lets `read` copy the
    /// items out, and commits. If `read` does not return, the items stay.
    #[inline]
    pub fn get<R>(self, most: u64, wait: Wait, read: impl FnOnce(Span) -> R) -> Result<R, Refusal> {
        let claim = self.claim_read(most, wait)?;
        let span = claim.span();
        let result = read(span);
        claim.commit(Commit::items(span.len));
        Ok(result)
    }

    /// Returns head, then tail with its top bit. The two are loaded one after the other, so `tail - head`
    /// may be too large by the items that were put and taken in between.
    fn counts(self) -> (u64, u64) {
        let head = self.words.consumers.lock.count.load(Ordering::Acquire);
        let tail = self.words.producers.lock.count.load(Ordering::Acquire);
        (head, tail)
    }

    /// Ends all puts, and wakes everybody. Takes no lock. Closing a closed ring only wakes again.
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

    /// Returns whether somebody called [`close`](Self::close).
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.words.producers.lock.count.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Returns how many items there are, or were a moment ago; never more than the capacity.
    #[must_use]
    pub fn len(self) -> u64 {
        let (head, tail) = self.counts();
        (tail & !CLOSED).wrapping_sub(head).min(self.capacity())
    }

    /// Returns whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}
