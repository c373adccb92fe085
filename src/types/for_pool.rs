//! The pool's door: what a pool needs of a byte queue, and its shared words.

use super::array::Array;
use super::byte_queue::ByteQueue;
use crate::error::{GetError, Result};
use crate::segment::Place;
use crate::sync::Wait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a look at the front waits for the lock in one go. If the queue becomes empty meanwhile, the
/// look has waited so long in vain.
const NAP: Duration = Duration::from_millis(1);

/// Returns whether this process is a holder of the queue, and so can use it. A forked child that found no
/// descriptors is none.
pub(crate) fn is_holder(queue: &ByteQueue) -> bool {
    queue.frames().holder().number.load(Ordering::Relaxed) != 0
}

/// Runs `f` on the next message, or on `None` if the queue is empty, and takes nothing. Nobody takes the
/// message before `f` has returned. This waits for the consumers' lock, but not for a message.
///
/// # Errors
/// [`GetError::Corrupt`].
pub(crate) fn front_with<R>(
    queue: &ByteQueue,
    f: impl FnOnce(Option<&[u8]>) -> R,
) -> Result<R, GetError> {
    let mut wait = Wait::Try;
    loop {
        match queue.frames().claim_next(wait) {
            Ok(message) => {
                let _announced = message.announce();
                return Ok(f(Some(message.bytes())));
            }
            Err(GetError::Empty | GetError::Closed) => return Ok(f(None)),
            // Somebody has the lock: take a nap in its queue, and look again.
            Err(GetError::Busy) => wait = Wait::within(NAP),
            Err(GetError::TimedOut) => wait = Wait::Try,
            Err(error) => return Err(error),
        }
    }
}

/// Anonymous words that a process shares with its forks. They are zero at first.
#[derive(Clone, Debug)]
pub(crate) struct SharedWords(Array<u64>);

impl SharedWords {
    /// Makes `count` words.
    pub(crate) fn new(count: usize) -> Result<Self> {
        Array::zeroed(Place::anonymous(), count).map(Self)
    }

    /// Returns the word at `index`. It needs no holder.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.0.len(), "a word that exists");
        // SAFETY: by region's invariant 1 the element is inside the region, which outlives the borrow, and
        // aligned; this type makes no reference to the elements but atomic ones, and nobody else has the
        // array.
        unsafe { AtomicU64::from_ptr(self.0.element(index)) }
    }
}
