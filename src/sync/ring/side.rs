//! [`Side`]: the producers' and the consumers' side of a ring, as types, so that the code for claims and
//! for owned sides is written once for both.

use super::seen::SideSeen;
use super::{CLOSED, CountedLock, Event, Refusal, Ring, RingWords, Seen};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::held::LockId;
use crate::sync::lock::{Lock, LockError, LockGuard};
use crate::sync::wait::{Deadline, Wait};

/// One side's words, on a line of their own. Zeroed memory is valid.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct SideWords {
    /// The lock, and the number of positions that this side has committed. The top bit of the producers'
    /// count means closed; that bit alone is set without the lock.
    pub(super) lock: CountedLock,
    /// How many pauses this side's next wait lasts before its first look, so that a batch can gather; 0 if
    /// the side has not waited yet. This is a hint, written under `lock`.
    pub(super) gap: AtomicU64,
}

/// The largest gap, in pauses (of some 10 to 40 ns).
const LONGEST_GAP: u32 = 512;

/// The gap that a side begins with, and tries again whenever `count & PROBE` is 0.
const FIRST_GAP: u32 = 64;
const PROBE: u64 = 1023;

impl SideWords {
    /// Returns how many pauses to wait before the first look. Called under the lock.
    #[cold]
    pub(super) fn gap(&self) -> u32 {
        match self.gap.load(Ordering::Relaxed) {
            0 => FIRST_GAP,
            gap => u32::try_from(gap).map_or(LONGEST_GAP, |gap| gap.min(LONGEST_GAP)),
        }
    }

    /// Adapts the gap after a wait that ended with `found` positions, where an item, or a batch of items,
    /// takes `per_item`. Called under the lock.
    ///
    /// If the faster side looked after every item, it would take the cache lines away from the slower
    /// side each time, and both would go at the speed of the cache lines. So the faster side should let a
    /// stream gather in batches, but should take a single item, as in a conversation, at once. A gap
    /// that brings more than one item shows a stream, and the next gap is longer. A gap that brings more
    /// than half the ring was too long: the other side was about to run into the ring's end. A short gap
    /// would not show a stream any more, so the side tries a longer one now and then.
    #[cold]
    pub(super) fn tune(&self, found: u64, per_item: u64, capacity: u64) {
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

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Producers {}
    impl Sealed for super::Consumers {}
}

/// One of the two sides of a ring: [`Producers`] or [`Consumers`].
pub trait Side: sealed::Sealed + Sized {
    /// Tells this side's lock from the other side's.
    const LOCK: LockId;
    /// The panic message of a commit in a forked child whose parent has the claim.
    const STALE: &'static str;
    /// The other side.
    type Other: Side;

    /// Returns this side's words.
    fn words(words: &RingWords) -> &SideWords;

    /// Returns the event on which this side sleeps.
    fn event(words: &RingWords) -> &Event;

    /// Returns what the handle has seen of this side.
    fn seen(seen: &Seen) -> &SideSeen;

    /// Returns how many positions from `count` on belong to this side. If fewer than `most` are known to, this
    /// loads the other side's count. Called under this side's lock.
    fn available(ring: Ring<'_>, count: u64, most: u64) -> Result<u64, Refusal>;

    /// Returns whether a ring with these counts has nothing for this side any more.
    fn is_over(head: u64, tail: u64) -> bool;

    /// Returns whether a side that needs `least` positions has to wait on, at these counts.
    fn is_stuck(ring: Ring<'_>, head: u64, tail: u64, least: u64) -> bool;
}

/// The producers' side.
#[derive(Debug)]
pub enum Producers {}

/// The consumers' side.
#[derive(Debug)]
pub enum Consumers {}

impl Side for Producers {
    const LOCK: LockId = LockId(0);
    const STALE: &'static str =
        "this process is a fork made while the slots were being filled: the slots are its parent's";
    type Other = Consumers;

    #[inline(always)]
    fn words(words: &RingWords) -> &SideWords {
        &words.producers
    }

    #[inline(always)]
    fn event(words: &RingWords) -> &Event {
        &words.not_full.0
    }

    #[inline(always)]
    fn seen(seen: &Seen) -> &SideSeen {
        &seen.producers
    }

    #[inline(always)]
    fn available(ring: Ring<'_>, tail: u64, most: u64) -> Result<u64, Refusal> {
        if tail & CLOSED != 0 {
            return Err(Refusal::Closed);
        }
        let known = ring.seen.producers.known(tail, most, ring.capacity());
        known.map_or_else(|| look_at_head(ring, tail), Ok)
    }

    #[inline(always)]
    fn is_over(_head: u64, tail: u64) -> bool {
        tail & CLOSED != 0
    }

    /// A closed ring is not stuck, nor is one whose counts contradict each other: the caller's next round
    /// finds out.
    #[inline(always)]
    fn is_stuck(ring: Ring<'_>, head: u64, tail: u64, least: u64) -> bool {
        (ring.capacity() - least + 1..=ring.capacity()).contains(&tail.wrapping_sub(head))
    }
}

impl Side for Consumers {
    const LOCK: LockId = LockId(1);
    const STALE: &'static str =
        "this process is a fork made while the item was being read: the item is its parent's";
    type Other = Producers;

    #[inline(always)]
    fn words(words: &RingWords) -> &SideWords {
        &words.consumers
    }

    #[inline(always)]
    fn event(words: &RingWords) -> &Event {
        &words.not_empty.0
    }

    #[inline(always)]
    fn seen(seen: &Seen) -> &SideSeen {
        &seen.consumers
    }

    #[inline(always)]
    fn available(ring: Ring<'_>, head: u64, most: u64) -> Result<u64, Refusal> {
        if head & CLOSED != 0 {
            return Err(Refusal::Corrupt); // only a tail has that bit
        }
        let known = ring.seen.consumers.known(head, most, ring.capacity());
        known.map_or_else(|| look_at_tail(ring, head), Ok)
    }

    #[inline(always)]
    fn is_over(head: u64, tail: u64) -> bool {
        tail & CLOSED != 0 && tail & !CLOSED == head
    }

    #[inline(always)]
    fn is_stuck(_ring: Ring<'_>, head: u64, tail: u64, _least: u64) -> bool {
        tail == head
    }
}

/// Loads head. Returns how much space there is from `tail` on.
#[inline(never)]
fn look_at_head(ring: Ring<'_>, tail: u64) -> Result<u64, Refusal> {
    // Acquire pairs with the consumers' commit: a slot that they copied out may be overwritten.
    let head = ring.words.consumers.lock.count.load(Ordering::Acquire);
    let used = ring.distance(head, tail)?;
    ring.seen.producers.look(tail, head + ring.capacity())?;
    Ok(ring.capacity() - used)
}

/// Loads tail. Returns how many items there are from `head` on.
#[inline(never)]
fn look_at_tail(ring: Ring<'_>, head: u64) -> Result<u64, Refusal> {
    // Acquire pairs with the producers' commit: the items are whole.
    let tail = ring.words.producers.lock.count.load(Ordering::Acquire);
    let items = ring.distance(head, tail & !CLOSED)?;
    ring.seen.consumers.look(head, tail & !CLOSED)?;
    if items == 0 && tail & CLOSED != 0 {
        return Err(Refusal::Closed);
    }
    Ok(items)
}

impl<'a> Ring<'a> {
    /// Returns how many items lie between these counts.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`] if the counts break the ring's invariant 1.
    #[inline(always)]
    fn distance(self, head: u64, tail: u64) -> Result<u64, Refusal> {
        let items = tail.checked_sub(head);
        items
            .filter(|items| *items <= self.capacity())
            .ok_or(Refusal::Corrupt)
    }

    /// Returns the words of side `S`.
    #[inline(always)]
    pub(super) fn side<S: Side>(self) -> &'a SideWords {
        S::words(self.words)
    }

    /// Returns the lock of side `S`.
    #[inline(always)]
    pub(super) fn lock_of<S: Side>(self) -> Lock<'a> {
        Lock::new(&self.side::<S>().lock.word, self.holder, S::LOCK)
    }

    /// Takes the lock of side `S`. The owner may keep the lock for long (an endpoint, a stopped process),
    /// but a close ends the wait all the same.
    #[inline(always)]
    pub(super) fn lock<S: Side>(self, wait: Wait) -> Result<LockGuard<'a>, Refusal> {
        match self.lock_of::<S>().lock_if_free() {
            Some(guard) => Ok(guard),
            None => self.wait_for_lock::<S>(wait),
        }
    }

    /// A function of its own, because a ring whose address is taken goes through memory (see `claim`).
    #[cold]
    #[inline(never)]
    fn wait_for_lock<S: Side>(self, wait: Wait) -> Result<LockGuard<'a>, Refusal> {
        self.lock_of::<S>()
            .wait_unless(wait, || self.is_over::<S>())
            .map_err(|error| match error {
                LockError::Busy | LockError::TimedOut if self.is_over::<S>() => Refusal::Closed,
                error => error.into(),
            })
    }

    /// Returns whether side `S` has nothing to do any more. The caller need not hold the side's lock.
    #[cold]
    fn is_over<S: Side>(self) -> bool {
        let (head, tail) = self.counts();
        S::is_over(head, tail)
    }

    /// Relocks after a wake-up. If the side is busy, the wake-up may have been meant for its owner, so
    /// this passes the wake-up on.
    #[cold]
    pub(super) fn relock<S: Side>(self, wait: Wait) -> Result<LockGuard<'a>, Refusal> {
        match self.lock::<S>(Wait::Try) {
            Err(Refusal::Busy) => {
                S::event(self.words).notify(1);
                self.lock::<S>(wait)
            }
            taken => taken,
        }
    }

    /// Waits until side `S` may find `least` positions. Called without the side's lock, unless the caller
    /// owns the side.
    ///
    /// # Panics
    /// If the wait has no end and this thread holds the other side itself.
    #[cold]
    pub(super) fn wait_for<S: Side>(self, least: u64, wait: Wait, gap: u32) -> Result<(), Refusal> {
        let deadline = match wait {
            Wait::Try => return Err(Refusal::NotNow),
            Wait::Until(deadline) => deadline,
        };
        self.check_not_alone::<S::Other>(deadline);
        let look = || {
            let (head, tail) = self.counts();
            (!S::is_stuck(self, head, tail, least)).then_some(())
        };
        let found = S::event(self.words).wait(deadline, gap, look);
        found.ok_or(Refusal::TimedOut)
    }

    fn check_not_alone<Other: Side>(self, deadline: Deadline) {
        assert!(
            !deadline.is_never() || !self.lock_of::<Other>().is_mine(),
            "deadlock: this thread holds the other side of the queue that it waits for \
             (a put beside a consumer's side that it has, or a get beside a producer's?)"
        );
    }
}
