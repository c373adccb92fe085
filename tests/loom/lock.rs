//! `Lock`: one owner at a time, no waiter is forgotten, and a dead owner's lock is taken over.

use crate::support::{FOREVER, Holders, bounded, exhaustive, spawn};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shmkit::internals::{Holder, HolderState, Liveness, Lock, LockGuard, LockId, LockWord};
use std::sync::atomic::AtomicU64 as LocalU64;

/// A counter that only the lock's owner may touch. Loom reports a second thread that touches it.
struct Guarded {
    word: LockWord,
    count: UnsafeCell<u64>,
    holders: Holders,
    /// Tells a waiter to give up.
    is_over: AtomicBool,
}

impl Guarded {
    fn new(holders: Holders) -> Arc<Self> {
        Arc::new(Self {
            word: LockWord::default(),
            count: UnsafeCell::new(0),
            holders,
            is_over: AtomicBool::new(false),
        })
    }

    fn lock(&self, number: u64) -> LockGuard<'_> {
        self.holders.lock(&self.word, number)
    }

    /// Counts up. The guard proves that the caller has the lock.
    fn increment(&self, _guard: &LockGuard<'_>) -> u64 {
        self.count.with_mut(|count| {
            // SAFETY: the caller has the lock. If another thread had it too, loom would panic first.
            let count = unsafe { &mut *count };
            *count += 1;
            *count
        })
    }

    fn work(&self, number: u64) {
        let guard = self.lock(number);
        assert!(!guard.owner_died(), "nobody died");
        self.increment(&guard);
    }

    /// Returns the new count, and whether the caller took over a dead owner's lock.
    fn work_after_deaths(&self, number: u64) -> (u64, bool) {
        let guard = self.lock(number);
        (self.increment(&guard), guard.owner_died())
    }
}

fn exclusion(others: u64, rounds: usize) {
    let guarded = Guarded::new(Holders::immortal());
    let threads: Vec<_> = (2..2 + others)
        .map(|number| {
            spawn(&guarded, move |guarded| {
                (0..rounds).for_each(|_| guarded.work(number))
            })
        })
        .collect();
    (0..rounds).for_each(|_| guarded.work(1));
    for thread in threads {
        thread.join().unwrap();
    }
    let total = guarded.increment(&guarded.lock(1)) - 1;
    assert_eq!(total, (1 + others) * rounds as u64);
}

#[test]
fn two_threads_exclude_each_other() {
    exhaustive(|| exclusion(1, 1));
}

#[test]
fn two_threads_exclude_each_other_twice() {
    exhaustive(|| exclusion(1, 2));
}

/// A thread can sleep behind another sleeper, so the thread that is woken must mark the word again.
#[test]
fn three_threads_exclude_each_other() {
    bounded(5, || exclusion(2, 1));
}

/// Holder 2 stops waiting once holder 1 says so. If holder 1's first release wakes it, it must wake holder 3:
/// holder 1 takes the lock again without the sleepers' bit.
#[test]
fn a_woken_waiter_that_gives_up_wakes_another() {
    bounded(3, || {
        let guarded = Guarded::new(Holders::immortal());
        let guard = guarded.lock(1);
        let quitter = spawn(&guarded, |guarded| {
            let lock = Lock::new(&guarded.word, guarded.holders.holder(2), LockId(0));
            let taken = lock.lock_unless(FOREVER, || guarded.is_over.load(Ordering::Relaxed));
            u64::from(taken.map(|guard| guarded.increment(&guard)).is_ok())
        });
        let stayer = spawn(&guarded, |guarded| guarded.work(3));
        guarded.is_over.store(true, Ordering::Relaxed);
        drop(guard);
        guarded.work(1);
        let taken = quitter.join().unwrap();
        stayer.join().unwrap();
        assert_eq!(guarded.increment(&guarded.lock(1)), 3 + taken);
    });
}

/// Two holders. The second one draws its number right before it locks.
struct Drawn {
    word: LockWord,
    next: AtomicU64,
    numbers: [LocalU64; 2],
}

impl Drawn {
    fn lock(&self, number: u64) {
        let holder = Holder {
            number: &self.numbers[number as usize - 1],
            others: self,
        };
        let guard = Lock::new(&self.word, holder, LockId(0)).lock(FOREVER);
        drop(guard.expect("the word is sound"));
    }
}

impl Liveness for Drawn {
    fn holder_state(&self, number: u64) -> HolderState {
        if number < self.next.load(Ordering::Relaxed) {
            HolderState::Alive
        } else {
            HolderState::NeverDrawn
        }
    }

    fn identity(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// A waiter that doubted the owner's number would call the lock word corrupt.
#[test]
fn an_owner_is_seen_to_have_been_drawn() {
    exhaustive(|| {
        let drawn = Arc::new(Drawn {
            word: LockWord::default(),
            next: AtomicU64::new(2),
            numbers: [1, 2].map(LocalU64::new),
        });
        let newcomer = spawn(&drawn, move |drawn| {
            drawn.next.store(3, Ordering::Relaxed);
            drawn.lock(2);
        });
        drawn.lock(1);
        newcomer.join().unwrap();
    });
}

/// Holder 2 dies with the lock. Holder 3 waits for it, and may sleep before the death; holder 1 comes after
/// the death. The first of the two takes over, and the other one is not forgotten.
#[test]
fn a_dead_owner_is_taken_over() {
    exhaustive(|| {
        let guarded = Guarded::new(Holders::mortal());
        let dying = spawn(&guarded, move |guarded| {
            let guard = guarded.lock(2);
            let count = guarded.increment(&guard);
            std::mem::forget(guard);
            guarded.holders.die(2);
            (count, false)
        });
        let waiting = spawn(&guarded, move |guarded| guarded.work_after_deaths(3));
        // Holder 1 must come after the death. If both waiters slept before it, neither would look at the
        // owner again, because the futex never times out.
        let first = dying.join().unwrap();
        let second = guarded.work_after_deaths(1);
        let third = waiting.join().unwrap();

        let mut all = [first, second, third];
        all.sort_unstable();
        assert_eq!(all.map(|(count, _)| count), [1, 2, 3]);
        let takeovers: Vec<_> = all.iter().filter(|(_, took_over)| *took_over).collect();
        assert_eq!(
            takeovers,
            [&(first.0 + 1, true)],
            "the next owner alone is told of the death"
        );
    });
}
