//! Gets that decode and look at the next item before they take it.

use super::MessageQueue;
use crate::error::GetError;
use crate::sync::Wait;
use serde::de::DeserializeOwned;
use std::time::Duration;

impl<T: DeserializeOwned> MessageQueue<T> {
    fn take_with_by<R, E>(
        &self,
        wait: Wait,
        f: impl FnOnce(T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        // The decoder gets a copy, because a peer that writes where it must not could change the message after
        // the decoder has checked it.
        let decode_and_run = |message: &[u8]| {
            let copy = message.to_vec();
            match Self::decode(&copy) {
                Ok(item) => f(item).map(Ok),
                Err(error) => Ok(Err(error)), // taken, or else it would stay the next message for ever
            }
        };
        match self.frames.take_with(wait, decode_and_run)? {
            Ok(taken) => taken.map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Runs `f` on the next item, and takes the item if `f` returns `Ok`. If `f` returns `Err`, the item
    /// stays, as the next one. The outer result is that of the get, and the inner one is what `f` returned.
    /// Waits while the queue is empty.
    ///
    /// If the process is killed before `f` has returned, or if the decoding or `f` panics, the item stays too. So
    /// an item may be seen more than once, and an item that `f` never accepts stays for ever, with all later
    /// ones behind it: let `f` accept in the end, say by putting the item elsewhere.
    ///
    /// The consumers' side is held while the item is decoded and `f` runs: others' plain gets wait, and their
    /// `try_` forms fail with [`GetError::Busy`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = shmkit::MessageQueue::<String>::new(64)?;
    /// queue.put("12")?;
    /// queue.put("x")?;
    /// assert_eq!(queue.take_with(|line| line.parse::<u32>())??, 12);
    /// assert!(queue.take_with(|line| line.parse::<u32>())?.is_err());
    /// assert_eq!(queue.get()?, "x"); // still there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get): `f` did not run. A message that is no `T` is taken.
    ///
    /// # Panics
    /// If the decoding or `f` calls a waiting get on the same queue, because the thread would wait for itself. In a
    /// child that `f` forked, when `f` returns, because the item belongs to the parent.
    pub fn take_with<R, E>(
        &self,
        f: impl FnOnce(T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.take_with_by(Wait::FOREVER, f)
    }

    /// Runs `f` on the next item as [`take_with`](Self::take_with) does, if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::MessageQueue::<String>::new(64)?;
    /// let taken = queue.try_take_with(|line| Err::<(), _>(line.len()));
    /// assert_eq!(taken, Err(shmkit::GetError::Empty)); // not from the closure
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    ///
    /// # Panics
    /// As for [`take_with`](Self::take_with).
    pub fn try_take_with<R, E>(
        &self,
        f: impl FnOnce(T) -> Result<R, E>,
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
    /// let queue = shmkit::MessageQueue::<String>::new(64)?;
    /// queue.put("12345")?;
    /// let short = |line: String| if line.len() < 4 { Ok(line) } else { Err("too long") };
    /// let taken = queue.take_with_timeout(Duration::from_secs(1), short)?;
    /// assert_eq!(taken, Err("too long"));
    /// assert_eq!(queue.get()?, "12345");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get_timeout`](Self::get_timeout).
    ///
    /// # Panics
    /// As for [`take_with`](Self::take_with).
    pub fn take_with_timeout<R, E>(
        &self,
        timeout: Duration,
        f: impl FnOnce(T) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.take_with_by(Wait::within(timeout), f)
    }
}
