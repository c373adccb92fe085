//! Iterators over the items of a queue.

use super::Queue;
use crate::types::common::item_or_end;
use crate::types::element::Element;

impl<T: Element> Queue<T> {
    /// Returns an iterator that takes items as they come, until the queue is closed and drained.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put_many(&[1, 2])?;
    /// queue.close();
    /// for item in &queue {
    ///     assert!(item <= 2);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }

    /// Returns an iterator that takes the items that are there, until the queue is empty, or until somebody
    /// else holds the consumers' side.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put_many(&[1, 2])?;
    /// assert_eq!(queue.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The iterator panics if the shared indices are corrupt.
    #[must_use]
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { queue: self }
    }
}

/// The iterator of [`Queue::iter`], which takes items as they come.
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

/// The iterator of [`Queue::try_iter`], which takes the items that are there.
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

impl<'a, T: Element> IntoIterator for &'a Queue<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
