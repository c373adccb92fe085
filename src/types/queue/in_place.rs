//! Gets that look at the next item before they take it.

use super::Queue;
use crate::error::GetError;
use crate::sync::{Commit, Wait};
use crate::types::common::AfterResult;
use crate::types::element::Element;
use std::time::Duration;

impl<T: Element> Queue<T> {
    /// Takes an item that is too large for a copy on the stack.
    #[inline(never)]
    pub(super) fn get_large(&self, wait: Wait) -> Result<T, GetError> {
        let claim = self.ring().claim_read(1, wait)?;
        let start = claim.span().start;
        let _commit = AfterResult::new(|| claim.commit(Commit::items(1)));
        Ok(self.read(start))
    }

    fn get_with_by<R>(&self, wait: Wait, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        let claim = self.ring().claim_read(1, wait)?;
        let announced = claim.announce();
        // SAFETY: the claim keeps the position for this side until the commit, and the closure can't keep
        // the reference.
        let result = f(unsafe { self.item(claim.span().start) });
        drop(announced);
        claim.commit(Commit::items(1));
        Ok(result)
    }

    /// Runs `f` on the next item in place, and takes the item once `f` has returned. Waits while the queue is
    /// empty.
    ///
    /// If the process is killed inside `f`, or if `f` panics, the item stays for the next taker. So an item may
    /// be seen more than once, and repeating its effects should do no harm.
    ///
    /// The consumers' side is held while `f` runs: others' plain gets wait, and their `try_` forms
    /// fail with [`GetError::Busy`]. [Trust](Self#trust) says how far a peer could change the item.
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
    /// In a child that `f` forked, the call panics when `f` returns, because the item belongs to the parent. The
    /// child must not use the item any more when the parent's `f` returns.
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
