//! `Lock`: one at a time, nobody forgotten, and a dead owner's lock is taken over.

use crate::support::{FOREVER, Holders, bounded, exhaustive};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use shmkit::internals::{Holder, HolderState, Liveness, Lock, LockGuard, LockId, LockWord};
use std::sync::atomic::AtomicU64 as LocalU64;

/// A counter that only the lock's owner may touch: loom reports it where two may.
struct Guarded {
    word: LockWord,
    count: UnsafeCell<u64>,
    holders: Holders,
}

impl Guarded {
    fn new(holders: Holders) -> Arc<Self> {
        Arc::new(Self {
            word: LockWord::default(),
            count: UnsafeCell::new(0),
            holders,
        })
    }

    fn lock(&self, number: u64) -> LockGuard<'_> {
        let lock = Lock::new(&self.word, self.holders.holder(number), LockId(0));
        lock.lock(FOREVER).expect("waits for ever, on a sound word")
    }

    /// To be called with the lock held, by the proof of `_guard`.
    fn increment(&self, _guard: &LockGuard<'_>) -> u64 {
        self.count.with_mut(|count| {
            // SAFETY: the lock is held, and where that excluded nobody loom panics before this.
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

    /// What the counter then said, and whether a dead owner's lock was taken over.
    fn work_after_deaths(&self, number: u64) -> (u64, bool) {
        let guard = self.lock(number);
        (self.increment(&guard), guard.owner_died())
    }
}

fn exclusion(others: u64, rounds: usize) {
    let guarded = Guarded::new(Holders::immortal());
    let threads: Vec<_> = (2..2 + others)
        .map(|number| {
            let guarded = guarded.clone();
            thread::spawn(move || (0..rounds).for_each(|_| guarded.work(number)))
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

/// Here a sleeper sleeps behind another one: whoever was woken must mark the word again.
#[test]
fn three_threads_exclude_each_other() {
    bounded(5, || exclusion(2, 1));
}

/// Holders of whom the second draws its number right before it locks.
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

/// Else the lock's word would be called corrupt.
#[test]
fn an_owner_is_seen_to_have_been_drawn() {
    exhaustive(|| {
        let drawn = Arc::new(Drawn {
            word: LockWord::default(),
            next: AtomicU64::new(2),
            numbers: [1, 2].map(LocalU64::new),
        });
        let newcomer = {
            let drawn = drawn.clone();
            thread::spawn(move || {
                drawn.next.store(3, Ordering::Relaxed);
                drawn.lock(2);
            })
        };
        drawn.lock(1);
        newcomer.join().unwrap();
    });
}

/// One dies with the lock held; another waits for it, possibly asleep before the death; a third comes
/// after it. Whichever of the two gets there first takes over, and the other is not forgotten.
#[test]
fn a_dead_owner_is_taken_over() {
    exhaustive(|| {
        let guarded = Guarded::new(Holders::mortal());
        let dying = {
            let guarded = guarded.clone();
            thread::spawn(move || {
                let guard = guarded.lock(2);
                let count = guarded.increment(&guard);
                std::mem::forget(guard);
                guarded.holders.die(2);
                (count, false)
            })
        };
        let waiting = {
            let guarded = guarded.clone();
            thread::spawn(move || guarded.work_after_deaths(3))
        };
        // Not before: a futex that never times out would not look at the owner's life again.
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
            "who came next was told, and nobody else"
        );
    });
}
