//! [`Caller`]: the caller's side of a pool, which puts tasks and collects their outcomes. No thread of its
//! own stands behind it: a thread that waits for its result drains the queue of results (`drain`), and so
//! collects the results of other threads, too.
//!
//! Invariants:
//! 1. *At most one thread drains*, and it releases the state's lock while it sleeps. When that thread stops
//!    draining, it wakes all waiters, and one of them goes on.
//! 2. *Once the supervisor has ended, no result comes any more*: the first thread that finds this sets the
//!    error of all pending tasks (`State::pool_error`).

mod drain;
mod ending;

use super::error::TaskError;
use super::payload::{extent_len, pack_task};
use super::state::{Booking, Entry, State};
use super::wire::{MessageHeader, MessageKind, Shared};
use crate::error::PutError;
use crate::os::{self, PipeReader, PipeWriter};
use crate::process::Process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A thread that waits for a result sleeps for at most this long before it looks whether the supervisor
/// lives.
const RESULT_SLICE: Duration = Duration::from_millis(100);

/// A thread that waits for space in the queue of tasks sleeps for at most this long before it drains results,
/// since a worker that waits for space in the queue of results takes no task.
const SPACE_SLICE: Duration = Duration::from_millis(5);

pub(super) struct Caller {
    pub(super) shared: Shared,
    pub(super) supervisor: Process,
    /// A byte that is written to this pipe makes the supervisor end everything.
    stop_tx: PipeWriter,
    /// Keeps a reader open, so that a write to the pipe of a dead supervisor raises no `SIGPIPE`.
    _stop_rx: PipeReader,
    /// The pid of the process that made the pool.
    creator: u32,
    state: Mutex<State>,
    /// Notified when a thread stops draining or gives a slot back, and when the pool is terminated.
    changed: Condvar,
}

impl Caller {
    pub(super) fn new(
        shared: Shared,
        supervisor: Process,
        (stop_rx, stop_tx): (PipeReader, PipeWriter),
    ) -> Self {
        let state = State::new(Arc::clone(&shared.arguments));
        Self {
            shared,
            supervisor,
            stop_tx,
            _stop_rx: stop_rx,
            creator: os::pid(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Returns whether this process is a fork of the process that made the pool.
    pub(super) fn is_forked_copy(&self) -> bool {
        os::pid() != self.creator
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a task. `message` has space for a header at its beginning. Waits while too many tasks are under
    /// way, or while the queue is full. Returns the entry for the task's outcome.
    pub(super) fn submit(&self, mut message: Vec<u8>) -> Result<u32, TaskError> {
        if self.is_forked_copy() {
            return Err(TaskError::Closed);
        }
        let Booking {
            slot,
            generation,
            entry,
        } = self
            .wait(None, State::book)
            .expect("a wait without a deadline ends with a result")?;
        let header = MessageHeader::new(slot, generation, MessageKind::Task);
        header.write(&mut message);
        let packed = extent_len(&message).map_or(Ok(()), |len| {
            let extent = self.lock().book_extent(slot, len);
            pack_task(header, &mut message, &self.shared.arguments, &extent)
                .map_err(TaskError::Encode)
        });
        match packed.and_then(|()| self.put(&message)) {
            Ok(()) => Ok(entry),
            Err(error) => {
                let mut state = self.lock();
                state.free_slot(slot);
                state.free_entry(entry);
                self.wake(&state); // a thread may wait for a free slot, or for the end of all tasks
                Err(error)
            }
        }
    }

    fn put(&self, message: &[u8]) -> Result<(), TaskError> {
        loop {
            match self.shared.tasks.try_put(message) {
                Ok(()) => return Ok(()),
                Err(PutError::Full | PutError::Busy) => {}
                Err(error) => return Err(self.task_error(&error)),
            }
            self.drain_if_nobody_does();
            match self.shared.tasks.put_timeout(message, SPACE_SLICE) {
                Ok(()) => return Ok(()),
                Err(PutError::TimedOut | PutError::Busy) => {}
                Err(error) => return Err(self.task_error(&error)),
            }
            if let Some(error) = &self.lock().pool_error {
                return Err(error.clone());
            }
        }
    }

    /// Returns the error of a task that the queue has refused.
    fn task_error(&self, error: &PutError) -> TaskError {
        self.drain_if_nobody_does(); // a message may say that the pool has given up
        let pool_error = self.lock().pool_error.clone();
        pool_error.unwrap_or_else(|| match error {
            PutError::Closed => TaskError::Closed,
            error => TaskError::Encode(error.to_string()),
        })
    }

    /// Drains results until `look` finds something in the state, or until the deadline. If another thread
    /// drains, sleeps until that thread stops.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let found @ Some(_) = look(&mut state) {
                return found;
            }
            let left = deadline.map_or(RESULT_SLICE, |at| {
                at.saturating_duration_since(Instant::now())
                    .min(RESULT_SLICE)
            });
            if !state.draining {
                drop(self.drain(state, left));
                state = self.lock();
            } else if !left.is_zero() {
                state.waiters += 1;
                let waited = self.changed.wait_timeout(state, left);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                state.waiters -= 1;
            }
            if left.is_zero() {
                return look(&mut state);
            }
        }
    }

    /// Waits until one of the entries has an outcome, and returns that entry's index.
    pub(super) fn wait_for_any(&self, entries: impl Iterator<Item = u32> + Clone) -> usize {
        let look = |state: &mut State| entries.clone().position(|entry| state.has_outcome(entry));
        let found = self.wait(None, look);
        found.expect("a wait without a deadline ends with a result")
    }

    fn wake(&self, state: &State) {
        if state.waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// Gives up an entry whose `Task` was dropped: frees it now, or when the outcome comes.
    pub(super) fn abandon(&self, entry: u32) {
        if self.is_forked_copy() {
            return;
        }
        let mut state = self.lock();
        match &mut state.entries[entry as usize] {
            pending @ Entry::Pending => *pending = Entry::Abandoned,
            _ => state.free_entry(entry),
        }
    }
}
