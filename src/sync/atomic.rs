//! The atomic words of the build: std's, or loom's in a model.

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Distance in bytes between words that different sides write: two cache lines, because the hardware
/// fetches neighbouring lines in pairs.
#[cfg(not(loom))]
pub(crate) const LINE: usize = 128;
