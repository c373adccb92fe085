//! The iterators over the results of many tasks.

use super::caller::Core;
use super::error::TaskError;
use super::task::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A window of tasks under way.
struct Window<'a, A, R, I> {
    core: &'a Arc<Core>,
    function: fn(A) -> R,
    args: I,
    tasks: VecDeque<Result<Task<R>, TaskError>>,
}

/// How many tasks an iterator has under way for each worker, and at least in all: so many that no worker waits
/// for the caller, which may be slow.
const PER_WORKER: usize = 4;
const AT_LEAST: usize = 32;

impl<A, R, I> Window<'_, A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
    I: Iterator<Item = A>,
{
    fn fill(&mut self) {
        let most = (PER_WORKER * self.core.shared.words.workers()).max(AT_LEAST);
        while self.tasks.len() < most {
            let Some(arg) = self.args.next() else {
                return;
            };
            self.tasks
                .push_back(Task::start(self.core, self.function, arg));
        }
    }
}

/// The results of tasks, in order: see [`Pool::imap`](crate::Pool::imap).
#[must_use = "nothing is done before the first `next`"]
pub struct Imap<'a, A, R, I>(Window<'a, A, R, I>);

/// The results of tasks, as they come: see [`Pool::imap_unordered`](crate::Pool::imap_unordered).
#[must_use = "nothing is done before the first `next`"]
pub struct ImapUnordered<'a, A, R, I>(Window<'a, A, R, I>);

impl<'a, A, R, I> Imap<'a, A, R, I> {
    pub(super) fn new(core: &'a Arc<Core>, function: fn(A) -> R, args: I) -> Self {
        Self(Window {
            core,
            function,
            args,
            tasks: VecDeque::new(),
        })
    }
}

impl<'a, A, R, I> ImapUnordered<'a, A, R, I> {
    pub(super) fn new(core: &'a Arc<Core>, function: fn(A) -> R, args: I) -> Self {
        Self(Imap::new(core, function, args).0)
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
            Ok(task) => task.entry(),
            Err(_) => None,
        };
        let first = match tasks.iter().position(Result::is_err) {
            Some(first) => first,
            None if self.0.core.is_copy() => 0,
            None => self.0.core.wait_for_first(tasks.iter().filter_map(ended)),
        };
        let next = tasks.remove(first).expect("an index that was found");
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
