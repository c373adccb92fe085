//! The process-wide lock, and what a fork does to the holds of the process.

use super::Hold;
use crate::os;
use crate::sync::{count_announced, forget_held_locks};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Proof that this thread alone opens, creates or drops segments in this process, and that no fork
/// happens meanwhile.
pub(crate) struct Exclusive(pub(super) MutexGuard<'static, Vec<Arc<Hold>>>);

/// The holds of this process, for a fork to renew.
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

/// How many locks of open segments this thread holds for code that is not ours: what a fork would
/// copy without its being the child's. A leaked one counts until its handle is dropped, and a copy not
/// at all: a forked child holds by other numbers.
pub(crate) fn guards_alive() -> usize {
    if count_announced(|_, _| true) == 0 {
        return 0; // as a rule, and without the process-wide lock
    }
    let exclusive = exclusive();
    count_announced(|identity, number| {
        exclusive
            .0
            .iter()
            .any(|hold| identity == hold.identity && number == hold.number.load(Ordering::Relaxed))
    })
}
