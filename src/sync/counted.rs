//! [`CountedLock`]: a lock and the count that is changed under it, side by side, so that a commit and
//! the unlocking behind it can be one instruction.
//!
//! | machine | commit | unlock |
//! |---|---|---|
//! | x86-64 with `cmpxchg16b` | one instruction for both, if nobody sleeps for the lock | – |
//! | any other; or somebody sleeps | CAS of the count | swap of the word, wake |
//!
//! Invariants:
//! 1. *The one instruction does what the two do, with nothing in between*: it changes the pair only
//!    if the word says "held by me, nobody sleeps" and the count is the expected one. Where either
//!    differs it changes nothing, and the two steps find out which.
//!
//! If a process dies: before the instruction neither has happened, after it both have. Of the two
//! steps, a death in between leaves a committed count under a dead owner's lock.
//!
//! Locked instructions of different sizes exclude each other, as they lock the whole cache line. (The
//! Linux kernel's allocator rests on the same.) Two of them instead of three are a quarter of what an
//! uncontended put costs.

use super::atomic::{AtomicU64, Ordering};
use super::lock::{LockGuard, LockWord};

/// A lock's word and a count. Zeroed memory is a valid one: free, and 0.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub(crate) struct CountedLock {
    /// The lock.
    pub(crate) word: LockWord,
    /// What is counted under it. Anybody may read it; bits that are changed without the lock make a
    /// commit fail.
    pub(crate) count: AtomicU64,
}

impl CountedLock {
    /// Changes the count from `from` to `to`, and releases `guard`, which is this lock's. Either way
    /// the last thing done to the shared words is a read-modify-write.
    ///
    /// # Errors
    /// The count as it was, where it was not `from`: it is left, and the lock released.
    #[inline]
    pub(crate) fn commit_and_unlock(
        &self,
        guard: LockGuard<'_>,
        from: u64,
        to: u64,
    ) -> Result<(), u64> {
        debug_assert!(guard.is_of(&self.word) && !guard.is_stale());
        if self.change_both([guard.locked_word(), from], [0, to]) {
            std::mem::forget(guard); // the lock is released, and nobody slept for it
            return Ok(());
        }
        // Release: pairs with whoever loads the count with Acquire, or takes the lock.
        let changed = self
            .count
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed);
        drop(guard);
        changed.map(drop)
    }

    /// Compares both words, and stores both, in one instruction; `false` where they differ, or the
    /// machine has no such instruction.
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    #[inline]
    fn change_both(&self, from: [u64; 2], to: [u64; 2]) -> bool {
        // A load and a test: the answer is kept by the standard library.
        if !std::arch::is_x86_feature_detected!("cmpxchg16b") {
            return false;
        }
        let answer: u64;
        // SAFETY: the CPU has the instruction; the pair is 16 bytes, aligned to 16, and atomic words
        // alone; rbx, which the compiler keeps for itself, is put back. The answer goes to a register
        // that is named: of its own choice the compiler might take a part of rbx for it.
        unsafe {
            std::arch::asm!(
                "xchg {low}, rbx",
                "lock cmpxchg16b [rdi]",
                "sete al",
                "mov rbx, {low}",
                low = inout(reg) to[0] => _,
                in("rdi") self,
                inout("rax") from[0] => answer,
                inout("rdx") from[1] => _,
                in("rcx") to[1],
                options(nostack),
            );
        }
        answer & 0xff != 0
    }

    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    #[inline]
    fn change_both(&self, _: [u64; 2], _: [u64; 2]) -> bool {
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{Holder, Liveness, Lock, Patience, Standing};

    struct Alone;

    impl Liveness for Alone {
        fn standing(&self, _: u64) -> Standing {
            Standing::Alive
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
        let guard = Lock::new(&pair.word, holder, 0)
            .lock(Patience::Try)
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

    /// Exchanges that must fail, among so many values in registers: how many said that they did not.
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
