//! Who has which task, whoever dies: noting it inside the take, and finding it after a death.
//!
//! | step | a worker's take, under the consumers' lock | if it dies after it |
//! |---|---|---|
//! | 1 | looks at the front task | the task is still the front one |
//! | 2 | **notes** itself as the owner of the task's slot | still the front one; the note names a dead worker |
//! | 3 | copies the task | the same |
//! | 4 | **commits** the take | the task is this worker's, and ends with it |
//!
//! Invariants:
//! 1. *A task is put once for its slot and generation, and committed by one worker.*
//! 2. *A note that is not the front task's was committed.* Noting and committing are under one lock,
//!    and between them the task is the front one. A dead worker's note that was not committed is the
//!    front task's until another worker takes that, who writes over the note first.
//! 3. *A worker's number is never used again*, so that a note never comes to mean its successor.
//!
//! So whoever finds a worker dead takes the consumers' lock (from the dead one, if need be), and every
//! slot that the notes say is that worker's, but for the front task's, is one whose task ends with it.
//! A worker that owes nothing for a task any more takes its note back; one that dies before that is
//! reported for a task that has ended, which its generation shows.
//!
//! If the finder dies, its pool ends.

use super::wire::{Lease, MessageHeader, MessageKind, SLOTS, Words};
use crate::error::GetError;
use crate::types::{ByteQueue, front_with};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A task message without code: for models and sweeps.
#[must_use]
pub fn new_task(slot: u32, generation: u32) -> Vec<u8> {
    let mut message = vec![0; MessageHeader::LEN];
    MessageHeader::new(slot, generation, MessageKind::Task).write(&mut message);
    message
}

/// Step 2: notes `worker` as the owner of the task in `message`. To be called on the front message,
/// under the consumers' lock.
pub fn record_lease(words: &Words, worker: u32, message: &[u8]) {
    if let Some(MessageHeader {
        slot, generation, ..
    }) = MessageHeader::read(message)
    {
        let owner = Lease { worker, generation };
        // Relaxed: whoever finds this worker dead reads it under the consumers' lock.
        words.lease(slot).store(owner.word(), Ordering::Relaxed);
    }
}

/// Takes the next task into `message`, and notes `worker` as its owner; waits for one, for at most
/// `timeout` if that is given.
///
/// # Errors
/// As for [`ByteQueue::get_with_timeout`].
#[inline]
pub fn take_task(
    tasks: &ByteQueue,
    words: &Words,
    worker: u32,
    message: &mut Vec<u8>,
    timeout: Option<Duration>,
) -> Result<(), GetError> {
    let mut take = |front: &[u8]| {
        record_lease(words, worker, front);
        message.clear();
        message.extend_from_slice(front);
    };
    // As long as there are tasks, without a look at the clock.
    match tasks.try_get_with(&mut take) {
        Err(GetError::Empty | GetError::Busy) => {}
        taken => return taken,
    }
    match timeout {
        Some(timeout) => tasks.get_with_timeout(timeout, take),
        None => tasks.get_with(take),
    }
}

/// The slots and generations of the tasks that `worker`, which is dead, took and owed something for.
///
/// # Errors
/// [`GetError::Corrupt`].
pub fn leases_of(
    tasks: &ByteQueue,
    words: &Words,
    worker: u32,
) -> Result<Vec<(u32, u32)>, GetError> {
    front_with(tasks, |front| {
        let front = front.and_then(MessageHeader::read);
        let front = front.map(|header| (header.slot, header.generation));
        (0..SLOTS)
            .filter_map(|slot| {
                let owner = Lease::of(words.lease(slot).load(Ordering::Relaxed));
                (owner.worker == worker).then_some((slot, owner.generation))
            })
            .filter(|taken| Some(*taken) != front) // by invariant 2
            .collect()
    })
}

/// Takes a note back, unless somebody has taken the slot's next task since.
pub(super) fn end_lease(words: &Words, worker: u32, slot: u32, generation: u32) {
    let owner = Lease { worker, generation };
    let _ =
        words
            .lease(slot)
            .compare_exchange(owner.word(), 0, Ordering::Relaxed, Ordering::Relaxed);
}
