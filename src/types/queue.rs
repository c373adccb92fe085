//! [`Queue`]: a bounded queue of plain elements between processes.

mod batch;
mod chunk;
mod consumer;
mod endpoint;
mod in_place;
mod iter;
mod producer;
mod slots;

pub use chunk::{ReadChunk, WriteChunk};
pub use consumer::Consumer;
pub use iter::{Iter, TryIter};
pub use producer::Producer;

use super::common::{Slots, constructors, is_large, place_methods};
use super::element::Element;
use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::{Body, Kind, Memory, Place, Region};
use crate::sync::{Ring, RingWords, Seen, Wait};
use std::fmt;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

// SAFETY: the type is transparent over `repr(C)` words, which consist of atomics. An atomic is valid when zero.
unsafe impl Body for QueueWords {
    const KIND: Kind = Kind::Queue;

    fn stride(size: u64) -> u64 {
        size
    }

    fn strides(capacity: u64) -> u64 {
        capacity
    }
}

/// A queue's control words. In the segment, the slots follow them.
#[repr(transparent)]
struct QueueWords(RingWords);

/// A bounded first-in, first-out queue in shared memory, for any number of producers and consumers
/// in any number of processes.
///
/// The capacity is exact. An item whose `put` returned is taken exactly once, whole, and after all items
/// that its producer put earlier. A process that is killed at any instruction loses no item, tears none,
/// and blocks nobody for longer than 100 ms plus scheduling.
///
/// ```
/// use shmkit::Queue;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-queue-{}", std::process::id());
/// let jobs = Queue::<u32>::create(&name, 64)?;
/// let worker = Queue::<u32>::open(&name)?; // usually in another program
/// jobs.put(7)?;
/// jobs.close();
/// assert_eq!(worker.iter().collect::<Vec<_>>(), [7]);
/// # Ok(())
/// # }
/// ```
///
/// Verbs come in three forms. The plain form waits. The `_timeout` form waits no longer than its timeout.
/// The `try_` form does not wait, except for locks that are held for nanoseconds. A `try_` may fail with
/// `Busy` although nobody keeps a lock, if another process lost its CPU in the middle of a put or a get. The
/// tables of [`PutError`] and [`GetError`] list the errors of each verb.
///
/// # Large items
///
/// [`put`](Self::put), [`get`](Self::get), their other forms and the iterators take or return an item by value,
/// so the item lies on the caller's stack, in a debug build more than once. Items that are too large for the
/// stack are put from the heap with [`put_many`](Self::put_many), or written in place
/// ([`Producer::chunk`]). They are read in place ([`get_with`](Self::get_with), [`Consumer::peek`],
/// [`Consumer::chunk`]), or taken into memory on the heap with [`get_many`](Self::get_many). These methods keep
/// no item on the stack, whatever its size.
///
/// ```
/// use std::slice;
///
/// type Frame = [u8; 6 << 20];
///
/// # fn main() -> shmkit::Result<()> {
/// let frames = shmkit::Queue::<Frame>::new(1)?;
/// let mut frame: Box<Frame> = shmkit::bytemuck::zeroed_box();
/// frame.fill(7);
/// frames.put_many(slice::from_ref(&*frame))?;
/// assert_eq!(frames.get_with(|frame| frame[100])?, 7);
/// # Ok(())
/// # }
/// ```
///
/// # Trust
///
/// [`get_with`](Self::get_with) and the chunks of endpoints give access to shared memory itself. No process
/// that uses only this crate touches those bytes meanwhile, but a peer that writes where it must not can
/// change an item while you look at it. If you don't trust peers that far, use [`get`](Self::get) or
/// [`get_many`](Self::get_many), which copy the item. No access leaves the segment in any case.
///
/// # Panics
/// Inside [`get_with`](Self::get_with), a call on the same queue panics if the calling thread would wait for
/// itself. In a forked child that could not open the segment for itself (`EMFILE`, or no permission after a
/// change of user), any call panics.
pub struct Queue<T: Element> {
    region: Region<T, QueueWords>,
    slots: Slots,
    seen: Arc<Seen>,
}

impl<T: Element> Queue<T> {
    fn of(region: Region<T, QueueWords>) -> Self {
        let slots = Slots::new(region.capacity());
        Self {
            region,
            slots,
            seen: Arc::new(Seen::new(slots.count())),
        }
    }

    constructors! {
        "queue" with "capacity", Region, capacity: usize => (capacity, &[]);

        /// Creates an anonymous queue of `capacity` items, which forked children inherit.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = shmkit::Queue::<[u8; 16]>::new(3)?;
        /// assert_eq!(queue.capacity(), 3);
        /// # Ok(())
        /// # }
        /// ```
        new;
        /// Creates a queue of `capacity` items.
        ///
        /// ```
        /// use shmkit::{Place, Queue};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-queue-create-{}", std::process::id());
        /// // Processes of the user's group may open this queue too.
        /// let queue = Queue::<u64>::create(Place::named(&name).mode(0o660), 1024)?;
        /// assert!(queue.was_created());
        /// # Ok(())
        /// # }
        /// ```
        create;
        /// Opens a queue that somebody created, whatever its capacity.
        ///
        /// ```
        /// use shmkit::Queue;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-queue-open-{}", std::process::id());
        /// let ours = Queue::<u64>::create(&name, 8)?;
        /// let theirs = Queue::<u64>::open(&name)?;
        /// ours.put(5)?;
        /// assert_eq!(theirs.get()?, 5);
        /// # Ok(())
        /// # }
        /// ```
        open;
        /// Opens the queue, or creates it if there is none.
        ///
        /// ```
        /// use shmkit::{Error, Queue};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-queue-either-{}", std::process::id());
        /// let first = Queue::<u64>::open_or_create(&name, 8)?;
        /// let second = Queue::<u64>::open_or_create(&name, 8)?;
        /// assert_eq!((first.was_created(), second.was_created()), (true, false));
        /// let larger = Queue::<u64>::open_or_create(&name, 9);
        /// assert!(matches!(larger, Err(Error::Mismatch { what: "capacity", .. })));
        /// # Ok(())
        /// # }
        /// ```
        open_or_create;
        /// Lays a queue out in memory of your own, if nothing was laid out in it yet.
        ///
        /// ```
        /// use shmkit::{Queue, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let queue = Queue::<u8>::create_in(Arc::new(HeapMemory::new(4096)), 16)?;
        /// assert_eq!(queue.name(), None);
        /// # Ok(())
        /// # }
        /// ```
        create_in;
        /// Finds the queue that was laid out in memory of your own.
        ///
        /// ```
        /// use shmkit::{Queue, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(4096));
        /// let queue = Queue::<u8>::create_in(memory.clone(), 16)?;
        /// queue.put(1)?;
        /// assert_eq!(Queue::<u8>::open_in(memory)?.get()?, 1);
        /// # Ok(())
        /// # }
        /// ```
        open_in;
    }

    place_methods!(region, "Queue::<u64>", "4");

    #[inline]
    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.region.body().0, &self.seen, self.region.holder())
    }

    #[inline]
    fn put_with(&self, items: &[T], wait: Wait) -> Result<usize, PutError> {
        let put = self
            .ring()
            .put(items.len() as u64, wait, |span| self.write(span, items));
        match put {
            #[allow(clippy::cast_possible_truncation)] // at most `items.len()`
            Ok(put) => Ok(put as usize),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Puts an item; waits while the queue is full.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// queue.put(2)?;
    /// assert_eq!(queue.get()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn put(&self, item: T) -> Result<(), PutError> {
        self.put_with(slice::from_ref(&item), Wait::FOREVER)
            .map(drop)
    }

    /// Puts an item if there is space now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(1)?;
    /// assert_eq!(queue.try_put(1), Ok(()));
    /// assert_eq!(queue.try_put(2), Err(shmkit::PutError::Full));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Full`]; [`PutError::Busy`] if somebody owns the producers' side
    /// ([`producer`](Self::producer)); [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&self, item: T) -> Result<(), PutError> {
        self.put_with(slice::from_ref(&item), Wait::Try).map(drop)
    }

    /// Puts an item; waits for at most `timeout` while the queue is full.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(1)?;
    /// queue.put_timeout(1, Duration::from_millis(1))?;
    /// let late = queue.put_timeout(2, Duration::from_millis(1));
    /// assert_eq!(late, Err(shmkit::PutError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TimedOut`]; [`PutError::Busy`] if the producers' side was held all the time;
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError> {
        self.put_with(slice::from_ref(&item), Wait::within(timeout))
            .map(drop)
    }

    #[inline]
    fn get_by(&self, wait: Wait) -> Result<T, GetError> {
        if is_large::<T>() {
            self.get_large(wait)
        } else {
            self.get_small(wait)
        }
    }

    #[inline]
    fn get_small(&self, wait: Wait) -> Result<T, GetError> {
        let got = self.ring().get(1, wait, |span| {
            self.fetch_ahead::<false>(span);
            self.read(span.start)
        });
        got.map_err(GetError::from)
    }

    /// Takes an item; waits while the queue is empty.
    ///
    /// ```
    /// use shmkit::GetError;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// queue.close();
    /// assert_eq!(queue.get(), Ok(1)); // gets drain a closed queue first
    /// assert_eq!(queue.get(), Err(GetError::Closed));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_by(Wait::FOREVER)
    }

    /// Takes an item if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// assert_eq!(queue.try_get(), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Empty`]; [`GetError::Busy`] if somebody is inside [`get_with`](Self::get_with), or owns
    /// the consumers' side ([`consumer`](Self::consumer)); [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for at most `timeout` while the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// let nothing = queue.get_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(shmkit::GetError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::TimedOut`]; [`GetError::Busy`] if the consumers' side was held all the time;
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(Wait::within(timeout))
    }

    /// Returns how many items are in the queue. Others may change the number before you look at it:
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::new(2)?;
    /// queue.put(1)?;
    /// // This holds only while nobody else gets: another process may take the item that `len` counted.
    /// assert_eq!(queue.len(), 1);
    /// // This always holds: ask for the item itself.
    /// if let Ok(item) = queue.try_get() {
    ///     assert_eq!(item, 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.ring().len()).expect("at most the capacity, which was a usize")
    }

    /// Returns whether the queue has no item. The caution of [`len`](Self::len) applies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the queue has no space. The caution of [`len`](Self::len) applies.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Returns how many items the queue can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::try_from(self.slots.count()).expect("the capacity was a usize when it was checked")
    }

    /// Closes the queue: puts fail from now on, gets fail once they have drained the queue, and all sleepers
    /// wake. A close takes no lock, and so works even if a process is stuck. A second close does nothing.
    ///
    /// ```
    /// use shmkit::PutError;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// queue.close();
    /// assert!(queue.is_closed());
    /// assert_eq!(queue.put(1), Err(PutError::Closed));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        self.ring().close();
    }

    /// Returns whether somebody closed the queue.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring().is_closed()
    }
}

impl<T: Element> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
            slots: self.slots,
            seen: Arc::clone(&self.seen),
        }
    }
}

impl<T: Element> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}
