//! [`Queue`]: a bounded queue of plain elements between processes.

mod consumer;
mod in_place;
mod iter;
mod producer;

pub use consumer::{Consumer, ReadChunk};
pub use iter::{Iter, TryIter};
pub use producer::{Producer, WriteChunk};

use super::common::{Slots, constructors, place_methods};
use super::element::Element;
use crate::error::{GetError, PutAllError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::{Body, Kind, Memory, Place, Region};
use crate::sync::{Ring, RingWords, Span, Wait, prefetch_read, prefetch_write};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

// SAFETY: `repr(C)`, made of atomics alone, each of which is valid when zero.
unsafe impl Body for QueueWords {
    const KIND: Kind = Kind::Queue;

    fn stride(size: u64) -> u64 {
        size
    }

    fn strides(capacity: u64) -> u64 {
        capacity
    }
}

/// A queue's control words; the slots follow.
#[repr(transparent)]
struct QueueWords(RingWords);

/// A bounded first-in, first-out queue in shared memory, for any number of producers and consumers
/// in any number of processes.
///
/// The capacity is exact. An item whose `put` returned is taken exactly once, whole, and after the
/// items that its producer put before. A process that is killed at any instruction loses no item, tears
/// none, and blocks nobody for longer than 100 ms plus scheduling.
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
/// Verbs come in three forms. The plain form waits. The `try_` form does not wait, except for locks that
/// are held for nanoseconds. The `_timeout` form waits for at most that long. A `try_` may be `Busy` even if
/// nobody holds anything for long: beside a process that lost its CPU in the middle of a put or a get.
/// [`PutError`] and [`GetError`] have a table of which verb gives which error.
///
/// # Panics
/// A call on the same queue from inside [`get_with`](Self::get_with) panics if it would wait for that very
/// thread. Any call panics in a forked child that could not open the segment for itself (`EMFILE`; no
/// permission after a change of user).
pub struct Queue<T: Element> {
    region: Region<T, QueueWords>,
    slots: Slots,
}

/// How far ahead of a single item slots are prefetched, in bytes.
const FETCH_AHEAD: u64 = 256;

/// How much is prefetched behind a batch, at most, in bytes.
const FETCH_MOST: u64 = 1024;

impl<T: Element> Queue<T> {
    fn of(region: Region<T, QueueWords>) -> Self {
        let slots = Slots::new(region.capacity());
        Self { region, slots }
    }

    constructors! {
        "queue" with "capacity", Region, capacity: usize => (capacity, &[]);

        /// Creates an anonymous queue of `capacity` items, for forked children.
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
        /// // Processes of the user's group may open this one too.
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
        Ring::new(
            &self.region.body().0,
            self.slots.count(),
            self.region.holder(),
        )
    }

    /// Returns the first slot.
    #[inline]
    fn first_slot(&self) -> *mut T {
        self.region.data().as_ptr().cast()
    }

    /// Returns where the item of a position lies: inside the slots for every position.
    #[inline]
    fn slot(&self, position: u64) -> *mut T {
        self.first_slot().wrapping_add(self.slots.index(position))
    }

    /// Returns where the items of a span lie, up to the last slot and from the first slot on, as pointers
    /// and counts. If the span has more positions than there are slots, each slot comes once.
    #[inline]
    fn pieces(&self, span: Span) -> [(*mut T, usize); 2] {
        let (index, capacity) = (self.slots.index(span.start), self.slots.count());
        #[allow(clippy::cast_possible_truncation)] // at most the capacity, whose slots were mapped
        let (len, behind) = (
            span.len.min(capacity) as usize,
            (capacity - index as u64) as usize,
        );
        let first = len.min(behind);
        let piece = self.first_slot().wrapping_add(index);
        [(piece, first), (self.first_slot(), len - first)]
    }

    /// Prefetches the slots that this side will come to next, if they belong to this side: behind one item
    /// the line that is a little ahead, behind a batch as many slots as the batch had. Commits are full
    /// barriers, which would otherwise wait for the other CPU's cache lines every few items.
    #[inline]
    fn fetch_ahead<const FOR_WRITING: bool>(&self, span: Span) {
        let end = span.start + span.len;
        let item = size_of::<T>() as u64;
        if span.len == 1 {
            let ahead = (FETCH_AHEAD / item).max(1);
            if ahead < span.ahead {
                prefetch::<FOR_WRITING>(self.slot(end + ahead).cast());
            }
            return;
        }
        let next = span.len.min(span.ahead).min(FETCH_MOST / item);
        for position in (end..end + next).step_by((64 / size_of::<T>()).max(1)) {
            prefetch::<FOR_WRITING>(self.slot(position).cast());
        }
    }

    /// Writes items to positions that belong to this side alone (ring's invariant 2).
    #[inline]
    fn write(&self, span: Span, items: &[T]) {
        for (item, position) in items.iter().zip(span.start..span.start + span.len) {
            // SAFETY: by region's invariant 1 a slot is inside the region and aligned for `T`; by ring's
            // invariant 2 nobody else touches this one until the commit.
            unsafe { self.slot(position).write(*item) };
        }
        self.fetch_ahead::<true>(span);
    }

    /// Reads the item at a position that belongs to this side alone (ring's invariant 2).
    #[inline]
    fn read(&self, position: u64) -> T {
        // SAFETY: by region's invariant 1 a slot is inside the region and aligned for `T`, and any bytes
        // are a valid `T`; by ring's invariant 2 nobody writes this slot until the commit.
        unsafe { self.slot(position).read() }
    }

    /// Reads the items of a span into the front of `out`; returns how many there are.
    fn read_many(&self, span: Span, out: &mut [T]) -> usize {
        let positions = span.start..span.start + span.len;
        out.iter_mut()
            .zip(positions)
            .map(|(out, position)| *out = self.read(position))
            .count()
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
        self.put_with(&[item], Wait::FOREVER).map(drop)
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
    /// [`PutError::Full`], [`PutError::Busy`], [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], Wait::Try).map(drop)
    }

    /// Puts an item; waits for space for at most `timeout`.
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
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError> {
        self.put_with(&[item], Wait::within(timeout)).map(drop)
    }

    /// Puts as many of the items as fit, in one commit: they all become visible at once, in order. Waits
    /// for space for one item. Returns how many items were put, which is 0 only if `items` is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// assert_eq!(queue.put_many(&[1, 2, 3])?, 2);
    /// assert_eq!(queue.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    pub fn put_many(&self, items: &[T]) -> Result<usize, PutError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.put_with(items, Wait::FOREVER)
    }

    /// Puts all the items, in as many commits as it takes, and waits for space in between. Other producers'
    /// items may come in between too.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         queue.put_all(&[1, 2, 3, 4, 5]).expect("nobody closed it");
    ///         queue.close();
    ///     });
    ///     assert_eq!(queue.iter().sum::<u32>(), 15);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutAllError`] tells how many items were put before the queue was closed.
    pub fn put_all(&self, items: &[T]) -> Result<(), PutAllError> {
        put_all_by(items, |rest| self.put_many(rest))
    }

    #[inline]
    fn get_by(&self, wait: Wait) -> Result<T, GetError> {
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
    /// assert_eq!(queue.get(), Ok(1)); // a closed queue is drained first
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
    /// [`GetError::Empty`]; [`GetError::Busy`] if somebody is in [`get_with`](Self::get_with), or has
    /// the [`consumer`](Self::consumer); [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for one for at most `timeout`.
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
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(Wait::within(timeout))
    }

    /// Takes as many items as there are, up to `out.len()`, in one commit; waits for one item. Returns how
    /// many items this wrote to the front of `out`, which is 0 only if `out` is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(8)?;
    /// queue.put_many(&[1, 2, 3])?;
    /// let mut batch = [0; 64];
    /// let count = queue.get_many(&mut batch)?;
    /// assert_eq!(batch[..count], [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_many(&self, out: &mut [T]) -> Result<usize, GetError> {
        if out.is_empty() {
            return Ok(0);
        }
        let got = self.ring().get(out.len() as u64, Wait::FOREVER, |span| {
            self.read_many(span, out)
        });
        got.map_err(GetError::from)
    }

    /// Returns how many items there are. Others may have changed that by the time you look:
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::new(2)?;
    /// queue.put(1)?;
    /// // Right only while nobody else gets: another may take the item that `len` saw.
    /// assert_eq!(queue.len(), 1);
    /// // Right always: ask for the item itself.
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

    /// Returns whether there is no item. The caution of [`len`](Self::len) applies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether there is no space. The caution of [`len`](Self::len) applies.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Returns how many items fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::try_from(self.slots.count()).expect("the capacity was a usize when it was checked")
    }

    /// Closes the queue: from here on puts fail, gets take the items that are there and then fail, and
    /// sleepers wake. This takes no lock, and so works whoever is stuck. Closing twice does nothing more.
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

#[inline]
fn prefetch<const FOR_WRITING: bool>(line: *const i8) {
    if FOR_WRITING {
        prefetch_write(line);
    } else {
        prefetch_read(line);
    }
}

/// Puts all the items by repeated calls of `put_many`.
fn put_all_by<T>(
    items: &[T],
    mut put_many: impl FnMut(&[T]) -> Result<usize, PutError>,
) -> Result<(), PutAllError> {
    let mut put = 0;
    while put < items.len() {
        put += put_many(&items[put..]).map_err(|source| PutAllError { put, source })?;
    }
    Ok(())
}

impl<T: Element> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
            slots: self.slots,
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
