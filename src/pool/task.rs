//! [`Task`]: the handle to a task under way.

use super::caller::Caller;
use super::code::{Runner, decode, encode, run_typed};
use super::error::TaskError;
use super::state::Outcome;
use super::wire::MessageHeader;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The handle to a task of a [`Pool`](crate::Pool): see [`Pool::apply_async`](crate::Pool::apply_async).
///
/// If you drop the handle, the task goes on, and its result is thrown away.
#[must_use = "dropped, its result is thrown away"]
pub struct Task<R> {
    caller: Arc<Caller>,
    /// The entry to which the outcome comes; `None` after the outcome was taken.
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
    /// A [`TaskError`] if the task ended without a result. It is [`TaskError::Closed`] also if
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
        // If the deadline is beyond what the clock can count, this waits for ever.
        self.wait(Instant::now().checked_add(timeout)).transpose()
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, TaskError>> {
        let Some(entry) = self.entry.filter(|_| !self.caller.is_forked_copy()) else {
            return Some(Err(TaskError::Closed));
        };
        let outcome = self
            .caller
            .wait(deadline, |state| state.take_outcome(entry))?;
        self.entry = None;
        Some(decode_result(outcome))
    }
}

impl<R> Task<R> {
    /// Puts the task `f(arg)`, and returns its handle.
    pub(super) fn start<A>(caller: &Arc<Caller>, f: fn(A) -> R, arg: A) -> Result<Self, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let mut message = Vec::with_capacity(64);
        message.resize(MessageHeader::LEN, 0);
        let runner: Runner = run_typed::<A, R>;
        // A function has the same address in every worker, because the workers are forks. A worker checks
        // that an address is one of code.
        for address in [
            (runner as *const ()).expose_provenance(),
            (f as *const ()).expose_provenance(),
        ] {
            message.extend_from_slice(&address.to_ne_bytes());
        }
        encode(&arg, &mut message).map_err(TaskError::Encode)?;
        drop(arg);
        let entry = caller.submit(message)?;
        Ok(Self {
            caller: Arc::clone(caller),
            entry: Some(entry),
            result: PhantomData,
        })
    }

    /// Returns the entry to which the outcome comes; `None` after the outcome was taken.
    pub(super) fn entry(&self) -> Option<u32> {
        self.entry
    }

    /// Returns whether the task has ended, with or without a result. If so, [`get`](Self::get) does not wait.
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
        let Some(entry) = self.entry.filter(|_| !self.caller.is_forked_copy()) else {
            return true;
        };
        let now = Some(Instant::now());
        let found = self
            .caller
            .wait(now, |state| state.has_outcome(entry).then_some(()));
        found.is_some()
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            self.caller.abandon(entry);
        }
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

fn decode_result<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    decode(&outcome?).map_err(TaskError::Decode)
}
