//! Leases: which worker has which task, whoever dies. A worker records its lease inside the take, and the
//! supervisor finds it after a death.
//!
//! | step | a worker's take, under the consumers' lock | if the worker dies after the step |
//! |---|---|---|
//! | 1 | looks at the front task | the task is still the front one |
//! | 2 | **records** its lease in the task's slot | the task is still the front one; the lease names a dead worker |
//! | 3 | copies the task | the same |
//! | 4 | **commits** the take | the task is this worker's, and ends with it |
//!
//! Invariants:
//! 1. *A task is put once for its slot and generation, and one worker commits its take.*
//! 2. *A lease of a task that is not the front one was committed.* A worker records and commits under one
//!    lock, and in between the task is the front one. If a dead worker's lease was not committed, its task
//!    is the front one until another worker takes it, and that worker overwrites the lease first.
//! 3. *A worker's number is never used again*, so that a lease never comes to mean a successor.
//!
//! So the supervisor, when it finds a worker dead, takes the consumers' lock (from the dead worker, if need
//! be). Every task that the worker has leased ends with it, except for the front task. A worker ends its lease
//! once it has answered. If it dies just before that, the supervisor reports a task that has ended already,
//! as the task's generation shows.
//!
//! If the supervisor dies, its pool ends.

use super::wire::{Lease, MessageHeader, MessageKind, SLOTS, Words};
use crate::error::GetError;
use crate::types::{ByteQueue, front_with};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Makes the message of a task without code, for tests and the crash sweep.
#[must_use]
pub fn new_task(slot: u32, generation: u32) -> Vec<u8> {
    let mut message = vec![0; MessageHeader::LEN];
    MessageHeader::new(slot, generation, MessageKind::Task).write(&mut message);
    message
}

/// Does step 2: records that `worker` has the task in `message`, which is the front message. The caller has
/// the consumers' lock.
pub fn record_lease(words: &Words, worker: u32, message: &[u8]) {
    if let Some(MessageHeader {
        slot, generation, ..
    }) = MessageHeader::read(message)
    {
        let owner = Lease { worker, generation };
        // Relaxed: whoever finds this worker dead reads the lease under the consumers' lock.
        words.lease(slot).store(owner.word(), Ordering::Relaxed);
    }
}

/// Takes the next task into `message`, and records the lease of `worker`. Waits for a task, for at most
/// `timeout` if there is one.
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
    // As long as there are tasks, nobody looks at the clock.
    match tasks.try_get_with(&mut take) {
        Err(GetError::Empty | GetError::Busy) => {}
        taken => return taken,
    }
    match timeout {
        Some(timeout) => tasks.get_with_timeout(timeout, take),
        None => tasks.get_with(take),
    }
}

/// Returns the slots and generations of the tasks that end with `worker`, which is dead.
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

/// Ends a lease, unless a worker has taken the slot's next task since.
pub(super) fn end_lease(words: &Words, worker: u32, slot: u32, generation: u32) {
    let owner = Lease { worker, generation };
    let _ =
        words
            .lease(slot)
            .compare_exchange(owner.word(), 0, Ordering::Relaxed, Ordering::Relaxed);
}
