//! [`Producer`]: the producers' side of a queue, owned; and slots that are written in place.

use super::Queue;
use super::batch::put_all_by;
use crate::error::{PutAllError, PutError};
use crate::sync::{Commit, OwnedTail, Span, Wait};
use crate::types::element::Element;
use std::fmt;
use std::time::Duration;

/// The producers' side of a [`Queue`], owned. [`Queue::producer`] makes it, and dropping it gives the side
/// back.
///
/// While a producer lives, nobody else puts: others' tries are [`PutError::Busy`], and their plain puts
/// wait. In turn a put takes no lock, and [`chunk`](Self::chunk) writes items where they are to lie. If
/// the process is killed, the side is freed like any lock, and nothing that was put is lost.
///
/// A producer has a handle of its own, so that you can keep it beside its queue, or instead of it:
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
/// A producer belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// # let queue = shmkit::Queue::<u32>::new(1).unwrap();
/// let producer = queue.producer().unwrap();
/// std::thread::spawn(move || drop(producer));
/// ```
///
/// # Panics
/// In a child that was forked while its parent had the producer, every call but the drop panics: the
/// producer belongs to the parent. If the thread that has the producer calls a waiting put on the *queue*,
/// the put panics instead of waiting for itself.
#[must_use = "the producers' side is given back when this is dropped"]
pub struct Producer<T: Element> {
    queue: Queue<T>,
    tail: OwnedTail,
}

impl<T: Element> Queue<T> {
    /// Takes the producers' side, to own it until the result is dropped; waits while others have it.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(64)?;
    /// let mut producer = queue.producer()?;
    /// producer.put_all(&[1, 2, 3]).expect("nobody closed it");
    /// assert_eq!(queue.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn producer(&self) -> Result<Producer<T>, PutError> {
        self.producer_by(Wait::FOREVER)
    }

    /// Takes the producers' side if nobody has it now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(64)?;
    /// let first = queue.try_producer()?;
    /// assert_eq!(queue.try_producer().err(), Some(shmkit::PutError::Busy));
    /// # drop(first);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Busy`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn try_producer(&self) -> Result<Producer<T>, PutError> {
        self.producer_by(Wait::Try)
    }

    /// Takes the producers' side; waits for it for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(64)?;
    /// let mut producer = queue.producer_timeout(Duration::from_secs(1))?;
    /// producer.put(1)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn producer_timeout(&self, timeout: Duration) -> Result<Producer<T>, PutError> {
        self.producer_by(Wait::within(timeout))
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
    /// Returns the queue whose producers' side this is.
    #[inline]
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    #[inline]
    fn claim(&mut self, most: usize, wait: Wait) -> Result<Span, PutError> {
        let span = self.tail.claim(self.queue.ring(), most as u64, wait);
        Ok(span?)
    }

    #[inline]
    fn put_with(&mut self, items: &[T], wait: Wait) -> Result<usize, PutError> {
        let span = self.claim(items.len(), wait)?;
        self.queue.write(span, items);
        self.tail
            .commit(self.queue.ring(), Commit::items(span.len))?;
        #[allow(clippy::cast_possible_truncation)] // at most `items.len()`
        Ok(span.len as usize)
    }

    /// Puts an item; waits while the queue is full.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// let mut producer = queue.producer()?;
    /// producer.put(1)?;
    /// assert_eq!(queue.get()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn put(&mut self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], Wait::FOREVER).map(drop)
    }

    /// Puts an item if there is space now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(1)?;
    /// let mut producer = queue.producer()?;
    /// assert_eq!(producer.try_put(1), Ok(()));
    /// assert_eq!(producer.try_put(2), Err(shmkit::PutError::Full));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Full`], [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_put(&mut self, item: T) -> Result<(), PutError> {
        self.put_with(&[item], Wait::Try).map(drop)
    }

    /// Puts an item; waits for space for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(1)?;
    /// let mut producer = queue.producer()?;
    /// producer.put(1)?;
    /// let late = producer.put_timeout(2, Duration::from_millis(1));
    /// assert_eq!(late, Err(shmkit::PutError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn put_timeout(&mut self, item: T, timeout: Duration) -> Result<(), PutError> {
        self.put_with(&[item], Wait::within(timeout)).map(drop)
    }

    /// Puts as many of the items as fit, in one commit, as [`Queue::put_many`] does. Waits for space
    /// for one item. Returns how many items were put, which is 0 only if `items` is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// assert_eq!(queue.producer()?.put_many(&[1, 2, 3])?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    pub fn put_many(&mut self, items: &[T]) -> Result<usize, PutError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.put_with(items, Wait::FOREVER)
    }

    /// Puts all the items, in as many commits as it takes. Nobody else's items come in between.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.producer()?.put_all(&[1, 2, 3]).expect("nobody closed it");
    /// assert_eq!(queue.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutAllError`] tells how many items were put before the queue was closed.
    pub fn put_all(&mut self, items: &[T]) -> Result<(), PutAllError> {
        put_all_by(items, |rest| self.put_many(rest))
    }

    /// Returns up to `most` slots, to be written in place; waits for space for one. There are fewer than
    /// `most` if there is no space for more now, and none only if `most` is 0.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// let mut producer = queue.producer()?;
    /// let mut chunk = producer.chunk(3)?;
    /// for (slot, item) in chunk.iter_mut().zip(1..) {
    ///     *slot = item;
    /// }
    /// chunk.commit(2)?; // both become visible at once; the third slot is given back
    /// assert_eq!(queue.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn chunk(&mut self, most: usize) -> Result<WriteChunk<'_, T>, PutError> {
        self.chunk_by(most, Wait::FOREVER)
    }

    /// Returns slots as [`chunk`](Self::chunk) does, if there is space for one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(1)?;
    /// let mut producer = queue.producer()?;
    /// producer.put(1)?;
    /// assert_eq!(producer.try_chunk(4).err(), Some(shmkit::PutError::Full));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Full`], [`PutError::Closed`], [`PutError::Corrupt`].
    #[inline]
    pub fn try_chunk(&mut self, most: usize) -> Result<WriteChunk<'_, T>, PutError> {
        self.chunk_by(most, Wait::Try)
    }

    /// Returns slots as [`chunk`](Self::chunk) does; waits for space for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// let mut producer = queue.producer()?;
    /// let chunk = producer.chunk_timeout(4, Duration::from_secs(1))?;
    /// assert_eq!(chunk.len(), 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`].
    pub fn chunk_timeout(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<WriteChunk<'_, T>, PutError> {
        self.chunk_by(most, Wait::within(timeout))
    }

    #[inline]
    fn chunk_by(&mut self, most: usize, wait: Wait) -> Result<WriteChunk<'_, T>, PutError> {
        let span = match most {
            0 => Span::EMPTY,
            _ => self.claim(most, wait)?,
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

/// Slots of a [`Producer`] that are written in place. At first they hold what lay there before: older
/// items, or zeros. Nobody sees them until they are committed; a dropped chunk leaves no trace.
///
/// [`Producer::chunk`] has an example.
///
/// # Panics
/// As for [`Producer`], in a forked child.
#[must_use = "dropped, a chunk puts nothing"]
#[derive(Debug)]
pub struct WriteChunk<'a, T: Element> {
    producer: &'a mut Producer<T>,
    span: Span,
}

impl<T: Element> WriteChunk<'_, T> {
    /// Returns how many slots there are.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most what the caller asked for
    pub fn len(&self) -> usize {
        self.span.len as usize
    }

    /// Returns whether there is no slot, because the caller asked for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the slots, in order. The second slice contains the slots behind the ring's wrap, and is
    /// mostly empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::new(4)?;
    /// let mut producer = queue.producer()?;
    /// let mut chunk = producer.chunk(2)?;
    /// let (first, second) = chunk.as_mut_slices();
    /// assert_eq!((first.len(), second.len()), (2, 0));
    /// first.copy_from_slice(b"ab");
    /// chunk.commit_all()?;
    /// # assert_eq!(queue.get()?, b'a');
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    #[must_use]
    pub fn as_mut_slices(&mut self) -> (&mut [T], &mut [T]) {
        self.producer.tail.check(self.producer.queue.ring());
        let [(first, len), (second, rest)] = self.producer.queue.pieces(self.span);
        // SAFETY: by region's invariant 1 these are slots of the region, any bytes of which are a `T`. By
        // ring's invariant 2 nobody sees them until the commit, and by owned's invariant 2 they belong to
        // our side, which this chunk borrows exclusively.
        let first = unsafe { std::slice::from_raw_parts_mut(first, len) };
        // SAFETY: as above; these are other slots, because a chunk has no more than there are.
        let second = unsafe { std::slice::from_raw_parts_mut(second, rest) };
        (first, second)
    }

    /// Returns an iterator over the slots, in order. [`Producer::chunk`] has an example.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (first, second) = self.as_mut_slices();
        first.iter_mut().chain(second)
    }

    /// Puts the items in the first `count` slots: they all become visible at once. The other slots are
    /// given back. [`Producer::chunk`] has an example.
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
