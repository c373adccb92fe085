//! Gets that look at the next item before they take it.

use super::Queue;
use crate::error::GetError;
use crate::sync::{Commit, Wait};
use crate::types::common::AfterResult;
use crate::types::element::Element;
use std::convert::Infallible;
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

    fn take_with_by<R, E>(
        &self,
        wait: Wait,
        f: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        let claim = self.ring().claim_read(1, wait)?;
        let announced = claim.announce();
        // SAFETY: the claim keeps the position for this side until the commit, and the closure can't keep
        // the reference.
        let result = f(unsafe { self.item(claim.span().start) });
        drop(announced);
        match result {
            Ok(_) => claim.commit(Commit::items(1)),
            Err(_) => claim.leave(),
        }
        Ok(result)
    }

    fn get_with_by<R>(&self, wait: Wait, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        let Ok(result) = self.take_with_by(wait, |item| Ok::<_, Infallible>(f(item)))?;
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

    /// Runs `f` on the next item in place, and takes the item if `f` returns `Ok`. If `f` returns `Err`, the item
    /// stays, as the next one. The outer result is that of the get, and the inner one is what `f` returned.
    /// Waits while the queue is empty.
    ///
    /// The rest is as for [`get_with`](Self::get_with): a panic in `f` and a death leave the item too, and the
    /// consumers' side is held while `f` runs. An item that `f` never accepts stays for ever, and all later
    /// ones behind it, so let `f` accept in the end, say by putting the item elsewhere.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(20)?;
    /// let store = |item: &u32| u8::try_from(item * 20); // fails for a result above 255
    /// assert!(queue.take_with(store)?.is_err());
    /// assert_eq!(queue.len(), 1); // still there
    /// let stored = queue.take_with(|item| u16::try_from(item * 20))??;
    /// assert_eq!((stored, queue.len()), (400, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`]: `f` did not run.
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn take_with<R, E>(
        &self,
        f: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.take_with_by(Wait::FOREVER, f)
    }

    /// Runs `f` on the next item as [`take_with`](Self::take_with) does, if there is an item now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// let taken = queue.try_take_with(|item| Err::<(), _>(*item));
    /// assert_eq!(taken, Err(shmkit::GetError::Empty)); // not from the closure
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn try_take_with<R, E>(
        &self,
        f: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.take_with_by(Wait::Try, f)
    }

    /// Runs `f` on the next item as [`take_with`](Self::take_with) does; waits for at most `timeout` while the
    /// queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u32>::new(4)?;
    /// queue.put(7)?;
    /// let even = |item: &u32| if item % 2 == 0 { Ok(()) } else { Err("odd") };
    /// assert_eq!(queue.take_with_timeout(Duration::from_secs(1), even)?, Err("odd"));
    /// assert_eq!(queue.get()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get_timeout`](Self::get_timeout).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn take_with_timeout<R, E>(
        &self,
        timeout: Duration,
        f: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.take_with_by(Wait::within(timeout), f)
    }
}
