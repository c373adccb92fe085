//! The process-wide lock, and what a fork does to the holds of the process.

use super::{Heir, Hold, last};
use crate::os::{self, Anchor, SignalsBlocked};
#[cfg(feature = "serde")]
use crate::os::{AsRawFd, RawFd};
use crate::sync::{count_announced, forget_held_locks};
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The process-wide lock. It proves that no other thread of this process opens, creates or drops a segment,
/// and that no fork happens meanwhile.
///
/// Its owner's signals are blocked: a handler that forks or exits would wait for the lock of its own thread.
pub(crate) struct Exclusive {
    list: MutexGuard<'static, Vec<Entry>>, // released before the signals come
    _mark: Mark,
    _signals: SignalsBlocked,
}

/// Marks this thread as the lock's owner, for a handler of a fault, which no blocking keeps out.
struct Mark;

impl Mark {
    fn new() -> Self {
        HAS_EXCLUSIVE.set(true);
        Self
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        HAS_EXCLUSIVE.set(false);
    }
}

/// Returns whether this thread has the process-wide lock.
pub(super) fn has_exclusive() -> bool {
    HAS_EXCLUSIVE.get()
}

/// The process whose holds are on the list; 0 before there were any. A child that no fork handler has seen has a
/// copy of the list, and the holds are its parent's.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Returns whether the holds on the list are this process's.
pub(super) fn is_own_process() -> bool {
    OWNER.load(Ordering::Relaxed) == os::pid()
}

/// Registers the handlers, if that is not done yet: a fork must not begin before that and end after it.
pub(crate) fn watch_forks() {
    drop(exclusive());
}

/// A hold of this process.
pub(super) struct Entry {
    pub(super) hold: Arc<Hold>,
    /// Keeps the hold's open file description; `None` in a child that could not get a hold.
    anchor: Option<Anchor>,
    /// The next child's hold, during a fork.
    heir: Option<Heir>,
}

impl Entry {
    pub(super) fn new(hold: Arc<Hold>, anchor: Anchor) -> Self {
        Self {
            hold,
            anchor: Some(anchor),
            heir: None,
        }
    }
}

impl Exclusive {
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    pub(super) fn register(&mut self, entry: Entry) {
        self.list.push(entry);
    }

    /// Replaces a hold's anchor; the end of the old one may end locks.
    pub(super) fn replace_anchor(&mut self, hold: &Hold, anchor: Anchor) {
        let mut entries = self.list.iter_mut();
        if let Some(entry) = entries.find(|entry| std::ptr::eq(&*entry.hold, hold)) {
            entry.anchor = Some(anchor);
        }
    }

    /// Takes a hold off the list, so that no fork renews it any more, and returns its anchor.
    pub(super) fn deregister(&mut self, hold: &Hold) -> Option<Anchor> {
        let at = self
            .list
            .iter()
            .position(|entry| std::ptr::eq(&*entry.hold, hold));
        at.and_then(|at| self.list.swap_remove(at).anchor)
    }
}

/// Takes the process-wide lock.
pub(crate) fn exclusive() -> Exclusive {
    static LIST: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
    static WATCHING: OnceLock<()> = OnceLock::new();
    // Before all else: a handler that forks must not find this thread in the middle of the registration.
    let signals = SignalsBlocked::all();
    WATCHING.get_or_init(|| {
        os::on_fork(before_fork, after_fork_in_parent, after_fork_in_child)
            .expect("registering three fork handlers needs a few bytes of memory");
        os::on_exit(last::at_exit)
            .expect("registering an exit handler needs a few bytes of memory");
        OWNER.store(os::pid(), Ordering::Relaxed);
    });
    Exclusive {
        list: LIST.lock().unwrap_or_else(PoisonError::into_inner),
        _mark: Mark::new(),
        _signals: signals,
    }
}

/// The process-wide lock on its way from before a fork until after it.
struct Forking(UnsafeCell<Option<Exclusive>>);

// SAFETY: only the owner of the process-wide lock uses the cell, and it is locked as long as the cell has it.
unsafe impl Sync for Forking {}

static FORKING: Forking = Forking(UnsafeCell::new(None));

thread_local! {
    /// Whether this thread has the process-wide lock. It has no destructor, as below.
    static HAS_EXCLUSIVE: Cell<bool> = const { Cell::new(false) };

    /// Whether this thread is between its handlers of a fork. It has no destructor, so that a fork in
    /// the last moments of a thread or a process finds it too.
    static IS_FORKING: Cell<bool> = const { Cell::new(false) };

    /// Why the child of this thread's last fork lacks a hold for want of descriptors or memory: an error number,
    /// or 0 if it does not. It has no destructor, as above.
    static LAST_WANT: Cell<i32> = const { Cell::new(0) };
}

extern "C" fn before_fork() {
    if has_exclusive() {
        return; // in a handler of a fault in the middle of an open or a drop: the child gets no holds
    }
    let mut exclusive = exclusive();
    LAST_WANT.set(0);
    for entry in &mut *exclusive.list {
        match entry.hold.open_for_child() {
            Ok(heir) => entry.heir = Some(heir),
            Err(error) if os::is_want(&error) => {
                LAST_WANT.set(error.raw_os_error().unwrap_or_default());
            }
            Err(_) => {} // the child is told at its first use
        }
    }
    IS_FORKING.set(true);
    // SAFETY: this thread owns the process-wide lock.
    unsafe { *FORKING.0.get() = Some(exclusive) };
}

/// Returns, in both processes, why the child of this thread's last fork lacks a hold that its parent has,
/// if that is for want of descriptors or memory.
pub(crate) fn want_of_last_fork() -> Option<io::Error> {
    let error = LAST_WANT.get();
    (error != 0).then(|| io::Error::from_raw_os_error(error))
}

/// Returns the process-wide lock that this thread, or its copy in a parent, took before the fork.
fn taken_before_fork() -> Option<Exclusive> {
    if !IS_FORKING.replace(false) {
        return None; // the fork began before the handlers were registered
    }
    // SAFETY: this thread owns the process-wide lock.
    unsafe { (*FORKING.0.get()).take() }
}

extern "C" fn after_fork_in_parent() {
    if let Some(mut exclusive) = taken_before_fork() {
        for entry in &mut *exclusive.list {
            entry.heir = None;
        }
    }
}

extern "C" fn after_fork_in_child() {
    forget_held_locks();
    if let Some(mut exclusive) = taken_before_fork() {
        OWNER.store(os::pid(), Ordering::Relaxed);
        for entry in &mut *exclusive.list {
            let anchor = entry.hold.become_heir(entry.heir.take());
            // An anchor that this child's children would inherit must go: then the descriptor alone keeps the hold.
            let anchor = anchor.filter(|anchor| os::insist(|| anchor.keep_from_children()).is_ok());
            if let Some(parents) = std::mem::replace(&mut entry.anchor, anchor) {
                parents.forget_in_child();
            }
        }
    }
}

/// Returns the descriptors of this process's holds.
#[cfg(feature = "serde")]
pub(crate) fn held_descriptors() -> Vec<RawFd> {
    let exclusive = exclusive();
    let fds = exclusive.entries().filter_map(|entry| entry.hold.fd());
    fds.map(|fd| fd.as_raw_fd()).collect()
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
            .entries()
            .map(|entry| &entry.hold)
            .any(|hold| identity == hold.identity && number == hold.number.load(Ordering::Relaxed))
    })
}
