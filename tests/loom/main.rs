//! Models of `sync` and `ring`: the production files, compiled with loom's atomics, their
//! interleavings and stale reads explored.
//!
//! `scripts/loom` runs them; without `--cfg loom` this binary is empty. `scripts/mutants` shows that
//! they bite: it breaks the source in one place at a time and expects the model named for it to fail.
//!
//! Under loom a futex never times out, and a spinning waiter looks only once. So a lost wake-up is a
//! deadlock, which loom reports; in production it would be a nap of up to 100 ms. What is handed
//! over lies in loom's `UnsafeCell`, so that an ordering too weak is a reported data race.
//!
//! A model is exhaustive unless it names a bound: then loom explores every schedule with at most so
//! many preemptions (switches away from a thread that could have gone on), and every stale read in
//! each of them. Each preemption more takes about 20 times as long. Which bound is enough? CI's 2
//! finds all mutants but one, 3 finds that one too; so a model's own bound is 4 at least, one more
//! than anything known needs, and more where that takes seconds. `two_sleepers_two_wakers` has 3: with
//! 4 it was not seen to its end in 10 minutes. `scripts/loom --nocapture` prints what was explored.
//!
//! Not quite every schedule: of the accesses to an atomic loom remembers only the latest one. If a
//! thread loads a word and then changes it, its own load hides another thread's earlier ones, and
//! loom may not try the change in between two of those. It does where the threads begin in the other
//! order, so models that need such a schedule say which thread is to begin.

#![cfg_attr(loom, allow(clippy::cast_possible_truncation))] // no number here is beyond a byte

#[cfg(loom)]
mod event;
#[cfg(loom)]
mod journal;
#[cfg(loom)]
mod lock;
#[cfg(loom)]
mod owned;
#[cfg(loom)]
mod ring;
#[cfg(loom)]
mod seqlock;
#[cfg(loom)]
mod support;
