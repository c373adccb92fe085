//! [`Imap`], [`ImapUnordered`]: the iterators over the results of many tasks.

use super::caller::Caller;
use super::error::TaskError;
use super::task::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// The next tasks of an iterator, some of which are under way.
struct Window<'a, A, R, I> {
    caller: &'a Arc<Caller>,
    function: fn(A) -> R,
    /// The arguments without a task so far.
    args: I,
    tasks: VecDeque<Result<Task<R>, TaskError>>,
}

/// An iterator has this many tasks under way for each worker, so that no worker waits for a slow caller.
const TASKS_PER_WORKER: usize = 4;

/// An iterator has at least this many tasks under way, however few workers the pool has.
const MIN_TASKS: usize = 32;

impl<A, R, I> Window<'_, A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
    I: Iterator<Item = A>,
{
    /// Starts tasks until enough are under way, or no argument is left.
    fn fill(&mut self) {
        let enough = (TASKS_PER_WORKER * self.caller.shared.words.workers()).max(MIN_TASKS);
        while self.tasks.len() < enough {
            let Some(arg) = self.args.next() else {
                return;
            };
            self.tasks
                .push_back(Task::start(self.caller, self.function, arg));
        }
    }
}

/// The results of tasks, in order: see [`Pool::imap`](crate::Pool::imap).
#[must_use = "nothing is done before the first `next`"]
pub struct Imap<'a, A, R, I>(Window<'a, A, R, I>);

/// The results of tasks, in the order in which the tasks end: see
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
#[must_use = "nothing is done before the first `next`"]
pub struct ImapUnordered<'a, A, R, I>(Window<'a, A, R, I>);

impl<'a, A, R, I> Imap<'a, A, R, I> {
    pub(super) fn new(caller: &'a Arc<Caller>, function: fn(A) -> R, args: I) -> Self {
        Self(Window {
            caller,
            function,
            args,
            tasks: VecDeque::new(),
        })
    }
}

impl<'a, A, R, I> ImapUnordered<'a, A, R, I> {
    pub(super) fn new(caller: &'a Arc<Caller>, function: fn(A) -> R, args: I) -> Self {
        Self(Imap::new(caller, function, args).0)
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
        let first = match tasks.iter().position(Result::is_err) {
            Some(refused) => refused,
            None if self.0.caller.is_forked_copy() => 0,
            // All tasks have an entry, so that the index among the entries is the index among the tasks.
            None => self
                .0
                .caller
                .wait_for_any(tasks.iter().flatten().filter_map(Task::entry)),
        };
        let next = tasks.remove(first).expect("the index is that of a task");
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
