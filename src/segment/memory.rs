//! [`Memory`]: memory that stays put and knows its holders.

use crate::os::BorrowedFd;
use crate::sync::Liveness;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// What a primitive lives in: bytes that other processes may share, and the knowledge who of them
/// is alive. Every type of the crate has `create_in` and `open_in` over it.
///
/// Of any number of `create_in` over the same bytes one wins, and no `open_in` sees half of what it
/// lays out. Where a holder died while laying out, the next `create_in` begins anew.
///
/// # Safety
/// - `base` is aligned to 4096 bytes and leads to `len` bytes, readable and writable, that stay
///   where they are, and at the same address, until the value is dropped.
/// - Nothing in this process but the crate's types makes a Rust reference to those bytes, other than
///   to atomics.
/// - The bytes are zero until the first `create_in` over them, and written through this crate alone.
/// - `number` is the same atomic, at the same address, whenever it is asked for until the value is
///   dropped.
/// - `number` is not 0 while the holder can take locks, never one that another holder of the same
///   bytes ever had, and [`holder_state`](Liveness::holder_state) is never
///   [`Dead`](crate::memory::HolderState::Dead) for the number of a holder that may still write: what it wrote happens
///   before that answer.
pub unsafe trait Memory: Liveness + Send + Sync {
    /// The first byte.
    fn base(&self) -> NonNull<u8>;

    /// How many bytes there are.
    fn len(&self) -> usize;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number this process holds with: less than 2^62, and 0 if it could not become a holder.
    fn number(&self) -> &AtomicU64;

    /// The place's name or path, if it has one.
    fn name(&self) -> Option<&str> {
        None
    }

    /// The file behind it, if there is one.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl fmt::Debug for dyn Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("number", self.number())
            .finish()
    }
}
