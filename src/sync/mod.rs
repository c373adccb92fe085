//! Locks, sleeping, the two-slot value, the journal: algorithms over words that other processes share.
//!
//! Nothing here knows a segment or an item type. The same files are compiled under `cfg(loom)`,
//! where the words are loom's; `tests/loom.rs` explores their interleavings.

mod counted;
mod event;
mod journal;
mod lock;
mod slots;

pub(crate) use counted::CountedLock;
pub use event::{Deadline, Event};
pub use journal::Journal;
pub use lock::{
    Announced, HeldLock, Holder, Liveness, Lock, LockError, LockGuard, LockWord, Standing,
};
#[cfg(not(loom))]
pub(crate) use lock::{count_announced, forget_held_locks};
pub use slots::Slots;

/// Atomics, as the build has them.
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

/// An identity (see [`Liveness::identity`]) that no other piece of memory has, or had, in this process:
/// an address or an inode's number would come again, and a leaked guard's note with it.
#[cfg(not(loom))]
pub(crate) fn new_identity() -> (u64, u64) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    const OURS: u64 = u64::from_le_bytes(*b"shmkit\0\0"); // others' have another first half
    (OURS, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A full fence whose caller has just done an atomic read-modify-write.
///
/// On x86-64 every such instruction is locked, and so a full fence of the hardware already; what is
/// left to do is to hold back the compiler. Elsewhere, and in the models, it is the real one. (The
/// Linux kernel's `smp_mb__after_atomic`.)
#[inline]
pub(crate) fn full_fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    atomic::fence(atomic::Ordering::SeqCst);
}

/// Which way a caller waits.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Not at all, except for locks that are held for nanoseconds.
    Try,
    /// Until the deadline.
    Until(Deadline),
}

impl Patience {
    /// As long as it takes.
    pub const FOREVER: Self = Self::Until(Deadline::NEVER);

    /// Until `timeout` from now.
    #[must_use]
    pub fn within(timeout: std::time::Duration) -> Self {
        Self::Until(Deadline::after(timeout))
    }
}

/// Waits for `look` without sleeping, where another CPU may be at work for it: looks after `gap`
/// pauses and from then on at every quarter of the time that has gone by, but neither more often than
/// that nor more seldom than every [`LONGEST_GAP`], until about `pauses` have gone by. So it is at most
/// a quarter late for whatever is due soon. The caller has just looked.
#[inline]
pub(crate) fn spin<R>(pauses: u32, gap: u32, mut look: impl FnMut() -> Option<R>) -> Option<R> {
    #[cfg(loom)]
    {
        let _ = (pauses, gap);
        look()
    }
    #[cfg(not(loom))]
    {
        if !crate::os::spinning_pays() {
            return None;
        }
        let (mut gone, mut next) = (0, gap);
        while gone < pauses {
            for _ in 0..next {
                std::hint::spin_loop();
            }
            if let found @ Some(_) = look() {
                return found;
            }
            gone += next;
            next = (gone / 4).clamp(gap.max(1), LONGEST_GAP.max(gap));
        }
        None
    }
}

/// The longest time between two looks of a spinning waiter, in pauses: every look takes the cache
/// line from the side that is at work.
#[cfg(not(loom))]
pub(crate) const LONGEST_GAP: u32 = 64;
