//! [`Reservation`]: a message that is being written in place.

use super::frames::Space;
use crate::error::PutError;
use crate::sync::Announced;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::slice;

/// Room in a [`ByteQueue`](crate::ByteQueue) for a message that is written in place: see
/// [`reserve`](crate::ByteQueue::reserve).
///
/// It dereferences to the reserved bytes. What they are before they are written is anybody's guess:
/// most likely, what an earlier message left. Dropped, or with its process killed, it leaves no trace;
/// [`commit`](Self::commit) has the message be seen.
///
/// It holds the producers' side: others' puts wait for it. A put by the same thread panics rather
/// than wait for itself.
///
/// # Panics
/// In a forked child, the copy of its parent's reservation panics when it is used; dropping it does
/// nothing.
#[must_use = "dropped, it leaves no trace: `commit` puts the message"]
pub struct Reservation<'a> {
    announced: Announced<'a>,
    space: Space<'a>,
}

impl<'a> Reservation<'a> {
    pub(super) fn new(space: Space<'a>) -> Self {
        Self {
            announced: space.announce(),
            space,
        }
    }

    fn live(&self) -> &Space<'a> {
        assert!(
            !self.space.is_stale(),
            "this process is a fork made while the message was being written: the room is its parent's"
        );
        &self.space
    }

    /// Puts the message: the first `len` bytes.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]; [`PutError::TooLong`] for more bytes than were
    /// reserved. Then there is no message, and the room is given back.
    pub fn commit(self, len: usize) -> Result<(), PutError> {
        self.live();
        let Self { announced, space } = self;
        drop(announced);
        space.commit(len)
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let space = self.live();
        // SAFETY: inside the region (frames, invariant 1), initialised (a mapping is), and this
        // side's alone until the commit (ring, invariant 2), as it is not stale.
        unsafe { slice::from_raw_parts(space.bytes(), space.len()) }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let space = self.live();
        // SAFETY: as in `deref`; and there is one reservation for these bytes, borrowed mutably.
        unsafe { slice::from_raw_parts_mut(space.bytes(), space.len()) }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("len", &self.space.len())
            .field("stale", &self.space.is_stale())
            .finish()
    }
}
