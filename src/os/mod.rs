//! Every call into the operating system: thin, without policy, `io::Result` out.
//!
//! Only this wing uses `libc`, `memmap2`, `std::fs` and `std::os`; a test enforces that. The types say what
//! a call may assume of its arguments: descriptors are borrowed, pointers come as atomics.

mod clock;
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
#[cfg(all(feature = "serde", not(loom)))]
mod socket;
#[cfg(not(loom))]
mod space;

pub(crate) use clock::*;
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
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) use socket::*;
#[cfg(not(loom))]
pub(crate) use space::*;

// The standard library's types for what the system hands out.
#[cfg(not(loom))]
pub(crate) use memmap2::MmapRaw;
#[cfg(not(loom))]
pub(crate) use std::fs::File;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) use std::io::{PipeReader, PipeWriter};
#[cfg(not(loom))]
pub(crate) use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
#[cfg(not(loom))]
pub(crate) use std::os::unix::process::ExitStatusExt;

/// Turns a `-1` return into the thread's `errno`.
#[cfg(not(loom))]
#[inline]
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
