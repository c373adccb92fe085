//! [`Task`]: a task that a pool was given.

use super::caller::Core;
use super::code::{Runner, decode, encode, run_as};
use super::error::TaskError;
use super::state::Outcome;
use super::wire::MessageHeader;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task of a [`Pool`](crate::Pool): see [`Pool::apply_async`](crate::Pool::apply_async).
///
/// Dropping the handle lets the task go on, and throws its result away.
#[must_use = "dropped, its result is thrown away"]
pub struct Task<R> {
    core: Arc<Core>,
    /// The entry of the outcome; `None` once it was taken.
    entry: Option<u32>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Task<R> {
    /// Waits for the result.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::with_workers(1)?;
    /// let task = pool.apply_async(str_len, "hello".to_owned())?;
    /// assert_eq!(task.get()?, 5);
    /// # fn str_len(text: String) -> usize { text.len() }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A [`TaskError`] if the task ended without a result, and [`Closed`](TaskError::Closed) also if
    /// [`get_timeout`](Self::get_timeout) has returned the result already.
    pub fn get(mut self) -> Result<R, TaskError> {
        self.wait(None)
            .expect("a wait without a deadline ends with the outcome")
    }

    /// Waits for the result, for at most `timeout`; returns `None` if the task has not ended by then.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::with_workers(1)?;
    /// let mut task = pool.apply_async(forever, ())?;
    /// assert_eq!(task.get_timeout(Duration::from_millis(1))?, None);
    /// # fn forever(_: ()) -> u8 { loop { std::thread::park(); } }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<Option<R>, TaskError> {
        // A timeout that the clock can't count means for ever.
        self.wait(Instant::now().checked_add(timeout)).transpose()
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, TaskError>> {
        let Some(entry) = self.entry.filter(|_| !self.core.is_copy()) else {
            return Some(Err(TaskError::Closed));
        };
        let outcome = self.core.wait(deadline, |state| state.take(entry))?;
        self.entry = None;
        Some(result_of(outcome))
    }
}

impl<R> Task<R> {
    /// Gives the pool the task `f(arg)`, and returns its handle.
    pub(super) fn start<A>(core: &Arc<Core>, f: fn(A) -> R, arg: A) -> Result<Self, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let mut message = Vec::with_capacity(64);
        message.resize(MessageHeader::LEN, 0);
        let runner: Runner = run_as::<A, R>;
        // The addresses are the same in every worker, which checks that they are addresses of code.
        for address in [
            (runner as *const ()).expose_provenance(),
            (f as *const ()).expose_provenance(),
        ] {
            message.extend_from_slice(&address.to_ne_bytes());
        }
        encode(&arg, &mut message).map_err(TaskError::Encode)?;
        drop(arg);
        let entry = core.submit(message)?;
        Ok(Self {
            core: Arc::clone(core),
            entry: Some(entry),
            result: PhantomData,
        })
    }

    /// Returns where the outcome will be; `None` once it was taken.
    pub(super) fn entry(&self) -> Option<u32> {
        self.entry
    }

    /// Returns whether the task has ended, in whatever way. If so, [`get`](Self::get) does not wait.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::with_workers(1)?;
    /// let task = pool.apply_async(u8::count_ones, 7)?;
    /// while !task.is_ready() {
    ///     std::thread::yield_now(); // something else to do
    /// }
    /// assert_eq!(task.get()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let Some(entry) = self.entry.filter(|_| !self.core.is_copy()) else {
            return true;
        };
        let now = Some(Instant::now());
        let found = self.core.wait(now, |state| state.has(entry).then_some(()));
        found.is_some()
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            self.core.abandon(entry);
        }
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

fn result_of<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    outcome?.read(decode).map_err(TaskError::Decode)
}
