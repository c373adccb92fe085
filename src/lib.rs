//! Shared-memory IPC that keeps working when a participant is killed.
//!
//! [`Value<T>`] is one value that every process sees, whole. [`Array<T>`] is many of them, written in
//! place one by one, or all under a guard. [`Queue<T>`] is a bounded queue for any number of producers
//! and consumers; [`ByteQueue`] is one for messages of any length, and `MessageQueue` (feature `serde`)
//! one for any type that serde can write and read. All live in named
//! shared-memory segments that any process opens by name, or in anonymous ones that forked children
//! inherit. [`Process`] starts such a child, and `Pool` (feature `serde`) has some of them run functions,
//! and goes on where they die.
//!
//! ```
//! use shmkit::{Queue, Value};
//!
//! # fn main() -> shmkit::Result<()> {
//! # let pid = os::pid();
//! # let (jobs_name, done_name) = (format!("doc-jobs-{pid}"), format!("doc-done-{pid}"));
//! // One program creates ...
//! let jobs = Queue::<u64>::create(&jobs_name, 1024)?;
//! let done = Value::create(&done_name, 0u64)?;
//! jobs.put_all(&[20, 22]).expect("nobody closed it");
//! jobs.close();
//!
//! // ... and any other opens by name.
//! let (todo, sum) = (Queue::<u64>::open(&jobs_name)?, Value::<u64>::open(&done_name)?);
//! for job in &todo {
//!     sum.update(|sum| *sum += job);
//! }
//! assert_eq!(done.get(), 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//!
//! 1. **Nothing wedges.** A process killed with `SIGKILL` at any instruction, holding any lock, blocks
//!    no survivor for longer than 100 ms plus scheduling. (Dead means that the kernel has let go of
//!    its files: while it writes a core dump it is not.)
//! 2. **Nothing acknowledged is lost, nothing is torn.** An item whose `put` returned is taken exactly
//!    once, whole, in its producer's order. A half-done `put` never shows. A `Value` is always one
//!    that somebody stored, and so is an element of an `Array` that is not poisoned. (Power failure
//!    excepted.)
//! 3. **Nothing leaks.** A segment lives as long as some process holds it, however those processes
//!    end. What a crash of *all* holders leaves is reclaimed by the next create or open of that
//!    name, or by [`sweep`].
//! 4. **No half-built segment is ever visible.**
//! 5. **Wrong openers are told so**: a typed [`Error`], and nothing is touched.
//! 6. **No surprise `SIGBUS`.** Memory is reserved at creation: a full filesystem is
//!    [`Error::NoSpace`] there and then.
//!
//! # Trust
//!
//! Peers who can write a segment are trusted not to be malicious, but not to be free of bugs or
//! crashes; permissions (`0o600` unless [`Place::mode`] says otherwise) draw that border. Indices that
//! a buggy peer has overwritten are typed errors, and no access ever leaves the segment. A peer of the same user
//! can truncate a named segment's file under us, which is a `SIGBUS`; anonymous segments are sealed
//! against it. No addresses are kept in shared memory.
//!
//! # Forks
//!
//! [`Process::spawn`] runs a closure in a forked child, and is safe: it refuses where a fork would copy
//! the locks of other threads ([`Error::MultiThreaded`]) or a guard of its own
//! ([`Error::GuardsHeld`]). Forks by other means work as well, within the limits that the system
//! sets them.
//!
//! A forked child inherits every handle and is a holder of its own from its first instruction: a
//! daemon whose parent exits keeps the name, and a parent that dies never looks alive through its
//! child. A fork inside a closure that runs under a lock copies the closure, not the lock: the copy
//! commits nothing, and panics when it returns; the copy of an [`ArrayGuard`] or of a [`Reservation`]
//! panics when it is used. If the child can't have a segment opened for itself (`EMFILE`, or no
//! permission after a change of user), its handle panics at the first use that takes a lock. Raw `clone`
//! without `exec` is not supported: it skips the handlers that this rests on.
//!
//! # Handles as data
//!
//! With the feature `serde`, handles with a name or a path can be written and read as values: sent in a
//! `MessageQueue`, or to a `Pool`'s task. Whoever reads one opens the segment, which must still have
//! that name.
//!
//! # Limits
//!
//! - No handle is to be used in a signal handler that may have interrupted a call on it.
//! - A handle's drop may wait for up to a second where a *stopped* process sits in the segment's gate
//!   (it would have to be stopped within some microseconds); then the name is left for [`sweep`].
//! - An endpoint ([`Producer`], [`Consumer`]) that is leaked keeps its side until the process ends: it owns
//!   a handle, so that nothing else ends it.
//! - A process that exits without dropping its handles (`std::process::exit`) leaves what a crash
//!   would: the name stays until the next create or open of it, or [`sweep`].
//! - While a large segment is being created, other creates, opens, drops and forks of that process
//!   wait.
//! - Who may read a segment's file can lock bytes of it, and so stall its gate: `0o600` keeps that in
//!   the family too.
//! - Another user's leftovers in the sticky /dev/shm can't be removed:
//!   [`Error::PermissionDenied`].

#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!(
    "shmkit needs Linux 5.14 or newer on a 64-bit, little-endian machine: its locks rest on open-file-description locks and shared futexes"
);

#[cfg(not(loom))]
mod error;
mod os;
#[cfg(all(feature = "serde", not(loom)))]
mod pool;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
mod segment;
mod sync;
#[cfg(not(loom))]
mod types;

#[cfg(not(loom))]
pub use bytemuck;
#[cfg(not(loom))]
pub use error::{Error, GetError, OutOfBounds, PutAllError, PutError, Result};
#[cfg(all(feature = "serde", not(loom)))]
pub use pool::{Imap, ImapUnordered, Pool, Task, TaskError};
#[cfg(not(loom))]
pub use process::{Outcome, Process, ProcessBuilder};
#[cfg(all(feature = "shared_memory", not(loom)))]
pub use segment::ShmemMemory;
#[cfg(not(loom))]
pub use segment::{Kind, Place, SegmentInfo, inspect, list, sweep, unlink};
#[cfg(all(feature = "shared_memory", not(loom)))]
pub use shared_memory;
#[cfg(not(loom))]
pub use types::{
    Array, ArrayGuard, ByteIter, ByteQueue, Consumer, Element, Iter, Producer, Queue, ReadChunk,
    Reservation, TryByteIter, TryIter, Value, WriteChunk,
};
#[cfg(all(feature = "serde", not(loom)))]
pub use types::{MessageIter, MessageQueue, TryMessageIter};

/// Memory of your own as the home of the crate's types, and simulated deaths for tests.
///
/// Every type has `create_in` and `open_in`, which take anything that implements
/// [`Memory`](memory::Memory) instead of a [`Place`].
#[cfg(not(loom))]
pub mod memory {
    pub use crate::segment::{HeapMemory, Memory};
    pub use crate::sync::{HolderState, Liveness};
}

/// The algorithms below the types, for this crate's own models and benchmarks. Not for use: this module
/// changes without notice.
#[doc(hidden)]
pub mod internals {
    #[cfg(all(feature = "serde", not(loom)))]
    pub use crate::pool::{Words, leases_of, new_task, record_lease, take_task};
    pub use crate::sync::{
        Announced, Claim, Commit, Consumers, Deadline, Event, HeldLock, Holder, HolderState,
        Journal, Liveness, Lock, LockError, LockGuard, LockId, LockWord, OwnedHead, OwnedSide,
        OwnedTail, Producers, ReadClaim, Refusal, Ring, RingWords, SeqLock, Side, Span, Wait,
        WriteClaim,
    };
}

/// The README's example is compiled and run with the other doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
