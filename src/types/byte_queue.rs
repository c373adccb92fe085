//! [`ByteQueue`]: a bounded queue of messages of any length. What a message is in the ring's units,
//! and where it lies, is [`frames`]'s.

mod frames;
mod reservation;

use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::Memory;
use crate::segment::Place;
use crate::segment::{Kind, Tag};
use crate::sync::Wait;
pub(crate) use frames::{FrameKind, Frames};
pub use reservation::Reservation;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a [`ByteQueue`]'s segment says of itself.
enum Bytes {}

impl FrameKind for Bytes {
    const KIND: Kind = Kind::ByteQueue;

    fn tag() -> Tag {
        Tag::of_text("bytes")
    }
}

/// A bounded first-in, first-out queue of messages in shared memory, each of them some bytes, for any
/// number of producers and consumers in any number of processes.
///
/// A message whose `put` returned is taken exactly once, whole, and after the messages its producer
/// put before; a process that is killed at any instruction loses none, tears none and blocks nobody
/// for longer than 100 ms plus scheduling.
///
/// ```
/// use shmkit::ByteQueue;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-bytes-{}", os::pid());
/// let lines = ByteQueue::create(&name, 4096)?;
/// let reader = ByteQueue::open(&name)?; // in another program, as a rule
/// lines.put(b"one")?;
///
/// let mut line = lines.reserve(100)?; // written in place
/// line[..3].copy_from_slice(b"two");
/// line.commit(3)?;
/// lines.close();
///
/// assert_eq!(reader.get()?, b"one");
/// assert_eq!(reader.get_with(|line| line.len())?, 3); // read in place
/// assert!(reader.iter().next().is_none());
/// # Ok(())
/// # }
/// ```
///
/// # Capacity
///
/// The capacity is in bytes, rounded up to a multiple of 8. A message takes 8 bytes and its length,
/// rounded up to a multiple of 8. The longest, of [`max_message_len`](Self::max_message_len), fills
/// the queue alone, and goes in whenever the queue is empty. Every message is one piece of memory,
/// so that it is written and read in place: for that the segment is about twice the capacity.
///
/// A long message waits until there is room for all of it, and short ones may be put meanwhile. So it
/// may wait for as long as they keep the queue full; once they pause, it goes in.
///
/// # Forms
///
/// Verbs come in three forms: plain waits, `try_` does not (except for locks that are held for
/// nanoseconds), `_timeout` waits for at most that long. A `try_` may be `Busy` where nothing is held for
/// long, too: beside a process that was put off its CPU in the middle of a put or a get.
///
/// # Trust
///
/// [`get_with`](Self::get_with) and [`reserve`](Self::reserve) give out shared memory itself. No
/// process that keeps to this crate touches those bytes meanwhile; one that writes where it must not
/// can change them while they are looked at. Where peers are not trusted that far, copy first: a
/// [`get`](Self::get) is such a copy. Lengths are checked in any case, and no access leaves the segment.
///
/// # Panics
/// A call on the same queue from inside [`get_with`](Self::get_with), or beside a [`Reservation`],
/// that would wait for that very thread panics, and so does any call in a forked child that could not
/// open the segment for itself (`EMFILE`; no permission after a change of user).
#[derive(Clone)]
pub struct ByteQueue(Frames<Bytes>);

impl ByteQueue {
    /// An anonymous queue of `capacity` bytes: for forked children.
    ///
    /// # Errors
    /// [`Error::InvalidSize`](crate::Error::InvalidSize), [`NoSpace`](crate::Error::NoSpace),
    /// [`Os`](crate::Error::Os).
    pub fn new(capacity: usize) -> Result<Self> {
        Self::create(Place::anonymous(), capacity)
    }

    /// Creates a queue of `capacity` bytes, and publishes it once it is complete. Its memory is
    /// reserved here and now.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) if the name is taken (what a crash of
    /// all holders left is replaced); [`InvalidSize`](crate::Error::InvalidSize) for a capacity of 0
    /// or one that no address space holds; [`NoSpace`](crate::Error::NoSpace),
    /// [`InvalidName`](crate::Error::InvalidName),
    /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
    /// [`Os`](crate::Error::Os).
    pub fn create(place: impl Into<Place>, capacity: usize) -> Result<Self> {
        Frames::create(&place.into(), capacity).map(Self)
    }

    /// Opens a queue that somebody created, whatever its capacity.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Foreign`](crate::Error::Foreign),
    /// [`Corrupt`](crate::Error::Corrupt) or [`Mismatch`](crate::Error::Mismatch) for anything that
    /// is not a sound queue of this type, which is left as it was;
    /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
    /// [`Os`](crate::Error::Os).
    pub fn open(place: impl Into<Place>) -> Result<Self> {
        Frames::open(&place.into()).map(Self)
    }

    /// Opens the queue, or creates it where there is none. Of several that race, one creates, and
    /// all end with the same queue.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create); another capacity (rounded up) is a
    /// [`Mismatch`](crate::Error::Mismatch).
    pub fn open_or_create(place: impl Into<Place>, capacity: usize) -> Result<Self> {
        Frames::open_or_create(&place.into(), capacity).map(Self)
    }

    /// Lays a queue out in memory of your own, if nothing was laid out in it yet.
    ///
    /// # Errors
    /// [`Error::InvalidSize`](crate::Error::InvalidSize); [`NoSpace`](crate::Error::NoSpace) if it
    /// does not fit; [`AlreadyExists`](crate::Error::AlreadyExists) if something is there, or
    /// somebody else is laying it out; [`Unsupported`](crate::Error::Unsupported) in a forked child
    /// that could not become a holder.
    pub fn create_in(memory: Arc<dyn Memory>, capacity: usize) -> Result<Self> {
        Frames::create_in(memory, capacity).map(Self)
    }

    /// Finds the queue in memory of your own.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if nothing was laid out, or not to its end yet;
    /// [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt),
    /// [`Mismatch`](crate::Error::Mismatch).
    pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        Frames::open_in(memory).map(Self)
    }

    /// Puts a message; waits until there is room for it.
    ///
    /// # Errors
    /// [`PutError::TooLong`] at once for a message that never fits; [`PutError::Closed`],
    /// [`PutError::Corrupt`].
    #[inline]
    pub fn put(&self, message: &[u8]) -> Result<(), PutError> {
        self.0.put(message, Wait::FOREVER)
    }

    /// Puts a message if there is room for it now.
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::Full`], [`PutError::Busy`] (somebody has a
    /// [`Reservation`]), [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&self, message: &[u8]) -> Result<(), PutError> {
        self.0.put(message, Wait::Try)
    }

    /// Puts a message; waits for room for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&self, message: &[u8], timeout: Duration) -> Result<(), PutError> {
        self.0.put(message, Wait::within(timeout))
    }

    /// Room for a message of up to `len` bytes, to be written in place and then
    /// [committed](Reservation::commit); waits until there is that much. Holds the producers' side
    /// until it is committed or dropped.
    ///
    /// # Errors
    /// [`PutError::TooLong`] at once for a length that never fits; [`PutError::Closed`],
    /// [`PutError::Corrupt`].
    pub fn reserve(&self, len: usize) -> Result<Reservation<'_>, PutError> {
        self.0.reserve(len, Wait::FOREVER)
    }

    /// [`reserve`](Self::reserve), if there is that much room now.
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::Full`], [`PutError::Busy`], [`PutError::Closed`],
    /// [`PutError::Corrupt`].
    pub fn try_reserve(&self, len: usize) -> Result<Reservation<'_>, PutError> {
        self.0.reserve(len, Wait::Try)
    }

    /// [`reserve`](Self::reserve), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn reserve_timeout(
        &self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_>, PutError> {
        self.0.reserve(len, Wait::within(timeout))
    }

    /// Takes a message; waits while the queue is empty.
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn get(&self) -> Result<Vec<u8>, GetError> {
        self.0.get(Wait::FOREVER)
    }

    /// Takes a message if there is one now.
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Busy`] (somebody is in [`get_with`](Self::get_with)),
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&self) -> Result<Vec<u8>, GetError> {
        self.0.get(Wait::Try)
    }

    /// Takes a message; waits for one for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<u8>, GetError> {
        self.0.get(Wait::within(timeout))
    }

    /// Takes a message into `buffer`, in place of what was in it, and returns its length. Waits while
    /// the queue is empty. In an error's case the buffer is as it was.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    #[inline]
    pub fn get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
        self.0.get_into(buffer, Wait::FOREVER)
    }

    /// [`get_into`](Self::get_into), if there is a message now.
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    #[inline]
    pub fn try_get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
        self.0.get_into(buffer, Wait::Try)
    }

    /// [`get_into`](Self::get_into), waiting for at most `timeout`.
    ///
    /// # Errors
    /// As for [`get_timeout`](Self::get_timeout).
    pub fn get_into_timeout(
        &self,
        buffer: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<usize, GetError> {
        self.0.get_into(buffer, Wait::within(timeout))
    }

    /// Runs `f` on the next message where it lies, and takes it when `f` has returned: a taker that
    /// is killed in `f`, or panics in it, leaves the message for the next. So a message is seen at
    /// least once, and its effects should bear a repetition. Waits while the queue is empty.
    ///
    /// The consumers' side is held meanwhile: others' gets wait, and their tries are
    /// [`GetError::Busy`]. See [Trust](Self#trust) for what a peer could do to those bytes.
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    ///
    /// # Panics
    /// In a child that `f` forked, when `f` returns there: the message is the parent's.
    #[inline]
    pub fn get_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R, GetError> {
        self.0.get_with(Wait::FOREVER, f)
    }

    /// [`get_with`](Self::get_with), if there is a message now.
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    #[inline]
    pub fn try_get_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R, GetError> {
        self.0.get_with(Wait::Try, f)
    }

    /// [`get_with`](Self::get_with), waiting for a message for at most `timeout`.
    ///
    /// # Errors
    /// As for [`get_timeout`](Self::get_timeout).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn get_with_timeout<R>(
        &self,
        timeout: Duration,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, GetError> {
        self.0.get_with(Wait::within(timeout), f)
    }

    /// Whether this process is a holder, and so can use it.
    #[cfg(feature = "serde")] // for pools
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_held()
    }

    /// Runs `f` on the next message, or on none where the queue is empty, and takes nothing. Until `f`
    /// has returned nobody takes that message. Waits for the consumers' lock alone.
    #[cfg(feature = "serde")] // for pools
    pub(crate) fn front_with<R>(&self, f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, GetError> {
        self.0.front_with(f)
    }

    /// The messages as they come, until the queue is closed and drained.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    #[must_use]
    pub fn iter(&self) -> ByteIter<'_> {
        ByteIter { queue: self }
    }

    /// The messages that are there, until there is none, or another holds the consumers' side.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    #[must_use]
    pub fn try_iter(&self) -> TryByteIter<'_> {
        TryByteIter { queue: self }
    }

    /// The length of the longest message that fits: 8 bytes less than the capacity.
    #[must_use]
    pub fn max_message_len(&self) -> usize {
        self.0.max_message_len()
    }

    /// How many bytes of messages fit, each with the 8 bytes of its length and rounded up to 8.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// How much of the capacity the messages take that are there; others may have changed that by
    /// the time you look. (How many messages these are is written nowhere.)
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used()
    }

    /// Whether there is no message, with the same caution as for [`used`](Self::used).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// Closes the queue: puts fail from here on, gets drain what is there and then fail, sleepers
    /// wake. Takes no lock, so it works whoever is stuck; closing twice does nothing more.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether somebody closed the queue.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The place's name or path, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// Whether this handle, or the one it was cloned from, created the queue.
    #[must_use]
    pub fn was_created(&self) -> bool {
        self.0.was_created()
    }

    /// A fresh open of the segment's file, to be passed to another process, which opens it with
    /// [`Place::fd`]. It is no hold: whoever passes it on keeps the handle until it has arrived.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied),
    /// [`Os`](crate::Error::Os); [`Unsupported`](crate::Error::Unsupported) where the memory is no
    /// file.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.0.try_clone_fd()
    }
}

impl fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as("ByteQueue", f)
    }
}

/// The messages of a [`ByteQueue`] as they come: see [`ByteQueue::iter`].
#[derive(Debug)]
pub struct ByteIter<'a> {
    queue: &'a ByteQueue,
}

impl Iterator for ByteIter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        message_or_end(self.queue.get())
    }
}

/// The messages that a [`ByteQueue`] has: see [`ByteQueue::try_iter`].
#[derive(Debug)]
pub struct TryByteIter<'a> {
    queue: &'a ByteQueue,
}

impl Iterator for TryByteIter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        message_or_end(self.queue.try_get())
    }
}

fn message_or_end(got: Result<Vec<u8>, GetError>) -> Option<Vec<u8>> {
    match got {
        Ok(message) => Some(message),
        Err(GetError::Corrupt) => panic!("{}", GetError::Corrupt),
        Err(_) => None,
    }
}

impl<'a> IntoIterator for &'a ByteQueue {
    type Item = Vec<u8>;
    type IntoIter = ByteIter<'a>;

    fn into_iter(self) -> ByteIter<'a> {
        self.iter()
    }
}
