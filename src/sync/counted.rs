//! [`CountedLock`]: a lock, and beside it the count that its owner changes, so that one instruction can
//! commit and unlock.
//!
//! | machine | commit | unlock |
//! |---|---|---|
//! | x86-64 with `cmpxchg16b` | one instruction for both, if the sleepers' bit is clear | – |
//! | any other; or the bit is set | CAS of the count | swap of the word, wake |
//!
//! Invariants:
//! 1. *The one instruction does what the two steps do, with nothing in between*: it changes the pair only
//!    if the word says "held by me, nobody to wake" and the count is the expected one. If either differs,
//!    the instruction changes nothing, and the two steps find out which. Other processes access the two
//!    words one at a time meanwhile: `compare_exchange_pair` says why sizes may be mixed.
//!
//! If a process dies before the instruction, neither commit nor unlock has happened; after it, both have.
//! A death between the two steps leaves a committed count under a dead owner's lock.
//!
//! Two locked instructions instead of three save a quarter of the cost of an uncontended put. The models
//! explore the two steps only, since loom has no pair of words; the tests below, the crash sweep and the
//! process tests cover the one instruction.

use super::atomic::{AtomicU64, Ordering};
use super::cpu::compare_exchange_pair;
use super::lock::{LockGuard, LockWord};

/// A lock's word and a count. Zeroed memory is valid: a free lock, and 0.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub(super) struct CountedLock {
    /// The lock.
    pub(super) word: LockWord,
    /// The count. The lock's owner advances it, and anybody may read it. If somebody changes
    /// a bit without the lock (a close), the owner's commit fails.
    pub(super) count: AtomicU64,
}

impl CountedLock {
    /// Changes the count from `from` to `to`, and releases `guard`, which holds this lock. In either
    /// case the last access to the shared words is a read-modify-write.
    ///
    /// # Errors
    /// The count, if it is not `from`. The count stays as it is then, and the lock is released.
    #[inline]
    pub(super) fn commit_and_unlock(
        &self,
        guard: LockGuard<'_>,
        from: u64,
        to: u64,
    ) -> Result<(), u64> {
        debug_assert!(guard.is_of(&self.word) && !guard.is_stale());
        if self.change_both([guard.locked_word(), from], [0, to]) {
            std::mem::forget(guard); // the lock is released, and nobody is to be woken
            return Ok(());
        }
        // Release pairs with the Acquire of whoever loads the count, or takes the lock.
        let changed = self
            .count
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed);
        drop(guard);
        changed.map(drop)
    }

    /// Compares both words with `from`, and stores `to`, in one instruction. Returns `false` if they
    /// differ, or if the machine has no such instruction.
    #[inline]
    fn change_both(&self, from: [u64; 2], to: [u64; 2]) -> bool {
        // SAFETY: `repr(C, align(16))` makes this a live, aligned pair of two atomic words.
        unsafe { compare_exchange_pair(self, from, to) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::held::LockId;
    use crate::sync::liveness::{Holder, HolderState, Liveness};
    use crate::sync::lock::Lock;
    use crate::sync::wait::Wait;

    struct Alone;

    impl Liveness for Alone {
        fn holder_state(&self, _: u64) -> HolderState {
            HolderState::Alive
        }

        fn identity(&self) -> (u64, u64) {
            (0, 0)
        }
    }

    fn commit(pair: &CountedLock, from: u64, to: u64, before: impl FnOnce()) -> Result<(), u64> {
        let number = AtomicU64::new(7);
        let holder = Holder {
            number: &number,
            others: &Alone,
        };
        let guard = Lock::new(&pair.word, holder, LockId(0))
            .lock(Wait::Try)
            .unwrap();
        before();
        pair.commit_and_unlock(guard, from, to)
    }

    fn words(pair: &CountedLock) -> [u64; 2] {
        [pair.word.raw(), pair.count.load(Ordering::Relaxed)]
    }

    #[test]
    fn both_words_change_or_neither_does() {
        let pair = CountedLock::default();
        assert_eq!(commit(&pair, 0, 3, || ()), Ok(()));
        assert_eq!(words(&pair), [0, 3]);
        assert_eq!(commit(&pair, 4, 5, || ()), Err(3));
        assert_eq!(words(&pair), [0, 3]);
        assert_eq!(commit(&pair, 3, u64::MAX, || ()), Ok(()));
        assert_eq!(words(&pair), [0, u64::MAX]);
    }

    #[test]
    fn one_instruction_does_nothing_where_either_word_differs() {
        let pair = CountedLock::default();
        pair.count.store(9, Ordering::Relaxed);
        for (from, differs) in [([0, 9], false), ([2, 9], true), ([0, 8], true)] {
            let changed = pair.change_both(from, [5, 6]);
            let expected = cfg!(all(target_arch = "x86_64", not(miri))) && !differs;
            assert_eq!(changed, expected, "{from:?}");
            assert_eq!(words(&pair), if changed { [5, 6] } else { [0, 9] });
            assert!(!changed || pair.change_both([5, 6], [0, 9]));
        }
    }

    #[test]
    fn a_sleeper_is_woken_by_the_two_steps() {
        let pair = CountedLock::default();
        let mark = || pair.word.set_raw(pair.word.raw() | 1);
        assert_eq!(commit(&pair, 0, 1, mark), Ok(()));
        assert_eq!(words(&pair), [0, 1]);
    }

    /// Returns how many of 1000 exchanges that must fail claimed success, with `LIVE` values in registers.
    #[inline(never)]
    fn claimed<const LIVE: usize>(pair: &CountedLock, mut live: [u64; LIVE]) -> u64 {
        let mut claimed = 0;
        for n in 0..1000 {
            claimed += u64::from(pair.change_both([2 * n + 1, n], [2 * n + 3, n + 1]));
            for value in &mut live {
                *value = value.rotate_left(1) ^ n;
            }
        }
        std::hint::black_box(live);
        claimed
    }

    #[test]
    fn whichever_registers_the_compiler_takes_the_answer_is_the_instructions() {
        let pair = CountedLock::default();
        macro_rules! try_all {
            ($($live:literal)*) => {
                [$(claimed::<$live>(std::hint::black_box(&pair), [1; $live])),*]
            };
        }
        assert_eq!(try_all!(0 1 2 3 4 5 6 7 8 9 10 11 12 13), [0; 14]);
        assert_eq!(words(&pair), [0, 0]);
    }
}
