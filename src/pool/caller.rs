//! The caller's side: putting tasks, and filing their outcomes. There is no thread behind it: a thread that
//! waits for its result drains the queue of results, and files the results of others.
//!
//! Invariants:
//! 1. *At most one thread drains*, without the state's lock while it waits. When that thread stops, for
//!    whatever reason, it wakes all other waiters, and one of them goes on.
//! 2. *Once the supervisor has ended, no result comes any more*, so pending tasks are over.

use super::error::TaskError;
use super::payload::{Payload, extent_len, pack_task};
use super::state::{Booking, Entry, State};
use super::supervisor::{BADLY, WELL};
use super::wire::{MessageHeader, MessageKind, Shared, word_at};
use crate::error::{Error, GetError, PutError};
use crate::os::{self, AsFd, Ask, OwnedFd, PipeReader, PipeWriter};
use crate::process::Process;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest sleep of a waiter before it looks whether the supervisor is alive.
const SLICE: Duration = Duration::from_millis(100);

/// The longest sleep of a waiter for space: it has to drain the results in between.
const ROOM_SLICE: Duration = Duration::from_millis(5);

/// How long a supervisor may take to end when it is told to, before it is killed.
const GOODBYE: Duration = Duration::from_secs(2);

/// How many results one drain files at most.
const BATCH: usize = 256;

pub(super) struct Core {
    pub(super) shared: Shared,
    pub(super) supervisor: Process,
    /// A byte that is written here makes the supervisor end everything.
    stop_tx: PipeWriter,
    /// Keeps a reader open, so that writing to a dead supervisor raises no `SIGPIPE`.
    _stop_rx: PipeReader,
    /// The process that made the pool. In any other process this is a fork's copy.
    creator: u32,
    state: Mutex<State>,
    changed: Condvar,
}

impl Core {
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

    /// Waits until the supervisor says that it is ready.
    pub(super) fn hear_greeting(&self) -> Result<(), Error> {
        let (_, end) = &self.shared.passage;
        let heard = loop {
            match os::wait_for_any(&[end.as_fd(), self.supervisor.fd()], None).map(|ready| ready[0])
            {
                Ok(true) => break os::try_receive_fd(end.as_fd()).map(drop),
                Ok(false) if self.supervisor.is_alive() => {} // a signal came in between
                Ok(false) => {
                    break Err(io::Error::other(
                        "it could not become a holder of its queues",
                    ));
                }
                Err(error) => break Err(error),
            }
        };
        heard.map_err(|error| {
            let _ = self.supervisor.kill();
            let _ = self.supervisor.join();
            Error::from_os("(pool)", "start its supervisor", error)
        })
    }

    pub(super) fn is_copy(&self) -> bool {
        os::pid() != self.creator
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a task. `message` has space for a header at its beginning. Waits while too many tasks are under
    /// way, or while the queue is full. Returns the entry for the task's outcome.
    pub(super) fn submit(&self, mut message: Vec<u8>) -> Result<u32, TaskError> {
        if self.is_copy() {
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
            let extent = self.lock().extent_for(slot, len);
            pack_task(header, &mut message, &self.shared.arguments, &extent)
                .map_err(TaskError::Encode)
        });
        match packed.and_then(|()| self.put(&message)) {
            Ok(()) => Ok(entry),
            Err(error) => {
                let mut state = self.lock();
                state.free_slot(slot);
                state.free_entry(entry);
                self.wake(&state); // somebody may wait for a slot, or for the end of all tasks
                Err(error)
            }
        }
    }

    fn put(&self, message: &[u8]) -> Result<(), TaskError> {
        loop {
            match self.shared.tasks.try_put(message) {
                Ok(()) => return Ok(()),
                Err(PutError::Full | PutError::Busy) => {}
                Err(error) => return Err(self.why_not(&error)),
            }
            self.drain_if_nobody_does(Duration::ZERO);
            match self.shared.tasks.put_timeout(message, ROOM_SLICE) {
                Ok(()) => return Ok(()),
                Err(PutError::TimedOut) => {}
                Err(error) => return Err(self.why_not(&error)),
            }
            if let Some(over) = &self.lock().over {
                return Err(over.clone());
            }
        }
    }

    /// Translates an error of the queue of tasks.
    fn why_not(&self, error: &PutError) -> TaskError {
        self.drain_if_nobody_does(Duration::ZERO); // the supervisor may have said why
        let over = self.lock().over.clone();
        over.unwrap_or_else(|| match error {
            PutError::Closed => TaskError::Closed,
            error => TaskError::Encode(error.to_string()),
        })
    }

    /// Waits until `look` finds something, or until the deadline, and drains the results meanwhile.
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
            let left = deadline.map_or(SLICE, |at| {
                at.saturating_duration_since(Instant::now()).min(SLICE)
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

    /// Waits until one of the entries has an outcome, and returns its index.
    pub(super) fn wait_for_first(&self, entries: impl Iterator<Item = u32> + Clone) -> usize {
        let first = |state: &mut State| entries.clone().position(|entry| state.has(entry));
        let found = self.wait(None, first);
        found.expect("a wait without a deadline ends with a result")
    }

    fn wake(&self, state: &State) {
        if state.waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// Files the results that have come.
    pub(super) fn drain_if_nobody_does(&self, slice: Duration) {
        let state = self.lock();
        if !state.draining {
            drop(self.drain(state, slice));
        }
    }

    /// Files the results that have come, and waits for the first for at most `slice`. The lock is released
    /// meanwhile.
    fn drain<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        slice: Duration,
    ) -> MutexGuard<'a, State> {
        state.draining = true;
        let mut buffer = std::mem::take(&mut state.buffer);
        let results = &self.shared.results;
        drop(state);
        let got = if slice.is_zero() {
            results.try_get_into(&mut buffer)
        } else {
            results.get_into_timeout(&mut buffer, slice)
        };
        // Asked before the last look at the queue: by then everything that the supervisor put is there.
        let is_dead = got.is_err() && !self.supervisor.is_alive();
        let mut state = self.lock();
        let mut got = if is_dead {
            results.try_get_into(&mut buffer)
        } else {
            got
        };
        if got.is_err() {
            // Segments whose senders died before they put their messages must not fill the sockets.
            while let Ok(true) = self.receive_one(&mut state) {}
        }
        let mut filed = 0;
        while got.is_ok() {
            self.file(&mut state, &buffer);
            filed += 1;
            if filed == BATCH && !is_dead {
                break;
            }
            got = results.try_get_into(&mut buffer);
        }
        let over = match got {
            Err(GetError::Corrupt) => Some(TaskError::Decode(GetError::Corrupt.to_string())),
            Err(GetError::Closed) => Some(TaskError::Closed),
            Err(_) if is_dead => Some(TaskError::WorkerDied {
                pid: self.supervisor.pid(),
                exit_code: self.supervisor.exit_code().unwrap_or_default(),
            }),
            _ => None,
        };
        if state.over.is_none() {
            state.over = over;
        }
        state.buffer = buffer;
        state.draining = false;
        self.wake(&state);
        state
    }

    /// Files one message.
    fn file(&self, state: &mut State, message: &[u8]) {
        let Some(header) = MessageHeader::read(message) else {
            return; // no process of this pool wrote the message
        };
        let died = || TaskError::WorkerDied {
            pid: word_at(message, MessageHeader::LEN).unwrap_or_default(),
            exit_code: word_at(message, MessageHeader::LEN + 4).map_or(0, u32::cast_signed),
        };
        if header.kind == MessageKind::GivenUp {
            state.over.get_or_insert_with(died);
            return;
        }
        let (slot, generation) = (header.slot, header.generation);
        if !state.is_current(slot, generation) {
            return;
        }
        let payload = if header.out_of_line {
            let fd = self.receive(state, slot, generation);
            fd.and_then(|fd| Payload::in_segment(header, fd))
        } else {
            Ok(Payload::Inline(&message[MessageHeader::LEN..]))
        };
        let text =
            |payload: Payload<'_>| payload.read(|text| String::from_utf8_lossy(text).into_owned());
        let outcome = match (header.kind, payload) {
            (_, Err(why)) => Err(TaskError::Decode(why)),
            (MessageKind::Value, Ok(payload)) => Ok(payload.kept()),
            (MessageKind::Panicked, Ok(payload)) => Err(TaskError::Panicked(text(payload))),
            (MessageKind::Encode, Ok(payload)) => Err(TaskError::Encode(text(payload))),
            (MessageKind::Decode, Ok(payload)) => Err(TaskError::Decode(text(payload))),
            (MessageKind::Died, _) => Err(died()),
            (MessageKind::Task | MessageKind::GivenUp, _) => return,
        };
        state.end(slot, generation, outcome);
    }

    /// Returns the segment of an out-of-line result whose message has come. The segment was sent before.
    fn receive(&self, state: &mut State, slot: u32, generation: u32) -> Result<OwnedFd, String> {
        loop {
            if let Some(fd) = state.kept(slot, generation) {
                return fd.ok_or_else(|| "no room for a descriptor of its segment".into());
            }
            if !self.receive_one(state)? {
                return Err("its segment was not sent".into());
            }
        }
    }

    /// Receives the next segment, and keeps it if its task is under way. Returns whether there was one.
    fn receive_one(&self, state: &mut State) -> Result<bool, String> {
        let (_, end) = &self.shared.passage;
        match os::try_receive_fd(end.as_fd()) {
            Ok(None) => Ok(false),
            Ok(Some((key, fd))) => {
                let (slot, generation) = MessageHeader::of_key(key);
                state.keep(slot, generation, fd);
                Ok(true)
            }
            Err(error) => Err(format!("its segment can't be received: {error}")),
        }
    }

    /// Frees an entry for which nobody will ask any more.
    pub(super) fn abandon(&self, entry: u32) {
        if self.is_copy() {
            return;
        }
        let mut state = self.lock();
        match &mut state.entries[entry as usize] {
            pending @ Entry::Pending => *pending = Entry::Abandoned,
            _ => state.free_entry(entry),
        }
    }

    /// Accepts no more tasks.
    pub(super) fn close(&self) {
        if !self.is_copy() {
            self.lock().closed = true;
            self.shared.tasks.close();
        }
    }

    /// Waits until all tasks that were put have ended.
    pub(super) fn wait_for_all(&self) {
        self.wait(None, |state| {
            let idle = state.free_slots.len() == state.slots.len();
            (idle || state.over.is_some()).then_some(())
        });
    }

    /// Ends the processes, and all pending tasks.
    pub(super) fn terminate(&self) {
        if self.is_copy() {
            return;
        }
        let mut state = self.lock();
        state.closed = true;
        state.over.get_or_insert(TaskError::Closed);
        self.wake(&state);
        drop(state);
        self.shared.words.stop().store(1, Ordering::Relaxed);
        self.shared.tasks.close();
        self.shared.results.close();
        let _ = (&self.stop_tx).write_all(b".");
        if let Ok(None) = self.supervisor.join_timeout(GOODBYE) {
            // The supervisor is stopped. The workers end with it.
            let _ = self.supervisor.kill();
            let _ = self.supervisor.join();
        }
        self.reap_orphans();
    }

    /// Waits for the workers that a killed supervisor has left to this process, if this process adopts
    /// orphans. The workers end with their supervisor.
    pub(super) fn reap_orphans(&self) {
        // A supervisor that ended by itself has waited for them.
        let was_orderly = matches!(self.supervisor.exit_code(), None | Some(WELL | BADLY));
        if self.is_copy() || was_orderly || !os::adopts_orphans() {
            return;
        }
        let words = &self.shared.words;
        for index in 0..words.workers() {
            // Relaxed: the kernel told us of the supervisor's end, and a worker writes this before it works.
            let pid = u32::try_from(words.pid(index).swap(0, Ordering::Relaxed));
            let Some(pid) = pid.ok().filter(|pid| *pid != 0) else {
                continue;
            };
            // Not for ever: the pid may belong to another process by now, which is left alone.
            if let Ok(fd) = os::open_process(pid)
                && let Ok(true) = os::wait_for_end(fd.as_fd(), GOODBYE)
            {
                let _ = os::child_status(fd.as_fd(), Ask::Reap);
            }
        }
    }
}
