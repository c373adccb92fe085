//! A queue's items, looked at before they are taken.

use super::{FOREVER, Queue, within};
use crate::error::GetError;
use crate::sync::Commit;
use crate::sync::Wait;
use crate::types::element::Element;
use std::time::Duration;

impl<T: Element> Queue<T> {
    fn get_with_by<R>(&self, wait: Wait, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        let items = self.ring().claim_read(1, wait)?;
        let announced = items.announce();
        let result = f(&self.read(items.span().start));
        drop(announced);
        items.commit(Commit::items(1));
        Ok(result)
    }

    /// Runs `f` on the next item, and takes it when `f` has returned: a taker that is killed in `f`,
    /// or panics in it, leaves the item for the next. So an item is seen at least once, and its
    /// effects should bear a repetition. Waits while the queue is empty.
    ///
    /// The consumers' side is held meanwhile: others' gets wait, and their tries are
    /// [`GetError::Busy`].
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    ///
    /// # Panics
    /// In a child that `f` forked, when `f` returns there: the item is the parent's.
    pub fn get_with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        self.get_with_by(FOREVER, f)
    }

    /// [`get_with`](Self::get_with), if there is an item now.
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    pub fn try_get_with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, GetError> {
        self.get_with_by(Wait::Try, f)
    }

    /// [`get_with`](Self::get_with), waiting for an item for at most `timeout`.
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
        self.get_with_by(within(timeout), f)
    }
}
