//! Leases: the record of which worker has which task, for the case that a worker dies. A worker records its
//! lease inside the take, and the supervisor reads the lease after the worker's death.
//!
//! | step | a worker that takes a task, under the consumers' lock, | if the worker dies after the step |
//! |---|---|---|
//! | 1 | looks at the front task | the task is still the front task |
//! | 2 | **records** its lease in the task's slot | the task is still the front task; its lease names a dead worker |
//! | 3 | copies the task | as after step 2 |
//! | 4 | **commits** the take | the task was this worker's, and has ended with it |
//!
//! Invariants:
//! 1. *A task is put once for its slot and generation, and one worker commits its take.*
//! 2. *If a task has a lease and is not the front task, its take was committed.* A worker records and commits
//!    under one lock, and until the commit the task is the front task. If a worker dies in between, the task
//!    stays the front task until another worker takes it, and that worker overwrites the lease first.
//! 3. *A worker's number is never used again*, so that a lease never names a later worker.
//!
//! When the supervisor finds a worker dead, it takes the consumers' lock, if need be from the dead worker.
//! Every task that the worker has leased, except for the front task, has ended with the worker. A worker ends
//! its lease after it has put the result. If the worker dies between these two steps, the supervisor reports
//! a task that has ended already; the task's generation tells the caller so.
//!
//! If the supervisor dies, its pool ends.

use super::wire::{Lease, MessageHeader, MessageKind, SLOTS, Words};
use crate::error::GetError;
use crate::types::{ByteQueue, front_with};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Makes the message of a task without code and argument, for tests and the crash sweep.
#[must_use]
pub fn new_task(slot: u32, generation: u32) -> Vec<u8> {
    let mut message = vec![0; MessageHeader::LEN];
    MessageHeader::new(slot, generation, MessageKind::Task).write(&mut message);
    message
}

/// Does step 2: records that `worker` has the task in `message`, which is the front message. The calling
/// thread must have the consumers' lock.
pub fn record_lease(words: &Words, worker: u32, message: &[u8]) {
    if let Some(MessageHeader {
        slot, generation, ..
    }) = MessageHeader::read(message)
    {
        let lease = Lease { worker, generation };
        // Relaxed: the supervisor reads the lease under the same lock.
        words.lease(slot).store(lease.to_word(), Ordering::Relaxed);
    }
}

/// Takes the next task into `message`, and records the lease of `worker`. Waits for a task; if a `timeout` is
/// given, for at most that long.
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
    // As long as the queue has tasks, a worker never asks for the time.
    match tasks.try_get_with(&mut take) {
        Err(GetError::Empty | GetError::Busy) => {}
        taken => return taken,
    }
    match timeout {
        Some(timeout) => tasks.get_with_timeout(timeout, take),
        None => tasks.get_with(take),
    }
}

/// Returns the slots and generations of the tasks that ended with `worker`, which is dead.
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
                let lease = Lease::from_word(words.lease(slot).load(Ordering::Relaxed));
                (lease.worker == worker).then_some((slot, lease.generation))
            })
            .filter(|leased| Some(*leased) != front) // by invariant 2
            .collect()
    })
}

/// Ends a lease, unless another worker has leased the slot's next task since.
pub(super) fn end_lease(words: &Words, worker: u32, slot: u32, generation: u32) {
    let lease = Lease { worker, generation };
    let _ = words.lease(slot).compare_exchange(
        lease.to_word(),
        0,
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
}
