//! The types that users hold: values, arrays and queues in shared memory.
//!
//! The rooms lie on four floors, and each room imports only from floors below its own. From the ground up:
//! 1. `element` and `common`;
//! 2. `value`, `array`, `queue` and `byte_queue`;
//! 3. `message_queue`, and `for_pool` with the functions that only `pool` calls;
//! 4. `handles`, which lets serde write and read the types of users.

mod array;
mod byte_queue;
mod common;
mod element;
#[cfg(feature = "serde")]
mod for_pool;
#[cfg(feature = "serde")]
mod handles;
#[cfg(feature = "serde")]
mod message_queue;
mod queue;
mod value;

pub use array::{Array, ArrayGuard};
pub use byte_queue::{ByteIter, ByteQueue, Reservation, TryByteIter};
pub use element::Element;
#[cfg(feature = "serde")]
pub(crate) use for_pool::{SharedWords, front_with, is_holder};
#[cfg(feature = "serde")]
pub(crate) use handles::{keep_open, let_go, next_task, take_reason};
#[cfg(feature = "serde")]
pub use message_queue::{MessageIter, MessageQueue, TryMessageIter};
pub use queue::{Consumer, Iter, Producer, Queue, ReadChunk, TryIter, WriteChunk};
pub use value::Value;
