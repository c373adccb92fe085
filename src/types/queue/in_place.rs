//! Gets that look at the next item before they take it.

use super::Queue;
use crate::error::GetError;
use crate::sync::{Commit, Wait};
use crate::types::element::Element;
use std::time::Duration;

impl<T: Element> Queue<T> {
    fn get_with_by<R>(&self, wait: Wait, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        let claim = self.ring().claim_read(1, wait)?;
        let announced = claim.announce();
        let result = f(&self.read(claim.span().start));
        drop(announced);
        claim.commit(Commit::items(1));
        Ok(result)
    }

    /// Runs `f` on the next item, and takes the item once `f` has returned. Waits while the queue is empty.
    ///
    /// If the process is killed inside `f`, or if `f` panics, the item stays for the next taker. So an item may
    /// be seen more than once, and repeating its effects should do no harm.
    ///
    /// The consumers' side is held while `f` runs: others' plain gets wait, and their `try_` forms
    /// fail with [`GetError::Busy`].
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(20)?;
    /// let double = queue.get_with(|item| {
    ///     assert_eq!(queue.len(), 1); // still there
    ///     item * 2
    /// })?;
    /// assert_eq!((double, queue.len()), (40, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    ///
    /// # Panics
    /// In a child that `f` forked, the call panics when `f` returns, because the item belongs to the parent.
    pub fn get_with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        self.get_with_by(Wait::FOREVER, f)
    }

    /// Runs `f` on the next item as [`get_with`](Self::get_with) does, if there is an item now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// assert_eq!(queue.try_get_with(|item| *item), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn try_get_with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        self.get_with_by(Wait::Try, f)
    }

    /// Runs `f` on the next item as [`get_with`](Self::get_with) does; waits for at most `timeout` while the
    /// queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(7)?;
    /// let item = queue.get_with_timeout(Duration::from_secs(1), |item| *item)?;
    /// assert_eq!(item, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get_timeout`](Self::get_timeout).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn get_with_timeout<R>(
        &self,
        timeout: Duration,
        f: impl FnOnce(&T) -> R,
    ) -> Result<R, GetError> {
        self.get_with_by(Wait::within(timeout), f)
    }
}
