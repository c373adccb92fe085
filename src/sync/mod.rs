//! Locks, sleeping and the two-slot value: algorithms over words that other processes share.
//!
//! Nothing here knows a segment or an item type. The same files are compiled under `cfg(loom)`,
//! where the words are loom's; `tests/loom.rs` explores their interleavings.

mod event;
mod lock;
mod slots;

pub use event::{Deadline, Event};
#[cfg(not(loom))]
pub(crate) use lock::forget_held_locks;
pub use lock::{Holder, Liveness, Lock, LockError, LockGuard, LockWord, Standing};
pub use slots::Slots;

/// Atomics, as the build has them.
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
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

/// Waits for `look` without sleeping, where another CPU may be at work for it: looks after 1, 2, 4
/// … pauses, then after every 64, until about `pauses` have gone by.
pub(crate) fn spin<R>(pauses: u32, mut look: impl FnMut() -> Option<R>) -> Option<R> {
    #[cfg(loom)]
    {
        let _ = pauses;
        look()
    }
    #[cfg(not(loom))]
    {
        if !crate::os::spinning_pays() {
            return look();
        }
        let (mut left, mut gap) = (pauses, 1);
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if left == 0 {
                return None;
            }
            for _ in 0..gap {
                std::hint::spin_loop();
            }
            left = left.saturating_sub(gap);
            gap = (gap * 2).min(64);
        }
    }
}
