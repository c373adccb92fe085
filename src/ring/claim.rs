//! Claims: one side's lock, and positions that are that side's until they are committed or let go.
//!
//! The steps of the table in [`ring`](super), taken one by one: [`Ring::claim_room`] and
//! [`Ring::claim_items`] are its step 1, whoever has the claim does step 2, and `commit` is steps 3
//! and 4. A claim that is dropped releases the lock, and that is all.
//!
//! What is on the way of every item is inlined whatever the compiler thinks of it: a claim that is
//! handed from function to function goes through memory, written in small pieces and read in large
//! ones, and each item waits for that (30 million a second instead of 75).

use super::{CLOSED, Refusal, Ring, Side, Span};
use crate::sync::atomic::Ordering;
use crate::sync::{
    Announced, Deadline, Event, Lock, LockError, LockGuard, Patience, full_fence_after_rmw,
};

pub(super) const PRODUCERS: u32 = 0;
pub(super) const CONSUMERS: u32 = 1;

/// What a commit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot {
    /// How many positions; at least 1, and at most the claim's.
    pub len: u64,
    /// How many of them one item takes.
    pub per_item: u64,
    /// How many of the other side's sleepers may find something to do.
    pub wake: u32,
}

impl Lot {
    /// Items of one position each.
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

/// Slots behind `tail`, the producers' to fill (ring, invariant 2), and their lock.
#[must_use = "dropped, it leaves no trace"]
#[derive(Debug)]
pub struct Room<'a> {
    ring: Ring<'a>,
    guard: LockGuard<'a>,
    span: Span,
    waited: bool,
}

impl<'a> Room<'a> {
    /// The slots.
    #[inline]
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// To be called before user code runs under the claim: see [`LockGuard::announce`].
    pub fn announce(&self) -> Announced<'a> {
        self.guard.announce()
    }

    /// Whether this is a copy that a fork made of its parent's claim.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.guard.is_stale()
    }

    /// Has the lot's positions be seen by the consumers, and lets go of the rest.
    ///
    /// # Panics
    /// In a forked child, whose parent's the claim is.
    #[inline(always)]
    pub fn commit(self, lot: Lot) -> Result<(), Refusal> {
        let (words, span) = (self.ring.words, self.span);
        assert!(
            !self.guard.is_stale(),
            "this process is a fork made while the slots were being filled: the slots are its parent's"
        );
        debug_assert!((1..=span.len).contains(&lot.len));
        if self.waited {
            let room = span.len + span.ahead;
            words.producers.tune(room, lot.per_item, self.ring.capacity);
        }
        // Release, at least: pairs with the consumers' Acquire load of tail. Only `close` can have
        // changed it.
        let tail = &words.producers.lock;
        tail.commit_and_unlock(self.guard, span.start, span.start + lot.len)
            .map_err(|now| match now & CLOSED {
                0 => Refusal::Corrupt,
                _ => Refusal::Closed,
            })?;
        full_fence_after_rmw();
        words.not_empty.0.notify(lot.wake);
        Ok(())
    }
}

/// Items from `head` on, the consumers' to read (ring, invariant 2), and their lock.
#[must_use = "dropped, it takes nothing"]
#[derive(Debug)]
pub struct Items<'a> {
    ring: Ring<'a>,
    guard: LockGuard<'a>,
    span: Span,
    waited: bool,
}

impl<'a> Items<'a> {
    /// The slots; those in `ahead` may be read as well.
    #[inline]
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// To be called before user code runs under the claim: see [`LockGuard::announce`].
    pub fn announce(&self) -> Announced<'a> {
        self.guard.announce()
    }

    /// Gives the lot's slots back to the producers, and lets go of the rest.
    ///
    /// # Panics
    /// In a forked child, whose parent's the claim is.
    #[inline(always)]
    pub fn commit(self, lot: Lot) {
        let (words, span) = (self.ring.words, self.span);
        assert!(
            !self.guard.is_stale(),
            "this process is a fork made while the item was being read: the item is its parent's"
        );
        debug_assert!((1..=span.len + span.ahead).contains(&lot.len));
        if self.waited {
            let items = span.len + span.ahead;
            words
                .consumers
                .tune(items, lot.per_item, self.ring.capacity);
        }
        // Release: pairs with the producers' Acquire load of head.
        let head = &words.consumers.lock.count;
        head.store(span.start + lot.len, Ordering::Release);
        drop(self.guard);
        full_fence_after_rmw();
        words.not_full.0.notify(lot.wake);
    }
}

impl<'a> Ring<'a> {
    /// Claims room for up to `most` positions; waits until there is room for `least`, which is at
    /// least 1 and at most the capacity.
    #[inline(always)]
    pub fn claim_room(
        self,
        least: u64,
        most: u64,
        patience: Patience,
    ) -> Result<Room<'a>, Refusal> {
        debug_assert!((1..=self.capacity).contains(&least) && least <= most);
        let side = &self.words.producers;
        let mut waited = false;
        loop {
            let guard = if waited {
                self.lock_awake(side, PRODUCERS, &self.words.not_full.0, patience)?
            } else {
                self.lock(side, PRODUCERS, patience)?
            };
            // Once: `close` may set the top bit between two loads, and with the second one as its
            // start a put would commit after it.
            let start = side.lock.count.load(Ordering::Relaxed);
            let room = self.room(start, most, guard.owner_died())?;
            if room >= least {
                let len = room.min(most);
                return Ok(Room {
                    ring: self,
                    guard,
                    span: Span {
                        start,
                        len,
                        ahead: room - len,
                    },
                    waited,
                });
            }
            let gap = side.gap();
            drop(guard);
            self.await_room(least, patience, gap)?;
            waited = true;
        }
    }

    /// Claims up to `most` positions (at least 1) that are filled; waits until there is one.
    #[inline(always)]
    pub fn claim_items(self, most: u64, patience: Patience) -> Result<Items<'a>, Refusal> {
        let side = &self.words.consumers;
        let mut waited = false;
        loop {
            let guard = if waited {
                self.lock_awake(side, CONSUMERS, &self.words.not_empty.0, patience)?
            } else {
                self.lock(side, CONSUMERS, patience)?
            };
            let start = side.lock.count.load(Ordering::Relaxed);
            let items = self.items(start, most, guard.owner_died())?;
            if items > 0 {
                let len = items.min(most);
                return Ok(Items {
                    ring: self,
                    guard,
                    span: Span {
                        start,
                        len,
                        ahead: items - len,
                    },
                    waited,
                });
            }
            let gap = side.gap();
            drop(guard);
            self.await_item(patience, gap)?;
            waited = true;
        }
    }

    #[inline(always)]
    pub(super) fn lock(
        self,
        side: &'a Side,
        which: u32,
        patience: Patience,
    ) -> Result<LockGuard<'a>, Refusal> {
        // Whoever has the lock may keep it (an endpoint, a stopped process): a close is to be heard
        // all the same.
        Lock::new(&side.lock.word, self.holder, which)
            .lock_unless(patience, || self.is_over(which))
            .map_err(|error| match error {
                LockError::Busy | LockError::TimedOut if self.is_over(which) => Refusal::Closed,
                error => error.into(),
            })
    }

    /// Whether this side has nothing to do any more, whoever has its lock.
    #[cold]
    fn is_over(self, which: u32) -> bool {
        let (head, tail) = self.counts();
        tail & CLOSED != 0 && (which == PRODUCERS || tail & !CLOSED == head)
    }

    /// Takes the lock after a sleep, which may have ended in the place of another's: where somebody
    /// has the lock for longer, who sleeps on the same bell (that very owner, it may be) is told.
    #[cold]
    fn lock_awake(
        self,
        side: &'a Side,
        which: u32,
        bell: &Event,
        patience: Patience,
    ) -> Result<LockGuard<'a>, Refusal> {
        match self.lock(side, which, Patience::Try) {
            Err(Refusal::Busy) => {
                bell.notify(1);
                self.lock(side, which, patience)
            }
            taken => taken,
        }
    }

    /// To be called before a wait for what the other side does.
    ///
    /// # Panics
    /// Where this thread has the other side itself, and so would wait for ever.
    fn check_not_alone(self, other: &Side, which: u32, deadline: Deadline) {
        let lock = Lock::new(&other.lock.word, self.holder, which);
        assert!(
            !deadline.is_never() || !lock.is_mine(),
            "deadlock: this thread holds the other side of the queue that it waits for \
             (a put beside a consumer's side that it has, or a get beside a producer's?)"
        );
    }

    /// How many positions are free behind `tail`; under the producers' lock. Where the copy of head
    /// shows room for fewer than `most`, head itself is asked.
    #[inline(always)]
    pub(super) fn room(self, tail: u64, most: u64, owner_died: bool) -> Result<u64, Refusal> {
        let side = &self.words.producers;
        if tail & CLOSED != 0 {
            return Err(Refusal::Closed);
        }
        let used = tail.wrapping_sub(side.seen.load(Ordering::Relaxed));
        let room = self.capacity.wrapping_sub(used);
        if used < self.capacity && room >= most.min(self.capacity) && !owner_died {
            return Ok(room);
        }
        // Acquire: pairs with the consumers' commit; what they copied out may be overwritten.
        let head = self.words.consumers.lock.count.load(Ordering::Acquire);
        let used = tail.wrapping_sub(head);
        if used > self.capacity {
            return Err(Refusal::Corrupt);
        }
        side.seen.store(head, Ordering::Relaxed);
        Ok(self.capacity - used)
    }

    /// How many positions are filled from `head` on; under the consumers' lock. Where the copy of
    /// tail shows fewer than `most`, tail itself is asked.
    #[inline(always)]
    pub(super) fn items(self, head: u64, most: u64, owner_died: bool) -> Result<u64, Refusal> {
        let side = &self.words.consumers;
        if head & CLOSED != 0 {
            return Err(Refusal::Corrupt); // only a tail has that bit
        }
        let items = side.seen.load(Ordering::Relaxed).wrapping_sub(head);
        let enough = most.clamp(1, self.capacity);
        if (enough..=self.capacity).contains(&items) && !owner_died {
            return Ok(items);
        }
        // Acquire: pairs with the producers' commit; the items are whole.
        let tail = self.words.producers.lock.count.load(Ordering::Acquire);
        let items = (tail & !CLOSED).wrapping_sub(head);
        if items > self.capacity {
            return Err(Refusal::Corrupt);
        }
        if items == 0 && tail & CLOSED != 0 {
            return Err(Refusal::Closed);
        }
        side.seen.store(tail & !CLOSED, Ordering::Relaxed);
        Ok(items)
    }

    #[cold]
    pub(super) fn await_room(
        self,
        least: u64,
        patience: Patience,
        gap: u32,
    ) -> Result<(), Refusal> {
        let deadline = to_wait(patience)?;
        self.check_not_alone(&self.words.consumers, CONSUMERS, deadline);
        // Anything but a ring that is too full, and open, ends the wait; what it is, the next round
        // finds.
        let too_full = self.capacity - least + 1..=self.capacity;
        let look = || {
            let (head, tail) = self.counts();
            (!too_full.contains(&tail.wrapping_sub(head))).then_some(())
        };
        let found = self.words.not_full.0.wait(deadline, gap, look);
        found.ok_or(Refusal::TimedOut)
    }

    #[cold]
    pub(super) fn await_item(self, patience: Patience, gap: u32) -> Result<(), Refusal> {
        let deadline = to_wait(patience)?;
        self.check_not_alone(&self.words.producers, PRODUCERS, deadline);
        let look = || {
            let (head, tail) = self.counts();
            (tail != head).then_some(())
        };
        let found = self.words.not_empty.0.wait(deadline, gap, look);
        found.ok_or(Refusal::TimedOut)
    }
}

fn to_wait(patience: Patience) -> Result<Deadline, Refusal> {
    match patience {
        Patience::Try => Err(Refusal::NotNow),
        Patience::Until(deadline) => Ok(deadline),
    }
}
