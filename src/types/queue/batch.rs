//! Puts and gets of several items at once.

use super::Queue;
use crate::error::{GetError, PutAllError, PutError};
use crate::sync::Wait;
use crate::types::element::Element;

impl<T: Element> Queue<T> {
    /// Puts as many of the items as fit, in one commit: they all become visible at once, in order. Waits
    /// until there is space for one item. Returns how many items were put, which is 0 only if `items` is
    /// empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// assert_eq!(queue.put_many(&[1, 2, 3])?, 2);
    /// assert_eq!(queue.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    pub fn put_many(&self, items: &[T]) -> Result<usize, PutError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.put_with(items, Wait::FOREVER)
    }

    /// Puts all the items, in as many commits as that takes, and waits for space between the commits, where
    /// other producers may put items of their own.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         queue.put_all(&[1, 2, 3, 4, 5]).expect("nobody closed it");
    ///         queue.close();
    ///     });
    ///     assert_eq!(queue.iter().sum::<u32>(), 15);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutAllError`] tells how many items were put before the queue was closed.
    pub fn put_all(&self, items: &[T]) -> Result<(), PutAllError> {
        put_all_by(items, |rest| self.put_many(rest))
    }

    /// Takes as many items as there are, up to `out.len()`, in one commit, and writes them to the front of
    /// `out`. Waits until there is one item. Returns how many items were taken, which is 0 only if `out` is
    /// empty.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(8)?;
    /// queue.put_many(&[1, 2, 3])?;
    /// let mut batch = [0; 64];
    /// let count = queue.get_many(&mut batch)?;
    /// assert_eq!(batch[..count], [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_many(&self, out: &mut [T]) -> Result<usize, GetError> {
        if out.is_empty() {
            return Ok(0);
        }
        let got = self.ring().get(out.len() as u64, Wait::FOREVER, |span| {
            self.read_many(span, out)
        });
        got.map_err(GetError::from)
    }
}

/// Puts all the items by repeated calls of `put_many`, which returns how many of its items it put.
pub(super) fn put_all_by<T>(
    items: &[T],
    mut put_many: impl FnMut(&[T]) -> Result<usize, PutError>,
) -> Result<(), PutAllError> {
    let mut put = 0;
    while put < items.len() {
        put += put_many(&items[put..]).map_err(|source| PutAllError { put, source })?;
    }
    Ok(())
}
