//! Iterators over the items of a message queue.

use super::MessageQueue;
use crate::error::GetError;
use crate::types::common::item_or_end;
use serde::de::DeserializeOwned;

impl<T: DeserializeOwned> MessageQueue<T> {
    /// Returns an iterator that takes items as they come, until the queue is closed and drained. For a message
    /// that can't be decoded, the iterator returns [`GetError::Decode`] and goes on; it returns no other error.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<String>::new(64)?;
    /// queue.put("a")?;
    /// queue.put("b")?;
    /// queue.close();
    /// let all: Result<String, _> = queue.iter().collect();
    /// assert_eq!(all?, "ab");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    #[must_use]
    pub fn iter(&self) -> MessageIter<'_, T> {
        MessageIter { queue: self }
    }

    /// Returns an iterator that takes the items that are there, as [`iter`](Self::iter) does, until the queue
    /// is empty, or until somebody else holds the consumers' side.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<u8>::new(64)?;
    /// queue.put(&1)?;
    /// assert_eq!(queue.try_iter().collect::<Vec<_>>(), [Ok(1)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    #[must_use]
    pub fn try_iter(&self) -> TryMessageIter<'_, T> {
        TryMessageIter { queue: self }
    }
}

/// The iterator of [`MessageQueue::iter`], which takes items as they come.
#[derive(Debug)]
pub struct MessageIter<'a, T> {
    queue: &'a MessageQueue<T>,
}

impl<T: DeserializeOwned> Iterator for MessageIter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        decoded_or_end(self.queue.get())
    }
}

/// The iterator of [`MessageQueue::try_iter`], which takes the items that are there.
#[derive(Debug)]
pub struct TryMessageIter<'a, T> {
    queue: &'a MessageQueue<T>,
}

impl<T: DeserializeOwned> Iterator for TryMessageIter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        decoded_or_end(self.queue.try_get())
    }
}

/// Ends an iterator as [`item_or_end`] does, but passes on the error of a message that can't be decoded.
fn decoded_or_end<T>(got: Result<T, GetError>) -> Option<Result<T, GetError>> {
    match got {
        Err(GetError::Decode(_)) => Some(got),
        got => item_or_end(got).map(Ok),
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a MessageQueue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = MessageIter<'a, T>;

    fn into_iter(self) -> MessageIter<'a, T> {
        self.iter()
    }
}
