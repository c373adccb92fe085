//! Functions that only `pool` calls: a look at a byte queue's front, and words that processes share.

use super::array::Array;
use super::byte_queue::ByteQueue;
use crate::error::{GetError, Result};
use crate::segment::Place;
use crate::sync::Wait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long [`front_with`] waits when somebody else has the lock, before it tries anew. If the queue becomes
/// empty meanwhile, [`front_with`] notices that only after this time.
const NAP: Duration = Duration::from_millis(1);

/// Returns whether this process is a holder of the queue, and so can use the queue. A forked child is not a
/// holder if it had no file descriptor left.
pub(crate) fn is_holder(queue: &ByteQueue) -> bool {
    queue.frames().holder().number.load(Ordering::Relaxed) != 0
}

/// Runs `f` on the next message without taking it, or on `None` if the queue is empty. Nobody else takes the
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
        match queue.frames().claim_read(wait) {
            Ok(message) => {
                let _announced = message.announce();
                return Ok(f(Some(message.bytes())));
            }
            Err(GetError::Empty | GetError::Closed) => return Ok(f(None)),
            // Somebody else has the lock, so wait for it. The same wait would go on until a message
            // comes, so keep it short.
            Err(GetError::Busy) => wait = Wait::within(NAP),
            Err(GetError::TimedOut) => wait = Wait::Try,
            Err(error) => return Err(error),
        }
    }
}

/// Words in anonymous shared memory, which a process shares with its forked children. They are zero at
/// first.
#[derive(Clone, Debug)]
pub(crate) struct SharedWords(Array<u64>);

impl SharedWords {
    /// Makes `count` words.
    pub(crate) fn new(count: usize) -> Result<Self> {
        Array::zeroed(Place::anonymous(), count).map(Self)
    }

    /// Returns the word at `index`. A process that is not a holder may use the word too.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.0.len(), "a word that exists");
        // SAFETY: by region's invariant 1 the element is aligned and inside the region, which outlives the
        // borrow. Nobody else has the array, and this type makes only atomic references to its elements.
        unsafe { AtomicU64::from_ptr(self.0.element(index)) }
    }
}
