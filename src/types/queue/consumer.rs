//! [`Consumer`]: the owner of a queue's consumers' side.

use super::endpoint::endpoint;
use super::{Queue, ReadChunk};
use crate::error::GetError;
use crate::sync::{Commit, OwnedHead, Span, Wait};
use crate::types::common::{AfterResult, is_large, item_or_end};
use crate::types::element::Element;
use std::fmt;
use std::time::Duration;

/// The owner of a [`Queue`]'s consumers' side. [`Queue::consumer`] makes a consumer, and dropping the
/// consumer gives the side back.
///
/// While a consumer lives, nobody else gets: others' plain gets wait, and their `try_` forms fail
/// with [`GetError::Busy`]. In turn, the consumer's own gets take no lock, and its [`peek`](Self::peek) and
/// [`chunk`](Self::chunk) give items that are read in place. If the process is killed, the side becomes free
/// like any lock, and all items that the process had not taken are there for the next consumer.
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let queue = shmkit::Queue::<u32>::new(64)?;
/// queue.put_all(&[1, 2, 3]).expect("nobody closed it");
/// queue.close();
/// let mut consumer = queue.consumer()?;
/// // Look first, and take once the work is done: a death in between leaves the item in the queue.
/// assert_eq!(consumer.peek(), Ok(&1));
/// consumer.get()?;
/// assert_eq!(consumer.iter().sum::<u32>(), 5);
/// # Ok(())
/// # }
/// ```
///
/// A consumer belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// # let queue = shmkit::Queue::<u32>::new(1).unwrap();
/// let consumer = queue.consumer().unwrap();
/// std::thread::spawn(move || drop(consumer));
/// ```
///
/// # Panics
/// In a child that was forked while its parent had the consumer, every call except the drop panics, because
/// the consumer belongs to the parent. If the thread that has the consumer calls a waiting get on the *queue*,
/// the get panics, because it would wait for its own thread.
#[must_use = "the consumers' side is given back when this is dropped"]
pub struct Consumer<T: Element> {
    pub(super) queue: Queue<T>,
    pub(super) head: OwnedHead,
}

endpoint! {
    Consumer, "consumers'", head: own_head, GetError;

    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(64)?;
    /// queue.put(7)?;
    /// let mut consumer = queue.consumer()?;
    /// assert_eq!(consumer.get()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`] if the queue is closed and drained, [`GetError::Corrupt`].
    consumer;
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(64)?;
    /// let first = queue.try_consumer()?;
    /// assert_eq!(queue.try_consumer().err(), Some(shmkit::GetError::Busy));
    /// # drop(first);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Busy`], [`GetError::Closed`], [`GetError::Corrupt`].
    try_consumer;
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(64)?;
    /// let mut consumer = queue.consumer_timeout(Duration::from_secs(1))?;
    /// assert_eq!(consumer.try_get(), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Busy`], [`GetError::Closed`], [`GetError::Corrupt`].
    consumer_timeout;
}

impl<T: Element> Consumer<T> {
    #[inline]
    fn get_by(&mut self, wait: Wait) -> Result<T, GetError> {
        if is_large::<T>() {
            self.get_large(wait)
        } else {
            self.get_small(wait)
        }
    }

    /// Takes an item that is too large for a copy on the stack.
    #[inline(never)]
    fn get_large(&mut self, wait: Wait) -> Result<T, GetError> {
        let span = self.claim(1, wait)?;
        let Self { queue, head } = self;
        let _commit = AfterResult::new(|| head.commit(queue.ring(), Commit::items(1)));
        Ok(queue.read(span.start))
    }

    #[inline]
    fn get_small(&mut self, wait: Wait) -> Result<T, GetError> {
        let span = self.claim(1, wait)?;
        self.queue.fetch_ahead::<false>(span);
        let item = self.queue.read(span.start);
        self.head.commit(self.queue.ring(), Commit::items(1));
        Ok(item)
    }

    /// Takes an item; waits while the queue is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(3)?;
    /// assert_eq!(queue.consumer()?.get(), Ok(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn get(&mut self) -> Result<T, GetError> {
        self.get_by(Wait::FOREVER)
    }

    /// Takes an item if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// assert_eq!(queue.consumer()?.try_get(), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&mut self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for at most `timeout` while the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// let nothing = queue.consumer()?.get_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(shmkit::GetError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(Wait::within(timeout))
    }

    /// Takes as many items as there are, up to `out.len()`, in one commit, and writes them to the front of
    /// `out`. Waits until there is one item. Returns how many items were taken, which is 0 only if `out` is
    /// empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put_many(&[1, 2, 3])?;
    /// let mut batch = [0; 2];
    /// assert_eq!(queue.consumer()?.get_many(&mut batch)?, 2);
    /// assert_eq!(batch, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_many(&mut self, out: &mut [T]) -> Result<usize, GetError> {
        if out.is_empty() {
            return Ok(0);
        }
        let span = self.claim(out.len(), Wait::FOREVER)?;
        self.queue.fetch_ahead::<false>(span);
        let count = self.queue.read_many(span, out);
        self.head.commit(self.queue.ring(), Commit::items(span.len));
        Ok(count)
    }

    #[inline]
    fn peek_by(&mut self, wait: Wait) -> Result<&T, GetError> {
        let span = self.claim(1, wait)?;
        let [(item, _), _] = self.queue.pieces(span);
        // SAFETY: by region's invariant 1 `item` is a slot of the region, and any bytes are a valid `T`. By
        // ring's invariant 2 nobody writes the slot until the item is taken. By owned's invariant 2 only
        // this consumer takes the item, and the result borrows the consumer exclusively.
        Ok(unsafe { &*item })
    }

    /// Returns the next item, which stays in the queue; waits while the queue is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(3)?;
    /// let mut consumer = queue.consumer()?;
    /// assert_eq!(consumer.peek(), Ok(&3));
    /// assert_eq!(consumer.get(), Ok(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn peek(&mut self) -> Result<&T, GetError> {
        self.peek_by(Wait::FOREVER)
    }

    /// Returns the next item, which stays in the queue, if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// assert_eq!(queue.consumer()?.try_peek(), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_peek(&mut self) -> Result<&T, GetError> {
        self.peek_by(Wait::Try)
    }

    /// Returns the next item, which stays in the queue; waits for at most `timeout` while the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(3)?;
    /// assert_eq!(queue.consumer()?.peek_timeout(Duration::from_secs(1)), Ok(&3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn peek_timeout(&mut self, timeout: Duration) -> Result<&T, GetError> {
        self.peek_by(Wait::within(timeout))
    }

    /// Returns up to `most` items, which the caller reads in place; waits until there is one item. The chunk
    /// has fewer than `most` items if the queue has no more now, and has none only if `most` is 0.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// queue.put_all(&[20, 22, 7]).expect("nobody closed it");
    /// let mut consumer = queue.consumer()?;
    /// let chunk = consumer.chunk(2)?;
    /// assert_eq!(chunk.iter().sum::<u64>(), 42);
    /// chunk.release_all();
    /// assert_eq!(consumer.get(), Ok(7));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn chunk(&mut self, most: usize) -> Result<ReadChunk<'_, T>, GetError> {
        self.chunk_by(most, Wait::FOREVER)
    }

    /// Returns items as [`chunk`](Self::chunk) does, if there is an item now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// let mut consumer = queue.consumer()?;
    /// assert_eq!(consumer.try_chunk(2).err(), Some(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_chunk(&mut self, most: usize) -> Result<ReadChunk<'_, T>, GetError> {
        self.chunk_by(most, Wait::Try)
    }

    /// Returns items as [`chunk`](Self::chunk) does; waits for at most `timeout` while the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// queue.put(1)?;
    /// let mut consumer = queue.consumer()?;
    /// assert_eq!(consumer.chunk_timeout(2, Duration::from_secs(1))?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn chunk_timeout(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<ReadChunk<'_, T>, GetError> {
        self.chunk_by(most, Wait::within(timeout))
    }

    #[inline]
    fn chunk_by(&mut self, most: usize, wait: Wait) -> Result<ReadChunk<'_, T>, GetError> {
        let span = match most {
            0 => Span::EMPTY,
            _ => self.claim(most, wait)?,
        };
        self.queue.fetch_ahead::<false>(span);
        Ok(ReadChunk {
            consumer: self,
            span,
        })
    }

    /// Returns an iterator that takes items as they come, until the queue is closed and drained.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// queue.put_many(&[1, 2])?;
    /// queue.close();
    /// assert_eq!(queue.consumer()?.iter().sum::<u64>(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    pub fn iter(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| item_or_end(self.get()))
    }

    /// Returns an iterator that takes the items that are there, until the queue is empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u64>::new(8)?;
    /// queue.put_many(&[1, 2])?;
    /// assert_eq!(queue.consumer()?.try_iter().count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    pub fn try_iter(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| item_or_end(self.try_get()))
    }
}
