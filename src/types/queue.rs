//! [`Queue`]: a bounded queue of plain elements between processes.

mod consumer;
mod in_place;
mod producer;

use crate::error::{GetError, PutAllError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::Kind;
use crate::segment::Memory;
use crate::segment::Place;
use crate::segment::{Body, Region};
use crate::sync::{Deadline, Ring, RingWords, Span, Wait, prefetch_read, prefetch_write};
use crate::types::element::Element;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use consumer::{Consumer, ReadChunk};
pub use producer::{Producer, WriteChunk};

// SAFETY: `repr(C)`, atomics alone, every one of them valid when zero.
unsafe impl Body for RingWords {
    const KIND: Kind = Kind::Queue;

    fn stride(size: u64) -> u64 {
        size
    }

    fn strides(capacity: u64) -> u64 {
        capacity
    }
}

/// A bounded first-in, first-out queue in shared memory, for any number of producers and consumers
/// in any number of processes.
///
/// Capacity is exact. An item whose `put` returned is taken exactly once, whole, and after the
/// items its producer put before; a process that is killed at any instruction loses none, tears none
/// and blocks nobody for longer than 100 ms plus scheduling.
///
/// ```
/// use shmkit::Queue;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-queue-{}", os::pid());
/// let jobs = Queue::<u32>::create(&name, 64)?;
/// let worker = Queue::<u32>::open(&name)?; // in another program, as a rule
/// jobs.put(7)?;
/// jobs.close();
/// assert_eq!(worker.iter().collect::<Vec<_>>(), [7]);
/// # Ok(())
/// # }
/// ```
///
/// Verbs come in three forms: plain waits, `try_` does not (except for locks that are held for
/// nanoseconds), `_timeout` waits for at most that long. A `try_` may be `Busy` where nothing is held for
/// long, too: beside a process that was put off its CPU in the middle of a put or a get.
///
/// # Panics
/// A call on the same queue from inside [`get_with`](Self::get_with) that would wait for that very
/// thread panics, and so does any call in a forked child that could not open the segment for itself
/// (`EMFILE`; no permission after a change of user).
pub struct Queue<T: Element> {
    region: Region<T, RingWords>,
    /// `capacity - 1` where the capacity is a power of two, so that a slot is found without a
    /// division; else 0.
    mask: u64,
}

/// How far ahead slots are fetched, in bytes; and how much of a batch, at most.
const FETCH_AHEAD: u64 = 256;
const FETCH_MOST: u64 = 1024;

#[inline]
fn prefetch<const FOR_WRITING: bool>(line: *const i8) {
    if FOR_WRITING {
        prefetch_write(line);
    } else {
        prefetch_read(line);
    }
}

const FOREVER: Wait = Wait::Until(Deadline::NEVER);

fn within(timeout: Duration) -> Wait {
    Wait::Until(Deadline::after(timeout))
}

impl<T: Element> Queue<T> {
    fn of(region: Region<T, RingWords>) -> Self {
        let capacity = region.capacity();
        let mask = if capacity.is_power_of_two() {
            capacity - 1
        } else {
            0
        };
        Self { region, mask }
    }

    /// An anonymous queue of `capacity` items: for forked children.
    ///
    /// # Errors
    /// [`Error::InvalidSize`](crate::Error::InvalidSize), [`NoSpace`](crate::Error::NoSpace),
    /// [`Os`](crate::Error::Os).
    pub fn new(capacity: usize) -> Result<Self> {
        Self::create(Place::anonymous(), capacity)
    }

    /// Creates a queue of `capacity` items, and publishes it once it is complete. Its memory is
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
        Region::create(&place.into(), capacity, &[]).map(Self::of)
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
        Region::open(&place.into(), None).map(Self::of)
    }

    /// Opens the queue, or creates it where there is none. Of several that race, one creates, and
    /// all end with the same queue.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create); another capacity is a
    /// [`Mismatch`](crate::Error::Mismatch).
    pub fn open_or_create(place: impl Into<Place>, capacity: usize) -> Result<Self> {
        Region::open_or_create(&place.into(), capacity, &[]).map(Self::of)
    }

    /// Lays a queue out in memory of your own, if nothing was laid out in it yet.
    ///
    /// # Errors
    /// [`Error::InvalidSize`](crate::Error::InvalidSize); [`NoSpace`](crate::Error::NoSpace) if it
    /// does not fit; [`AlreadyExists`](crate::Error::AlreadyExists) if something is there, or
    /// somebody else is laying it out; [`Unsupported`](crate::Error::Unsupported) in a forked child
    /// that could not become a holder.
    pub fn create_in(memory: Arc<dyn Memory>, capacity: usize) -> Result<Self> {
        Region::create_in(memory, capacity, &[]).map(Self::of)
    }

    /// Finds the queue in memory of your own.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if nothing was laid out, or not to its end yet;
    /// [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt),
    /// [`Mismatch`](crate::Error::Mismatch).
    pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        Region::open_in(memory).map(Self::of)
    }

    #[inline]
    fn ring(&self) -> Ring<'_> {
        Ring::new(
            self.region.body(),
            self.region.capacity(),
            self.region.holder(),
        )
    }

    /// The first slot.
    #[inline]
    fn slots(&self) -> *mut T {
        self.region.data().as_ptr().cast()
    }

    /// Which slot is a position's; less than the capacity for every position.
    #[inline]
    fn index(&self, position: u64) -> usize {
        let index = if self.mask != 0 {
            position & self.mask
        } else {
            position % self.region.capacity()
        };
        #[allow(clippy::cast_possible_truncation)] // less than the capacity, which was mapped
        let index = index as usize;
        index
    }

    /// Where the item of a position lies; inside the slots for every position.
    #[inline]
    fn slot(&self, position: u64) -> *mut T {
        self.slots().wrapping_add(self.index(position))
    }

    /// Where the items of a span lie, up to the last slot and from the first one on: pointers and
    /// counts. Of more positions than there are slots, each slot once.
    #[inline]
    fn pieces(&self, span: Span) -> [(*mut T, usize); 2] {
        let (index, capacity) = (self.index(span.start), self.region.capacity());
        #[allow(clippy::cast_possible_truncation)] // at most the capacity, which was mapped
        let (len, behind) = (
            span.len.min(capacity) as usize,
            (capacity - index as u64) as usize,
        );
        let first = len.min(behind);
        let piece = self.slots().wrapping_add(index);
        [(piece, first), (self.slots(), len - first)]
    }

    /// Has the CPU fetch what this side will come to next, if it is this side's: behind one item, the
    /// line that is a little ahead; behind a batch, as many as it had. The commits are full barriers,
    /// which would else wait for the other CPU's cache lines every few items.
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

    /// Writes items to positions that are this side's alone (ring, invariant 2).
    #[inline]
    fn write(&self, span: Span, items: &[T]) {
        for (item, position) in items.iter().zip(span.start..span.start + span.len) {
            // SAFETY: a slot is inside the region and aligned for `T` (region, invariant 1), and
            // nobody else touches this one until the commit (ring, invariant 2).
            unsafe { self.slot(position).write(*item) };
        }
        self.fetch_ahead::<true>(span);
    }

    /// Reads the item at a position that is this side's alone (ring, invariant 2).
    #[inline]
    fn read(&self, position: u64) -> T {
        // SAFETY: a slot is inside the region and aligned for `T` (region, invariant 1), any bytes
        // are a valid `T`, and nobody writes this one until the commit (ring, invariant 2).
        unsafe { self.slot(position).read() }
    }

    /// Reads the items of a span into the front of `out`; how many those are.
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
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn put(&self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], FOREVER).map(drop)
    }

    /// Puts an item if there is room now.
    ///
    /// # Errors
    /// [`PutError::Full`], [`PutError::Busy`], [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], Wait::Try).map(drop)
    }

    /// Puts an item; waits for room for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError> {
        self.put_with(&[item], within(timeout)).map(drop)
    }

    /// Puts as many of the items as fit, in one commit: all of them are seen at once, in order.
    /// Waits for room for one. Returns how many were put: 0 only for no items.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    pub fn put_many(&self, items: &[T]) -> Result<usize, PutError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.put_with(items, FOREVER)
    }

    /// Puts all the items, in as many commits as it takes. Other producers' items may come in
    /// between.
    ///
    /// # Errors
    /// [`PutAllError`] tells how many were put before the queue was closed.
    pub fn put_all(&self, items: &[T]) -> Result<(), PutAllError> {
        let mut put = 0;
        while put < items.len() {
            put += self
                .put_many(&items[put..])
                .map_err(|source| PutAllError { put, source })?;
        }
        Ok(())
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
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_by(FOREVER)
    }

    /// Takes an item if there is one now.
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Busy`] (somebody is in [`get_with`](Self::get_with), or has
    /// the [`consumer`](Self::consumer)),
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for one for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(within(timeout))
    }

    /// Takes as many items as there are, up to `out.len()`, in one commit; waits for one. Returns
    /// how many it wrote to the front of `out`: 0 only for an empty `out`.
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_many(&self, out: &mut [T]) -> Result<usize, GetError> {
        if out.is_empty() {
            return Ok(0);
        }
        let got = self
            .ring()
            .get(out.len() as u64, FOREVER, |span| self.read_many(span, out));
        got.map_err(GetError::from)
    }

    /// The items as they come, until the queue is closed and drained.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }

    /// The items that are there, until there is none, or another holds the consumers' side.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    #[must_use]
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { queue: self }
    }

    /// How many items there are. Others may have changed that by the time you look:
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::new(2)?;
    /// queue.put(1)?;
    /// // Right only while nobody else gets: what `len` saw, another may take.
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

    /// Whether there is no item, with the same caution as for [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room, with the same caution as for [`len`](Self::len).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How many items fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::try_from(self.region.capacity()).expect("it was a usize when it was checked")
    }

    /// Closes the queue: puts fail from here on, gets drain what is there and then fail, sleepers
    /// wake. Takes no lock, so it works whoever is stuck; closing twice does nothing more.
    pub fn close(&self) {
        self.ring().close();
    }

    /// Whether somebody closed the queue.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring().is_closed()
    }

    /// The place's name or path, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.region.name()
    }

    /// Whether this handle, or the one it was cloned from, created the queue.
    #[must_use]
    pub fn was_created(&self) -> bool {
        self.region.was_created()
    }

    /// A fresh open of the segment's file, to be passed to another process, which opens it with
    /// [`Place::fd`]. It is no hold: whoever passes it on keeps the handle until it has arrived.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied),
    /// [`Os`](crate::Error::Os); [`Unsupported`](crate::Error::Unsupported) where the memory is no
    /// file.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.region.try_clone_fd()
    }
}

impl<T: Element> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
            mask: self.mask,
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

/// The items of a [`Queue`] as they come: see [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T: Element> {
    queue: &'a Queue<T>,
}

impl<T: Element> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        item_or_end(self.queue.get())
    }
}

/// The items that a [`Queue`] has: see [`Queue::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T: Element> {
    queue: &'a Queue<T>,
}

impl<T: Element> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        item_or_end(self.queue.try_get())
    }
}

fn item_or_end<T>(got: Result<T, GetError>) -> Option<T> {
    match got {
        Ok(item) => Some(item),
        Err(GetError::Corrupt) => panic!("{}", GetError::Corrupt),
        Err(_) => None,
    }
}

impl<'a, T: Element> IntoIterator for &'a Queue<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
