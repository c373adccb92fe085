//! [`Claim`]: one side's lock, and positions that belong to the claimant until they are committed or the
//! claim is dropped.
//!
//! A claim is the table of [`ring`](super), step by step: [`Ring::claim_write`] and [`Ring::claim_read`] do
//! step 1, the owner of the claim does step 2, and `commit` does steps 3 and 4. Dropping a claim releases
//! the lock, and if the claimant had waited, wakes another sleeper of its side in its own place.
//!
//! Every function that each item goes through is `inline(always)`. Otherwise a claim that is handed from
//! function to function would go through memory, written in small pieces and read in large ones, and each
//! item would wait for the memory (30 million items a second instead of 75).

use super::{CLOSED, Consumers, Event, Producers, Refusal, Ring, Side, Span};
use crate::sync::atomic::Ordering;
use crate::sync::cpu::full_fence_after_rmw;
use crate::sync::lock::{Announced, LockGuard};
use crate::sync::wait::Wait;
use std::marker::PhantomData;

/// The size of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// How many positions are committed; at least 1.
    pub len: u64,
    /// How many of them one item takes.
    pub per_item: u64,
    /// How many of the other side's sleepers may find something to do.
    pub wake: u32,
}

impl Commit {
    /// Returns the commit of `len` items of one position each.
    #[inline]
    #[must_use]
    pub fn items(len: u64) -> Self {
        Self {
            len,
            per_item: 1,
            wake: len.try_into().unwrap_or(u32::MAX),
        }
    }
}

/// Positions that belong to side `S` (ring, invariant 2), and the side's lock.
#[must_use = "dropped, a claim changes nothing"]
#[derive(Debug)]
pub struct Claim<'a, S: Side> {
    ring: Ring<'a>,
    guard: LockGuard<'a>,
    span: Span,
    wake_up: WakeUp<'a>, // below the guard, so that the lock is released first
    side: PhantomData<S>,
}

/// The event on which a claimant has slept, if it has. Dropping this passes the wake-up on.
#[derive(Debug)]
struct WakeUp<'a>(Option<&'a Event>);

impl Drop for WakeUp<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(event) = self.0 {
            full_fence_after_rmw();
            event.notify(1);
        }
    }
}

/// Positions from `tail` on, which the claimant fills.
pub type WriteClaim<'a> = Claim<'a, Producers>;

/// Positions from `head` on, which the claimant reads. The positions in the span's `ahead` are filled too.
pub type ReadClaim<'a> = Claim<'a, Consumers>;

impl<'a, S: Side> Claim<'a, S> {
    /// Returns the claimed positions.
    #[inline]
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Records that user code runs under the claim: see [`LockGuard::announce`].
    pub fn announce(&self) -> Announced<'a> {
        self.guard.announce()
    }

    /// Returns whether this is a copy that a fork made of its parent's claim.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.guard.is_stale()
    }

    /// Does the part of a commit that both sides share, before the commit point.
    #[inline(always)]
    fn before_commit(&mut self, commit: Commit) {
        assert!(!self.guard.is_stale(), "{}", S::STALE);
        debug_assert!((1..=self.span.len + self.span.ahead).contains(&commit.len));
        if self.wake_up.0.take().is_some() {
            let found = self.span.len + self.span.ahead;
            let side = self.ring.side::<S>();
            side.tune(found, commit.per_item, self.ring.capacity());
        }
    }
}

impl WriteClaim<'_> {
    /// Makes the committed positions visible to the consumers, and lets go of the others.
    ///
    /// # Errors
    /// [`Refusal::Closed`] if the ring was closed meanwhile; [`Refusal::Corrupt`].
    ///
    /// # Panics
    /// In a forked child, because the claim belongs to its parent.
    #[inline(always)]
    pub fn commit(mut self, commit: Commit) -> Result<(), Refusal> {
        self.before_commit(commit);
        debug_assert!(commit.len <= self.span.len);
        let (words, seen) = (self.ring.words, &self.ring.seen.producers);
        let (start, end) = (self.span.start, self.span.start + commit.len);
        // Release, at least: pairs with the consumers' Acquire load of tail. Only `close` can have
        // changed the count.
        let tail = &words.producers.lock;
        tail.commit_and_unlock(self.guard, start, end)
            .map_err(closed_or_corrupt)?;
        seen.committed(end);
        full_fence_after_rmw();
        words.not_empty.0.notify(commit.wake);
        Ok(())
    }
}

impl ReadClaim<'_> {
    /// Gives the committed slots back to the producers, and lets go of the others.
    ///
    /// # Panics
    /// In a forked child, because the claim belongs to its parent.
    #[inline(always)]
    pub fn commit(mut self, commit: Commit) {
        self.before_commit(commit);
        let (words, end) = (self.ring.words, self.span.start + commit.len);
        // Release pairs with the producers' Acquire load of head.
        let head = &words.consumers.lock.count;
        head.store(end, Ordering::Release);
        self.ring.seen.consumers.committed(end);
        drop(self.guard);
        full_fence_after_rmw();
        words.not_full.0.notify(commit.wake);
    }

    /// Leaves the items to others, and wakes one of them. A drop wakes another consumer only if this one has
    /// slept.
    ///
    /// # Panics
    /// In a forked child, because the claim belongs to its parent.
    pub fn leave(mut self) {
        assert!(!self.guard.is_stale(), "{}", Consumers::STALE);
        self.wake_up.0 = None; // this wakes another in any case
        let words = self.ring.words;
        drop(self.guard);
        full_fence_after_rmw();
        words.not_empty.0.notify(1);
    }
}

/// Says why a commit found the tail `now` instead of the count that only its owner advances.
#[inline]
pub(super) fn closed_or_corrupt(now: u64) -> Refusal {
    match now & CLOSED {
        0 => Refusal::Corrupt,
        _ => Refusal::Closed,
    }
}

impl<'a> Ring<'a> {
    /// Claims up to `most` positions to write; waits until there is space for `least`, which is at least 1
    /// and at most the capacity.
    #[inline(always)]
    pub fn claim_write(self, least: u64, most: u64, wait: Wait) -> Result<WriteClaim<'a>, Refusal> {
        debug_assert!((1..=self.capacity()).contains(&least) && least <= most);
        self.claim(least, most, wait)
    }

    /// Claims up to `most` filled positions (at least 1) to read; waits until there is one.
    #[inline(always)]
    pub fn claim_read(self, most: u64, wait: Wait) -> Result<ReadClaim<'a>, Refusal> {
        self.claim(1, most, wait)
    }

    #[inline(always)]
    fn claim<S: Side>(self, least: u64, most: u64, wait: Wait) -> Result<Claim<'a, S>, Refusal> {
        let mut waited = false;
        loop {
            let guard = if waited {
                self.relock::<S>(wait)?
            } else {
                self.lock::<S>(wait)?
            };
            // Loaded once: `close` may set the top bit between two loads, and a put whose start is the
            // second load would commit after the close.
            let start = self.side::<S>().lock.count.load(Ordering::Relaxed);
            let available = S::available(self, start, most)?;
            if available >= least {
                let len = available.min(most);
                return Ok(Claim {
                    ring: self,
                    guard,
                    span: Span {
                        start,
                        len,
                        ahead: available - len,
                    },
                    wake_up: WakeUp(waited.then(|| S::event(self.words))),
                    side: PhantomData,
                });
            }
            let gap = self.side::<S>().gap();
            drop(guard);
            self.wait_for::<S>(least, wait, gap)?;
            waited = true;
        }
    }
}
