//! What a model can't show: a lock's words, seen from outside, and time.

use super::*;
use crate::sync::liveness::Liveness;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Instant;

struct Alive;

impl Liveness for Alive {
    fn holder_state(&self, _: u64) -> HolderState {
        HolderState::Alive
    }

    fn identity(&self) -> (u64, u64) {
        (0, 1)
    }
}

static NUMBERS: [AtomicU64; 2] = [AtomicU64::new(1), AtomicU64::new(2)];

fn lock(word: &LockWord, number: usize) -> Lock<'_> {
    let holder = Holder {
        number: &NUMBERS[number - 1],
        others: &Alive,
    };
    Lock::new(word, holder, LockId(0))
}

const LONG: Duration = Duration::from_secs(10);

/// The word that says: holder 1 has the lock, and a sleeper starves.
fn starved() -> u64 {
    held_by(1) | SLEEPERS | STARVING
}

/// Holder 1 takes the lock and releases it, as if somebody were starving.
fn release_to_the_starving(word: &LockWord) {
    let guard = lock(word, 1).lock(Wait::Try).expect("free");
    word.set_raw(starved());
    drop(guard);
}

/// Leaves the lock reserved for a sleeper that was woken and does not come.
fn reserve_for_the_dead(word: &LockWord) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                word.0.wait(starved(), LONG);
            }
        });
        loop {
            let guard = lock(word, 1)
                .lock(Wait::within(LONG))
                .expect("free at last");
            word.set_raw(starved());
            os::sleep(Duration::from_millis(1)); // for the other thread to fall asleep, or this repeats
            drop(guard);
            if is_reserved(word.raw()) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        word.0.wake(1);
    });
}

#[test]
fn a_sleeper_that_waits_too_long_says_so_and_has_its_turn() {
    let word = LockWord::default();
    let guard = lock(&word, 1).lock(Wait::Try).expect("free");
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| lock(&word, 2).lock(Wait::within(LONG)).map(drop));
        while word.raw() != starved() {
            thread::yield_now();
        }
        drop(guard);
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
    assert_eq!(word.raw(), 0);
}

/// A waiter whose deadline comes before its patience ends asks for its turn at once.
#[test]
fn a_sleeper_with_little_time_says_so_at_once() {
    let word = LockWord::default();
    let guard = lock(&word, 1).lock(Wait::Try).expect("free");
    let refused = lock(&word, 2).lock(Wait::within(PATIENCE / 2)).map(drop);
    assert_eq!(refused, Err(LockError::TimedOut));
    assert_eq!(word.raw(), starved());
    drop(guard);
    assert_eq!(word.raw(), 0, "and if it gave up, nothing is reserved");
}

#[test]
fn a_lock_is_reserved_for_nobody_if_nobody_sleeps() {
    let word = LockWord::default();
    release_to_the_starving(&word);
    assert_eq!(word.raw(), 0);
}

#[test]
fn a_lock_is_reserved_for_a_sleeper_that_was_woken() {
    reserve_for_the_dead(&LockWord::default());
}

#[test]
fn a_reserved_lock_keeps_others_away_for_a_nap_at_most() {
    let word = LockWord::default();
    let refused = || {
        word.set_raw(reserved());
        lock(&word, 1).lock(Wait::Try).map(drop) == Err(LockError::Busy)
    };
    assert!(
        (0..100).any(|_| refused()),
        "unless this thread lost its CPU for a nap each time"
    );

    let began = Instant::now();
    while let Err(error) = lock(&word, 1).lock(Wait::Try).map(drop) {
        assert_eq!(error, LockError::Busy);
        assert!(began.elapsed() < LONG);
    }
    word.set_raw(reserved());
    let began = Instant::now();
    assert!(lock(&word, 1).lock(Wait::within(LONG)).is_ok());
    assert!(began.elapsed() < NAP * 50, "one nap, on a busy machine");
    assert_eq!(word.raw(), 0);
}
