//! [`Producer`]: a queue's producers' side, owned; and slots to be written in place.

use super::{FOREVER, Queue, within};
use crate::error::{PutAllError, PutError};
use crate::sync::Wait;
use crate::sync::{Commit, OwnedTail, Span};
use crate::types::element::Element;
use std::fmt;
use std::time::Duration;

/// The producers' side of a [`Queue`], owned: made by [`Queue::producer`], and given back when this is
/// dropped.
///
/// While it lives, nobody else puts: others' tries are [`PutError::Busy`], their plain puts wait. In
/// turn a put takes no lock, and [`chunk`](Self::chunk) writes items where they are to lie. A process
/// that is killed with one frees the side like any lock, and loses nothing that was put.
///
/// It has a handle of its own, so that it can be kept beside its queue, or instead of it:
///
/// ```
/// use shmkit::{Consumer, Producer, PutError, Queue};
///
/// struct Pipe {
///     into: Producer<u32>,
///     out: Consumer<u32>,
/// }
///
/// # fn main() -> shmkit::Result<()> {
/// let queue = Queue::<u32>::new(64)?;
/// let mut pipe = Pipe { into: queue.producer()?, out: queue.consumer()? };
/// pipe.into.put(7)?;
/// assert_eq!(pipe.out.get(), Ok(7));
///
/// assert_eq!(queue.try_put(8), Err(PutError::Busy));
/// drop(pipe.into);
/// assert_eq!(queue.try_put(8), Ok(()));
/// # Ok(())
/// # }
/// ```
///
/// It belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// # let queue = shmkit::Queue::<u32>::new(1).unwrap();
/// let producer = queue.producer().unwrap();
/// std::thread::spawn(move || drop(producer));
/// ```
///
/// # Panics
/// In a child that was forked while its parent had the endpoint, every call but the drop panics: the
/// endpoint is the parent's. A waiting put on the *queue* by the thread that has the endpoint panics
/// rather than waits for itself.
#[must_use = "the producers' side is given back when this is dropped"]
pub struct Producer<T: Element> {
    queue: Queue<T>,
    tail: OwnedTail,
}

impl<T: Element> Queue<T> {
    /// Takes the producers' side, to own it until the result is dropped; waits while others have it.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn producer(&self) -> Result<Producer<T>, PutError> {
        self.producer_by(FOREVER)
    }

    /// Takes the producers' side if nobody has it now.
    ///
    /// # Errors
    /// [`PutError::Busy`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn try_producer(&self) -> Result<Producer<T>, PutError> {
        self.producer_by(Wait::Try)
    }

    /// Takes the producers' side; waits for it for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn producer_timeout(&self, timeout: Duration) -> Result<Producer<T>, PutError> {
        self.producer_by(within(timeout))
    }

    fn producer_by(&self, wait: Wait) -> Result<Producer<T>, PutError> {
        let tail = self.ring().own_tail(wait)?;
        Ok(Producer {
            queue: self.clone(),
            tail,
        })
    }
}

impl<T: Element> Producer<T> {
    /// The queue that it is the producers' side of.
    #[inline]
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    #[inline]
    fn room(&mut self, most: usize, wait: Wait) -> Result<Span, PutError> {
        let room = self.tail.claim(self.queue.ring(), most as u64, wait);
        Ok(room?)
    }

    #[inline]
    fn put_with(&mut self, items: &[T], wait: Wait) -> Result<usize, PutError> {
        let span = self.room(items.len(), wait)?;
        self.queue.write(span, items);
        self.tail
            .commit(self.queue.ring(), Commit::items(span.len))?;
        #[allow(clippy::cast_possible_truncation)] // at most `items.len()`
        Ok(span.len as usize)
    }

    /// Puts an item; waits while the queue is full.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn put(&mut self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], FOREVER).map(drop)
    }

    /// Puts an item if there is room now.
    ///
    /// # Errors
    /// [`PutError::Full`], [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&mut self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], Wait::Try).map(drop)
    }

    /// Puts an item; waits for room for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&mut self, item: T, timeout: Duration) -> Result<(), PutError> {
        self.put_with(&[item], within(timeout)).map(drop)
    }

    /// Puts as many of the items as fit, in one commit, as [`Queue::put_many`] does. Waits for room
    /// for one. Returns how many were put: 0 only for no items.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    pub fn put_many(&mut self, items: &[T]) -> Result<usize, PutError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.put_with(items, FOREVER)
    }

    /// Puts all the items, in as many commits as it takes. Nobody's items come in between.
    ///
    /// # Errors
    /// [`PutAllError`] tells how many were put before the queue was closed.
    pub fn put_all(&mut self, items: &[T]) -> Result<(), PutAllError> {
        let mut put = 0;
        while put < items.len() {
            put += self
                .put_many(&items[put..])
                .map_err(|source| PutAllError { put, source })?;
        }
        Ok(())
    }

    /// Up to `most` slots to be written in place; waits for room for one. There are fewer than
    /// `most` where there is no room for more now, and none only for a `most` of 0.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// let mut producer = queue.producer()?;
    /// let mut chunk = producer.chunk(3)?;
    /// for (slot, item) in chunk.iter_mut().zip(1..) {
    ///     *slot = item;
    /// }
    /// chunk.commit(2)?; // both are seen at once; the third slot is given back
    /// assert_eq!(queue.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn chunk(&mut self, most: usize) -> Result<WriteChunk<'_, T>, PutError> {
        self.chunk_by(most, FOREVER)
    }

    /// As [`chunk`](Self::chunk), if there is room for one now.
    ///
    /// # Errors
    /// [`PutError::Full`], [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_chunk(&mut self, most: usize) -> Result<WriteChunk<'_, T>, PutError> {
        self.chunk_by(most, Wait::Try)
    }

    /// As [`chunk`](Self::chunk); waits for room for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn chunk_timeout(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<WriteChunk<'_, T>, PutError> {
        self.chunk_by(most, within(timeout))
    }

    #[inline]
    fn chunk_by(&mut self, most: usize, wait: Wait) -> Result<WriteChunk<'_, T>, PutError> {
        let span = match most {
            0 => Span::EMPTY,
            _ => self.room(most, wait)?,
        };
        self.queue.fetch_ahead::<true>(span);
        Ok(WriteChunk {
            producer: self,
            span,
        })
    }
}

impl<T: Element> Drop for Producer<T> {
    fn drop(&mut self) {
        self.tail.release(self.queue.ring());
    }
}

impl<T: Element> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Producer");
        debug.field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// SeqLock of a [`Producer`] to be written in place. What they hold is what lay there before: older
/// items, or zeros. Nobody sees them until they are committed; dropped, the chunk leaves no trace.
///
/// # Panics
/// As for [`Producer`], in a forked child.
#[must_use = "dropped, it puts nothing"]
#[derive(Debug)]
pub struct WriteChunk<'a, T: Element> {
    producer: &'a mut Producer<T>,
    span: Span,
}

impl<T: Element> WriteChunk<'_, T> {
    /// How many slots there are.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most what was asked for
    pub fn len(&self) -> usize {
        self.span.len as usize
    }

    /// Whether there is none, since none was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots, in order: the second slice is what lies behind the ring's wrap, mostly empty.
    #[inline]
    #[must_use]
    pub fn as_mut_slices(&mut self) -> (&mut [T], &mut [T]) {
        self.producer.tail.check(self.producer.queue.ring());
        let [(first, len), (second, rest)] = self.producer.queue.pieces(self.span);
        // SAFETY: slots of the region, any bytes of which are a `T` (region, invariant 1); the
        // producers' and unseen until the commit (ring, invariant 2), and we own that side (owned,
        // invariant 2), which this chunk borrows exclusively.
        let first = unsafe { std::slice::from_raw_parts_mut(first, len) };
        // SAFETY: as above; these are other slots, as a chunk has no more than there are.
        let second = unsafe { std::slice::from_raw_parts_mut(second, rest) };
        (first, second)
    }

    /// The slots, in order.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (first, second) = self.as_mut_slices();
        first.iter_mut().chain(second)
    }

    /// Puts the items in the first `count` slots: all of them are seen at once. The other slots are
    /// given back.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    ///
    /// # Panics
    /// If the chunk has fewer than `count` slots.
    #[inline]
    pub fn commit(self, count: usize) -> Result<(), PutError> {
        let len = self.len();
        assert!(
            count <= len,
            "expected at most {len} slots of the chunk to be committed, found {count}"
        );
        if count == 0 {
            return Ok(());
        }
        let Producer { queue, tail } = self.producer;
        Ok(tail.commit(queue.ring(), Commit::items(count as u64))?)
    }

    /// Puts the items in all the slots.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    #[inline]
    pub fn commit_all(self) -> Result<(), PutError> {
        let len = self.len();
        self.commit(len)
    }
}
