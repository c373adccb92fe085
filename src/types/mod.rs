//! What users hold: values, arrays and queues in shared memory.
//!
//! Floor by floor, from the ground up: `element` and `common`; `value`, `array`, `queue` and `byte_queue`;
//! `message_queue` and `for_pool` (the pool's door); `handles` on top.

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
