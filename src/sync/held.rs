//! The list of locks that each thread holds while code that is not ours runs: closures, guards and
//! endpoints in the user's hands.
//!
//! The list answers two questions. Does this thread already hold the lock that it is about to wait for?
//! Then waiting would be a deadlock, and the lock panics instead. Does this thread hold any lock at all?
//! Then a fork would copy a lock that belongs to the parent, and `Process::spawn` refuses.

use super::liveness::Holder;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells the locks of one piece of memory apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockId(pub u32);

/// An entry of the list: a lock that a thread holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LockKey {
    /// The identity of the lock's memory.
    identity: (u64, u64),
    id: LockId,
    /// The holder number with which the thread took the lock.
    number: u64,
    /// The value of [`FORKS`] when the thread took the lock.
    forks: u64,
}

impl LockKey {
    pub(super) fn new(holder: Holder<'_>, id: LockId, number: u64) -> Self {
        Self {
            identity: holder.others.identity(),
            id,
            number,
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    /// The holder number with which the thread took the lock.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Puts the lock on this thread's list.
    pub(super) fn record(self) {
        with_held(|held| held.push(self));
    }

    /// Takes the lock off this thread's list.
    pub(super) fn withdraw(&self) {
        with_held(|held| {
            if let Some(mine) = held.iter().rposition(|other| other == self) {
                held.swap_remove(mine);
            }
        });
    }

    /// Returns whether the lock is on this thread's list.
    pub(super) fn is_on_list(&self) -> bool {
        // The threads of a model share the list, because they are one thread to the system.
        cfg!(not(loom)) && with_held(|held| held.contains(self)).unwrap_or(false)
    }
}

/// How many forks lie between the start of the program and this process. An entry made before the last
/// fork is the parent's business, and is ignored here.
static FORKS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static HELD: RefCell<Vec<LockKey>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` on this thread's list; `None` if the thread is ending and its list is gone already.
fn with_held<R>(f: impl FnOnce(&mut Vec<LockKey>) -> R) -> Option<R> {
    HELD.try_with(|held| f(&mut held.borrow_mut())).ok()
}

/// Makes a forked child ignore the locks that the parent's thread holds.
pub(crate) fn forget_held_locks() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Counts the locks on this thread's list for which `is_live` returns true, given the identity of the
/// lock's memory and the holder number. A leaked lock counts until `is_live` says no.
pub(crate) fn count_announced(is_live: impl Fn((u64, u64), u64) -> bool) -> usize {
    let count = with_held(|held| {
        held.iter()
            .filter(|key| is_live(key.identity, key.number))
            .count()
    });
    count.unwrap_or(0)
}
