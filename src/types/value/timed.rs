//! The verbs that give up if the lock is still taken after a timeout.

use super::Value;
use crate::error::TimedOut;
use crate::sync::{LockGuard, Wait};
use crate::types::element::Element;
use std::time::Duration;

impl<T: Element> Value<T> {
    fn lock_within(&self, timeout: Duration) -> Result<LockGuard<'_>, TimedOut> {
        self.lock_with(Wait::within(timeout)).ok_or(TimedOut)
    }

    /// Replaces the value as [`set`](Self::set) does; waits for at most `timeout` while somebody else has the
    /// lock.
    ///
    /// ```
    /// use shmkit::TimedOut;
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let temperature = shmkit::Value::new(20.0f32)?;
    /// let soon = Duration::from_millis(1);
    /// temperature.set_timeout(21.5, soon)?;
    ///
    /// temperature.update(|_| { // usually in another process
    ///     std::thread::scope(|scope| {
    ///         scope.spawn(|| assert_eq!(temperature.set_timeout(0.0, soon), Err(TimedOut)));
    ///     });
    /// });
    /// assert_eq!(temperature.get(), 21.5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TimedOut`] if somebody else had the lock until the deadline. The value stays as it is.
    pub fn set_timeout(&self, value: T, timeout: Duration) -> Result<(), TimedOut> {
        self.commit(self.lock_within(timeout)?, &value);
        Ok(())
    }

    /// Replaces the value, and returns the old one, as [`swap`](Self::swap) does; waits for at most `timeout`
    /// while somebody else has the lock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let leader = shmkit::Value::new(3u32)?;
    /// assert_eq!(leader.swap_timeout(7, Duration::from_millis(1))?, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`set_timeout`](Self::set_timeout).
    pub fn swap_timeout(&self, value: T, timeout: Duration) -> Result<T, TimedOut> {
        Ok(self.swap_locked(self.lock_within(timeout)?, &value))
    }

    /// Lets `f` change the value as [`update`](Self::update) does; waits for at most `timeout` while somebody
    /// else has the lock. The time that `f` takes does not count.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let counter = shmkit::Value::new(41u64)?;
    /// let now = counter.update_timeout(Duration::from_secs(1), |n| {
    ///     *n += 1;
    ///     *n
    /// })?;
    /// assert_eq!(now, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`set_timeout`](Self::set_timeout); `f` is not called then.
    ///
    /// # Panics
    /// As for [`update`](Self::update).
    pub fn update_timeout<R>(
        &self,
        timeout: Duration,
        f: impl FnOnce(&mut T) -> R,
    ) -> Result<R, TimedOut> {
        Ok(self.update_locked(self.lock_within(timeout)?, f))
    }

    /// Stores `new` if the value is `current`, as [`compare_exchange`](Self::compare_exchange) does; waits for
    /// at most `timeout` while somebody else has the lock. The inner result is that of `compare_exchange`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let owner = shmkit::Value::new(0u32)?;
    /// let soon = Duration::from_millis(1);
    /// assert_eq!(owner.compare_exchange_timeout(0, 17, soon)?, Ok(0));
    /// assert_eq!(owner.compare_exchange_timeout(0, 18, soon)?, Err(17));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`set_timeout`](Self::set_timeout).
    pub fn compare_exchange_timeout(
        &self,
        current: T,
        new: T,
        timeout: Duration,
    ) -> Result<Result<T, T>, TimedOut> {
        let guard = self.lock_within(timeout)?;
        Ok(self.compare_exchange_locked(guard, &current, &new))
    }
}
