//! Owned sides: a side's lock held for as long as its owner likes, and that side's position kept by
//! the owner itself.
//!
//! | step | [`OwnedTail`] | [`OwnedHead`] |
//! |---|---|---|
//! | 1 | room left of what head said last? else look at head, wait | likewise, at tail |
//! | 2 | the caller writes the slots | the caller reads the slots |
//! | 3 | **CAS tail → tail + n: the commit** | **swap head + n in: the commit** |
//! | 4 | wake consumers | wake producers |
//!
//! It is the table of [`ring`](super) without taking and releasing the lock, and its four invariants
//! hold as they stand there. What is added:
//! 1. *The owner's copy of its own count is that count*: nobody else advances it while the lock is
//!    held. Of the producers' the top bit may have been set meanwhile; then the CAS fails. So `close`
//!    works against an owner as against anybody, and takes no lock.
//! 2. *What the owner counts as its own is*: of the room it found nothing is ever taken away, and the
//!    other side only adds.
//!
//! Who pays for the look at the sleepers' flag: the owner, with the one locked instruction of its
//! commit, which is a full fence as well. The producers' has to be a CAS in any case (invariant 1);
//! measured against a plain store, which a close could not stop, it halves a stream of single items,
//! and takes a third from one of batches of 64. The consumers' could be a plain store with a fence every
//! few items, but a producer may sleep on any of those; and the swap costs nothing that shows.
//!
//! If a process dies: before its commit nothing has happened; after it, the item is in, or out. The
//! lock names the dead, and the next one takes it over and reads the two counts, as ever. What the
//! owner kept is gone with it, and said nothing that the counts do not say.

use super::claim::{CONSUMERS, PRODUCERS};
use super::{CLOSED, Lot, Refusal, Ring, Side, Span};
use crate::sync::atomic::Ordering;
use crate::sync::{HeldLock, Lock, Patience, full_fence_after_rmw};

/// One side's lock and position.
#[derive(Debug)]
struct Owned {
    held: HeldLock,
    /// This side's count.
    at: u64,
    /// How many positions from there on are this side's; at least so many.
    mine: u64,
}

impl Owned {
    fn take(
        ring: Ring<'_>,
        side: &Side,
        which: u32,
        patience: Patience,
        look: impl FnOnce(u64) -> Result<u64, Refusal>,
    ) -> Result<Self, Refusal> {
        let guard = ring.lock(side, which, patience)?;
        let at = side.lock.count.load(Ordering::Relaxed);
        let mine = look(at)?;
        Ok(Self {
            held: guard.detach(),
            at,
            mine,
        })
    }

    #[inline]
    fn check(&self, ring: Ring<'_>) {
        if self.held.is_stale(ring.holder) {
            stale();
        }
    }

    #[inline]
    fn span(&self, most: u64) -> Span {
        let len = self.mine.min(most);
        Span {
            start: self.at,
            len,
            ahead: self.mine - len,
        }
    }

    #[inline]
    fn advance(&mut self, len: u64) {
        debug_assert!((1..=self.mine).contains(&len));
        self.at += len;
        self.mine -= len;
    }

    /// Has `look` say how many positions are this side's, and waits by `wait` until there is one.
    fn refill(
        &mut self,
        ring: Ring<'_>,
        side: &Side,
        most: u64,
        look: impl Fn(u64) -> Result<u64, Refusal>,
        wait: impl Fn(u32) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut waited = false;
        loop {
            let count = side.lock.count.load(Ordering::Relaxed);
            if count & !CLOSED != self.at {
                return Err(Refusal::Corrupt);
            }
            self.mine = look(count)?;
            if self.mine > 0 {
                if waited {
                    side.tune(self.mine, most.min(ring.capacity), ring.capacity);
                }
                return Ok(());
            }
            wait(side.gap())?;
            waited = true;
        }
    }
}

#[cold]
#[inline(never)]
fn stale() -> ! {
    panic!(
        "this process is a fork made while its parent had the endpoint: the endpoint is its parent's"
    )
}

/// The producers' side, owned. It borrows nothing: every call is given the ring that it is of.
#[must_use = "the side stays held until it is released"]
#[derive(Debug)]
pub struct OwnedTail(Owned);

impl OwnedTail {
    /// Up to `most` slots to be filled (at least 1); waits until there is one.
    ///
    /// # Panics
    /// In a forked child, whose parent's the side is. So do all calls but [`release`](Self::release).
    #[inline]
    pub fn room(&mut self, ring: Ring<'_>, most: u64, patience: Patience) -> Result<Span, Refusal> {
        self.0.check(ring);
        if self.0.mine < most {
            self.look(ring, most, patience)?;
        }
        Ok(self.0.span(most))
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, ring: Ring<'_>, most: u64, patience: Patience) -> Result<(), Refusal> {
        self.0.refill(
            ring,
            &ring.words.producers,
            most,
            |tail| ring.room(tail, most, true),
            |gap| ring.await_room(1, patience, gap),
        )
    }

    /// Has the lot's positions be seen by the consumers; what is left of the room stays ours.
    #[inline]
    pub fn commit(&mut self, ring: Ring<'_>, lot: Lot) -> Result<(), Refusal> {
        self.0.check(ring);
        let (start, end) = (self.0.at, self.0.at + lot.len);
        // Release: pairs with the consumers' Acquire load of tail.
        let tail = &ring.words.producers.lock.count;
        tail.compare_exchange(start, end, Ordering::Release, Ordering::Relaxed)
            .map_err(|now| match now & CLOSED {
                0 => Refusal::Corrupt,
                _ => Refusal::Closed,
            })?;
        self.0.advance(lot.len);
        full_fence_after_rmw();
        ring.words.not_empty.0.notify(lot.wake);
        Ok(())
    }

    /// Panics where this is a fork's copy: to be called before slots are handed out.
    #[inline]
    pub fn check(&self, ring: Ring<'_>) {
        self.0.check(ring);
    }

    /// Lets go of the side; a copy in a forked child lets go of nothing.
    pub fn release(&mut self, ring: Ring<'_>) {
        Lock::new(&ring.words.producers.lock.word, ring.holder, PRODUCERS)
            .release(&mut self.0.held);
    }
}

/// The consumers' side, owned. It borrows nothing: every call is given the ring that it is of.
#[must_use = "the side stays held until it is released"]
#[derive(Debug)]
pub struct OwnedHead(Owned);

impl OwnedHead {
    /// Up to `most` slots that are filled (at least 1); waits until there is one.
    ///
    /// # Panics
    /// In a forked child, whose parent's the side is. So do all calls but [`release`](Self::release).
    #[inline]
    pub fn items(
        &mut self,
        ring: Ring<'_>,
        most: u64,
        patience: Patience,
    ) -> Result<Span, Refusal> {
        self.0.check(ring);
        if self.0.mine < most {
            self.look(ring, most, patience)?;
        }
        Ok(self.0.span(most))
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, ring: Ring<'_>, most: u64, patience: Patience) -> Result<(), Refusal> {
        self.0.refill(
            ring,
            &ring.words.consumers,
            most,
            |head| ring.items(head, most, true),
            |gap| ring.await_item(patience, gap),
        )
    }

    /// Gives the lot's slots back to the producers.
    #[inline]
    pub fn commit(&mut self, ring: Ring<'_>, lot: Lot) {
        self.0.check(ring);
        self.0.advance(lot.len);
        // Release: pairs with the producers' Acquire load of head. A swap, for the fence.
        let head = &ring.words.consumers.lock.count;
        head.swap(self.0.at, Ordering::Release);
        full_fence_after_rmw();
        ring.words.not_full.0.notify(lot.wake);
    }

    /// Panics where this is a fork's copy: to be called before slots are handed out.
    #[inline]
    pub fn check(&self, ring: Ring<'_>) {
        self.0.check(ring);
    }

    /// Lets go of the side; a copy in a forked child lets go of nothing.
    pub fn release(&mut self, ring: Ring<'_>) {
        Lock::new(&ring.words.consumers.lock.word, ring.holder, CONSUMERS)
            .release(&mut self.0.held);
    }
}

impl Ring<'_> {
    /// Takes the producers' side to own it, until [`OwnedTail::release`].
    pub fn own_tail(self, patience: Patience) -> Result<OwnedTail, Refusal> {
        let side = &self.words.producers;
        let look = |tail| self.room(tail, 1, true);
        Owned::take(self, side, PRODUCERS, patience, look).map(OwnedTail)
    }

    /// Takes the consumers' side to own it, until [`OwnedHead::release`].
    pub fn own_head(self, patience: Patience) -> Result<OwnedHead, Refusal> {
        let side = &self.words.consumers;
        let look = |head| self.items(head, 1, true);
        Owned::take(self, side, CONSUMERS, patience, look).map(OwnedHead)
    }
}
