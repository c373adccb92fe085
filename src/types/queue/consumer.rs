//! [`Consumer`]: the consumers' side of a queue, owned; and items that are read in place.

use super::Queue;
use crate::error::GetError;
use crate::sync::{Commit, OwnedHead, Span, Wait};
use crate::types::common::item_or_end;
use crate::types::element::Element;
use std::fmt;
use std::time::Duration;

/// The consumers' side of a [`Queue`], owned. [`Queue::consumer`] makes it, and dropping it gives the side
/// back.
///
/// While a consumer lives, nobody else gets: others' tries are [`GetError::Busy`], and their plain gets
/// wait. In turn a get takes no lock, and [`peek`](Self::peek) and [`chunk`](Self::chunk) read items where
/// they lie. If the process is killed, the side is freed like any lock, and the items that it had not taken
/// are there for the next consumer.
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let queue = shmkit::Queue::<u32>::new(64)?;
/// queue.put_all(&[1, 2, 3]).expect("nobody closed it");
/// queue.close();
/// let mut consumer = queue.consumer()?;
/// // Look first, and take when the work is done: a death in between leaves the item for the next.
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
/// In a child that was forked while its parent had the consumer, every call but the drop panics: the
/// consumer belongs to the parent. If the thread that has the consumer calls a waiting get on the *queue*,
/// the get panics instead of waiting for itself.
#[must_use = "the consumers' side is given back when this is dropped"]
pub struct Consumer<T: Element> {
    queue: Queue<T>,
    head: OwnedHead,
}

impl<T: Element> Queue<T> {
    /// Takes the consumers' side, to own it until the result is dropped; waits while others have it.
    ///
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
    pub fn consumer(&self) -> Result<Consumer<T>, GetError> {
        self.consumer_by(Wait::FOREVER)
    }

    /// Takes the consumers' side if nobody has it now.
    ///
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
    pub fn try_consumer(&self) -> Result<Consumer<T>, GetError> {
        self.consumer_by(Wait::Try)
    }

    /// Takes the consumers' side; waits for it for at most `timeout`.
    ///
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
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn consumer_timeout(&self, timeout: Duration) -> Result<Consumer<T>, GetError> {
        self.consumer_by(Wait::within(timeout))
    }

    fn consumer_by(&self, wait: Wait) -> Result<Consumer<T>, GetError> {
        let head = self.ring().own_head(wait)?;
        Ok(Consumer {
            queue: self.clone(),
            head,
        })
    }
}

impl<T: Element> Consumer<T> {
    /// Returns the queue whose consumers' side this is.
    #[inline]
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    #[inline]
    fn claim(&mut self, most: usize, wait: Wait) -> Result<Span, GetError> {
        let span = self.head.claim(self.queue.ring(), most as u64, wait);
        Ok(span?)
    }

    #[inline]
    fn get_by(&mut self, wait: Wait) -> Result<T, GetError> {
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

    /// Takes an item; waits for one for at most `timeout`.
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

    /// Takes as many items as there are, up to `out.len()`, in one commit; waits for one item. Returns how
    /// many items this wrote to the front of `out`, which is 0 only if `out` is empty.
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
        // SAFETY: by region's invariant 1 this is a slot of the region, any bytes of which are a `T`. By
        // ring's invariant 2 it belongs to the consumers until it is taken, and by owned's invariant 2 to
        // our side, which the result borrows exclusively.
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

    /// Returns the next item, which stays in the queue; waits for one for at most `timeout`.
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

    /// Returns up to `most` items, to be read in place; waits for one item. There are fewer than `most` if
    /// the queue has no more now, and none only if `most` is 0.
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

    /// Returns items as [`chunk`](Self::chunk) does, if there is one now.
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

    /// Returns items as [`chunk`](Self::chunk) does; waits for one for at most `timeout`.
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

    /// Returns an iterator that takes the items that are there, until there is none.
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

impl<T: Element> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.head.release(self.queue.ring());
    }
}

impl<T: Element> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Consumer");
        debug.field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Items of a [`Consumer`] that are read in place. They stay in the queue until they are released; a
/// dropped chunk takes nothing.
///
/// [`Consumer::chunk`] has an example.
///
/// # Panics
/// As for [`Consumer`], in a forked child.
#[must_use = "dropped, a chunk takes nothing"]
#[derive(Debug)]
pub struct ReadChunk<'a, T: Element> {
    consumer: &'a mut Consumer<T>,
    span: Span,
}

impl<T: Element> ReadChunk<'_, T> {
    /// Returns how many items there are.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most what the caller asked for
    pub fn len(&self) -> usize {
        self.span.len as usize
    }

    /// Returns whether there is no item, because the caller asked for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the items, in order. The second slice contains the items behind the ring's wrap, and is
    /// mostly empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::new(4)?;
    /// queue.put_many(b"abc")?;
    /// let mut consumer = queue.consumer()?;
    /// let chunk = consumer.chunk(4)?;
    /// let (first, second) = chunk.as_slices();
    /// assert_eq!((first, second), (&b"abc"[..], &b""[..]));
    /// chunk.release(2);
    /// assert_eq!(queue.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    #[must_use]
    pub fn as_slices(&self) -> (&[T], &[T]) {
        self.consumer.head.check(self.consumer.queue.ring());
        let [(first, len), (second, rest)] = self.consumer.queue.pieces(self.span);
        // SAFETY: by region's invariant 1 these are slots of the region, any bytes of which are a `T`. By
        // ring's invariant 2 nobody writes them until they are released, and by owned's invariant 2 they
        // belong to our side, which this chunk borrows exclusively.
        let first = unsafe { std::slice::from_raw_parts(first, len) };
        // SAFETY: as above.
        let second = unsafe { std::slice::from_raw_parts(second, rest) };
        (first, second)
    }

    /// Returns an iterator over the items, in order. [`Consumer::chunk`] has an example.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (first, second) = self.as_slices();
        first.iter().chain(second)
    }

    /// Takes the first `count` items: their slots belong to the producers again. The other items stay.
    /// [`as_slices`](Self::as_slices) has an example.
    ///
    /// # Panics
    /// If the chunk has fewer than `count` items.
    #[inline]
    pub fn release(self, count: usize) {
        let len = self.len();
        assert!(
            count <= len,
            "expected at most {len} items of the chunk to be released, found {count}"
        );
        if count > 0 {
            let Consumer { queue, head } = self.consumer;
            head.commit(queue.ring(), Commit::items(count as u64));
        }
    }

    /// Takes all the items. [`Consumer::chunk`] has an example.
    #[inline]
    pub fn release_all(self) {
        let len = self.len();
        self.release(len);
    }
}
