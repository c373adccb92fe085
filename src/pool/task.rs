//! [`Task`], and the iterators over many.

use super::caller::Core;
use super::code::decode;
use super::state::Outcome;
use super::{Pool, TaskError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task that a [`Pool`] was given: see [`Pool::apply_async`].
///
/// Dropping it lets the task go on, and throws its result away.
#[must_use = "dropped, its result is thrown away"]
pub struct Task<R> {
    core: Arc<Core>,
    /// `None` once its outcome was taken.
    entry: Option<u32>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Task<R> {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`TaskError`] says how the task ended without one; [`Closed`](TaskError::Closed) as well where
    /// [`get_timeout`](Self::get_timeout) has given it out already.
    pub fn get(mut self) -> Result<R, TaskError> {
        self.wait(None)
            .expect("a wait without a deadline ends with the outcome")
    }

    /// Waits for the result, for at most `timeout`; `None` if the task had not ended by then.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<Option<R>, TaskError> {
        // Beyond what the clock can count: for ever.
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
    pub(super) fn new(core: &Arc<Core>, entry: u32) -> Self {
        Self {
            core: Arc::clone(core),
            entry: Some(entry),
            result: PhantomData,
        }
    }

    /// Whether the task has ended, in whatever way: then [`get`](Self::get) does not wait.
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

/// Tasks under way, no more than a window of them.
struct Window<'a, A, R, I> {
    pool: &'a Pool,
    function: fn(A) -> R,
    args: I,
    tasks: VecDeque<Result<Task<R>, TaskError>>,
}

/// How many tasks an iterator has under way for each worker, and at least in all: enough that no
/// worker waits for the caller, who may be slow.
const PER_WORKER: usize = 4;
const AT_LEAST: usize = 32;

impl<A, R, I> Window<'_, A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
    I: Iterator<Item = A>,
{
    fn fill(&mut self) {
        let most = (PER_WORKER * self.pool.workers()).max(AT_LEAST);
        while self.tasks.len() < most {
            let Some(arg) = self.args.next() else {
                return;
            };
            self.tasks
                .push_back(self.pool.apply_async(self.function, arg));
        }
    }
}

/// The results of tasks, in order: see [`Pool::imap`].
#[must_use = "nothing is done before the first `next`"]
pub struct Imap<'a, A, R, I>(Window<'a, A, R, I>);

/// The results of tasks, as they come: see [`Pool::imap_unordered`].
#[must_use = "nothing is done before the first `next`"]
pub struct ImapUnordered<'a, A, R, I>(Window<'a, A, R, I>);

impl<'a, A, R, I> Imap<'a, A, R, I> {
    pub(super) fn new(pool: &'a Pool, function: fn(A) -> R, args: I) -> Self {
        Self(Window {
            pool,
            function,
            args,
            tasks: VecDeque::new(),
        })
    }
}

impl<'a, A, R, I> ImapUnordered<'a, A, R, I> {
    pub(super) fn new(pool: &'a Pool, function: fn(A) -> R, args: I) -> Self {
        Self(Imap::new(pool, function, args).0)
    }
}

impl<A, R, I> Iterator for Imap<'_, A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.fill();
        let next = self.0.tasks.pop_front()?;
        Some(next.and_then(Task::get))
    }
}

impl<A, R, I> Iterator for ImapUnordered<'_, A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.fill();
        let tasks = &mut self.0.tasks;
        if tasks.is_empty() {
            return None;
        }
        let ended = |task: &Result<Task<R>, TaskError>| match task {
            Ok(task) => task.entry,
            Err(_) => None,
        };
        let first = match tasks.iter().position(Result::is_err) {
            Some(first) => first,
            None if self.0.pool.is_copy() => 0,
            None => self.0.pool.wait_for_first(tasks.iter().filter_map(ended)),
        };
        let next = tasks.remove(first).expect("one that there is");
        Some(next.and_then(Task::get))
    }
}

impl<A, R, I> fmt::Debug for Imap<'_, A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.0.tasks.len();
        f.debug_struct("Imap")
            .field("under_way", &under_way)
            .finish_non_exhaustive()
    }
}

impl<A, R, I> fmt::Debug for ImapUnordered<'_, A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.0.tasks.len();
        f.debug_struct("ImapUnordered")
            .field("under_way", &under_way)
            .finish_non_exhaustive()
    }
}
