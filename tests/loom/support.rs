//! Support for the models: how far to explore, threads, and holders that can die.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};
use shmkit::internals::{
    Deadline, Holder, HolderState, Liveness, Lock, LockGuard, LockId, LockWord, Wait,
};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A wait without an end, because the models have no clock.
pub(crate) const FOREVER: Wait = Wait::Until(Deadline::NEVER);

/// Explores every schedule.
pub(crate) fn exhaustive(model: impl Fn() + Send + Sync + 'static) {
    explore(None, model);
}

/// Explores every schedule with at most `preemptions` preemptions: for models whose every schedule
/// would take minutes or hours.
pub(crate) fn bounded(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    explore(Some(preemptions), model);
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = preemptions; // LOOM_MAX_PREEMPTIONS, where set, overrides
    }
    let bound = builder.preemption_bound;
    let schedules = std::sync::Arc::new(AtomicU64::new(0));
    let counted = schedules.clone();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let count = schedules.load(Relaxed);
    match bound {
        None => println!("explored all {count} schedules"),
        Some(most) => println!("explored the {count} schedules of at most {most} preemptions"),
    }
}

/// Starts a thread, with a reference of its own to the threads' data.
pub(crate) fn spawn<S: 'static, R: 'static>(
    shared: &Arc<S>,
    run: impl FnOnce(&S) -> R + 'static,
) -> JoinHandle<R> {
    let shared = shared.clone();
    thread::spawn(move || run(&shared))
}

/// Up to four holders of one memory, numbered from 1.
pub(crate) struct Holders {
    numbers: [AtomicU64; 4],
    /// For each holder, whether the kernel has released its hold. `None` in models where nobody dies,
    /// because each load of a flag would multiply the schedules.
    dead: Option<[AtomicBool; 4]>,
}

impl Holders {
    /// Nobody dies.
    pub(crate) fn immortal() -> Self {
        Self {
            numbers: std::array::from_fn(|index| AtomicU64::new(index as u64 + 1)),
            dead: None,
        }
    }

    /// Holders that may [`die`](Self::die).
    pub(crate) fn mortal() -> Self {
        Self {
            dead: Some(std::array::from_fn(|_| AtomicBool::new(false))),
            ..Self::immortal()
        }
    }

    /// The holder with this number.
    pub(crate) fn holder(&self, number: u64) -> Holder<'_> {
        Holder {
            number: &self.numbers[number as usize - 1],
            others: self,
        }
    }

    /// Takes the lock, as holder `number`.
    pub(crate) fn lock<'a>(&'a self, word: &'a LockWord, number: u64) -> LockGuard<'a> {
        let lock = Lock::new(word, self.holder(number), LockId(0));
        lock.lock(FOREVER).expect("waits for ever, on a sound word")
    }

    /// The kernel releases the hold of holder `number`. The kernel does so under a lock of its own; Release
    /// stands for that lock, and pairs with the Acquire in `holder_state`.
    pub(crate) fn die(&self, number: u64) {
        let dead = self.dead.as_ref().expect("mortal holders");
        dead[number as usize - 1].store(true, Ordering::Release);
    }
}

impl Liveness for Holders {
    fn holder_state(&self, number: u64) -> HolderState {
        match &self.dead {
            Some(dead) if dead[number as usize - 1].load(Ordering::Acquire) => HolderState::Dead,
            _ => HolderState::Alive,
        }
    }

    fn identity(&self) -> (u64, u64) {
        (0, 0)
    }
}
