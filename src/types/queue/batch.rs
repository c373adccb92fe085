//! Puts and gets of several items at once.

use super::Queue;
use crate::error::{GetError, PutAllError, PutError};
use crate::sync::Wait;
use crate::types::element::Element;
use std::time::Duration;

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
        self.put_many_by(items, Wait::FOREVER)
    }

    /// Puts as many of the items as fit, as [`put_many`](Self::put_many) does; waits for at most `timeout`
    /// until there is space for one item.
    ///
    /// ```
    /// use shmkit::PutError;
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// let soon = Duration::from_millis(1);
    /// assert_eq!(queue.put_many_timeout(&[1, 2, 3], soon), Ok(2));
    /// assert_eq!(queue.put_many_timeout(&[3], soon), Err(PutError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutError::TimedOut`], [`PutError::Closed`], [`PutError::Corrupt`]: none of the items was put.
    pub fn put_many_timeout(&self, items: &[T], timeout: Duration) -> Result<usize, PutError> {
        self.put_many_by(items, Wait::within(timeout))
    }

    fn put_many_by(&self, items: &[T], wait: Wait) -> Result<usize, PutError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.put_with(items, wait)
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

    /// Puts all the items as [`put_all`](Self::put_all) does; the waits for space take at most `timeout`
    /// together.
    ///
    /// ```
    /// use shmkit::PutError;
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(2)?;
    /// let late = queue.put_all_timeout(&[1, 2, 3], Duration::from_millis(1)).unwrap_err();
    /// assert_eq!((late.put, late.source), (2, PutError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PutAllError`] tells how many items were put before the time was over, or the queue was closed.
    pub fn put_all_timeout(&self, items: &[T], timeout: Duration) -> Result<(), PutAllError> {
        let wait = Wait::within(timeout);
        put_all_by(items, |rest| self.put_many_by(rest, wait))
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
        self.get_many_by(out, Wait::FOREVER)
    }

    /// Takes as many items as there are, up to `out.len()`, as [`get_many`](Self::get_many) does; waits for at
    /// most `timeout` until there is one item.
    ///
    /// ```
    /// use shmkit::GetError;
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(8)?;
    /// queue.put_many(&[1, 2, 3])?;
    /// let (mut batch, soon) = ([0; 64], Duration::from_millis(1));
    /// assert_eq!(queue.get_many_timeout(&mut batch, soon), Ok(3));
    /// assert_eq!(queue.get_many_timeout(&mut batch, soon), Err(GetError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Closed`], [`GetError::Corrupt`].
    pub fn get_many_timeout(&self, out: &mut [T], timeout: Duration) -> Result<usize, GetError> {
        self.get_many_by(out, Wait::within(timeout))
    }

    fn get_many_by(&self, out: &mut [T], wait: Wait) -> Result<usize, GetError> {
        if out.is_empty() {
            return Ok(0);
        }
        let got = self
            .ring()
            .get(out.len() as u64, wait, |span| self.read_many(span, out));
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
