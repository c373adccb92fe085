//! [`State`]: the caller's knowledge of its tasks.
//!
//! | a task is | its slot is | its entry is | next |
//! |---|---|---|---|
//! | put | in use | pending, or abandoned by a dropped `Task` | its result comes, or the report of its worker's death |
//! | ended | free, in its next generation | ready; free, if it was abandoned | the `Task` takes the outcome |
//! | taken | – | free | – |
//!
//! Invariants:
//! 1. *A slot in use belongs to one task*, that of its generation. The first message for the slot ends the
//!    task; a later message is of an old generation, and is thrown away.
//! 2. *An entry that is not free belongs to one [`Task`](super::task::Task)*, or is abandoned.

use super::error::TaskError;
use super::payload::{Extents, Payload};
use super::wire::SLOTS;
use crate::os::{File, OwnedFd};
use std::ops::Range;
use std::sync::Arc;

pub(super) struct State {
    pub(super) slots: Vec<Slot>,
    pub(super) free_slots: Vec<u32>,
    pub(super) entries: Vec<Entry>,
    free_entries: Vec<u32>,
    /// The extents of long arguments.
    extents: Extents,
    /// Whether a thread drains the results.
    pub(super) draining: bool,
    /// How many threads wait for that thread.
    pub(super) waiters: usize,
    /// The buffer for draining, while nobody drains.
    pub(super) buffer: Vec<u8>,
    pub(super) closed: bool,
    /// The outcome of every task that has not ended, once the pool is over.
    pub(super) over: Option<TaskError>,
}

/// One task under way; at most `SLOTS` of them exist.
pub(super) struct Slot {
    /// Counts the slot's tasks, from 1 on.
    pub(super) generation: u32,
    pub(super) in_use: bool,
    pub(super) entry: u32,
    /// The extent of the argument, if that is out of line.
    extent: Option<Range<u64>>,
    /// The segment of an out-of-line result whose message has not come yet. The inner `None` stands for a
    /// segment for which this process had no descriptor left.
    passed: Option<Option<OwnedFd>>,
}

/// The slot and the entry of a task under way.
pub(super) struct Booking {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) entry: u32,
}

pub(super) enum Entry {
    Free,
    Pending,
    Abandoned,
    Ready(Outcome),
}

/// How a task ended; the result is still encoded.
pub(super) type Outcome = Result<Payload<'static>, TaskError>;

impl State {
    /// Makes the state without tasks. Long arguments will lie in the file `arguments`.
    pub(super) fn new(arguments: Arc<File>) -> Self {
        Self {
            slots: Vec::new(),
            free_slots: Vec::new(),
            entries: Vec::new(),
            free_entries: Vec::new(),
            extents: Extents::new(arguments),
            draining: false,
            waiters: 0,
            buffer: Vec::new(),
            closed: false,
            over: None,
        }
    }

    /// Books a slot and an entry for a task, if a slot is free.
    pub(super) fn book(&mut self) -> Option<Result<Booking, TaskError>> {
        if let Some(over) = &self.over {
            return Some(Err(over.clone()));
        }
        if self.closed {
            return Some(Err(TaskError::Closed));
        }
        if self.free_slots.is_empty() && self.slots.len() < SLOTS as usize {
            self.free_slots.push(index(self.slots.len()));
            self.slots.push(Slot {
                generation: 1,
                in_use: false,
                entry: 0,
                extent: None,
                passed: None,
            });
        }
        let slot = self.free_slots.pop()?;
        let entry = self.new_entry();
        let taken = &mut self.slots[slot as usize];
        (taken.in_use, taken.entry) = (true, entry);
        Some(Ok(Booking {
            slot,
            generation: taken.generation,
            entry,
        }))
    }

    /// Returns an extent for the argument of the task in a slot, until the slot is freed.
    pub(super) fn extent_for(&mut self, slot: u32, len: usize) -> Range<u64> {
        let extent = self.extents.take(len);
        self.slots[slot as usize].extent = Some(extent.clone());
        extent
    }

    fn current(&mut self, slot: u32, generation: u32) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(slot as usize)?;
        (slot.in_use && slot.generation == generation).then_some(slot)
    }

    /// Returns whether a task is under way.
    pub(super) fn is_current(&self, slot: u32, generation: u32) -> bool {
        let slot = self.slots.get(slot as usize);
        slot.is_some_and(|slot| slot.in_use && slot.generation == generation)
    }

    /// Keeps the segment of a result whose message is still to come.
    pub(super) fn keep(&mut self, slot: u32, generation: u32, fd: Option<OwnedFd>) {
        if let Some(slot) = self.current(slot, generation) {
            slot.passed = Some(fd);
        }
    }

    /// Returns, once, the segment that was kept.
    pub(super) fn kept(&mut self, slot: u32, generation: u32) -> Option<Option<OwnedFd>> {
        self.current(slot, generation)?.passed.take()
    }

    /// Ends a task, if it is under way (invariant 1).
    pub(super) fn end(&mut self, slot: u32, generation: u32, outcome: Outcome) {
        let Some(ended) = self.current(slot, generation) else {
            return;
        };
        let entry = ended.entry;
        self.free_slot(slot);
        match &mut self.entries[entry as usize] {
            pending @ Entry::Pending => *pending = Entry::Ready(outcome),
            _ => self.free_entry(entry),
        }
    }

    pub(super) fn free_slot(&mut self, slot: u32) {
        let freed = &mut self.slots[slot as usize];
        freed.in_use = false;
        freed.generation = freed.generation.checked_add(1).unwrap_or(1);
        freed.passed = None;
        if let Some(extent) = freed.extent.take() {
            self.extents.release(&extent);
        }
        self.free_slots.push(slot);
    }

    fn new_entry(&mut self) -> u32 {
        let entry = self.free_entries.pop().unwrap_or_else(|| {
            self.entries.push(Entry::Free);
            index(self.entries.len() - 1)
        });
        self.entries[entry as usize] = Entry::Pending;
        entry
    }

    pub(super) fn free_entry(&mut self, entry: u32) {
        self.entries[entry as usize] = Entry::Free;
        self.free_entries.push(entry);
    }

    /// Takes the entry's outcome, if there is one. Nobody may ask for the entry again after that.
    pub(super) fn take(&mut self, entry: u32) -> Option<Outcome> {
        let found = &mut self.entries[entry as usize];
        match found {
            Entry::Ready(_) => {
                let ready = std::mem::replace(found, Entry::Free);
                self.free_entries.push(entry);
                let Entry::Ready(outcome) = ready else {
                    unreachable!("matched just now");
                };
                Some(outcome)
            }
            _ => {
                let over = self.over.clone()?;
                *found = Entry::Abandoned;
                Some(Err(over))
            }
        }
    }

    /// Returns whether [`take`](Self::take) would find an outcome.
    pub(super) fn has(&self, entry: u32) -> bool {
        self.over.is_some() || matches!(self.entries[entry as usize], Entry::Ready(_))
    }
}

/// Converts an index. There are fewer than 2^32 slots and entries, because each takes more than a byte.
fn index(index: usize) -> u32 {
    index.try_into().expect("fewer than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(Arc::new(crate::os::create_in_memory().unwrap()))
    }

    fn ended(state: &mut State, entry: u32) -> Option<Result<Vec<u8>, TaskError>> {
        let outcome = state.take(entry)?;
        Some(outcome.map(|payload| payload.read(<[u8]>::to_vec)))
    }

    /// If a worker dies after it put its result and before it ended its lease, the supervisor reports a task
    /// that has ended already. By then another task may have the slot.
    #[test]
    fn a_late_message_ends_no_other_task() {
        let died = || {
            Err(TaskError::WorkerDied {
                pid: 1,
                exit_code: -9,
            })
        };
        let mut state = state();
        let first = state.book().unwrap().unwrap();
        state.end(first.slot, first.generation, Ok(Payload::Own(vec![1])));
        state.end(first.slot, first.generation, died());
        let next = state.book().unwrap().unwrap();
        assert_eq!(next.slot, first.slot);
        state.end(first.slot, first.generation, died());
        assert_eq!(ended(&mut state, next.entry), None);
        assert_eq!(ended(&mut state, first.entry), Some(Ok(vec![1])));
        state.end(next.slot, next.generation, Ok(Payload::Own(vec![2])));
        assert_eq!(ended(&mut state, next.entry), Some(Ok(vec![2])));
        state.end(SLOTS, 1, died());
        assert_eq!(state.free_slots.len(), state.slots.len());
        assert_eq!(state.free_entries.len(), state.entries.len());
    }

    #[test]
    fn an_abandoned_task_frees_what_it_had() {
        let mut state = state();
        let task = state.book().unwrap().unwrap();
        state.entries[task.entry as usize] = Entry::Abandoned;
        state.end(task.slot, task.generation, Err(TaskError::Closed));
        assert_eq!(state.free_slots.len(), 1);
        assert_eq!(state.free_entries.len(), 1);
    }
}
