//! [`MessageQueue`]: a bounded queue of values of any type that serde can write and read.
//!
//! | step | put | get |
//! |---|---|---|
//! | 1 | count the bytes of the encoding (no lock) | wait for a message, copy its bytes (consumers' lock) |
//! | 2 | reserve exactly that many, encode into them (producers' lock) | **commit**, unlock |
//! | 3 | **commit**, unlock | decode (no lock) |
//!
//! A value that can't be encoded fails in step 1, and never waits. User code runs under a lock only in step
//! 2 of a put, and in a `take_with`. Both announce the user code, which therefore panics if it asks for the
//! same lock; such a call leaves no trace. The decoding of a get comes after the commit, because a message whose
//! decoding kills its taker would otherwise come back and kill the next taker. A `take_with` has to decode
//! before the commit.

mod iter;
mod take_with;

pub use iter::{MessageIter, TryMessageIter};

use super::byte_queue::{FrameKind, Frames, Reservation, frame_methods};
use super::common::{constructors, place_methods};
use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::{Kind, Memory, Place, Tag};
use crate::sync::Wait;
use postcard::ser_flavors::Size;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The kind and the tag of a [`MessageQueue`]'s segment.
struct Messages<T>(PhantomData<fn() -> T>);

impl<T> FrameKind for Messages<T> {
    const KIND: Kind = Kind::MessageQueue;

    fn tag() -> Tag {
        Tag::of_type::<T>()
    }
}

/// A bounded first-in, first-out queue of values of any type that implements serde's traits (strings,
/// enums, vectors, maps), for any number of producers and consumers in any number of processes.
///
/// A message queue is a [`ByteQueue`](crate::ByteQueue) whose messages are encoded by
/// [postcard](https://docs.rs/postcard), with the same promises, and with a capacity in bytes. If the type is
/// plain bytes, a [`Queue`](crate::Queue) is faster.
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
/// A segment records the unqualified name of its type, and postcard's encoding contains no names. So a program
/// can open a queue whose type has the same name and other fields than its own. Then messages can't be
/// decoded, or their values are wrong. If your types change, name their version with [`Place::schema`].
///
/// # Panics
/// A put runs [`Serialize`] twice: first without a lock, then while the put holds the producers' side. If
/// the second run calls a waiting put on the same queue, the call panics, because it would wait for its own
/// thread. A panic of `Serialize` leaves no trace in the queue. In a forked child that could not open the
/// segment for itself (`EMFILE`, or no permission after a change of user), any call panics.
pub struct MessageQueue<T> {
    frames: Frames<Messages<T>>,
}

impl<T> MessageQueue<T> {
    fn of(frames: Frames<Messages<T>>) -> Self {
        Self { frames }
    }

    constructors! {
        "queue" with "capacity", Frames, capacity: usize => (capacity);

        /// Creates an anonymous queue of `capacity` bytes, which forked children inherit.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = shmkit::MessageQueue::<(u32, String)>::new(4096)?;
        /// queue.put(&(1, "one".to_owned()))?;
        /// # Ok(())
        /// # }
        /// ```
        new;
        /// Creates a queue of `capacity` bytes.
        ///
        /// ```
        /// use shmkit::{MessageQueue, Place};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-messages-create-{}", std::process::id());
        /// // The schema tells programs with other versions of the type apart.
        /// let place = Place::named(&name).schema("event/v2");
        /// let events = MessageQueue::<String>::create(&place, 4096)?;
        /// assert!(MessageQueue::<String>::open(&name).is_err());
        /// assert!(MessageQueue::<String>::open(&place).is_ok());
        /// # drop(events);
        /// # Ok(())
        /// # }
        /// ```
        create;
        /// Opens a queue that somebody created, whatever its capacity.
        ///
        /// ```
        /// use shmkit::MessageQueue;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-messages-open-{}", std::process::id());
        /// let ours = MessageQueue::<String>::create(&name, 4096)?;
        /// let theirs = MessageQueue::<String>::open(&name)?;
        /// ours.put("hello")?;
        /// assert_eq!(theirs.get()?, "hello");
        /// # Ok(())
        /// # }
        /// ```
        open;
        /// Opens the queue, or creates it if there is none. Capacities are compared after rounding up to a
        /// multiple of 8.
        ///
        /// ```
        /// use shmkit::MessageQueue;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-messages-either-{}", std::process::id());
        /// let first = MessageQueue::<String>::open_or_create(&name, 4096)?;
        /// let second = MessageQueue::<String>::open_or_create(&name, 4096)?;
        /// assert!(!second.was_created());
        /// # drop(first);
        /// # Ok(())
        /// # }
        /// ```
        open_or_create;
        /// Lays a queue out in memory of your own, if nothing was laid out in it yet.
        ///
        /// ```
        /// use shmkit::{MessageQueue, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(8192));
        /// let queue = MessageQueue::<Vec<u8>>::create_in(memory, 1024)?;
        /// queue.put(&[1, 2, 3][..])?;
        /// # Ok(())
        /// # }
        /// ```
        create_in;
        /// Finds the queue that was laid out in memory of your own.
        ///
        /// ```
        /// use shmkit::{MessageQueue, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(8192));
        /// let queue = MessageQueue::<char>::create_in(memory.clone(), 1024)?;
        /// queue.put(&'x')?;
        /// assert_eq!(MessageQueue::<char>::open_in(memory)?.get()?, 'x');
        /// # Ok(())
        /// # }
        /// ```
        open_in;
    }

    place_methods!(frames, "MessageQueue::<String>", "4096");

    fn put_by<Q: ?Sized + Serialize>(&self, item: &Q, wait: Wait) -> Result<(), PutError> {
        let failed = |error: postcard::Error| PutError::Encode(error.to_string());
        let len = postcard::serialize_with_flavor(item, Size::default()).map_err(failed)?;
        let mut space = self.frames.claim_write(len, wait).map(Reservation::new)?;
        let found = match postcard::to_slice(item, &mut space) {
            Ok(written) => written.len(),
            // The space has the length of the first encoding, and the second encoding is longer.
            Err(postcard::Error::SerializeBufferFull) => usize::MAX,
            Err(error) => return Err(failed(error)),
        };
        if found != len {
            return Err(PutError::Encode(format!(
                "expected {len} bytes as when they were counted, found {}",
                if found < len { "fewer" } else { "more" }
            )));
        }
        space.commit(len)
    }

    /// Puts an item; waits until there is space for it.
    ///
    /// `Q` is `T`, or a type that can be borrowed from `T`: a `str` from a `String`, a slice from a `Vec`. `Q`
    /// must have the same encoding as `T`. (A slice of an array has another encoding than the array.)
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let counts = shmkit::MessageQueue::<BTreeMap<String, u32>>::new(4096)?;
    /// counts.put(&BTreeMap::from([("apples".to_owned(), 3)]))?;
    /// assert_eq!(counts.get()?["apples"], 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Encode`] at once for an item that can't be encoded, or that is encoded
    /// differently a second time; [`PutError::TooLong`] at once for an item that never fits;
    /// [`PutError::Closed`], [`PutError::Corrupt`]. In all these cases nothing of the item is in the queue.
    pub fn put<Q: ?Sized + Serialize>(&self, item: &Q) -> Result<(), PutError>
    where
        T: Borrow<Q>,
    {
        self.put_by(item, Wait::FOREVER)
    }

    /// Puts an item as [`put`](Self::put) does, if there is space for it now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<String>::new(32)?;
    /// queue.try_put("sixteen bytes ...")?;
    /// assert_eq!(queue.try_put("one more"), Err(shmkit::PutError::Full));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`PutError::Full`]; [`PutError::Busy`] if somebody else is encoding an item.
    pub fn try_put<Q: ?Sized + Serialize>(&self, item: &Q) -> Result<(), PutError>
    where
        T: Borrow<Q>,
    {
        self.put_by(item, Wait::Try)
    }

    /// Puts an item as [`put`](Self::put) does; waits for at most `timeout` until there is space for it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<String>::new(32)?;
    /// queue.put("sixteen bytes ...")?;
    /// let late = queue.put_timeout("one more", Duration::from_millis(1));
    /// assert_eq!(late, Err(shmkit::PutError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`PutError::TimedOut`], [`PutError::Busy`].
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

    frame_methods! {
        frames;

        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = shmkit::MessageQueue::<u8>::new(64)?;
        /// queue.close();
        /// assert_eq!(queue.get(), Err(shmkit::GetError::Closed));
        /// # Ok(())
        /// # }
        /// ```
        close;
    }
}

impl<T: DeserializeOwned> MessageQueue<T> {
    fn get_by(&self, wait: Wait) -> Result<T, GetError> {
        Self::decode(&self.frames.get(wait)?)
    }

    fn decode(bytes: &[u8]) -> Result<T, GetError> {
        match postcard::take_from_bytes(bytes) {
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
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<Option<String>>::new(64)?;
    /// queue.put(&None)?;
    /// assert_eq!(queue.get()?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Decode`] for a message that is no `T`: this message is taken, and the next message is
    /// unharmed. [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    pub fn get(&self) -> Result<T, GetError> {
        self.get_by(Wait::FOREVER)
    }

    /// Takes an item if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<String>::new(64)?;
    /// assert_eq!(queue.try_get(), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get); [`GetError::Empty`], [`GetError::Busy`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for at most `timeout` while the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<String>::new(64)?;
    /// let nothing = queue.get_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(shmkit::GetError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get); [`GetError::TimedOut`], [`GetError::Busy`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(Wait::within(timeout))
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
