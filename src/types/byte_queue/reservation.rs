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
/// A reservation dereferences to the reserved bytes. At first these bytes have any content, for example that
/// of earlier messages. [`commit`](Self::commit) makes the message visible. A reservation that is dropped, or
/// whose process is killed, leaves no trace.
///
/// A reservation holds the producers' side, so that others' puts wait until the reservation ends. A waiting
/// put by the same thread panics, because it would wait for its own thread.
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
/// A forked child has a copy of its parent's reservation. Every use of the copy panics, except the drop,
/// which does nothing.
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

    /// Returns the frame.
    ///
    /// # Panics
    /// If this is a fork's copy.
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
    /// reserved. In these cases no message is put, and the space is given back.
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
        // SAFETY: by frames' invariant 1 the bytes are inside the region, whose memory is initialised. The
        // frame is not stale, so that by ring's invariant 2 the bytes belong to this side alone until the
        // commit.
        unsafe { slice::from_raw_parts(frame.bytes(), frame.len()) }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let frame = self.live();
        // SAFETY: as in `deref`. No other reservation has these bytes, and this one is borrowed mutably.
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
