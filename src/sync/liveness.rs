//! [`Liveness`] tells which holders of some memory are alive. [`Holder`] is this process, as one of them.
//!
//! Holders have numbers. A process draws one for each segment that it opens, and no number is reused. The
//! locks know nothing else of a process.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The state of a holder, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderState {
    /// The holder is alive.
    Alive,
    /// The holder has died or has let go of the memory.
    Dead,
    /// The number was never drawn: a word that contains it is corrupt.
    NeverDrawn,
}

/// Tells the living from the dead among the holders of one piece of memory.
pub trait Liveness {
    /// Returns what is known about the holder with this number.
    fn holder_state(&self, number: u64) -> HolderState;

    /// Returns a key that tells this memory from every other memory that the process has open, by
    /// whichever way it was opened.
    fn identity(&self) -> (u64, u64);
}

/// This process, as one of the holders of some memory.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    /// The number that this process has now. A forked child has another number; 0 means that the child
    /// could not get one.
    pub number: &'a AtomicU64,
    /// Answers for the other holders.
    pub others: &'a dyn Liveness,
}

impl fmt::Debug for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({})", self.number())
    }
}

impl Holder<'_> {
    #[inline]
    pub(super) fn number(self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

/// Returns an identity (see [`Liveness::identity`]) that no other piece of memory has, or ever had, in
/// this process. An address or an inode number may come again, and a leaked guard's entry in the list of
/// held locks would then name a lock of other memory.
#[cfg(not(loom))]
pub(crate) fn new_identity() -> (u64, u64) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    /// Implementations of `Liveness` outside this crate use another first half.
    const OURS: u64 = u64::from_le_bytes(*b"shmkit\0\0");
    (OURS, COUNT.fetch_add(1, Ordering::Relaxed))
}
