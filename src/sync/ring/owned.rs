//! [`OwnedSide`]: one side's lock, which its owner holds for as long as it likes, and the side's position,
//! which the owner keeps in its own memory.
//!
//! | step | [`OwnedTail`] | [`OwnedHead`] |
//! |---|---|---|
//! | 1 | is space left from the last look at head? else look again, wait | likewise, at tail |
//! | 2 | the caller writes the slots | the caller reads the slots |
//! | 3 | **CAS tail → tail + n: the commit** | **swap head + n in: the commit** |
//! | 4 | wake consumers | wake producers |
//!
//! This is the table of [`ring`](super) without taking and releasing the lock. The ring's four invariants
//! hold, and two more:
//! 1. *The owner's copy of its own count is that count*: nobody else advances the count while the lock is
//!    held. If a close sets the top bit of the producers' count meanwhile, the CAS fails. So `close` works
//!    against an owner as against anybody, and takes no lock.
//! 2. *The positions that the owner counts as its own are its own*: nobody takes away from the space that
//!    the owner found, and the other side only adds to it.
//!
//! The owner pays for the look at the sleepers' flag with the one locked instruction of its commit, which
//! is a full fence as well. The producers' commit has to be a CAS in any case (invariant 1). A plain store,
//! which a close could not stop, would be twice as fast for a stream of single items, and 50 % faster for
//! one of batches of 64 (measured). The consumers' commit could be a plain store with a fence every few
//! items, but a producer may sleep on any of those items, and the swap costs nothing that shows.
//!
//! If a process dies before its commit, nothing has happened; after it, the item is in, or out. The lock
//! names the dead process. The next owner takes the lock over and reads the two counts, as ever. The
//! copies that the dead owner kept said nothing that the counts do not say.

use super::claim::closed_or_corrupt;
use super::{CLOSED, Commit, Consumers, Producers, Refusal, Ring, Side, Span};
use crate::sync::atomic::Ordering;
use crate::sync::cpu::full_fence_after_rmw;
use crate::sync::lock::HeldLock;
use crate::sync::wait::Wait;
use std::marker::PhantomData;

/// Side `S`, owned. It borrows nothing: every call is given the ring to which the side belongs.
#[must_use = "the side stays held until it is released"]
#[derive(Debug)]
pub struct OwnedSide<S: Side> {
    held: HeldLock,
    /// This side's count.
    at: u64,
    /// How many positions from `at` on are known to belong to this side. The true number may be larger.
    mine: u64,
    side: PhantomData<S>,
}

/// The producers' side, owned.
pub type OwnedTail = OwnedSide<Producers>;

/// The consumers' side, owned.
pub type OwnedHead = OwnedSide<Consumers>;

#[cold]
#[inline(never)]
fn stale() -> ! {
    panic!(
        "this process is a fork made while its parent had the endpoint: the endpoint is its parent's"
    )
}

impl<S: Side> OwnedSide<S> {
    fn take(ring: Ring<'_>, wait: Wait) -> Result<Self, Refusal> {
        let guard = ring.lock::<S>(wait)?;
        let at = ring.side::<S>().lock.count.load(Ordering::Relaxed);
        let mine = S::available(ring, at, 1)?;
        Ok(Self {
            held: guard.detach(),
            at,
            mine,
            side: PhantomData,
        })
    }

    /// Returns up to `most` positions (at least 1), to be filled by a producer or read by a consumer;
    /// waits until there is one.
    ///
    /// # Panics
    /// In a forked child, because the side belongs to its parent. Every call but
    /// [`release`](Self::release) does so.
    #[inline]
    pub fn claim(&mut self, ring: Ring<'_>, most: u64, wait: Wait) -> Result<Span, Refusal> {
        self.check(ring);
        if self.mine < most {
            self.refill(ring, most, wait)?;
        }
        let len = self.mine.min(most);
        Ok(Span {
            start: self.at,
            len,
            ahead: self.mine - len,
        })
    }

    /// Reads how many positions belong to this side, and waits until there is one.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, ring: Ring<'_>, most: u64, wait: Wait) -> Result<(), Refusal> {
        let side = ring.side::<S>();
        let mut waited = false;
        loop {
            let count = side.lock.count.load(Ordering::Relaxed);
            if count & !CLOSED != self.at {
                return Err(Refusal::Corrupt);
            }
            self.mine = S::available(ring, count, most)?;
            if self.mine > 0 {
                if waited {
                    side.tune(self.mine, most.min(ring.capacity()), ring.capacity());
                }
                return Ok(());
            }
            ring.wait_for::<S>(1, wait, side.gap())?;
            waited = true;
        }
    }

    /// Panics if this is a fork's copy. Called before slots are handed out.
    #[inline]
    pub fn check(&self, ring: Ring<'_>) {
        if self.held.is_stale(ring.holder) {
            stale();
        }
    }

    #[inline]
    fn advance(&mut self, len: u64) {
        debug_assert!((1..=self.mine).contains(&len));
        self.at += len;
        self.mine -= len;
    }

    /// Lets go of the side. A copy in a forked child lets go of nothing.
    pub fn release(&mut self, ring: Ring<'_>) {
        if !self.held.is_stale(ring.holder) {
            S::seen(ring.seen).committed(self.at);
        }
        ring.lock_of::<S>().release(&mut self.held);
    }
}

impl OwnedTail {
    /// Makes the committed positions visible to the consumers. The other positions stay claimed.
    ///
    /// # Errors
    /// [`Refusal::Closed`] if the ring was closed meanwhile; [`Refusal::Corrupt`].
    #[inline]
    pub fn commit(&mut self, ring: Ring<'_>, commit: Commit) -> Result<(), Refusal> {
        self.check(ring);
        let (start, end) = (self.at, self.at + commit.len);
        // Release pairs with the consumers' Acquire load of tail.
        let tail = &ring.words.producers.lock.count;
        tail.compare_exchange(start, end, Ordering::Release, Ordering::Relaxed)
            .map_err(closed_or_corrupt)?;
        self.advance(commit.len);
        full_fence_after_rmw();
        ring.words.not_empty.0.notify(commit.wake);
        Ok(())
    }
}

impl OwnedHead {
    /// Gives the committed slots back to the producers.
    #[inline]
    pub fn commit(&mut self, ring: Ring<'_>, commit: Commit) {
        self.check(ring);
        self.advance(commit.len);
        // Release pairs with the producers' Acquire load of head. A swap, because it is a full fence too.
        let head = &ring.words.consumers.lock.count;
        head.swap(self.at, Ordering::Release);
        full_fence_after_rmw();
        ring.words.not_full.0.notify(commit.wake);
    }
}

impl Ring<'_> {
    /// Takes the producers' side to own it, until [`OwnedSide::release`].
    pub fn own_tail(self, wait: Wait) -> Result<OwnedTail, Refusal> {
        OwnedSide::take(self, wait)
    }

    /// Takes the consumers' side to own it, until [`OwnedSide::release`].
    pub fn own_head(self, wait: Wait) -> Result<OwnedHead, Refusal> {
        OwnedSide::take(self, wait)
    }
}
