//! Models of `sync`: loom compiles the production files with its own atomics, and explores their
//! interleavings and stale reads.
//!
//! `scripts/loom` runs the models; without `--cfg loom` this binary is empty. `scripts/mutants` shows that
//! the models notice faults: it breaks the source in one place at a time, and fails unless the model named
//! for the place fails.
//!
//! Under loom a futex never times out, and a spinning waiter looks only once. So a lost wake-up is a
//! deadlock, which loom reports; in production a lost wake-up delays a sleeper by up to 100 ms. The items
//! lie in loom's `UnsafeCell`, so that loom reports an ordering that is too weak as a data race.
//!
//! A model is exhaustive unless it names a bound. Within a bound loom explores every schedule with at most
//! so many preemptions (switches away from a thread that could have gone on), and every stale read in each
//! of them. Each further preemption takes about 20 times as long. CI's bound of 2 finds all mutants but one,
//! and 3 finds that one too. So a model's own bound is at least 3, and more if more takes only seconds: with
//! 4, `two_sleepers_two_wakers` did not end within 10 minutes. `scripts/loom --nocapture`
//! prints how many schedules were explored.
//!
//! Loom leaves some schedules out, because it remembers only the latest access to each atomic. If a
//! thread loads a word and then changes it, its own load hides another thread's earlier loads, and loom may
//! not try the change between two of those. Loom does try it if the threads begin in the other order, so
//! models that need such a schedule say which thread must begin.

#![cfg_attr(loom, allow(clippy::cast_possible_truncation))] // every number here fits a byte

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
