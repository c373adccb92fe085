//! [`Producer`]: the owner of a queue's producers' side.

use super::batch::put_all_by;
use super::endpoint::endpoint;
use super::{Queue, WriteChunk};
use crate::error::{PutAllError, PutError};
use crate::sync::{Commit, OwnedTail, Span, Wait};
use crate::types::element::Element;
use std::fmt;
use std::slice;
use std::time::Duration;

/// The owner of a [`Queue`]'s producers' side. [`Queue::producer`] makes a producer, and dropping the
/// producer gives the side back.
///
/// While a producer lives, nobody else puts: others' plain puts wait, and their `try_` forms fail
/// with [`PutError::Busy`]. In turn, the producer's own puts take no lock, and its [`chunk`](Self::chunk) is
/// written in place. If the process is killed, the side becomes free like any lock, and no item that was put
/// is lost.
///
/// A producer contains a handle of its own, so that you can keep the producer with or without its queue:
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
/// In a child that was forked while its parent had the producer, every call except the drop panics, because
/// the producer belongs to the parent. If the thread that has the producer calls a waiting put on the *queue*,
/// the put panics, because it would wait for its own thread.
#[must_use = "the producers' side is given back when this is dropped"]
pub struct Producer<T: Element> {
    pub(super) queue: Queue<T>,
    pub(super) tail: OwnedTail,
}

endpoint! {
    Producer, "producers'", tail: own_tail, PutError;

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
    producer;
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
    try_producer;
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
    /// [`PutError::Busy`], [`PutError::Closed`], [`PutError::Corrupt`].
    producer_timeout;
}

impl<T: Element> Producer<T> {
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
        self.put_with(slice::from_ref(&item), Wait::FOREVER)
            .map(drop)
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
        self.put_with(slice::from_ref(&item), Wait::Try).map(drop)
    }

    /// Puts an item; waits for at most `timeout` while the queue is full.
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
        self.put_with(slice::from_ref(&item), Wait::within(timeout))
            .map(drop)
    }

    /// Puts as many of the items as fit, in one commit: they all become visible at once, in order. Waits
    /// until there is space for one item. Returns how many items were put, which is 0 only if `items` is
    /// empty.
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

    /// Puts all the items, in as many commits as that takes, and waits for space between the commits. No item
    /// of another producer comes between these items.
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
    /// Returns up to `most` free slots, which the caller writes in place; waits until one slot is free. The
    /// chunk has fewer than `most` slots if no more are free now, and has none only if `most` is 0.
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

    /// Returns slots as [`chunk`](Self::chunk) does, if a slot is free now.
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

    /// Returns slots as [`chunk`](Self::chunk) does; waits for at most `timeout` while the queue is full.
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
