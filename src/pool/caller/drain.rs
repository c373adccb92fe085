//! Draining: one thread of the caller takes messages from the queue of results, and records their outcomes in
//! the state.

use super::Caller;
use crate::error::GetError;
use crate::os::{self, AsFd, OwnedFd};
use crate::pool::error::TaskError;
use crate::pool::payload::Payload;
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
        if got.is_err() {
            // A worker that died between sending a segment and putting the message leaves the segment in the
            // sockets, which must not fill up.
            while let Ok(true) = self.receive_segment(&mut state) {}
        }
        let mut recorded = 0;
        while got.is_ok() {
            self.record(&mut state, &buffer);
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

    /// Records the outcome that one message carries.
    fn record(&self, state: &mut State, message: &[u8]) {
        let Some(header) = MessageHeader::read(message) else {
            return; // no process of this pool wrote the message
        };
        let died = || self.error_of(Death::read(message));
        if header.kind == MessageKind::GivenUp {
            state.pool_error.get_or_insert_with(died);
            return;
        }
        let (slot, generation) = (header.slot, header.generation);
        if !state.is_under_way(slot, generation) {
            return;
        }
        let payload = if header.out_of_line {
            let fd = self.segment_of(state, slot, generation);
            fd.and_then(|fd| Payload::open_segment(header, fd))
        } else {
            Ok(Payload::Inline(&message[MessageHeader::LEN..]))
        };
        let text =
            |payload: Payload<'_>| payload.read(|text| String::from_utf8_lossy(text).into_owned());
        let outcome = match (header.kind, payload) {
            (_, Err(why)) => Err(TaskError::Decode(why)),
            (MessageKind::Value, Ok(payload)) => Ok(payload.into_owned()),
            (MessageKind::Panicked, Ok(payload)) => Err(TaskError::Panicked(text(payload))),
            (MessageKind::Encode, Ok(payload)) => Err(TaskError::Encode(text(payload))),
            (MessageKind::Decode, Ok(payload)) => Err(TaskError::Decode(text(payload))),
            (MessageKind::Died, _) => Err(died()),
            (MessageKind::Task | MessageKind::GivenUp, _) => return,
        };
        state.end_task(slot, generation, outcome);
    }

    /// Returns the segment of an out-of-line result whose message has come. The worker sent the segment
    /// before it put the message.
    fn segment_of(&self, state: &mut State, slot: u32, generation: u32) -> Result<OwnedFd, String> {
        loop {
            if let Some(fd) = state.take_segment(slot, generation) {
                return fd.ok_or_else(|| "no room for a descriptor of its segment".into());
            }
            if !self.receive_segment(state)? {
                return Err("its segment was not sent".into());
            }
        }
    }

    /// Receives the next segment, and keeps it if its task is under way. Returns whether one was there.
    fn receive_segment(&self, state: &mut State) -> Result<bool, String> {
        match os::try_receive_fd(self.shared.caller_socket.as_fd()) {
            Ok(None) => Ok(false),
            Ok(Some((key, fd))) => {
                let (slot, generation) = MessageHeader::parse_key(key);
                state.keep_segment(slot, generation, fd);
                Ok(true)
            }
            Err(error) => Err(format!("its segment can't be received: {error}")),
        }
    }
}
