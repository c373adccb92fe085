//! Segments: what memory is, where it lives, and who holds it.
//!
//! Floor by floor, from the ground up: `place` (where a segment lives), `layout` (what its bytes mean),
//! `memory` and `heap`, `hold` (who has it open), `lifecycle` (from creation to the last one out),
//! `shmem` (the mappings of the crate `shared_memory`), `region` (the checked pointer), and `inspect`.

mod heap;
mod hold;
mod inspect;
mod layout;
mod lifecycle;
mod memory;
mod place;
mod region;
#[cfg(feature = "shared_memory")]
mod shmem;

pub use heap::HeapMemory;
#[cfg(feature = "serde")]
pub(crate) use hold::held_descriptors;
pub(crate) use hold::{guards_alive, leave_all, want_of_last_fork, watch_forks};
pub use inspect::{SegmentInfo, inspect, list, sweep};
pub use layout::Kind;
pub(crate) use layout::Tag;
#[cfg(feature = "serde")]
pub(crate) use lifecycle::read_header;
pub use lifecycle::unlink;
pub use memory::Memory;
pub use place::Place;
#[cfg(feature = "serde")]
pub(crate) use place::SHM_DIR;
pub(crate) use region::{Body, Region};
#[cfg(feature = "shared_memory")]
pub use shmem::ShmemMemory;
