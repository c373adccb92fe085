//! [`State`]: what the caller knows about its tasks.
//!
//! While a task is under way, it has a *slot*, whose number and generation its messages carry. Its outcome
//! goes to an *entry*, where the `Task` looks for it.
//!
//! | the task | its slot is | its entry is | next |
//! |---|---|---|---|
//! | is under way | in use | pending, or abandoned because the `Task` was dropped | its result comes, or the report of its worker's death |
//! | has ended | free, in the next generation | ready, or free if it was abandoned | the `Task` takes the outcome |
//! | has given its outcome to the `Task` | – | free | – |
//!
//! Invariants:
//! 1. *A slot in use belongs to one task*, which has the slot's generation. The first message with this slot
//!    and generation ends the task. A later message has an old generation, and is thrown away.
//! 2. *An entry that is not free belongs to one [`Task`](super::task::Task)*, or is abandoned.

use super::error::TaskError;
use super::payload::Extents;
use super::wire::SLOTS;
use crate::os::File;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

pub(super) struct State {
    pub(super) slots: Vec<Slot>,
    pub(super) free_slots: Vec<u32>,
    pub(super) entries: Vec<Entry>,
    free_entries: Vec<u32>,
    /// The extents of arguments that are out of line.
    extents: Extents,
    /// True while a thread drains the queue of results.
    pub(super) draining: bool,
    /// How many threads wait for the thread that drains.
    pub(super) waiters: usize,
    /// The buffer for messages. The thread that drains has it meanwhile.
    pub(super) buffer: Vec<u8>,
    /// True once the pool accepts no more tasks.
    pub(super) closed: bool,
    /// Once no more results will come: the error of every task that has not ended.
    pub(super) pool_error: Option<TaskError>,
}

/// The record of one task under way. At most `SLOTS` of them exist, and a free one is used again.
pub(super) struct Slot {
    /// The number of the slot's task, from 1 on. After `u32::MAX` it begins at 1 again.
    pub(super) generation: u32,
    pub(super) in_use: bool,
    pub(super) entry: u32,
    /// The extent of the argument, if the argument is out of line.
    extent: Option<Range<u64>>,
    /// The [pieces](super::result) of a long result whose last message has not come yet.
    gathered: Vec<u8>,
}

/// The slot, with its generation, and the entry of a new task.
pub(super) struct Booking {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) entry: u32,
}

pub(super) enum Entry {
    Free,
    Pending,
    /// The `Task` was dropped before the outcome came.
    Abandoned,
    Ready(Outcome),
}

/// How a task ended; the result is still encoded.
pub(super) type Outcome = Result<Vec<u8>, TaskError>;

impl State {
    /// Makes the state of a pool without tasks. Arguments that are out of line will lie in the file
    /// `arguments`.
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
            pool_error: None,
        }
    }

    /// Books a slot and an entry for a new task. Returns `None` if no slot is free.
    pub(super) fn book(&mut self) -> Option<Result<Booking, TaskError>> {
        if let Some(error) = &self.pool_error {
            return Some(Err(error.clone()));
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
                gathered: Vec::new(),
            });
        }
        let slot = self.free_slots.pop()?;
        let entry = self.new_entry();
        let booked = &mut self.slots[slot as usize];
        (booked.in_use, booked.entry) = (true, entry);
        Some(Ok(Booking {
            slot,
            generation: booked.generation,
            entry,
        }))
    }

    /// Returns an extent for the argument of the slot's task. The extent is released with the slot.
    pub(super) fn book_extent(&mut self, slot: u32, len: usize) -> Range<u64> {
        let extent = self.extents.allocate(len);
        self.slots[slot as usize].extent = Some(extent.clone());
        extent
    }

    /// Returns the slot of a task, if the task is under way.
    fn slot_of(&mut self, slot: u32, generation: u32) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(slot as usize)?;
        (slot.in_use && slot.generation == generation).then_some(slot)
    }

    /// Returns whether a task is under way.
    pub(super) fn is_under_way(&self, slot: u32, generation: u32) -> bool {
        let slot = self.slots.get(slot as usize);
        slot.is_some_and(|slot| slot.in_use && slot.generation == generation)
    }

    /// Returns the pieces that were gathered for the slot's task, with another one behind them.
    pub(super) fn complete(&mut self, slot: u32, piece: &[u8]) -> Vec<u8> {
        let mut gathered = mem::take(&mut self.slots[slot as usize].gathered);
        gathered.extend_from_slice(piece);
        gathered
    }

    /// Keeps what has been gathered for the slot's task, unless nobody will ask for it.
    pub(super) fn gather(&mut self, slot: u32, so_far: Vec<u8>) {
        let slot = &mut self.slots[slot as usize];
        if matches!(self.entries[slot.entry as usize], Entry::Pending) {
            slot.gathered = so_far;
        }
    }

    /// Ends a task, if it is under way (invariant 1).
    pub(super) fn end_task(&mut self, slot: u32, generation: u32, outcome: Outcome) {
        let Some(ended) = self.slot_of(slot, generation) else {
            return;
        };
        let entry = ended.entry;
        self.free_slot(slot);
        match &mut self.entries[entry as usize] {
            pending @ Entry::Pending => *pending = Entry::Ready(outcome),
            _ => self.free_entry(entry),
        }
    }

    /// Frees a slot in use, and everything that its task had except for the entry.
    pub(super) fn free_slot(&mut self, slot: u32) {
        let freed = &mut self.slots[slot as usize];
        freed.in_use = false;
        freed.generation = freed.generation.checked_add(1).unwrap_or(1);
        freed.gathered = Vec::new();
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

    /// Takes the entry's outcome, if the task has ended or never will. Nobody may ask for the entry after
    /// that.
    pub(super) fn take_outcome(&mut self, entry: u32) -> Option<Outcome> {
        let found = &mut self.entries[entry as usize];
        match found {
            Entry::Ready(_) => {
                let ready = mem::replace(found, Entry::Free);
                self.free_entries.push(entry);
                let Entry::Ready(outcome) = ready else {
                    unreachable!("matched just now");
                };
                Some(outcome)
            }
            _ => {
                let error = self.pool_error.clone()?;
                *found = Entry::Abandoned;
                Some(Err(error))
            }
        }
    }

    /// Returns whether [`take_outcome`](Self::take_outcome) would find an outcome.
    pub(super) fn has_outcome(&self, entry: u32) -> bool {
        self.pool_error.is_some() || matches!(self.entries[entry as usize], Entry::Ready(_))
    }
}

/// Converts an index of a slot or an entry. No vector here gets anywhere near 2^32 elements.
fn index(index: usize) -> u32 {
    index.try_into().expect("fewer than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(Arc::new(crate::os::create_in_memory().unwrap()))
    }

    /// If a worker dies after it put its result and before it ended its lease, the supervisor reports a task
    /// that has ended already. By then, another task may have the slot.
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
        state.end_task(first.slot, first.generation, Ok(vec![1]));
        state.end_task(first.slot, first.generation, died());
        let next = state.book().unwrap().unwrap();
        assert_eq!(next.slot, first.slot);
        state.end_task(first.slot, first.generation, died());
        assert_eq!(state.take_outcome(next.entry), None);
        assert_eq!(state.take_outcome(first.entry), Some(Ok(vec![1])));
        state.end_task(next.slot, next.generation, Ok(vec![2]));
        assert_eq!(state.take_outcome(next.entry), Some(Ok(vec![2])));
        state.end_task(SLOTS, 1, died());
        assert_eq!(state.free_slots.len(), state.slots.len());
        assert_eq!(state.free_entries.len(), state.entries.len());
    }

    #[test]
    fn an_abandoned_task_frees_what_it_had() {
        let mut state = state();
        let task = state.book().unwrap().unwrap();
        state.entries[task.entry as usize] = Entry::Abandoned;
        state.end_task(task.slot, task.generation, Err(TaskError::Closed));
        assert_eq!(state.free_slots.len(), 1);
        assert_eq!(state.free_entries.len(), 1);
    }
    #[test]
    fn pieces_end_with_their_task() {
        let mut state = state();
        let task = state.book().unwrap().unwrap();
        let (slot, generation) = (task.slot, task.generation);
        let mut piece = |slot, bytes: &[u8]| {
            let so_far = state.complete(slot, bytes);
            state.gather(slot, so_far);
        };
        piece(slot, b"de");
        piece(slot, b"ad");
        state.end_task(slot, generation, Err(TaskError::Closed));
        // Another task has the slot, and is whole.
        let next = state.book().unwrap().unwrap();
        assert_eq!(next.slot, slot);
        let so_far = state.complete(slot, b"on");
        state.gather(slot, so_far);
        assert_eq!(state.complete(slot, b"e"), b"one");
        // Nobody asks for the pieces of an abandoned task.
        state.entries[next.entry as usize] = Entry::Abandoned;
        state.gather(slot, b"pieces".to_vec());
        assert_eq!(state.slots[slot as usize].gathered.capacity(), 0);
    }
}
