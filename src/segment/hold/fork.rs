//! The process-wide lock, and what a fork does to the holds of the process.

use super::Hold;
use crate::os;
use crate::sync::{count_announced, forget_held_locks};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The process-wide lock. It proves that no other thread of this process opens, creates or drops a segment,
/// and that no fork happens meanwhile.
pub(crate) struct Exclusive(pub(super) MutexGuard<'static, Vec<Arc<Hold>>>);

/// The holds of this process, which a fork renews for the child.
static HOLDS: Mutex<Vec<Arc<Hold>>> = Mutex::new(Vec::new());

/// Takes the process-wide lock.
pub(crate) fn exclusive() -> Exclusive {
    static WATCHING: OnceLock<()> = OnceLock::new();
    WATCHING.get_or_init(|| {
        os::on_fork(before_fork, after_fork_in_parent, after_fork_in_child)
            .expect("registering three fork handlers needs a few bytes of memory");
    });
    Exclusive(HOLDS.lock().unwrap_or_else(PoisonError::into_inner))
}

thread_local! {
    /// The process-wide lock, held by the forking thread from before the fork until after it.
    static FORKING: Cell<Option<Exclusive>> = const { Cell::new(None) };
}

extern "C" fn before_fork() {
    let exclusive = exclusive();
    for hold in exclusive.0.iter() {
        hold.open_for_child();
    }
    FORKING.set(Some(exclusive));
}

extern "C" fn after_fork_in_parent() {
    if let Some(exclusive) = FORKING.take() {
        for hold in exclusive.0.iter() {
            hold.drop_heir();
        }
    }
}

extern "C" fn after_fork_in_child() {
    forget_held_locks();
    if let Some(exclusive) = FORKING.take() {
        for hold in exclusive.0.iter() {
            hold.become_heir();
        }
    }
}

/// Counts the locks of open segments that this thread holds while user code runs: a fork would copy
/// them, but the child would not own them. A leaked lock counts until its handle is dropped. A forked
/// child's copies do not count, because the child holds by other numbers.
pub(crate) fn guards_alive() -> usize {
    if count_announced(|_, _| true) == 0 {
        return 0; // usually, and without the process-wide lock
    }
    let exclusive = exclusive();
    count_announced(|identity, number| {
        exclusive
            .0
            .iter()
            .any(|hold| identity == hold.identity && number == hold.number.load(Ordering::Relaxed))
    })
}
