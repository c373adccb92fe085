//! Every call into the operating system: thin, without policy, `io::Result` out.
//!
//! `base` has the types and the check of errors on which the other files stand. Only this wing uses `libc`, `memmap2`, `std::fs` and `std::os`; a test enforces that. The types say what
//! a call may assume of its arguments: descriptors are borrowed, pointers come as atomics.

#[cfg(not(loom))]
mod anchor;
mod base;
mod clock;
#[cfg(not(loom))]
mod descriptor;
#[cfg(not(loom))]
mod file;
#[cfg(all(feature = "serde", not(loom)))]
mod for_pool;
#[cfg(not(loom))]
mod fork;
mod futex;
#[cfg(all(any(feature = "serde", feature = "shared_memory"), not(loom)))]
mod maps;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
mod ofd_lock;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod signals;
#[cfg(all(feature = "serde", not(loom)))]
mod socket;
#[cfg(not(loom))]
mod space;

#[cfg(not(loom))]
pub(crate) use anchor::*;
pub(crate) use base::*;
pub(crate) use clock::*;
#[cfg(not(loom))]
pub(crate) use descriptor::*;
#[cfg(not(loom))]
pub(crate) use file::*;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) use for_pool::*;
#[cfg(not(loom))]
pub(crate) use fork::*;
pub(crate) use futex::{Futex32, Futex64};
#[cfg(all(any(feature = "serde", feature = "shared_memory"), not(loom)))]
pub(crate) use maps::*;
#[cfg(not(loom))]
pub(crate) use name::*;
#[cfg(not(loom))]
pub(crate) use ofd_lock::*;
#[cfg(not(loom))]
pub(crate) use process::*;
#[cfg(not(loom))]
pub(crate) use signals::*;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) use socket::*;
#[cfg(not(loom))]
pub(crate) use space::*;
