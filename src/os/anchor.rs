//! Keeping an open file description open without a descriptor.

use super::base::{AsRawFd, BorrowedFd, check};
use std::io;
use std::ptr::{self, NonNull};

/// The length of the mapping, which the kernel rounds up to a page.
const LEN: usize = 1;

/// A mapping that keeps an open file description open, and with it the description's locks, whatever the
/// program does to its descriptors. Nobody can read or write the mapping.
#[derive(Debug)]
pub(crate) struct Anchor(NonNull<libc::c_void>);

// SAFETY: any thread may undo a mapping that nobody reads.
unsafe impl Send for Anchor {}
// SAFETY: as for `Send`.
unsafe impl Sync for Anchor {}

impl Anchor {
    /// Makes a mapping that forked children inherit.
    pub(crate) fn new(file: BorrowedFd<'_>) -> io::Result<Self> {
        let (anywhere, fd) = (ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { libc::mmap(anywhere, LEN, libc::PROT_NONE, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).expect("no mapping begins at address 0");
        Ok(Self(start))
    }

    /// Makes a mapping that no child inherits.
    pub(crate) fn of_own(file: BorrowedFd<'_>) -> io::Result<Self> {
        let anchor = Self::new(file)?;
        anchor.keep_from_children()?;
        Ok(anchor)
    }

    /// Keeps the mapping from children of later forks, whichever call makes them.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        let start = self.0.as_ptr();
        // SAFETY: the advice changes what a fork copies of this mapping, and nothing else.
        check(unsafe { libc::madvise(start, LEN, libc::MADV_DONTFORK) }).map(drop)
    }

    /// Drops, in a child, a mapping that was kept from it: something else may be at its address.
    pub(crate) fn forget_in_child(self) {
        std::mem::forget(self);
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody reads it.
        let undone = check(unsafe { libc::munmap(self.0.as_ptr(), LEN) });
        debug_assert!(undone.is_ok(), "{undone:?}");
    }
}
