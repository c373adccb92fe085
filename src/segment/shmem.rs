//! [`ShmemMemory`]: a mapping of the crate `shared_memory` as [`Memory`], so that the two crates meet in one
//! segment.
//!
//! A `Shmem` is a mapped file in /dev/shm. It does not know who is alive. A hold on the same file, through
//! an open file description of our own, adds that knowledge, as for every segment.
//!
//! | stage | what happens | what a death here leaves |
//! |---|---|---|
//! | hold | open the name again, which must lead to the mapped file; reserve; in the gate: take the hold | what `shared_memory` leaves: the name |
//! | use | `create_in` or `open_in`: a segment like any other, which `open` finds by its name | an orphan, once nobody holds it |
//! | leave | in the gate: the `Shmem`'s owner, or the last holder, removes the name | an orphan, or nothing |
//!
//! Invariants:
//! 1. *The hold is on the file that is mapped*: its device and inode are those of the mapping.
//! 2. *The mapping outlives the hold*: `drop` leaves first. The mapping was made through the `Shmem`'s own
//!    descriptor, so a forked child that inherits it keeps nothing of the hold (hold's invariant 3).
//! 3. *The counter of holders is begun once*, by CAS from zero, and only if nothing was laid out. If
//!    something was laid out, a counter of zero is damage, not a beginning.

use crate::error::{Error, Result};
use crate::os::{self, AsFd, BorrowedFd, File, FileStatus};
use crate::segment::hold::{self, Exclusive, FIRST_COUNTER, Hold, UnlinkOnLast};
use crate::segment::layout::{BODY, COMPLETE, Header, INITIALIZING, NEXT_HOLDER};
use crate::segment::lifecycle::{in_turns, open_existing, remove, try_gate};
use crate::segment::memory::Memory;
use crate::segment::place::{Place, SHM_DIR, Target};
use crate::sync::{HolderState, Liveness};
use shared_memory::Shmem;
use std::fmt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A [`shared_memory::Shmem`] that is held, so that a value, an array or a queue can be laid out or found in
/// it. Needs the feature `shared_memory`.
///
/// ```
/// use shmkit::{Queue, ShmemMemory, shared_memory::ShmemConf};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-shmem-{}", std::process::id());
/// let shmem = ShmemConf::new().os_id(&name).size(4096).create()?;
/// // SAFETY: the memory is new, so it is zero; only this crate uses its bytes.
/// let memory = unsafe { ShmemMemory::new(shmem) }?;
/// let jobs = Queue::<u64>::create_in(Arc::new(memory), 64)?;
///
/// // Any program opens the queue by name, as if it had been created that way ...
/// Queue::<u64>::open(&name)?.put(42)?;
///
/// // ... or through a `Shmem` of its own, which works for a queue created by name, too.
/// let shmem = ShmemConf::new().os_id(&name).open()?;
/// // SAFETY: as above.
/// let memory = unsafe { ShmemMemory::new(shmem) }?;
/// assert_eq!(Queue::<u64>::open_in(Arc::new(memory))?.get()?, 42);
/// # drop(jobs);
/// # Ok(())
/// # }
/// ```
///
/// # Who holds, and who removes the name
///
/// A `Shmem` alone holds nothing. As long as nobody has a laid-out segment in a `ShmemMemory`, or open by
/// its name, the segment is the leftover of a crash, and [`sweep`](crate::sweep) or the next `create`
/// or `open` of its name removes it.
///
/// The name goes with the `Shmem`'s owner, even if others still use the memory: they go on with what they
/// have, as after [`unlink`](crate::unlink). If no owner lives, the last holder removes the name of a
/// laid-out segment. A forked child is not the owner, although its copy says so. A name that leads to
/// another file by now stays.
pub struct ShmemMemory {
    base: NonNull<u8>,
    len: usize,
    hold: Arc<Hold>,
    label: String,
    /// The mapping.
    _shmem: OwnShmem,
}

/// A mapping whose drop removes no name. Nothing uses it by reference.
struct OwnShmem(#[expect(dead_code, reason = "it is there to be dropped")] Shmem);

// SAFETY: a `Shmem` is an address, a descriptor and texts; any thread may do what its drop does (unmap,
// close).
unsafe impl Send for OwnShmem {}
// SAFETY: nothing uses the value by reference.
unsafe impl Sync for OwnShmem {}

// SAFETY: `base` leads to memory that is shared by the rules of `Memory`; the rest is `Send`.
unsafe impl Send for ShmemMemory {}
// SAFETY: as for `Send`.
unsafe impl Sync for ShmemMemory {}

impl ShmemMemory {
    /// Becomes a holder of the memory, by opening its `os_id` again, and reserves all of it, which
    /// `shared_memory` does not.
    ///
    /// On an error the `Shmem` is dropped. If it is the owner, its name goes too, as if it had been dropped, but
    /// only if the name still leads to the mapped file: another's file under that name stays. The name stays
    /// as well if this process can't open one more descriptor, or if another process keeps the file's gate
    /// shut for a second.
    ///
    /// # Safety
    /// The bytes are zero, or a segment of this crate. As long as anybody uses that segment, in any
    /// process, only this crate writes the bytes: not `as_ptr` or `as_slice_mut` of this or another
    /// `Shmem`, and no lock or event of `raw_sync`. This is what [`Memory`] asks, too; but if the memory
    /// came without a header, only its user can know.
    ///
    /// # Errors
    /// [`Error::NoSpace`] for less than 512 bytes, or if the filesystem can't hold all of it;
    /// [`Error::Foreign`] if the name leads to another file by now, or if somebody wrote something else;
    /// [`Error::NotFound`] if the name leads nowhere; [`Error::Corrupt`]; [`Error::InvalidName`] for an
    /// `os_id` that can't be the name of a segment ([`Place::named`]); [`Error::PermissionDenied`],
    /// [`Error::Stalled`], [`Error::Os`].
    pub unsafe fn new(mut shmem: Shmem) -> Result<Self> {
        // From here on the removal of the name is this crate's, in the file's gate.
        let is_owner = shmem.is_owner();
        shmem.set_owner(false);
        let base = NonNull::new(shmem.as_ptr()).expect("no mapping begins at address 0");
        let len = shmem.len();
        // The C library strips the slash too.
        let name = shmem.get_os_id().trim_start_matches('/').to_owned();
        let held = Self::hold(&name, base, len, is_owner);
        if held.is_err() && is_owner {
            remove_mapped(&name, base);
        }
        let (label, hold) = held?;
        Ok(Self {
            base,
            len,
            hold,
            label,
            _shmem: OwnShmem(shmem),
        })
    }

    /// Becomes a holder of the file called `name`, which must be the one that is mapped at `base`. Returns
    /// the label and the hold.
    fn hold(
        name: &str,
        base: NonNull<u8>,
        len: usize,
        is_owner: bool,
    ) -> Result<(String, Arc<Hold>)> {
        let place = Place::named(name);
        let label = place.label();
        let Target::Path(path) = place.target()? else {
            unreachable!("a named place is a path");
        };
        if len < BODY {
            return Err(Error::NoSpace {
                place: label,
                needed: BODY as u64,
                available: Some(len as u64),
            });
        }
        let hold = in_turns(&label, |exclusive| {
            Self::try_hold(exclusive, &label, &path, base, len)
        })?;
        let owner = if is_owner {
            hold.number().load(Ordering::Relaxed)
        } else {
            0
        };
        hold.unlink_on_last(UnlinkOnLast::Mapped { path, owner });
        Ok((label, hold))
    }

    fn try_hold(
        exclusive: &mut Exclusive,
        label: &str,
        path: &Path,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<Option<Arc<Hold>>> {
        let leads_elsewhere = || Error::Foreign {
            place: label.to_owned(),
            found: "another file than the one that is mapped".into(),
        };
        let file = open_existing(path, label, true)?;
        let is_mapped = os::mapped_file(base).and_then(|id| Ok(id == FileStatus::of(&file)?.id));
        if !is_mapped.map_err(|error| Error::from_os(label, "see what is mapped", error))? {
            return Err(leads_elsewhere());
        }
        let counter = begin(&file, base, len, label)?;
        // The file moves into the hold, and the copy keeps the gate until then.
        let copy = os::duplicate(file.as_fd())
            .map_err(|error| Error::from_os(label, "copy a descriptor", error))?;
        let Some(gate) = try_gate(exclusive, copy, label)? else {
            return Ok(None);
        };
        let is_there = os::leads_to(path, &file);
        if !is_there.map_err(|error| Error::from_os(label, "look at the name", error))? {
            return Err(leads_elsewhere());
        }
        // SAFETY: by invariant 1 `counter` lies in the mapping of this file; by invariant 2 `drop` unmaps
        // it after `leave`. If an error drops the `Shmem`, no hold was taken.
        let held = unsafe { Hold::take(exclusive, file, counter, Some(path.to_owned())) };
        let hold = held.map_err(|error| hold::refusal(label, error))?;
        drop(gate);
        Ok(Some(hold))
    }
}

/// Removes a name in /dev/shm if it leads to the file that is mapped at `base`, as the drop of an owner would.
/// If that can't be decided, the name stays.
fn remove_mapped(name: &str, base: NonNull<u8>) {
    let path = Path::new(SHM_DIR).join(name);
    let attempt = |exclusive: &mut Exclusive| -> Result<Option<()>> {
        let file = open_existing(&path, name, true)?;
        let is_mapped = os::mapped_file(base).and_then(|id| Ok(id == FileStatus::of(&file)?.id));
        if !is_mapped.is_ok_and(|is_mapped| is_mapped) {
            return Ok(Some(()));
        }
        let Some(_gate) = try_gate(exclusive, &file, name)? else {
            return Ok(None);
        };
        if os::leads_to(&path, &file).is_ok_and(|leads| leads) {
            remove(&path, name)?;
        }
        Ok(Some(()))
    };
    let _ = in_turns(name, attempt);
}

/// Checks that the bytes are a segment, or may become one, and reserves them. Begins the counter of holders,
/// if that is not done yet, and returns it.
fn begin(file: &File, base: NonNull<u8>, len: usize, label: &str) -> Result<NonNull<AtomicU64>> {
    let status = FileStatus::of(file).map_err(|e| Error::from_os(label, "look at it", e))?;
    if status.len != len as u64 {
        return Err(Error::Corrupt {
            place: label.to_owned(),
            what: "length",
            expected: format!("{len} bytes"),
            found: format!("{} bytes", status.len),
        });
    }
    // SAFETY: the mapping is longer than a header, and aligned to a page; an atomic may be shared.
    let first: &AtomicU64 = unsafe { base.cast().as_ref() };
    let first = first.load(Ordering::Acquire);
    if first != COMPLETE {
        if first != 0 && first & INITIALIZING == 0 {
            let foreign = Header::parse(&first.to_le_bytes(), status.len);
            foreign.map_err(|error| error.at(label))?;
        }
        reserve(file, status.len, label)?;
    }
    let counter = base.as_ptr().wrapping_add(NEXT_HOLDER);
    let counter = NonNull::new(counter.cast::<AtomicU64>()).expect("inside the mapping");
    if first == 0 {
        // SAFETY: as for the first word.
        let counter = unsafe { counter.as_ref() };
        // If two processes come at once, the second finds the counter begun.
        let _ = counter.compare_exchange(0, FIRST_COUNTER, Ordering::Relaxed, Ordering::Relaxed);
    }
    Ok(counter)
}

fn reserve(file: &File, len: u64, label: &str) -> Result<()> {
    os::fill(file, len).map_err(|error| {
        if os::is_full(&error) {
            Error::NoSpace {
                place: label.to_owned(),
                needed: len,
                available: os::free_space(file).ok().flatten(),
            }
        } else {
            Error::from_os(label, "reserve memory", error)
        }
    })
}

impl Drop for ShmemMemory {
    fn drop(&mut self) {
        self.hold.leave(); // and then the field's drop unmaps
    }
}

impl fmt::Debug for ShmemMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShmemMemory")
            .field("name", &self.label)
            .field("len", &self.len)
            .field("number", self.hold.number())
            .finish_non_exhaustive()
    }
}

impl Liveness for ShmemMemory {
    fn holder_state(&self, number: u64) -> HolderState {
        self.hold.holder_state(number)
    }

    fn identity(&self) -> (u64, u64) {
        self.hold.identity()
    }
}

// SAFETY: a mapping is aligned to a page and stays until `drop`, which has the `Shmem`; the contract of
// `new` speaks for the bytes; by hold's invariant 1 numbers are drawn once, and by its invariant 2 dead means
// that the kernel closed the holder's file.
unsafe impl Memory for ShmemMemory {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.len
    }

    fn number(&self) -> &AtomicU64 {
        self.hold.number()
    }

    fn name(&self) -> Option<&str> {
        Some(&self.label)
    }

    fn is_reachable(&self) -> bool {
        self.hold.is_reachable()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.hold.fd()
    }
}
