//! Shared-memory IPC that keeps working when a participant is killed.
//!
//! Processes share values, arrays and queues in named shared-memory segments, which any process opens by
//! name, or in anonymous segments, which forked children inherit.
//!
//! ```
//! use shmkit::{Queue, Value};
//!
//! # fn main() -> shmkit::Result<()> {
//! # let pid = std::process::id();
//! # let (jobs_name, done_name) = (format!("doc-jobs-{pid}"), format!("doc-done-{pid}"));
//! // One program creates ...
//! let jobs = Queue::<u64>::create(&jobs_name, 1024)?;
//! let done = Value::create(&done_name, 0u64)?;
//! jobs.put_all(&[20, 22]).expect("nobody closed it");
//! jobs.close();
//!
//! // ... and any other program opens by name.
//! let (todo, sum) = (Queue::<u64>::open(&jobs_name)?, Value::<u64>::open(&done_name)?);
//! for job in &todo {
//!     sum.update(|sum| *sum += job);
//! }
//! assert_eq!(done.get(), 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Which type do I take?
//!
//! | you want | take | elements |
//! |---|---|---|
//! | the latest state of something, read often, by anybody, without waiting | [`Value<T>`] | plain bytes ([`Element`]) |
//! | many elements, changed one by one or all at once under a guard | [`Array<T>`] | plain bytes |
//! | work or events, each taken once and in order | [`Queue<T>`] | plain bytes |
//! | the same, with one producer or one consumer that wants the last bit of speed, or writes in place | [`Producer`], [`Consumer`] of a `Queue` | plain bytes |
//! | messages of any length, written and read in place | [`ByteQueue`] | bytes |
//! | messages of any type with serde's traits | `MessageQueue<T>` (feature `serde`) | anything serde can write and read |
//! | a closure in a child process | [`Process`] | |
//! | functions run by worker processes, any of which may die | `Pool` (feature `serde`) | arguments and results: anything serde can write and read |
//! | to see which segments there are, and who holds them | [`list`], [`inspect`], [`sweep`] | |
//!
//! [`Place`] says where a segment lives (a name, a file, anonymous memory, a descriptor) and with which
//! permissions. The module [`memory`] has the same types over memory of your own.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `derive` | yes | bytemuck's derives `Pod` and `Zeroable` for your own element types, through [`bytemuck`] |
//! | `serde` | yes | `MessageQueue` and `Pool`; handles as values that serde can write and read |
//! | `shared_memory` | no | `ShmemMemory`: every type over a mapping of the crate `shared_memory` |
//!
//! # Promises
//!
//! 1. **Nothing wedges.** A process that is killed with `SIGKILL` at any instruction, holding any lock,
//!    blocks no survivor for longer than 100 ms plus scheduling. (A process is dead once the kernel has
//!    let go of its files. While it writes a core dump it is not dead, nor while a program that it starts
//!    with `vfork` or `posix_spawn` still shares its memory, which ends with the `exec`.)
//! 2. **Nothing acknowledged is lost, nothing is torn.** An item whose `put` returned is taken exactly
//!    once, whole, in its producer's order. A half-done `put` never shows. A `Value` is always one
//!    that somebody stored, and so is an element of an `Array` that is not poisoned. (Power failure
//!    excepted.)
//! 3. **Nothing leaks.** A segment lives as long as some process holds it, however those processes
//!    end. If a crash of *all* holders leaves a segment behind, the next create or open of its name
//!    reclaims it, or [`sweep`] does.
//! 4. **No half-built segment is ever visible.**
//! 5. **Wrong openers are told so**: they get a typed [`Error`], and nothing is touched. (Of a type, its name,
//!    size and alignment are compared, and not its fields: [`Place::schema`] tells versions of a struct apart.)
//! 6. **No surprise `SIGBUS`.** Memory is reserved at creation: a full filesystem is
//!    [`Error::NoSpace`] there and then.
//!
//! # When something hangs
//!
//! - A call without a time-out waits as long as it takes: for an item, for space, or for a *living* peer
//!   that has the lock. A peer that is stopped (`SIGSTOP`, a debugger) is alive. The `_timeout` and `try_`
//!   forms do not hang with it. Nor do they if a stray write made a lock name a living process that does not
//!   have it; the waiting forms notice that only if the word names the waiter itself, and it has no other thread.
//! - [`list`] shows every segment and how many processes hold it. `fuser -v /dev/shm/NAME` shows which
//!   processes these are.
//! - [`Error::Stalled`] means that a process was stopped in the middle of creating, opening or leaving a
//!   segment of that name.
//! - A segment that nobody can find any more was unlinked by somebody else: see the README's section on
//!   what else removes segments.
//! - The README has a table of what a survivor sees when a peer dies, with the test that shows each row.
//!
//! # Giving up a wait
//!
//! To end one thread's wait without closing the queue for everybody, let that thread wait piece by piece, and
//! look at a flag of your own in between:
//!
//! ```
//! use shmkit::{GetError, Queue};
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//!
//! # fn main() -> shmkit::Result<()> {
//! let jobs = Queue::<u64>::new(8)?;
//! let stop = AtomicBool::new(false);
//! std::thread::scope(|scope| {
//!     scope.spawn(|| {
//!         while !stop.load(Ordering::Relaxed) {
//!             match jobs.get_timeout(Duration::from_millis(100)) {
//!                 Ok(job) => println!("job {job}"),
//!                 Err(GetError::TimedOut | GetError::Busy) => {} // nothing was taken
//!                 Err(_) => break,
//!             }
//!         }
//!     });
//!     stop.store(true, Ordering::Relaxed); // the thread ends within 100 ms
//! });
//! jobs.put(1)?; // the queue is open as before
//! # Ok(())
//! # }
//! ```
//!
//! Such a loop costs no more than one long wait, which wakes after 100 ms too. A call that timed out took
//! nothing, put nothing and wrote nothing, so that nothing is lost in between. The predicate of
//! [`Value::wait_until`] may look at the flag itself: it is called at least every 100 ms.
//!
//! The terms (hold, gate, orphan, draft, lease, ...) are explained in the glossary of ARCHITECTURE.md.
//!
//! # Trust
//!
//! Peers who can write a segment are trusted not to be malicious, but not to be free of bugs or
//! crashes. Permissions (`0o600` unless [`Place::mode`] says otherwise) draw that border. If a buggy peer
//! overwrites the indices, the others get a typed error, and no access ever leaves the segment. A peer of
//! the same user can truncate a named segment's file under us, which is a `SIGBUS`; anonymous segments are
//! sealed against it. No addresses are kept in shared memory.
//!
//! # Forks
//!
//! [`Process::spawn`] runs a closure in a forked child, and is safe: it refuses if a fork would copy
//! the locks of other threads ([`Error::MultiThreaded`]) or a guard of the calling thread
//! ([`Error::GuardsHeld`]). Forks by other means work as well, within the limits that the system
//! sets them.
//!
//! A forked child inherits every handle and is a holder of its own from its first instruction. So a
//! daemon whose parent exits keeps the name, and a parent that dies never looks alive through its
//! child. A fork inside a closure that runs under a lock copies the closure, not the lock: the copy
//! commits nothing, and panics when it returns. The copy of an [`ArrayGuard`] or of a [`Reservation`]
//! panics when it is used. If the child can't open a segment for itself (`EMFILE`, or no permission after a
//! change of user), its handle panics at the first use that takes a lock. Raw `clone` without `exec` is not
//! supported: it skips the fork handlers on which all of this rests.
//!
//! # Handles as data
//!
//! With the feature `serde`, handles with a name or a path can be written and read as values: sent in a
//! `MessageQueue`, or to a task of a `Pool`. Reading a handle opens the segment, which must still have
//! that name.
//!
//! # Limits
//!
//! - A signal handler must not use a handle if it may have interrupted a call on that handle. A global
//!   allocator must not use a handle that the program uses too: calls allocate while they have a lock.
//! - A handle's drop may wait for up to a second if a *stopped* process sits in the segment's gate
//!   (the process would have to be stopped within some microseconds). The name is then left for [`sweep`].
//! - A leaked endpoint ([`Producer`], [`Consumer`]) keeps its side until the process ends: the endpoint owns
//!   a handle, so that nothing else ends it.
//! - A process that ends without its exit handlers leaves what a crash would, say by a signal that kills by
//!   default (`SIGTERM`), by `abort` or by `_exit`: the name stays until the next create or open of it, or
//!   [`sweep`]. A normal exit (`std::process::exit`, a return from `main`) removes the names of which the
//!   process is the last holder, even if it drops no handle, and ends pools and daemons first. A segment that
//!   another thread creates while the exit handlers run may stay, and so does one that an `exec` leaves.
//! - While a process creates a large segment, its other creates, opens, drops, forks and exits wait, and the
//!   creating thread takes no signal.
//! - A program may close descriptors that it does not know, as daemons do: a segment's hold goes on without
//!   its descriptor. Two cases are left: a lock call on an anonymous or unlinked segment panics if it has to ask
//!   whether another holder lives; and on overlayfs (a [`Place::file`] in a container's root), where a mapping
//!   does not keep the file, the hold ends.
//! - A dead process counts as a holder until the kernel has undone its memory. Whoever reads that memory through
//!   /proc at this moment (`smaps`, `mem`) delays this.
//! - A user who may only read a segment's file can lock bytes of it, and so stall its gate. The mode `0o600`
//!   keeps other users out of that too.
//! - A user can't remove another user's leftovers in the sticky /dev/shm: [`Error::PermissionDenied`],
//!   which says whose they are.

#![cfg_attr(docsrs, feature(doc_cfg))]
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
pub use error::{
    AccessError, Error, GetError, OutOfBounds, PutAllError, PutError, Result, TimedOut,
};
#[cfg(all(feature = "serde", not(loom)))]
pub use pool::{Imap, ImapUnordered, Pool, PoolBuilder, Task, TaskError};
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
/// [`Memory`](memory::Memory) instead of a [`Place`]. Here a page of the program's own is such a memory, with
/// a single holder:
///
/// ```
/// use shmkit::Queue;
/// use shmkit::memory::{HolderState, Liveness, Memory};
/// use std::cell::UnsafeCell;
/// use std::ptr::NonNull;
/// use std::sync::Arc;
/// use std::sync::atomic::AtomicU64;
///
/// #[repr(align(4096))]
/// struct Page(UnsafeCell<[u8; 4096]>);
///
/// struct OwnPage {
///     page: Box<Page>,
///     number: AtomicU64,
/// }
///
/// // SAFETY: the types of this crate synchronise all access to the bytes.
/// unsafe impl Sync for OwnPage {}
///
/// impl Liveness for OwnPage {
///     fn holder_state(&self, number: u64) -> HolderState {
///         if number == 1 { HolderState::Alive } else { HolderState::NeverDrawn }
///     }
///
///     fn identity(&self) -> (u64, u64) {
///         (0, self.page.0.get().addr() as u64) // as long as the page is there, nothing else is
///     }
/// }
///
/// // SAFETY: the box keeps the page in place, zero and aligned; nobody else uses it; its one holder is 1.
/// unsafe impl Memory for OwnPage {
///     fn base(&self) -> NonNull<u8> {
///         NonNull::new(self.page.0.get().cast()).expect("a box is somewhere")
///     }
///
///     fn len(&self) -> usize {
///         4096
///     }
///
///     fn number(&self) -> &AtomicU64 {
///         &self.number
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let page = Box::new(Page(UnsafeCell::new([0; 4096])));
/// let memory = Arc::new(OwnPage { page, number: AtomicU64::new(1) });
/// let queue = Queue::<u32>::create_in(memory.clone(), 100)?;
/// queue.put(7)?;
/// assert_eq!(Queue::<u32>::open_in(memory)?.get()?, 7);
/// # Ok(())
/// # }
/// ```
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
    pub use crate::pool::{
        Words, discard_result, leases_of, new_task, put_result, record_lease, take_result,
        take_task,
    };
    pub use crate::sync::{
        Announced, Claim, Commit, Consumers, Deadline, Event, HeldLock, Holder, HolderState,
        Journal, Liveness, Lock, LockError, LockGuard, LockId, LockWord, OwnedHead, OwnedSide,
        OwnedTail, Producers, ReadClaim, Refusal, Ring, RingWords, Seen, SeqLock, Side, Span, Wait,
        WriteClaim,
    };
}

/// The README's examples are compiled and run with the other doctests.
#[cfg(all(doctest, feature = "serde"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
