//! [`Lock`]: mutual exclusion between processes, any of which may be killed while it holds the lock.
//!
//! The lock's word names its owner by a holder number. The lock does not know whether that owner is alive:
//! it asks a [`Liveness`](super::liveness::Liveness).
//!
//! | word | meaning | next |
//! |---|---|---|
//! | `0` | free | a CAS to `me << 2` takes the lock |
//! | `n << 2` | n holds the lock and need wake nobody | n swaps in 0 · a waiter sets the sleepers' bit |
//! | `n << 2 \| 1` | n holds the lock, somebody may sleep | n swaps in 0 and wakes one sleeper |
//! | `n << 2 \| 3` | and a sleeper has waited for [`PATIENCE`] | n swaps in 0, makes that *reserved* by CAS, and wakes one |
//! | *reserved* | free for a waiter that has slept; after a [`NAP`], for anybody | a CAS to `me << 2 \| 1` takes the lock |
//! | any with n, n dead | the owner died inside | one waiter puts its own number in n's place by CAS, and is told `owner_died` |
//!
//! Invariants:
//! 1. *While n lives, only n changes a word that names n*, except for the two low bits.
//! 2. *A take-over hits no successor*: its CAS names the dead number, and numbers are never reused.
//! 3. *No sleeper is forgotten for longer than [`NAP`].* A waiter sets the bit by CAS before it sleeps. A
//!    release clears the bit and wakes one waiter. While that waiter is on its way, the bit may be missing
//!    although others sleep: a newcomer may take the free lock without the bit. The woken waiter sets the
//!    bit again when it takes the lock or goes back to sleep, and wakes another sleeper if it gives up. If
//!    the woken waiter dies, the others may sleep out their naps beside a free lock.
//! 4. *Nobody overtakes those who have slept for [`PATIENCE`] again and again.* Such a waiter sets the
//!    starving bit when it goes back to sleep (at once, if its deadline is nearer). The next release then
//!    reserves the lock, so that whoever has not slept goes to sleep: above all the releaser, if it comes
//!    back. Only somebody who looks between the swap and the CAS can be faster, once. The longest sleeper
//!    is woken and finds the lock reserved. It need not be the one that set the bit, but each has its turn.
//! 5. *A reservation that nobody takes blocks nobody for longer than [`NAP`].* The word contains the time of
//!    the reservation, for callers that don't wait or whose deadline is near. Any other waiter sleeps once
//!    at most. A releaser that finds nobody asleep, or a sleeper that gives up, ends the reservation at once.
//!
//! If a process dies while it holds the lock, a waiter that is awake finds out at once, and a sleeping one
//! at the end of its nap. The waiter's CAS makes it the owner and tells it of the death. A process that
//! dies in the middle of a take-over is a dead owner like any other. If a process dies between the swap
//! and the wake, the lock is free or reserved, and the sleepers come for it within a nap. If a starving
//! waiter dies, its bit costs the next release a system call; if it dies on its way to a reserved lock,
//! invariant 5 applies.
//!
//! Orderings: taking is `AcqRel`. Its Acquire pairs with the Release of the owner before (the CAS that makes
//! or ends a reservation, or marks the word, continues that owner's release sequence). Its Release
//! pairs with the Acquire fence in [`Lock::owner_is_dead`]. A take-over has no release to pair with. Its
//! partner is the kernel: Linux drops a dead process's file locks under a spinlock, and takes that spinlock
//! to answer whether the owner is alive. As of Linux 6, `posix_test_lock` skips the spinlock if the file
//! has no locks at all, but the asker's own hold is one. An asker without a hold would lose the ordering.

#[cfg(all(test, not(loom)))]
mod tests;
mod word;

use super::atomic::{Ordering, fence};
use super::held::{LockId, LockKey};
use super::liveness::{Holder, HolderState};
use super::spin::spin;
use super::wait::{Deadline, Wait};
use crate::os;
use std::marker::PhantomData;
use std::time::Duration;
pub use word::LockWord;
use word::{NAP, SLEEPERS, STARVING, held_by, is_free_for, is_reserved, owner_of, reserved};

/// How long a waiter that sleeps lets others overtake it. Handing the lock over leaves it idle until the
/// sleeper is awake (some 50 µs on a virtual machine), so that the loss stays small.
const PATIENCE: Duration = if cfg!(loom) {
    Duration::ZERO // a model has no clock
} else {
    Duration::from_millis(2)
};

/// Pauses before a waiter asks whether the owner is alive: several times as long as a critical section.
const SPIN_PAUSES: u32 = 64;

/// How long `Wait::Try` tries: longer than any critical section without user code.
const TRY_FOR: Duration = if cfg!(loom) {
    Duration::ZERO // a model has no clock
} else {
    Duration::from_micros(2)
};

/// The reason why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// A live owner holds the lock, and the caller does not wait.
    Busy,
    /// A live owner held the lock until the deadline.
    TimedOut,
    /// The word is one that this protocol never writes, or names this process, whose only thread waits.
    Corrupt,
}

/// A lock word, seen by one of its holders.
#[derive(Clone, Copy, Debug)]
pub struct Lock<'a> {
    word: &'a LockWord,
    holder: Holder<'a>,
    id: LockId,
}

impl<'a> Lock<'a> {
    /// Returns the lock at `word`; `id` tells it from the other locks of the same memory.
    #[inline]
    #[must_use]
    pub fn new(word: &'a LockWord, holder: Holder<'a>, id: LockId) -> Self {
        Self { word, holder, id }
    }

    /// Takes the lock.
    ///
    /// # Panics
    /// If `wait` is not [`Wait::Try`], and this thread has announced or detached the same lock already,
    /// through whichever handle. (A thread that holds the lock without either waits for itself.) And in a
    /// forked child that could not become a holder.
    #[inline]
    pub fn lock(self, wait: Wait) -> Result<LockGuard<'a>, LockError> {
        self.lock_unless(wait, || false)
    }

    /// Takes the lock like [`lock`](Self::lock), but gives up, as at a deadline, once `over` says that
    /// waiting is in vain. `over` is called at least once a nap, but only while a live owner has the lock.
    #[inline]
    pub fn lock_unless(
        self,
        wait: Wait,
        over: impl Fn() -> bool,
    ) -> Result<LockGuard<'a>, LockError> {
        match self.lock_if_free() {
            Some(guard) => Ok(guard),
            None => self.wait_unless(wait, over),
        }
    }

    /// Takes the lock if it is free.
    #[inline(always)]
    pub(super) fn lock_if_free(self) -> Option<LockGuard<'a>> {
        let me = self.holder.number();
        (me != 0 && self.take(0, held_by(me))).then(|| self.guard(me, false))
    }

    /// Does what [`lock_unless`](Self::lock_unless) does once [`lock_if_free`](Self::lock_if_free) has failed.
    pub(super) fn wait_unless(
        self,
        wait: Wait,
        over: impl Fn() -> bool,
    ) -> Result<LockGuard<'a>, LockError> {
        let me = self.holder.number();
        let owner_died = self.lock_contended(me, wait, &over)?;
        Ok(self.guard(me, owner_died))
    }

    #[inline(always)]
    fn guard(self, number: u64, owner_died: bool) -> LockGuard<'a> {
        LockGuard {
            lock: self,
            number,
            owner_died,
            not_send: PhantomData,
        }
    }

    /// Releases a lock that [`LockGuard::detach`] detached from its guard. A second call does nothing, nor
    /// does a call with a stale copy.
    pub fn release(self, held: &mut HeldLock) {
        let number = std::mem::take(&mut held.number);
        if number != 0 {
            drop(LockGuard {
                lock: self,
                number,
                owner_died: false,
                not_send: PhantomData,
            });
        }
    }

    #[inline]
    fn take(self, from: u64, to: u64) -> bool {
        // Acquire pairs with the Release swap of the owner before. Release pairs with the fence in
        // `owner_is_dead`: whoever sees this number there also sees that it was drawn.
        self.word
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock once it is free or its owner is dead; returns whether the owner was dead.
    #[cold]
    #[inline(never)]
    fn lock_contended(
        self,
        me: u64,
        wait: Wait,
        over: &dyn Fn() -> bool,
    ) -> Result<bool, LockError> {
        assert!(
            me != 0,
            "this process is a fork that could not open the segment for itself \
             (out of descriptors, without permission, or closed by the program), so it can't use the \
             inherited handle"
        );
        let deadline = match wait {
            Wait::Try => Deadline::after(TRY_FOR),
            Wait::Until(deadline) => deadline,
        };
        // When we first went to sleep. From then on we take the lock with the sleepers' bit, because others
        // may still be asleep, and our release has to wake one of them (invariant 3).
        let mut slept = None::<Duration>;
        loop {
            let mark = if slept.is_some() { SLEEPERS } else { 0 };
            let is_free = |word| is_free_for(word, slept.is_some());
            // Spin for a moment: most critical sections last some nanoseconds.
            let word = spin(SPIN_PAUSES, 1, || {
                let word = self.word.0.load(Ordering::Relaxed);
                is_free(word).then_some(word)
            })
            .unwrap_or_else(|| self.word.0.load(Ordering::Relaxed));
            if is_free(word) {
                if self.take(word, held_by(me) | word & SLEEPERS | mark) {
                    return Ok(false);
                }
                continue;
            }
            let owner = owner_of(word);
            if owner == me && slept.is_some() && is_only_thread() {
                return Err(LockError::Corrupt); // this thread does not have the lock, but waits for it
            }
            // If the owner is dead, replace exactly that number by ours (invariant 2), and keep the two
            // bits. If another waiter is faster, start over.
            if !is_reserved(word) && self.owner_is_dead(owner, me)? {
                if self.take(word, held_by(me) | word & (SLEEPERS | STARVING) | mark) {
                    // The CAS acquires only what the dead owner had released when it took the lock. An
                    // Acquire for its later writes would have no partner, since the kernel released
                    // them. So a full fence keeps our reads behind the kernel's answer.
                    fence(Ordering::SeqCst);
                    return Ok(true);
                }
                continue;
            }
            // A live owner has the lock, or the lock is reserved for others.
            let left = if over() {
                None
            } else {
                assert!(
                    matches!(wait, Wait::Try) || !self.is_held_by_this_thread(owner),
                    "deadlock: this thread holds the lock it waits for \
                     (a call on a handle from inside a closure that runs under its lock, \
                     or beside an endpoint that this thread has?)"
                );
                deadline.left()
            };
            let Some(left) = left else {
                if slept.is_some() {
                    pass_on(self.word);
                }
                return Err(match wait {
                    Wait::Try => LockError::Busy,
                    Wait::Until(_) => LockError::TimedOut,
                });
            };
            if matches!(wait, Wait::Try) {
                continue; // spins on: `TRY_FOR` is shorter than a sleep
            }
            // Without the sleepers' bit, the owner's release would wake nobody.
            let mut marked = word | SLEEPERS;
            let now = os::now();
            let is_starving = slept.is_some_and(|since| now.saturating_sub(since) >= PATIENCE);
            if !is_reserved(word) && (is_starving || left < PATIENCE) {
                marked |= STARVING;
            }
            let is_marked = word == marked
                || self
                    .word
                    .0
                    .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            // Sleep until a release wakes us, or until it is time to ask for the owner again; not at all if
            // the word has changed. The kernel compares the low 32 bits; a change above them alone is
            // noticed after the nap.
            if is_marked {
                slept = slept.or(Some(now));
                self.word.0.wait(marked, left.min(NAP));
            }
        }
    }

    fn owner_is_dead(self, owner: u64, me: u64) -> Result<bool, LockError> {
        let state = match owner {
            0 => HolderState::NeverDrawn, // nobody writes the bits without an owner
            // One of our own threads holds the lock, and only our own death would end that.
            _ if owner == me => HolderState::Alive,
            _ => match self.holder.others.holder_state(owner) {
                HolderState::NeverDrawn => {
                    // Pairs with the Release of the owner's `take`: the owner drew its number before
                    // that, and the word was loaded Relaxed.
                    fence(Ordering::Acquire);
                    self.holder.others.holder_state(owner)
                }
                known => known,
            },
        };
        match state {
            HolderState::Dead => Ok(true),
            HolderState::NeverDrawn => Err(LockError::Corrupt),
            HolderState::Alive => Ok(false),
        }
    }

    /// Returns whether this thread has announced or detached the lock, and still holds it.
    #[must_use]
    pub fn is_mine(self) -> bool {
        let owner = owner_of(self.word.0.load(Ordering::Relaxed));
        owner != 0 && self.is_held_by_this_thread(owner)
    }

    fn is_held_by_this_thread(self, owner: u64) -> bool {
        self.key(owner).is_on_list()
    }

    fn key(self, number: u64) -> LockKey {
        LockKey::new(self.holder, self.id, number)
    }
}

/// A lock that is held; dropping the guard releases the lock.
///
/// A guard is *stale* if a fork copied it, or if a test killed its holder (`HeapMemory::die`): the holder
/// has another number now than when it took the lock. Dropping a stale guard does nothing.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard<'a> {
    lock: Lock<'a>,
    number: u64,
    owner_died: bool,
    not_send: PhantomData<*const ()>,
}

impl<'a> LockGuard<'a> {
    /// Returns whether the lock was taken over from a dead owner, whose work may be half done.
    #[inline]
    #[must_use]
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// Returns whether this guard is stale: see the type.
    #[inline]
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.number != self.lock.holder.number()
    }

    /// Returns whether this guard holds the lock at `word`.
    pub(super) fn is_of(&self, word: &LockWord) -> bool {
        std::ptr::eq(self.lock.word, word)
    }

    /// Returns the value of the lock's word while this guard holds the lock and need wake nobody.
    #[inline]
    pub(super) fn locked_word(&self) -> u64 {
        held_by(self.number)
    }

    /// Records that user code runs under the lock. Until the result is dropped, this thread panics if it
    /// comes back for the lock, instead of waiting for itself.
    pub fn announce(&self) -> Announced<'a> {
        self.lock.key(self.number).record();
        Announced {
            lock: self.lock,
            number: self.number,
            not_send: PhantomData,
        }
    }

    /// Keeps the lock beyond the borrow of its word. The lock is announced until the result is dropped.
    pub fn detach(self) -> HeldLock {
        let key = self.lock.key(self.number);
        key.clone().record();
        std::mem::forget(self);
        HeldLock {
            number: key.number(),
            key,
            not_send: PhantomData,
        }
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_stale() {
            return;
        }
        // Release pairs with the Acquire of the next owner's `take`.
        let word = self.lock.word.0.swap(0, Ordering::Release);
        if word & SLEEPERS != 0 {
            wake_one(self.lock.word, word & STARVING != 0);
        }
    }
}

/// The record that a thread holds a lock while user code runs; dropping it withdraws the record.
#[must_use = "the record is withdrawn when this is dropped"]
#[derive(Debug)]
pub struct Announced<'a> {
    lock: Lock<'a>,
    number: u64,
    not_send: PhantomData<*const ()>,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.lock.key(self.number).withdraw();
    }
}

/// A held lock without the borrow of its word, for a value that owns the memory and so can't borrow from
/// it. [`Lock::release`] releases the lock. Dropping a `HeldLock` leaves the lock held.
#[must_use = "the lock stays held until `Lock::release`"]
#[derive(Debug)]
pub struct HeldLock {
    /// The holder number with which the lock was taken; 0 once it is released.
    number: u64,
    key: LockKey,
    not_send: PhantomData<*const ()>,
}

impl HeldLock {
    /// Returns whether this is stale, as [`LockGuard::is_stale`] does, or released.
    #[inline]
    #[must_use]
    pub fn is_stale(&self, holder: Holder<'_>) -> bool {
        self.number != holder.number()
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.key.withdraw();
    }
}

/// Returns whether this process has no other thread, so that nobody else can have taken a lock for it.
#[cold]
fn is_only_thread() -> bool {
    #[cfg(not(loom))]
    return os::count_threads().is_ok_and(|count| count == 1);
    #[cfg(loom)]
    false // the threads of a model are one thread to the system
}

/// Wakes a sleeper for a lock that was just released; reserves the lock for sleepers first if one starves.
#[cold]
fn wake_one(lock: &LockWord, starving: bool) {
    if starving {
        // If somebody was faster, the next release reserves: the sleeper will still be starving.
        let _ = lock
            .0
            .compare_exchange(0, reserved(), Ordering::Relaxed, Ordering::Relaxed);
    }
    if lock.0.wake(1) == 0 && starving {
        pass_on(lock);
    }
}

/// Ends a reservation if there is one, and wakes a sleeper, in the place of a sleeper that does not come.
#[cold]
fn pass_on(lock: &LockWord) {
    let mut word = lock.0.load(Ordering::Relaxed);
    while is_reserved(word) {
        match lock
            .0
            .compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => break,
            Err(now) => word = now,
        }
    }
    lock.0.wake(1);
}
