//! placeholder
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!(
    "shmkit needs Linux 5.14 or newer on a 64-bit, little-endian machine: its locks rest on open-file-description locks and shared futexes"
);

#[cfg(not(loom))]
mod element;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod hold;
#[cfg(not(loom))]
mod inspect;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod memory;
mod os;
#[cfg(not(loom))]
mod place;
#[cfg(not(loom))]
mod queue;
#[cfg(not(loom))]
mod region;
mod ring;
#[cfg(not(loom))]
mod segment;
mod sync;
#[cfg(not(loom))]
mod value;

#[cfg(not(loom))]
pub use bytemuck;
#[cfg(not(loom))]
pub use element::Element;
#[cfg(not(loom))]
pub use error::{Error, GetError, PutAllError, PutError, Result};
#[cfg(not(loom))]
pub use inspect::{SegmentInfo, inspect, list, sweep};
#[cfg(not(loom))]
pub use layout::Kind;
#[cfg(not(loom))]
pub use memory::{HeapMemory, Memory};
#[cfg(not(loom))]
pub use place::Place;
#[cfg(not(loom))]
pub use queue::{Iter, Queue, TryIter};
#[cfg(not(loom))]
pub use segment::unlink;
pub use sync::{Liveness, Standing};
#[cfg(not(loom))]
pub use value::Value;

/// The algorithms below the types, for this crate's own models and benchmarks. Not for use: it
/// changes without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::ring::{Refusal, Ring, RingWords, Span};
    pub use crate::sync::{
        Deadline, Event, Holder, Liveness, Lock, LockError, LockGuard, LockWord, Patience, Slots,
        Standing,
    };
}
