//! [`Consumer`]: a queue's consumers' side, owned; and items to be read in place.

use super::{FOREVER, Queue, item_or_end, within};
use crate::error::GetError;
use crate::sync::Wait;
use crate::sync::{Commit, OwnedHead, Span};
use crate::types::element::Element;
use std::fmt;
use std::time::Duration;

/// The consumers' side of a [`Queue`], owned: made by [`Queue::consumer`], and given back when this is
/// dropped.
///
/// While it lives, nobody else gets: others' tries are [`GetError::Busy`], their plain gets wait. In
/// turn a get takes no lock, and [`peek`](Self::peek) and [`chunk`](Self::chunk) read items where
/// they lie. A process that is killed with one frees the side like any lock, and what it had not taken
/// is there for the next.
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let queue = shmkit::Queue::<u32>::new(64)?;
/// queue.put_all(&[1, 2, 3]).expect("nobody closed it");
/// queue.close();
/// let mut consumer = queue.consumer()?;
/// // Looks first, and takes when the work is done: who dies in between leaves it for the next.
/// assert_eq!(consumer.peek(), Ok(&1));
/// consumer.get()?;
/// assert_eq!(consumer.iter().sum::<u32>(), 5);
/// # Ok(())
/// # }
/// ```
///
/// It belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// # let queue = shmkit::Queue::<u32>::new(1).unwrap();
/// let consumer = queue.consumer().unwrap();
/// std::thread::spawn(move || drop(consumer));
/// ```
///
/// # Panics
/// In a child that was forked while its parent had the endpoint, every call but the drop panics: the
/// endpoint is the parent's. A waiting get on the *queue* by the thread that has the endpoint panics
/// rather than waits for itself.
#[must_use = "the consumers' side is given back when this is dropped"]
pub struct Consumer<T: Element> {
    queue: Queue<T>,
    head: OwnedHead,
}

impl<T: Element> Queue<T> {
    /// Takes the consumers' side, to own it until the result is dropped; waits while others have it.
    ///
    /// # Errors
    /// [`GetError::Closed`] if the queue is closed and drained, [`GetError::Corrupt`].
    pub fn consumer(&self) -> Result<Consumer<T>, GetError> {
        self.consumer_by(FOREVER)
    }

    /// Takes the consumers' side if nobody has it now.
    ///
    /// # Errors
    /// [`GetError::Busy`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn try_consumer(&self) -> Result<Consumer<T>, GetError> {
        self.consumer_by(Wait::Try)
    }

    /// Takes the consumers' side; waits for it for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn consumer_timeout(&self, timeout: Duration) -> Result<Consumer<T>, GetError> {
        self.consumer_by(within(timeout))
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
    /// The queue that it is the consumers' side of.
    #[inline]
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    #[inline]
    fn items(&mut self, most: usize, wait: Wait) -> Result<Span, GetError> {
        let items = self.head.claim(self.queue.ring(), most as u64, wait);
        Ok(items?)
    }

    #[inline]
    fn get_by(&mut self, wait: Wait) -> Result<T, GetError> {
        let span = self.items(1, wait)?;
        self.queue.fetch_ahead::<false>(span);
        let item = self.queue.read(span.start);
        self.head.commit(self.queue.ring(), Commit::items(1));
        Ok(item)
    }

    /// Takes an item; waits while the queue is empty.
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn get(&mut self) -> Result<T, GetError> {
        self.get_by(FOREVER)
    }

    /// Takes an item if there is one now.
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_get(&mut self) -> Result<T, GetError> {
        self.get_by(Wait::Try)
    }

    /// Takes an item; waits for one for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, GetError> {
        self.get_by(within(timeout))
    }

    /// Takes as many items as there are, up to `out.len()`, in one commit; waits for one. Returns
    /// how many it wrote to the front of `out`: 0 only for an empty `out`.
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_many(&mut self, out: &mut [T]) -> Result<usize, GetError> {
        if out.is_empty() {
            return Ok(0);
        }
        let span = self.items(out.len(), FOREVER)?;
        self.queue.fetch_ahead::<false>(span);
        let count = self.queue.read_many(span, out);
        self.head.commit(self.queue.ring(), Commit::items(span.len));
        Ok(count)
    }

    #[inline]
    fn peek_by(&mut self, wait: Wait) -> Result<&T, GetError> {
        let span = self.items(1, wait)?;
        let [(item, _), _] = self.queue.pieces(span);
        // SAFETY: a slot of the region, any bytes of which are a `T` (region, invariant 1); it is the
        // consumers' until it is taken (ring, invariant 2), and we own that side (owned, invariant 2),
        // which the result borrows exclusively.
        Ok(unsafe { &*item })
    }

    /// The next item, which stays; waits while the queue is empty.
    ///
    /// # Errors
    /// [`GetError::Closed`] once the queue is closed and drained; [`GetError::Corrupt`].
    #[inline]
    pub fn peek(&mut self) -> Result<&T, GetError> {
        self.peek_by(FOREVER)
    }

    /// The next item, which stays, if there is one now.
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_peek(&mut self) -> Result<&T, GetError> {
        self.peek_by(Wait::Try)
    }

    /// The next item, which stays; waits for one for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn peek_timeout(&mut self, timeout: Duration) -> Result<&T, GetError> {
        self.peek_by(within(timeout))
    }

    /// Up to `most` items to be read in place; waits for one. There are fewer than `most` where the
    /// queue has no more now, and none only for a `most` of 0.
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
        self.chunk_by(most, FOREVER)
    }

    /// As [`chunk`](Self::chunk), if there is an item now.
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Closed`], [`GetError::Corrupt`].
    #[inline]
    pub fn try_chunk(&mut self, most: usize) -> Result<ReadChunk<'_, T>, GetError> {
        self.chunk_by(most, Wait::Try)
    }

    /// As [`chunk`](Self::chunk); waits for an item for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn chunk_timeout(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<ReadChunk<'_, T>, GetError> {
        self.chunk_by(most, within(timeout))
    }

    #[inline]
    fn chunk_by(&mut self, most: usize, wait: Wait) -> Result<ReadChunk<'_, T>, GetError> {
        let span = match most {
            0 => Span::EMPTY,
            _ => self.items(most, wait)?,
        };
        self.queue.fetch_ahead::<false>(span);
        Ok(ReadChunk {
            consumer: self,
            span,
        })
    }

    /// The items as they come, until the queue is closed and drained.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
    pub fn iter(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| item_or_end(self.get()))
    }

    /// The items that are there, until there is none.
    ///
    /// # Panics
    /// The iterator panics where the shared indices are corrupt.
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

/// Items of a [`Consumer`] to be read in place. They stay in the queue until they are released;
/// dropped, the chunk takes nothing.
///
/// # Panics
/// As for [`Consumer`], in a forked child.
#[must_use = "dropped, it takes nothing"]
#[derive(Debug)]
pub struct ReadChunk<'a, T: Element> {
    consumer: &'a mut Consumer<T>,
    span: Span,
}

impl<T: Element> ReadChunk<'_, T> {
    /// How many items there are.
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

    /// The items, in order: the second slice is what lies behind the ring's wrap, mostly empty.
    #[inline]
    #[must_use]
    pub fn as_slices(&self) -> (&[T], &[T]) {
        self.consumer.head.check(self.consumer.queue.ring());
        let [(first, len), (second, rest)] = self.consumer.queue.pieces(self.span);
        // SAFETY: slots of the region, any bytes of which are a `T` (region, invariant 1); nobody
        // writes them until they are released (ring, invariant 2), and we own that side (owned,
        // invariant 2), which this chunk borrows exclusively.
        let first = unsafe { std::slice::from_raw_parts(first, len) };
        // SAFETY: as above.
        let second = unsafe { std::slice::from_raw_parts(second, rest) };
        (first, second)
    }

    /// The items, in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (first, second) = self.as_slices();
        first.iter().chain(second)
    }

    /// Takes the first `count` items: their slots are the producers' again. The others stay.
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

    /// Takes all the items.
    #[inline]
    pub fn release_all(self) {
        let len = self.len();
        self.release(len);
    }
}
