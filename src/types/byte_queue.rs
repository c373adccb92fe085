//! [`ByteQueue`]: a bounded queue of messages of any length. `frames` explains how a message lies in the ring.

mod frames;
mod in_place;
mod iter;
mod methods;
mod reservation;

pub(crate) use frames::{FrameKind, Frames};
pub use iter::{ByteIter, TryByteIter};
pub(super) use methods::frame_methods;
pub use reservation::Reservation;

use super::common::{constructors, place_methods};
use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::{Kind, Memory, Place, Tag};
use crate::sync::Wait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The kind and the tag of a [`ByteQueue`]'s segment.
enum Bytes {}

impl FrameKind for Bytes {
    const KIND: Kind = Kind::ByteQueue;

    fn tag() -> Tag {
        Tag::of_text("bytes")
    }
}

/// A bounded first-in, first-out queue of messages in shared memory, for any number of producers and
/// consumers in any number of processes. A message is a slice of bytes of any length.
///
/// A message whose `put` returned is taken exactly once, whole, and after all messages that its producer
/// put earlier. A process that is killed at any instruction loses no message, tears none, and blocks nobody
/// for longer than 100 ms plus scheduling.
///
/// ```
/// use shmkit::ByteQueue;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-bytes-{}", std::process::id());
/// let lines = ByteQueue::create(&name, 4096)?;
/// let reader = ByteQueue::open(&name)?; // usually in another program
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
/// The capacity is in bytes, rounded up to a multiple of 8. A message takes 8 bytes more than its length,
/// rounded up to a multiple of 8. A message of the greatest length,
/// [`max_message_len`](Self::max_message_len), fills the queue alone, and fits whenever the queue is empty.
/// Every message is one piece of memory, so that callers can write and read it in place. The price is a
/// segment of about twice the capacity.
///
/// The put of a long message waits until there is space for the whole message. Meanwhile others may put
/// short messages, and the long message waits as long as these keep the queue full.
///
/// # Forms
///
/// Verbs come in three forms. The plain form waits. The `_timeout` form waits no longer than its timeout.
/// The `try_` form does not wait, except for locks that are held for nanoseconds. A `try_` may fail with
/// `Busy` although nobody keeps a lock, if another process lost its CPU in the middle of a put or a get.
///
/// # Trust
///
/// [`get_with`](Self::get_with) and [`reserve`](Self::reserve) give access to shared memory itself. No
/// process that uses only this crate touches those bytes meanwhile, but a peer that writes where it must
/// not can change the bytes while you look at them. If you don't trust peers that far, use
/// [`get`](Self::get), which copies the message. Lengths are checked in any case, and no access leaves the
/// segment. A count that goes back behind what this handle has seen is `Corrupt`. But if the peer overwrites
/// a count or a lock in a way that might be true, the queue may lend those bytes again.
///
/// # Panics
/// Inside [`get_with`](Self::get_with), or beside a [`Reservation`], a call on the same queue panics if the
/// calling thread would wait for itself. In a forked child that could not open the segment for itself
/// (`EMFILE`, or no permission after a change of user), any call panics.
#[derive(Clone)]
pub struct ByteQueue(Frames<Bytes>);

impl ByteQueue {
    fn of(frames: Frames<Bytes>) -> Self {
        Self(frames)
    }

    #[cfg(feature = "serde")]
    pub(super) fn frames(&self) -> &Frames<impl FrameKind> {
        &self.0
    }

    constructors! {
        "queue" with "capacity", Frames, capacity: usize => (capacity);

        /// Creates an anonymous queue of `capacity` bytes, which forked children inherit.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = shmkit::ByteQueue::new(1000)?;
        /// assert_eq!(queue.capacity(), 1000);
        /// # Ok(())
        /// # }
        /// ```
        new;
        /// Creates a queue of `capacity` bytes.
        ///
        /// ```
        /// use shmkit::{ByteQueue, Place};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-bytes-create-{}", std::process::id());
        /// let log = ByteQueue::create(Place::named(&name), 64 * 1024)?;
        /// assert_eq!(log.name(), Some(name.as_str()));
        /// # Ok(())
        /// # }
        /// ```
        create;
        /// Opens a queue that somebody created, whatever its capacity.
        ///
        /// ```
        /// use shmkit::ByteQueue;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-bytes-open-{}", std::process::id());
        /// let ours = ByteQueue::create(&name, 4096)?;
        /// let theirs = ByteQueue::open(&name)?;
        /// ours.put(b"hello")?;
        /// assert_eq!(theirs.get()?, b"hello");
        /// # Ok(())
        /// # }
        /// ```
        open;
        /// Opens the queue, or creates it if there is none. Capacities are compared after rounding.
        ///
        /// ```
        /// use shmkit::ByteQueue;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-bytes-either-{}", std::process::id());
        /// let first = ByteQueue::open_or_create(&name, 1001)?;
        /// let second = ByteQueue::open_or_create(&name, 1008)?;
        /// assert_eq!((first.was_created(), second.was_created()), (true, false));
        /// # Ok(())
        /// # }
        /// ```
        open_or_create;
        /// Lays a queue out in memory of your own, if nothing was laid out in it yet.
        ///
        /// ```
        /// use shmkit::{ByteQueue, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = ByteQueue::create_in(Arc::new(HeapMemory::new(4096)), 512)?;
        /// queue.put(b"on the heap")?;
        /// # Ok(())
        /// # }
        /// ```
        create_in;
        /// Finds the queue that was laid out in memory of your own.
        ///
        /// ```
        /// use shmkit::{ByteQueue, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(4096));
        /// let queue = ByteQueue::create_in(memory.clone(), 512)?;
        /// queue.put(b"x")?;
        /// assert_eq!(ByteQueue::open_in(memory)?.get()?, b"x");
        /// # Ok(())
        /// # }
        /// ```
        open_in;
    }

    place_methods!(0, "ByteQueue", "4096");

    /// Puts a message; waits until there is space for it.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"hello")?;
    /// assert!(queue.put(&[0; 100]).is_err()); // would never fit
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TooLong`] at once for a message that never fits; [`PutError::Closed`],
    /// [`PutError::Corrupt`].
    #[inline]
    pub fn put(&self, message: &[u8]) -> Result<(), PutError> {
        self.0.put(message, Wait::FOREVER)
    }

    /// Puts a message if there is space for it now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.try_put(&[1; 40])?;
    /// assert_eq!(queue.try_put(&[2; 40]), Err(shmkit::PutError::Full));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::Full`]; [`PutError::Busy`] if somebody has a
    /// [`Reservation`]; [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&self, message: &[u8]) -> Result<(), PutError> {
        self.0.put(message, Wait::Try)
    }

    /// Puts a message; waits for at most `timeout` until there is space for it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(&[1; 40])?;
    /// let late = queue.put_timeout(&[2; 40], Duration::from_millis(1));
    /// assert_eq!(late, Err(shmkit::PutError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::TimedOut`]; [`PutError::Busy`] if the producers' side was held all
    /// the time; [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&self, message: &[u8], timeout: Duration) -> Result<(), PutError> {
        self.0.put(message, Wait::within(timeout))
    }

    /// Reserves space for a message of up to `len` bytes, which the caller writes in place and then
    /// [commits](Reservation::commit); waits until there is that much space. The reservation holds the
    /// producers' side until it is committed or dropped.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = shmkit::ByteQueue::new(1024)?;
    /// let mut space = queue.reserve(32)?;
    /// let free = {
    ///     let mut rest = &mut space[..];
    ///     write!(rest, "{} items", 3)?;
    ///     rest.len()
    /// };
    /// space.commit(32 - free)?;
    /// assert_eq!(queue.get()?, b"3 items");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TooLong`] at once for a length that never fits; [`PutError::Closed`],
    /// [`PutError::Corrupt`].
    pub fn reserve(&self, len: usize) -> Result<Reservation<'_>, PutError> {
        self.reserve_by(len, Wait::FOREVER)
    }

    /// Reserves space as [`reserve`](Self::reserve) does, if there is that much space now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// let space = queue.try_reserve(8)?;
    /// assert_eq!(queue.try_put(b"x"), Err(shmkit::PutError::Busy));
    /// # drop(space);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::Full`], [`PutError::Busy`], [`PutError::Closed`],
    /// [`PutError::Corrupt`].
    pub fn try_reserve(&self, len: usize) -> Result<Reservation<'_>, PutError> {
        self.reserve_by(len, Wait::Try)
    }

    /// Reserves space as [`reserve`](Self::reserve) does; waits for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// let space = queue.reserve_timeout(8, Duration::from_secs(1))?;
    /// assert_eq!(space.len(), 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TooLong`], [`PutError::TimedOut`]; [`PutError::Busy`] if the producers' side was held all
    /// the time; [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn reserve_timeout(
        &self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_>, PutError> {
        self.reserve_by(len, Wait::within(timeout))
    }

    fn reserve_by(&self, len: usize, wait: Wait) -> Result<Reservation<'_>, PutError> {
        self.0.claim_write(len, wait).map(Reservation::new)
    }

    /// Takes a message; waits while the queue is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"hello")?;
    /// assert_eq!(queue.get()?, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn get(&self) -> Result<Vec<u8>, GetError> {
        self.0.get(Wait::FOREVER)
    }

    /// Takes a message if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// assert_eq!(queue.try_get(), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Empty`]; [`GetError::Busy`] if somebody is inside [`get_with`](Self::get_with);
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&self) -> Result<Vec<u8>, GetError> {
        self.0.get(Wait::Try)
    }

    /// Takes a message; waits for at most `timeout` while the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// let nothing = queue.get_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(shmkit::GetError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::TimedOut`]; [`GetError::Busy`] if the consumers' side was held all the time;
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<u8>, GetError> {
        self.0.get(Wait::within(timeout))
    }

    /// Takes a message into `buffer`, in place of the buffer's content, and returns the message's length.
    /// Waits while the queue is empty. An error leaves the buffer as it was.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"one")?;
    /// queue.put(b"three")?;
    /// let mut buffer = Vec::new(); // one allocation serves many messages
    /// while !queue.is_empty() {
    ///     let len = queue.get_into(&mut buffer)?;
    ///     assert_eq!(len, buffer.len());
    /// }
    /// assert_eq!(buffer, b"three");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    #[inline]
    pub fn get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
        self.0.get_into(buffer, Wait::FOREVER)
    }

    /// Takes a message as [`get_into`](Self::get_into) does, if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// let mut buffer = b"old".to_vec();
    /// assert!(queue.try_get_into(&mut buffer).is_err());
    /// assert_eq!(buffer, b"old");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    #[inline]
    pub fn try_get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
        self.0.get_into(buffer, Wait::Try)
    }

    /// Takes a message as [`get_into`](Self::get_into) does; waits for at most `timeout` while the queue is
    /// empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"new")?;
    /// let mut buffer = Vec::new();
    /// assert_eq!(queue.get_into_timeout(&mut buffer, Duration::from_secs(1))?, 3);
    /// # Ok(())
    /// # }
    /// ```
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

    frame_methods! {
        0;

        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = shmkit::ByteQueue::new(64)?;
        /// queue.put(b"last")?;
        /// queue.close();
        /// assert!(queue.put(b"late").is_err());
        /// assert_eq!(queue.get()?, b"last");
        /// # Ok(())
        /// # }
        /// ```
        close;
    }
}

impl fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as("ByteQueue", f)
    }
}
