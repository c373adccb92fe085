//! [`Lock`]: mutual exclusion between processes, any of which may be killed while it holds.
//!
//! A word names its owner by a holder number: drawn once per open segment and process, never
//! reused. Whether a number's owner is alive is not the lock's to know; it asks a [`Liveness`].
//!
//! | word | means | next |
//! |---|---|---|
//! | `0` | free | CAS to `me << 1`: locked |
//! | `n << 1` | held by n, nobody sleeps | n swaps in 0 · a waiter marks it |
//! | `n << 1 \| 1` | held by n, somebody may sleep | n swaps in 0 and wakes one |
//! | either, n dead | the owner died inside | one waiter's CAS replaces n by itself: `owner_died` |
//!
//! Invariants:
//! 1. *Only n, while it lives, changes a word that names n*, except for the sleepers' bit.
//! 2. *A take-over hits no successor*: its CAS names the dead number, and numbers are not reused.
//! 3. *Whoever sleeps is seen by the owner, or wakes by itself within [`NAP`]*: the bit is set
//!    by CAS before the sleep, and whoever gets the lock after having slept sets it again for the
//!    others.
//!
//! If a process dies: holding, it is found dead by the next waiter (at once, or after a nap that
//! was begun while it was alive), whose CAS makes it the owner and tells it; dying in the
//! middle of that, it is a dead owner like any other. Between the swap and the wake: the word is
//! free, sleepers come for it within a nap. Woken and then killed: the others wake within a nap.
//!
//! Orderings: taking is AcqRel: its Acquire pairs with the Release of whoever let go, its Release with the
//! fence of whoever doubts that the owner's number was drawn. A take-over
//! has no release to pair with; its partner is the kernel, which lets go of a dead process's files
//! under locks that the question for liveness takes too.

use super::Patience;
use super::atomic::{Ordering, fence};
use super::event::Deadline;
use crate::os::Futex64;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64 as LocalU64;
use std::time::Duration;

/// The longest sleep before the owner's life is asked for again.
const NAP: Duration = Duration::from_millis(20);

/// Pauses before the owner's life is asked for: some times what a critical section takes.
const SPIN_PAUSES: u32 = 64;

/// How long `Patience::Try` tries: longer than any critical section without user code.
const TRY_FOR: Duration = if cfg!(loom) {
    Duration::ZERO // a model has no clock
} else {
    Duration::from_micros(2)
};

const SLEEPERS: u64 = 1;

/// What is known of the owner of a holder number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its owner lives.
    Alive,
    /// Its owner has died or let go.
    Dead,
    /// The number was never drawn: whatever names it is corrupt.
    NeverDrawn,
}

/// Who can tell the living from the dead, among the holders of one piece of memory.
pub trait Liveness {
    /// What is known of the holder with that number.
    fn standing(&self, number: u64) -> Standing;

    /// Tells this memory from any other that the process has open, whichever way it was opened.
    fn identity(&self) -> (u64, u64);
}

/// This process, as one of the holders.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    /// The number this process has now. It changes in a forked child; 0 says that the child could
    /// not get one.
    pub number: &'a LocalU64,
    /// Who knows the other holders.
    pub others: &'a dyn Liveness,
}

impl fmt::Debug for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({})", self.number())
    }
}

impl Holder<'_> {
    #[inline]
    fn number(self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

/// A lock's word in shared memory. Zeroed memory is a valid one, and free.
///
/// ```text
/// bit 63 … 1   the owner's holder number; 0: free
/// bit 0        somebody may sleep for it
/// ```
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct LockWord(Futex64);

#[cfg(all(test, not(loom)))]
impl LockWord {
    pub(super) fn raw(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_raw(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
    }
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// A live owner holds it, and the caller was not to wait.
    Busy,
    /// A live owner held it until the deadline.
    TimedOut,
    /// The word is none that this protocol writes.
    Corrupt,
}

/// A lock word, seen by one of its holders.
#[derive(Clone, Copy, Debug)]
pub struct Lock<'a> {
    word: &'a LockWord,
    holder: Holder<'a>,
    /// Tells the locks of one memory apart, for the detection of relocking.
    which: u32,
}

impl<'a> Lock<'a> {
    /// The lock at `word`; `which` tells it from the others of the same memory.
    #[inline]
    #[must_use]
    pub fn new(word: &'a LockWord, holder: Holder<'a>, which: u32) -> Self {
        Self {
            word,
            holder,
            which,
        }
    }

    /// Takes the lock.
    ///
    /// # Panics
    /// Where this thread holds it already, through whichever handle, and where this process is a
    /// forked child that could not become a holder.
    #[inline]
    pub fn lock(self, patience: Patience) -> Result<LockGuard<'a>, LockError> {
        self.lock_unless(patience, || false)
    }

    /// As [`lock`](Self::lock), but does not wait where `over` says that it would be in vain: that ends
    /// it as the deadline does. Asked only where somebody who lives has the lock, and within a nap.
    #[inline]
    pub fn lock_unless(
        self,
        patience: Patience,
        over: impl Fn() -> bool,
    ) -> Result<LockGuard<'a>, LockError> {
        let me = self.holder.number();
        let owner_died = if me != 0 && self.take(0, me << 1) {
            false
        } else {
            self.lock_contended(me, patience, &over)?
        };
        Ok(LockGuard {
            lock: self,
            number: me,
            owner_died,
            not_send: PhantomData,
        })
    }

    /// Releases what a guard of this lock was detached from; a second time, and of a stale copy, it
    /// does nothing.
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
        // Acquire: pairs with the Release swap of the owner before. Release: pairs with the fence of
        // whoever doubts that our number was drawn.
        self.word
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock from whoever has it, once it is free or its owner is dead; says which.
    #[cold]
    #[inline(never)]
    fn lock_contended(
        self,
        me: u64,
        patience: Patience,
        over: &dyn Fn() -> bool,
    ) -> Result<bool, LockError> {
        assert!(
            me != 0,
            "this process is a fork that could not open the segment for itself \
             (out of descriptors, or without permission), so it can't use the inherited handle"
        );
        let deadline = match patience {
            Patience::Try => Deadline::after(TRY_FOR),
            Patience::Until(deadline) => deadline,
        };
        // Once we have slept, others may be asleep behind us: the word we take must say so.
        let mut mark = 0;
        loop {
            let word = super::spin(SPIN_PAUSES, 1, || {
                let word = self.word.0.load(Ordering::Relaxed);
                (word == 0).then_some(word)
            })
            .unwrap_or_else(|| self.word.0.load(Ordering::Relaxed));
            if word == 0 {
                if self.take(0, me << 1 | mark) {
                    return Ok(false);
                }
                continue;
            }
            let owner = word >> 1;
            if self.owner_is_dead(owner, me)? {
                if self.take(word, me << 1 | word & SLEEPERS | mark) {
                    fence(Ordering::SeqCst); // what the dead owner wrote is read from here on
                    return Ok(true);
                }
                continue;
            }
            if over() {
                return Err(LockError::TimedOut);
            }
            assert!(
                matches!(patience, Patience::Try) || !self.is_held_by_this_thread(owner),
                "deadlock: this thread holds the lock it waits for \
                 (a call on a handle from inside a closure that runs under its lock, \
                 or beside an endpoint that this thread has?)"
            );
            let Some(left) = deadline.left() else {
                return Err(match patience {
                    Patience::Try => LockError::Busy,
                    Patience::Until(_) => LockError::TimedOut,
                });
            };
            if matches!(patience, Patience::Try) {
                continue; // spins on: `TRY_FOR` is shorter than a sleep
            }
            let marked = word | SLEEPERS;
            let is_marked = word == marked
                || self
                    .word
                    .0
                    .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if is_marked {
                mark = SLEEPERS;
                self.word.0.wait(marked, left.min(NAP));
            }
        }
    }

    fn owner_is_dead(self, owner: u64, me: u64) -> Result<bool, LockError> {
        let standing = match owner {
            0 => Standing::NeverDrawn, // the bit without an owner is never written
            // One of our own threads; only its death would let go, and that is our own.
            _ if owner == me => Standing::Alive,
            _ => match self.holder.others.standing(owner) {
                Standing::NeverDrawn => {
                    // Pairs with the Release of the owner's `take`, as the word was loaded Relaxed:
                    // the owner drew its number before.
                    fence(Ordering::Acquire);
                    self.holder.others.standing(owner)
                }
                known => known,
            },
        };
        match standing {
            Standing::Dead => Ok(true),
            Standing::NeverDrawn => Err(LockError::Corrupt),
            Standing::Alive => Ok(false),
        }
    }

    /// Whether this thread has the lock, and has announced it.
    #[must_use]
    pub fn is_mine(self) -> bool {
        let owner = self.word.0.load(Ordering::Relaxed) >> 1;
        owner != 0 && self.is_held_by_this_thread(owner)
    }

    fn is_held_by_this_thread(self, owner: u64) -> bool {
        let entry = self.held_entry(owner);
        // The threads of a model share the notes, as they are one thread to the system.
        cfg!(not(loom)) && with_notes(|held| held.contains(&entry)).unwrap_or(false)
    }

    fn held_entry(self, number: u64) -> HeldEntry {
        HeldEntry {
            identity: self.holder.others.identity(),
            which: self.which,
            number,
            forks: FORKS.load(Ordering::Relaxed),
        }
    }
}

/// How many forks lie between the program's start and this process. What a thread noted before a
/// fork is its parent's to answer for.
static FORKS: LocalU64 = LocalU64::new(0);

/// To be called in a forked child: the locks that this thread's original holds are not this one's.
pub(crate) fn forget_held_locks() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many locks this thread has announced, of those that `is_live` knows by their memory's identity
/// and their holder's number. One that was leaked counts until `is_live` says no.
pub(crate) fn count_announced(is_live: impl Fn((u64, u64), u64) -> bool) -> usize {
    let count = with_notes(|held| {
        held.iter()
            .filter(|entry| is_live(entry.identity, entry.number))
            .count()
    });
    count.unwrap_or(0)
}

/// A lock that this thread holds while user code runs, which might come back for it.
#[derive(Clone, Debug, PartialEq)]
struct HeldEntry {
    identity: (u64, u64),
    which: u32,
    number: u64,
    forks: u64,
}

thread_local! {
    static HELD: RefCell<Vec<HeldEntry>> = const { RefCell::new(Vec::new()) };
}

/// `None` where the thread is ending and its notes are gone: then nothing is noted any more.
fn with_notes<R>(f: impl FnOnce(&mut Vec<HeldEntry>) -> R) -> Option<R> {
    HELD.try_with(|held| f(&mut held.borrow_mut())).ok()
}

fn note(entry: HeldEntry) {
    with_notes(|held| held.push(entry));
}

fn withdraw(entry: &HeldEntry) {
    with_notes(|held| {
        if let Some(mine) = held.iter().rposition(|other| other == entry) {
            held.swap_remove(mine);
        }
    });
}

/// The lock, held; dropping it releases.
///
/// A copy that a fork made, or one whose handle has died in a simulation, is *stale*: the
/// number it was locked with is not the holder's any more, and dropping it does nothing.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard<'a> {
    lock: Lock<'a>,
    number: u64,
    owner_died: bool,
    not_send: PhantomData<*const ()>,
}

impl<'a> LockGuard<'a> {
    /// Whether the lock was taken over from a dead owner: what it guards may be half done.
    #[inline]
    #[must_use]
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// Whether this guard is only a copy of one that belongs to another process: see the type.
    #[inline]
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.number != self.lock.holder.number()
    }

    /// Whether it is this lock's.
    pub(super) fn is_of(&self, word: &LockWord) -> bool {
        std::ptr::eq(self.lock.word, word)
    }

    /// The lock's word while this guard holds it and nobody sleeps.
    #[inline]
    pub(super) fn locked_word(&self) -> u64 {
        self.number << 1
    }

    /// To be called before user code runs under the lock: until the result is dropped, this
    /// thread's coming back for the lock is a panic rather than a wait for itself.
    pub fn announce(&self) -> Announced<'a> {
        note(self.lock.held_entry(self.number));
        Announced {
            lock: self.lock,
            number: self.number,
            not_send: PhantomData,
        }
    }

    /// Keeps the lock beyond the borrow of its word, and announced all the while: see [`HeldLock`].
    pub fn detach(self) -> HeldLock {
        let entry = self.lock.held_entry(self.number);
        note(entry.clone());
        std::mem::forget(self);
        HeldLock {
            number: entry.number,
            entry,
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
        // Release: pairs with the Acquire of whoever takes it next.
        let word = self.lock.word.0.swap(0, Ordering::Release);
        if word & SLEEPERS != 0 {
            wake_one(self.lock.word);
        }
    }
}

/// A thread's note that it holds a lock while user code runs; dropping it withdraws the note.
#[must_use = "the note is withdrawn when this is dropped"]
#[derive(Debug)]
pub struct Announced<'a> {
    lock: Lock<'a>,
    number: u64,
    not_send: PhantomData<*const ()>,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        withdraw(&self.lock.held_entry(self.number));
    }
}

/// A lock that is held by a value which owns its memory, and so can't borrow the word: the part of a
/// guard that needs no borrow. [`Lock::release`] ends it; dropped alone, it leaves the lock held.
#[must_use = "the lock stays held until `Lock::release`"]
#[derive(Debug)]
pub struct HeldLock {
    /// What the lock was taken with; 0 once it is released.
    number: u64,
    entry: HeldEntry,
    not_send: PhantomData<*const ()>,
}

impl HeldLock {
    /// Whether it is a copy that belongs to another process, as [`LockGuard::is_stale`].
    #[inline]
    #[must_use]
    pub fn is_stale(&self, holder: Holder<'_>) -> bool {
        self.number != holder.number()
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        withdraw(&self.entry);
    }
}

#[cold]
fn wake_one(word: &LockWord) {
    word.0.wake(1);
}
