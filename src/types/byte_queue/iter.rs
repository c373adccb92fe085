//! Iterators over the messages of a byte queue.

use super::ByteQueue;
use crate::types::common::item_or_end;

impl ByteQueue {
    /// Returns an iterator that takes messages as they come, until the queue is closed and drained.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"a")?;
    /// queue.put(b"bc")?;
    /// queue.close();
    /// assert_eq!(queue.iter().map(|message| message.len()).sum::<usize>(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    #[must_use]
    pub fn iter(&self) -> ByteIter<'_> {
        ByteIter { queue: self }
    }

    /// Returns an iterator that takes the messages that are there, until the queue is empty, or until
    /// somebody else holds the consumers' side.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"a")?;
    /// assert_eq!(queue.try_iter().count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    #[must_use]
    pub fn try_iter(&self) -> TryByteIter<'_> {
        TryByteIter { queue: self }
    }
}

/// The iterator of [`ByteQueue::iter`], which takes messages as they come.
#[derive(Debug)]
pub struct ByteIter<'a> {
    queue: &'a ByteQueue,
}

impl Iterator for ByteIter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        item_or_end(self.queue.get())
    }
}

/// The iterator of [`ByteQueue::try_iter`], which takes the messages that are there.
#[derive(Debug)]
pub struct TryByteIter<'a> {
    queue: &'a ByteQueue,
}

impl Iterator for TryByteIter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        item_or_end(self.queue.try_get())
    }
}

impl<'a> IntoIterator for &'a ByteQueue {
    type Item = Vec<u8>;
    type IntoIter = ByteIter<'a>;

    fn into_iter(self) -> ByteIter<'a> {
        self.iter()
    }
}
