//! [`MessageQueue`]: a bounded queue of values of any type that serde can write and read.
//!
//! | step | put | get |
//! |---|---|---|
//! | 1 | count the bytes of the encoding (no lock) | wait for a message, copy its bytes (consumers' lock) |
//! | 2 | reserve exactly those, encode into them (producers' lock) | **commit**, unlock |
//! | 3 | **commit**, unlock | decode (no lock) |
//!
//! A value that can't be encoded fails in step 1, and never waits. User code runs under a lock in step 2
//! of a put alone, announced: its coming back for that lock is a panic that leaves no trace.
//! Decoding is behind the commit, as a message whose decoding kills its taker would else come back
//! and kill the next.

use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::Memory;
use crate::segment::Place;
use crate::segment::{Kind, Tag};
use crate::sync::Wait;
use crate::types::byte_queue::{FrameKind, Frames};
use postcard::ser_flavors::Size;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// What a [`MessageQueue`]'s segment says of itself.
struct Messages<T>(PhantomData<fn() -> T>);

impl<T> FrameKind for Messages<T> {
    const KIND: Kind = Kind::MessageQueue;

    fn tag() -> Tag {
        Tag::of_type::<T>()
    }
}

/// A bounded first-in, first-out queue of values of any type that implements serde's traits: strings,
/// enums, vectors, maps. For any number of producers and consumers in any number of processes.
///
/// A [`ByteQueue`](crate::ByteQueue) whose messages are encoded by
/// [postcard](https://docs.rs/postcard), with the same promises; its capacity is in bytes in the same
/// way. Where the type is plain bytes, a [`Queue`](crate::Queue) is faster.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shmkit::MessageQueue;
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// enum Event {
///     Started { name: String },
///     Failed(Vec<String>),
/// }
///
/// # fn main() -> shmkit::Result<()> {
/// let events = MessageQueue::<Event>::new(64 * 1024)?;
/// events.put(&Event::Started { name: "build".into() })?;
/// assert_eq!(events.get()?, Event::Started { name: "build".into() });
///
/// let lines = MessageQueue::<String>::new(4096)?;
/// lines.put("no String has to be made")?;
/// assert_eq!(lines.get()?, "no String has to be made");
/// # Ok(())
/// # }
/// ```
///
/// # Types
///
/// A segment knows its type by the unqualified name, and postcard's encoding has no names in it. So two
/// programs whose types have the same name and different fields find each other, and then either a
/// message can't be decoded or it means something else. Where types change, say which one it is with
/// [`Place::schema`].
///
/// # Panics
/// [`Serialize`] runs while the producers' side is held, once per put, after a first time when it is
/// not; a put from there into the same queue panics rather than wait for itself. A panic of its own
/// leaves no trace. Any call panics in a forked child that could not open the segment for itself.
pub struct MessageQueue<T> {
    frames: Frames<Messages<T>>,
}

impl<T> MessageQueue<T> {
    fn of(frames: Frames<Messages<T>>) -> Self {
        Self { frames }
    }

    /// An anonymous queue of `capacity` bytes: for forked children.
    ///
    /// # Errors
    /// As for [`ByteQueue::new`](crate::ByteQueue::new).
    pub fn new(capacity: usize) -> Result<Self> {
        Self::create(Place::anonymous(), capacity)
    }

    /// Creates a queue of `capacity` bytes, and publishes it once it is complete. Its memory is
    /// reserved here and now.
    ///
    /// # Errors
    /// As for [`ByteQueue::create`](crate::ByteQueue::create).
    pub fn create(place: impl Into<Place>, capacity: usize) -> Result<Self> {
        Frames::create(&place.into(), capacity).map(Self::of)
    }

    /// Opens a queue that somebody created, whatever its capacity.
    ///
    /// # Errors
    /// As for [`ByteQueue::open`](crate::ByteQueue::open).
    pub fn open(place: impl Into<Place>) -> Result<Self> {
        Frames::open(&place.into()).map(Self::of)
    }

    /// Opens the queue, or creates it where there is none. Of several that race, one creates, and
    /// all end with the same queue.
    ///
    /// # Errors
    /// As for [`ByteQueue::open_or_create`](crate::ByteQueue::open_or_create).
    pub fn open_or_create(place: impl Into<Place>, capacity: usize) -> Result<Self> {
        Frames::open_or_create(&place.into(), capacity).map(Self::of)
    }

    /// Lays a queue out in memory of your own, which must be all zeros and in nobody's use.
    ///
    /// # Errors
    /// As for [`ByteQueue::create_in`](crate::ByteQueue::create_in).
    pub fn create_in(memory: Arc<dyn Memory>, capacity: usize) -> Result<Self> {
        Frames::create_in(memory, capacity).map(Self::of)
    }

    /// Finds the queue in memory of your own.
    ///
    /// # Errors
    /// As for [`ByteQueue::open_in`](crate::ByteQueue::open_in).
    pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        Frames::open_in(memory).map(Self::of)
    }

    fn put_by<Q: ?Sized + Serialize>(&self, item: &Q, wait: Wait) -> Result<(), PutError> {
        let failed = |error: postcard::Error| PutError::Encode(error.to_string());
        let len = postcard::serialize_with_flavor(item, Size::default()).map_err(failed)?;
        let mut room = self.frames.reserve(len, wait)?;
        let found = match postcard::to_slice(item, &mut room) {
            Ok(written) => written.len(),
            // The room is what the first encoding took.
            Err(postcard::Error::SerializeBufferFull) => usize::MAX,
            Err(error) => return Err(failed(error)),
        };
        if found != len {
            return Err(PutError::Encode(format!(
                "expected {len} bytes as when they were counted, found {}",
                if found < len { "fewer" } else { "more" }
            )));
        }
        room.commit(len)
    }

    /// Puts an item; waits until there is room for it. `Q` is `T`, or what `T` is borrowed as: a
    /// `str` for a `String`, a slice for a `Vec`. It must be encoded as `T` is (which an array and a
    /// slice are not).
    ///
    /// # Errors
    /// [`PutError::Encode`] at once for an item that can't be encoded, or that is encoded
    /// differently a second time; [`PutError::TooLong`] at once for one that never fits;
    /// [`PutError::Closed`], [`PutError::Corrupt`]. In either case nothing of it is in the queue.
    pub fn put<Q: ?Sized + Serialize>(&self, item: &Q) -> Result<(), PutError>
    where
        T: Borrow<Q>,
    {
        self.put_by(item, Wait::FOREVER)
    }

    /// Puts an item if there is room for it now; otherwise as [`put`](Self::put).
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`PutError::Full`], [`PutError::Busy`] (somebody's item is being
    /// encoded).
    pub fn try_put<Q: ?Sized + Serialize>(&self, item: &Q) -> Result<(), PutError>
    where
        T: Borrow<Q>,
    {
        self.put_by(item, Wait::Try)
    }

    /// Puts an item; waits for room for at most `timeout`; otherwise as [`put`](Self::put).
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`PutError::TimedOut`].
    pub fn put_timeout<Q: ?Sized + Serialize>(
        &self,
        item: &Q,
        timeout: Duration,
    ) -> Result<(), PutError>
    where
        T: Borrow<Q>,
    {
        self.put_by(item, Wait::within(timeout))
    }

    /// The length of the longest encoding that fits.
    #[must_use]
    pub fn max_message_len(&self) -> usize {
        self.frames.max_message_len()
    }

    /// How many bytes of messages fit, each with the 8 bytes of its length and rounded up to 8.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// How much of the capacity the messages take that are there; others may have changed that by
    /// the time you look. (How many messages these are is written nowhere.)
    #[must_use]
    pub fn used(&self) -> usize {
        self.frames.used()
    }

    /// Whether there is no message, with the same caution as for [`used`](Self::used).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// Closes the queue: puts fail from here on, gets drain what is there and then fail, sleepers
    /// wake. Takes no lock, so it works whoever is stuck; closing twice does nothing more.
    pub fn close(&self) {
        self.frames.close();
    }

    /// Whether somebody closed the queue.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// The place's name or path, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.frames.name()
    }

    /// Whether this handle, or the one it was cloned from, created the queue.
    #[must_use]
    pub fn was_created(&self) -> bool {
        self.frames.was_created()
    }

    /// A fresh open of the segment's file: see [`ByteQueue`](crate::ByteQueue::try_clone_fd).
    ///
    /// # Errors
    /// As for [`ByteQueue::try_clone_fd`](crate::ByteQueue::try_clone_fd).
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.frames.try_clone_fd()
    }
}

impl<T: DeserializeOwned> MessageQueue<T> {
    fn get_by(&self, wait: Wait) -> Result<T, GetError> {
        let bytes = self.frames.get(wait)?;
        match postcard::take_from_bytes(&bytes) {
            Ok((item, [])) => Ok(item),
            Ok((_, rest)) => Err(GetError::Decode(format!(
                "expected an item of {} bytes, found {} more",
                bytes.len() - rest.len(),
                rest.len()
            ))),
            Err(error) => Err(GetError::Decode(error.to_string())),
        }
    }

    /// Takes an item; waits while the queue is empty.
    ///
    /// # Errors
    /// [`GetError::Decode`] for a message that is no `T`: it is taken, and what comes behind it is
    /// unharmed. [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    pub fn get(&self) -> Result<T, GetError> {
        self.get_by(Wait::FOREVER)
    }

    /// Takes an item if there is one now.
    ///
    /// # Errors
    /// As for [`get`](Self::get); [`GetError::Empty`], [`GetError::Busy`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for one for at most `timeout`.
    ///
    /// # Errors
    /// As for [`get`](Self::get); [`GetError::TimedOut`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(Wait::within(timeout))
    }

    /// The items as they come, until the queue is closed and drained. One that can't be decoded is
    /// a [`GetError::Decode`] in its place, the only error there is.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    #[must_use]
    pub fn iter(&self) -> MessageIter<'_, T> {
        MessageIter { queue: self }
    }

    /// The items that are there, until there is none, or another holds the consumers' side;
    /// otherwise as [`iter`](Self::iter).
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    #[must_use]
    pub fn try_iter(&self) -> TryMessageIter<'_, T> {
        TryMessageIter { queue: self }
    }
}

impl<T> Clone for MessageQueue<T> {
    fn clone(&self) -> Self {
        Self::of(self.frames.clone())
    }
}

impl<T> fmt::Debug for MessageQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frames.fmt_as("MessageQueue", f)
    }
}

/// The items of a [`MessageQueue`] as they come: see [`MessageQueue::iter`].
#[derive(Debug)]
pub struct MessageIter<'a, T> {
    queue: &'a MessageQueue<T>,
}

impl<T: DeserializeOwned> Iterator for MessageIter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        item_or_end(self.queue.get())
    }
}

/// The items that a [`MessageQueue`] has: see [`MessageQueue::try_iter`].
#[derive(Debug)]
pub struct TryMessageIter<'a, T> {
    queue: &'a MessageQueue<T>,
}

impl<T: DeserializeOwned> Iterator for TryMessageIter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        item_or_end(self.queue.try_get())
    }
}

fn item_or_end<T>(got: Result<T, GetError>) -> Option<Result<T, GetError>> {
    match got {
        Ok(_) | Err(GetError::Decode(_)) => Some(got),
        Err(GetError::Corrupt) => panic!("{}", GetError::Corrupt),
        Err(_) => None,
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a MessageQueue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = MessageIter<'a, T>;

    fn into_iter(self) -> MessageIter<'a, T> {
        self.iter()
    }
}
