//! [`Memory`]: memory that stays put and knows its holders.

use crate::os::BorrowedFd;
use crate::sync::Liveness;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Memory in which a primitive can live: bytes that other processes may share, and the knowledge of who of
/// them is alive. Every type of the crate has `create_in` and `open_in` over it.
///
/// If several `create_in` run over the same bytes, one of them wins, and no `open_in` sees half of what it
/// lays out. If a holder dies while laying out, the next `create_in` begins anew.
///
/// [`HeapMemory`](crate::memory::HeapMemory) is an implementation for tests, and `ShmemMemory` (feature
/// `shared_memory`) one over a mapping of another crate.
///
/// # Safety
/// - `base` is aligned to 4096 bytes and points to `len` bytes, readable and writable, that stay at the
///   same address until the value is dropped.
/// - Only this crate's types make Rust references to those bytes in this process, except for references
///   to atomics.
/// - The bytes are zero until the first `create_in` over them, and only this crate writes them.
/// - `number` returns the same atomic, at the same address, until the value is dropped.
/// - The number is not 0 while the holder can take locks, and never one that another holder of the same
///   bytes ever had. [`holder_state`](Liveness::holder_state) is never
///   [`Dead`](crate::memory::HolderState::Dead) for the number of a holder that may still write; the
///   holder's writes happen before that answer.
pub unsafe trait Memory: Liveness + Send + Sync {
    /// Returns a pointer to the first byte.
    fn base(&self) -> NonNull<u8>;

    /// Returns how many bytes there are.
    fn len(&self) -> usize;

    /// Returns whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns this process's holder number: less than 2^62, and 0 if the process could not become a holder.
    fn number(&self) -> &AtomicU64;

    /// Returns the name or the path of the place, if it has one.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Returns whether the name still leads to this memory; `false` if there is no name.
    fn is_reachable(&self) -> bool {
        false
    }

    /// Returns the file behind the memory, if there is one.
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
