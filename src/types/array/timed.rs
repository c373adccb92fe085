//! The verbs that give up if the lock is still taken after a timeout.

use super::{Array, ArrayGuard};
use crate::error::{AccessError, TimedOut};
use crate::sync::{LockGuard, Wait};
use crate::types::element::Element;
use std::sync::{TryLockError, TryLockResult};
use std::time::Duration;

impl<T: Element> Array<T> {
    fn lock_within(&self, timeout: Duration) -> Result<LockGuard<'_>, TimedOut> {
        self.lock_with(Wait::within(timeout)).ok_or(TimedOut)
    }

    /// Locks the array as [`lock`](Self::lock) does; waits for at most `timeout` while somebody else has the
    /// array locked.
    ///
    /// ```
    /// use std::{sync::TryLockError, time::Duration};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8, 2])?;
    /// let guard = array.lock().expect("nobody died in the middle");
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let late = array.lock_timeout(Duration::from_millis(1));
    ///         assert!(matches!(late, Err(TryLockError::WouldBlock)));
    ///     });
    /// });
    /// drop(guard);
    /// assert!(array.lock_timeout(Duration::from_secs(1)).is_ok());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`WouldBlock`](TryLockError::WouldBlock) if somebody else had the array locked until the deadline;
    /// [`Poisoned`](TryLockError::Poisoned), which contains the guard, if the array is
    /// [poisoned](Self#poisoning).
    pub fn lock_timeout(&self, timeout: Duration) -> TryLockResult<ArrayGuard<'_, T>> {
        let lock = self.lock_within(timeout);
        let lock = lock.map_err(|TimedOut| TryLockError::WouldBlock)?;
        Ok(ArrayGuard::new(self, lock)?)
    }

    /// Returns the element at `index` as [`get`](Self::get) does; waits for at most `timeout` while somebody
    /// else has the lock.
    ///
    /// ```
    /// use shmkit::TimedOut;
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[10u8, 20])?;
    /// let soon = Duration::from_millis(1);
    /// assert_eq!(array.get_timeout(1, soon), Ok(Some(20)));
    /// assert_eq!(array.get_timeout(2, soon), Ok(None)); // there is no such element
    ///
    /// let _guard = array.lock().expect("nobody died in the middle");
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert_eq!(array.get_timeout(1, soon), Err(TimedOut)));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TimedOut`] if somebody else had the lock until the deadline.
    pub fn get_timeout(&self, index: usize, timeout: Duration) -> Result<Option<T>, TimedOut> {
        if index >= self.len() {
            return Ok(None);
        }
        let lock = self.lock_within(timeout)?;
        Ok(Some(self.read(&lock, index)))
    }

    /// Replaces the element at `index` as [`set`](Self::set) does; waits for at most `timeout` while somebody
    /// else has the lock.
    ///
    /// ```
    /// use shmkit::AccessError;
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[10u8, 20])?;
    /// let soon = Duration::from_millis(1);
    /// array.set_timeout(0, 11, soon)?;
    ///
    /// let guard = array.lock().expect("nobody died in the middle");
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert_eq!(array.set_timeout(0, 12, soon), Err(AccessError::TimedOut)));
    /// });
    /// assert_eq!(*guard, [11, 20]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AccessError::OutOfBounds`] if there is no such element; [`AccessError::TimedOut`] if somebody else
    /// had the lock until the deadline, in which case nothing is written.
    pub fn set_timeout(
        &self,
        index: usize,
        value: T,
        timeout: Duration,
    ) -> Result<(), AccessError> {
        self.check(index, 1)?;
        let lock = self.lock_within(timeout)?;
        self.write(&lock, index, &value);
        Ok(())
    }

    /// Fills `out` as [`read_at`](Self::read_at) does; waits for at most `timeout` while somebody else has
    /// the lock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8, 2, 3, 4])?;
    /// let mut middle = [0; 2];
    /// array.read_at_timeout(1, &mut middle, Duration::from_millis(1))?;
    /// assert_eq!(middle, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AccessError::OutOfBounds`] if the array does not have all of these elements;
    /// [`AccessError::TimedOut`] if somebody else had the lock until the deadline. Either way `out` is left
    /// as it was.
    pub fn read_at_timeout(
        &self,
        offset: usize,
        out: &mut [T],
        timeout: Duration,
    ) -> Result<(), AccessError> {
        self.check(offset, out.len())?;
        let lock = self.lock_within(timeout)?;
        self.read_many(&lock, offset, out);
        Ok(())
    }

    /// Replaces elements as [`write_at`](Self::write_at) does; waits for at most `timeout` while somebody
    /// else has the lock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[0u8; 4])?;
    /// array.write_at_timeout(2, &[7, 8], Duration::from_millis(1))?;
    /// assert_eq!(array.to_vec(), [0, 0, 7, 8]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AccessError::OutOfBounds`] if the array does not have all of these elements;
    /// [`AccessError::TimedOut`] if somebody else had the lock until the deadline. Either way nothing is
    /// written.
    pub fn write_at_timeout(
        &self,
        offset: usize,
        from: &[T],
        timeout: Duration,
    ) -> Result<(), AccessError> {
        self.check(offset, from.len())?;
        let lock = self.lock_within(timeout)?;
        self.write_many(&lock, offset, from);
        Ok(())
    }

    /// Returns copies of all elements as [`to_vec`](Self::to_vec) does; waits for at most `timeout` while
    /// somebody else has the lock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8, 2, 3])?;
    /// assert_eq!(array.to_vec_timeout(Duration::from_millis(1))?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TimedOut`] if somebody else had the lock until the deadline.
    pub fn to_vec_timeout(&self, timeout: Duration) -> Result<Vec<T>, TimedOut> {
        self.copy_all(Wait::within(timeout)).ok_or(TimedOut)
    }
}
