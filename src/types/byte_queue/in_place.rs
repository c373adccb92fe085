//! Gets that look at the next message before they take it.

use super::ByteQueue;
use crate::error::GetError;
use crate::sync::Wait;
use std::time::Duration;

impl ByteQueue {
    /// Runs `f` on the next message in place, and takes the message once `f` has returned. Waits while the
    /// queue is empty.
    ///
    /// If the process is killed inside `f`, or if `f` panics, the message stays for the next taker. So a
    /// message may be seen more than once, and repeating its effects should do no harm.
    ///
    /// The consumers' side is held while `f` runs: others' plain gets wait, and their `try_` forms fail with
    /// [`GetError::Busy`]. [Trust](Self#trust) says how far a peer could change those bytes.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"a b c")?;
    /// let words = queue.get_with(|line| line.split(|byte| *byte == b' ').count())?;
    /// assert_eq!(words, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GetError::Closed`], [`GetError::Corrupt`].
    ///
    /// # Panics
    /// In a child that `f` forked, the call panics when `f` returns, because the message belongs to the parent.
    #[inline]
    pub fn get_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R, GetError> {
        self.0.get_with(Wait::FOREVER, f)
    }

    /// Runs `f` on the next message as [`get_with`](Self::get_with) does, if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// assert_eq!(queue.try_get_with(<[u8]>::len), Err(shmkit::GetError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`try_get`](Self::try_get).
    ///
    /// # Panics
    /// As for [`get_with`](Self::get_with).
    #[inline]
    pub fn try_get_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R, GetError> {
        self.0.get_with(Wait::Try, f)
    }

    /// Runs `f` on the next message as [`get_with`](Self::get_with) does; waits for at most `timeout` while
    /// the queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"12345")?;
    /// let len = queue.get_with_timeout(Duration::from_secs(1), <[u8]>::len)?;
    /// assert_eq!(len, 5);
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
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, GetError> {
        self.0.get_with(Wait::within(timeout), f)
    }

    /// Runs `f` on the next message in place, and takes the message if `f` returns `Ok`. If `f` returns `Err`, the message
    /// stays, as the next one. The outer result is that of the get, and the inner one is what `f` returned.
    /// Waits while the queue is empty.
    ///
    /// The rest is as for [`get_with`](Self::get_with): a panic in `f` and a death leave the message too, and the
    /// consumers' side is held while `f` runs. A message that `f` never accepts stays for ever, and all later
    /// ones behind it, so let `f` accept in the end, say by putting the message elsewhere.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"12")?;
    /// queue.put(b"x")?;
    /// let parse = |line: &[u8]| String::from_utf8_lossy(line).parse::<u32>();
    /// assert_eq!(queue.take_with(parse)??, 12);
    /// assert!(queue.take_with(parse)?.is_err());
    /// assert_eq!(queue.get()?, b"x"); // still there
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
        f: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.0.take_with(Wait::FOREVER, f)
    }

    /// Runs `f` on the next message as [`take_with`](Self::take_with) does, if there is one now.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
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
    /// As for [`get_with`](Self::get_with).
    pub fn try_take_with<R, E>(
        &self,
        f: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.0.take_with(Wait::Try, f)
    }

    /// Runs `f` on the next message as [`take_with`](Self::take_with) does; waits for at most `timeout` while the
    /// queue is empty.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::ByteQueue::new(64)?;
    /// queue.put(b"12345")?;
    /// let short = |line: &[u8]| if line.len() < 4 { Ok(()) } else { Err("too long") };
    /// assert_eq!(queue.take_with_timeout(Duration::from_secs(1), short)?, Err("too long"));
    /// assert_eq!(queue.get()?, b"12345");
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
        f: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        self.0.take_with(Wait::within(timeout), f)
    }
}
