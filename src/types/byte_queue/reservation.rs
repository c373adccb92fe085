//! [`Reservation`]: a message that is being written in place.

use super::frames::WriteFrame;
use crate::error::PutError;
use crate::sync::Announced;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::slice;

/// Space in a [`ByteQueue`](crate::ByteQueue) for a message that is written in place: see
/// [`reserve`](crate::ByteQueue::reserve).
///
/// A reservation dereferences to the reserved bytes. Their content is arbitrary before they are written;
/// most likely it is what an earlier message left. [`commit`](Self::commit) makes the message visible. If
/// the reservation is dropped, or its process killed, it leaves no trace.
///
/// A reservation holds the producers' side: others' puts wait for it. A put by the same thread panics
/// instead of waiting for itself.
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let queue = shmkit::ByteQueue::new(1024)?;
/// let mut space = queue.reserve(100)?;
/// space[..5].copy_from_slice(b"hello");
/// space.commit(5)?;
/// assert_eq!(queue.get()?, b"hello");
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// In a forked child, the copy of its parent's reservation panics when it is used. Dropping the copy does
/// nothing.
#[must_use = "dropped, a reservation leaves no trace: `commit` puts the message"]
pub struct Reservation<'a> {
    announced: Announced<'a>,
    frame: WriteFrame<'a>,
}

impl<'a> Reservation<'a> {
    pub(crate) fn new(frame: WriteFrame<'a>) -> Self {
        Self {
            announced: frame.announce(),
            frame,
        }
    }

    fn live(&self) -> &WriteFrame<'a> {
        assert!(
            !self.frame.is_stale(),
            "this process is a fork made while the message was being written: the space is its parent's"
        );
        &self.frame
    }

    /// Puts the first `len` bytes as a message.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(1024)?;
    /// let space = queue.reserve(4)?;
    /// assert!(space.commit(5).is_err()); // more than was reserved
    /// assert!(queue.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]; [`PutError::TooLong`] for more bytes than were
    /// reserved. In these cases there is no message, and the space is given back.
    pub fn commit(self, len: usize) -> Result<(), PutError> {
        self.live();
        let Self { announced, frame } = self;
        drop(announced);
        frame.commit(len)
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let frame = self.live();
        // SAFETY: by frames' invariant 1 the bytes are inside the region, and a mapping is initialised. By
        // ring's invariant 2 they belong to this side alone until the commit, because the frame is not
        // stale.
        unsafe { slice::from_raw_parts(frame.bytes(), frame.len()) }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let frame = self.live();
        // SAFETY: as in `deref`; and there is one reservation for these bytes, borrowed mutably.
        unsafe { slice::from_raw_parts_mut(frame.bytes(), frame.len()) }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("len", &self.frame.len())
            .field("stale", &self.frame.is_stale())
            .finish()
    }
}
