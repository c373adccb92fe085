//! Draining: one thread of the caller takes messages from the queue of results, and records their outcomes in
//! the state.

use super::Caller;
use crate::error::GetError;
use crate::pool::error::TaskError;
use crate::pool::result::{discard_result, take_result};
use crate::pool::state::State;
use crate::pool::wire::{Death, MessageHeader, MessageKind};
use std::sync::MutexGuard;
use std::time::Duration;

/// How many results one drain records at most, so that other threads get the state's lock.
const MAX_BATCH: usize = 256;

impl Caller {
    /// Records the results that have come, unless another thread drains.
    pub(super) fn drain_if_nobody_does(&self) {
        let state = self.lock();
        if !state.draining {
            drop(self.drain(state, Duration::ZERO));
        }
    }

    /// Records the results that have come. Waits for the first result for at most `slice`, and releases the
    /// lock meanwhile.
    pub(super) fn drain<'a>(
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
        // The order matters: once the supervisor is known to be dead, everything that it put is in the queue,
        // so that the second look finds all of it.
        let is_dead = got.is_err() && !self.supervisor.is_alive();
        let mut state = self.lock();
        let mut got = if is_dead {
            results.try_get_into(&mut buffer)
        } else {
            got
        };
        let mut recorded = 0;
        while got.is_ok() {
            state = self.record(state, &buffer);
            recorded += 1;
            if recorded == MAX_BATCH && !is_dead {
                break;
            }
            got = results.try_get_into(&mut buffer);
        }
        let pool_error = match got {
            Err(GetError::Corrupt) => Some(TaskError::Decode(GetError::Corrupt.to_string())),
            Err(GetError::Closed) => Some(TaskError::Closed),
            Err(_) if is_dead => Some(self.error_of(Death {
                pid: self.supervisor.pid(),
                exit_code: self.supervisor.exit_code().unwrap_or_default(),
            })),
            _ => None,
        };
        if state.pool_error.is_none() {
            state.pool_error = pool_error;
        }
        state.buffer = buffer;
        state.draining = false;
        self.wake(&state);
        state
    }

    /// Returns the error of the tasks that ended with a process of the pool.
    fn error_of(&self, Death { pid, exit_code }: Death) -> TaskError {
        if pid == self.supervisor.pid() {
            TaskError::SupervisorDied { pid, exit_code }
        } else {
            TaskError::WorkerDied { pid, exit_code }
        }
    }

    /// Records what one message carries. Releases the lock while it copies a long result.
    fn record<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        message: &[u8],
    ) -> MutexGuard<'a, State> {
        let Some(header) = MessageHeader::read(message) else {
            return state; // no process of this pool wrote the message
        };
        let (slot, generation) = (header.slot, header.generation);
        if header.kind == MessageKind::GivenUp {
            state
                .pool_error
                .get_or_insert(self.error_of(Death::read(message)));
        }
        if !state.is_under_way(slot, generation) {
            return state;
        }
        let file = &self.shared.result_file;
        let payload = &message[MessageHeader::LEN..];
        let payload = if header.out_of_line {
            drop(state);
            let taken = take_result(file, slot, payload);
            // Only the thread that drains frees the slot of a task that was put.
            state = self.lock();
            taken
        } else {
            Ok(state.complete(slot, payload))
        };
        let outcome = match (header.kind, payload) {
            (MessageKind::Task | MessageKind::GivenUp, _) => return state,
            (MessageKind::Died, _) => {
                discard_result(file, slot);
                Err(self.error_of(Death::read(message)))
            }
            (_, Err(why)) => Err(TaskError::Decode(why)),
            (MessageKind::Piece, Ok(so_far)) => {
                state.gather(slot, so_far);
                return state;
            }
            (MessageKind::Value, Ok(result)) => Ok(result),
            (MessageKind::Panicked, Ok(why)) => Err(TaskError::Panicked(text(&why))),
            (MessageKind::Encode, Ok(why)) => Err(TaskError::Encode(text(&why))),
            (MessageKind::Decode, Ok(why)) => Err(TaskError::Decode(text(&why))),
        };
        state.end_task(slot, generation, outcome);
        state
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
