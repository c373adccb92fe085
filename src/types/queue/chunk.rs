//! [`WriteChunk`]: slots that a producer writes in place. [`ReadChunk`]: items that a consumer reads in place.

use super::{Consumer, Producer};
use crate::error::PutError;
use crate::sync::{Commit, Span};
use crate::types::element::Element;

/// Free slots that a [`Producer`] writes in place. At first the slots contain older items, or zeros. Consumers
/// see no slot before its commit; a dropped chunk puts nothing.
///
/// [`Producer::chunk`] has an example.
///
/// # Panics
/// As for [`Producer`], in a forked child.
#[must_use = "dropped, a chunk puts nothing"]
#[derive(Debug)]
pub struct WriteChunk<'a, T: Element> {
    pub(super) producer: &'a mut Producer<T>,
    pub(super) span: Span,
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

    /// Returns the slots, in order. The second slice is empty, except for a chunk that reaches the end of the
    /// queue's memory and goes on at the start.
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
        // SAFETY: by region's invariant 1 these are slots of the region, and any bytes are a valid `T`. By
        // ring's invariant 2 no consumer reads the slots until the commit. By owned's invariant 2 they belong
        // to the producer, which this chunk borrows exclusively.
        let first = unsafe { std::slice::from_raw_parts_mut(first, len) };
        // SAFETY: as above. The two slices share no slot, because `pieces` returns each slot once.
        let second = unsafe { std::slice::from_raw_parts_mut(second, rest) };
        (first, second)
    }

    /// Returns an iterator over the slots, in order. [`Producer::chunk`] has an example.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (first, second) = self.as_mut_slices();
        first.iter_mut().chain(second)
    }

    /// Puts the items of the first `count` slots, which all become visible at once, and gives the other slots
    /// back. [`Producer::chunk`] has an example.
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

    /// Puts the items of all the slots.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    #[inline]
    pub fn commit_all(self) -> Result<(), PutError> {
        let len = self.len();
        self.commit(len)
    }
}

/// Items that a [`Consumer`] reads in place. The items stay in the queue until they are released; a dropped
/// chunk takes nothing.
///
/// [`Consumer::chunk`] has an example.
///
/// # Panics
/// As for [`Consumer`], in a forked child.
#[must_use = "dropped, a chunk takes nothing"]
#[derive(Debug)]
pub struct ReadChunk<'a, T: Element> {
    pub(super) consumer: &'a mut Consumer<T>,
    pub(super) span: Span,
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

    /// Returns the items, in order. The second slice is empty, except for a chunk that reaches the end of the
    /// queue's memory and goes on at the start.
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
        // SAFETY: by region's invariant 1 these are slots of the region, and any bytes are a valid `T`. By
        // ring's invariant 2 no producer writes the slots until they are released. By owned's invariant 2
        // only this consumer releases them, and this chunk borrows the consumer exclusively.
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

    /// Takes the first `count` items and gives their slots back to the producers. The other items stay.
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
