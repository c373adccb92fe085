//! The life of a segment: built in private, published at once, opened with care, removed by the
//! last holder.
//!
//! | stage | what happens | what a death here leaves |
//! |---|---|---|
//! | build | a file without a name is reserved, mapped and held; its header and contents are written | nothing |
//! | publish | `link` to the name, which fails if the name is taken | nothing, or a whole segment: an orphan |
//! | use | others open the segment, and hold it too | an orphan, once nobody holds it |
//! | leave | in the gate: end the hold; nobody else holds → remove the name (`hold/last.rs`); unmap | an orphan, or nothing |
//!
//! An *orphan* is a segment that is not persistent, has a name, and is held by nobody. The next
//! create or open of that name removes it, and so does `sweep`.
//!
//! Invariants:
//! 1. *A name leads to a complete segment or to none*: `link` comes after everything is written. (A hidden
//!    name leads to an unfinished one: see `draft`.)
//! 2. *A name goes as an orphan's, or with its last holder, only while nobody holds the segment*: the
//!    creator's hold is older than the name. An opener takes its hold inside the gate, after it has seen
//!    that the name still leads there; and the name is removed inside the gate, after a look that nobody
//!    holds the segment. Only [`unlink`] removes the name of a segment that is held.
//! 3. *No removal hits a successor*: every removal of a segment's name happens inside the gate of the very
//!    file to which the name leads, after a look that it does. To put a successor there, somebody would have
//!    to remove the name first, and so be in that same gate. (A creator removes its own hidden name outside
//!    the gate, while it holds the file: see `draft`.)
//! 4. *A file whose first bytes are not a sound header of a known layout is never written to, mapped, or
//!    removed.* (The exception is an empty or unfinished file with a hidden name: see `draft`.)

mod draft;
mod name;

pub(crate) use draft::sweep_hidden;
pub(crate) use name::{behind_descriptor, in_turns, open_existing, read_header, try_gate};

use crate::error::{Error, Result};
use crate::os::{self, AsFd, BorrowedFd, File, FileStatus, MmapRaw, OwnedFd};
use crate::segment::hold::{self, Exclusive, Hold, UnlinkOnLast};
use crate::segment::layout::{BODY, Header, HeaderError, NEXT_HOLDER, Shape};
use crate::segment::memory::Memory;
use crate::segment::place::{Place, ResolvedPlace, Target};
use crate::sync::{HolderState, Liveness};
use draft::Draft;
#[cfg(feature = "shared_memory")]
pub(crate) use name::remove;
#[cfg(not(feature = "shared_memory"))]
use name::remove;
use name::{NameStatus, name_status, try_clear_name};
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// An open segment, mapped and held.
#[derive(Debug)]
pub(crate) struct Segment {
    /// `None` only while being dropped.
    map: Option<MmapRaw>,
    hold: Arc<Hold>,
    label: String,
    has_name: bool,
}

/// The plan of a new segment.
#[derive(Debug)]
pub(crate) struct Blueprint<'a> {
    pub(crate) shape: Shape,
    /// Bytes of the whole segment.
    pub(crate) total_len: usize,
    /// The initial content, and its offset; all other bytes are zero.
    pub(crate) contents: (usize, &'a [u8]),
}

impl Segment {
    /// Builds a segment and publishes it under the place's name, if the place has one.
    pub(crate) fn create(place: &ResolvedPlace<'_>, blueprint: &Blueprint<'_>) -> Result<Self> {
        let label = &place.label;
        match &place.target {
            Target::Fd(_) => Err(Error::Unsupported {
                place: label.clone(),
                what: "a descriptor leads to a segment that exists; open it",
            }),
            Target::Anonymous => {
                let mut exclusive = hold::exclusive();
                let file = os::create_in_memory()
                    .map_err(|error| Error::from_os(label, "create a file in memory", error))?;
                Self::build_in(&mut exclusive, place, file, None, None, blueprint)
            }
            Target::Path(path) => in_turns(label, |exclusive| {
                Self::try_create(exclusive, place, path, blueprint)
            }),
        }
    }

    /// Builds a segment and gives it its name, if the name is free or leads to the leftover of a crash. Returns
    /// `None` if that has to be tried again.
    fn try_create(
        exclusive: &mut Exclusive,
        place: &ResolvedPlace<'_>,
        path: &Path,
        blueprint: &Blueprint<'_>,
    ) -> Result<Option<Self>> {
        let label = &place.label;
        let Some(()) = try_clear_name(exclusive, label, path)? else {
            return Ok(None);
        };
        let Some(draft) = Draft::try_new(exclusive, label, path)? else {
            return Ok(None);
        };
        let mut segment = Self::build(exclusive, place, &draft, path, blueprint)?;
        let published = draft.publish(path);
        drop(draft); // the hidden name is ours only as long as we hold the file
        match published {
            Ok(()) => {
                segment.has_name = true;
                if !place.persistent {
                    segment
                        .hold
                        .unlink_on_last(UnlinkOnLast::At(path.to_owned()));
                }
                Ok(Some(segment))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                segment.discard(exclusive);
                Ok(None)
            }
            Err(error) => {
                segment.discard(exclusive);
                Err(Error::from_os(label, "publish the segment", error))
            }
        }
    }

    /// Drops an unpublished segment in an attempt, which has the lock that a drop takes.
    fn discard(mut self, exclusive: &mut Exclusive) {
        self.hold.discard(exclusive);
        self.map = None;
    }

    /// Does everything for a new segment with a path, except giving it its name.
    fn build(
        exclusive: &mut Exclusive,
        place: &ResolvedPlace<'_>,
        draft: &Draft,
        path: &Path,
        blueprint: &Blueprint<'_>,
    ) -> Result<Self> {
        let file = draft.open_file(&place.label)?;
        Self::build_in(exclusive, place, file, draft.path(), Some(path), blueprint)
    }

    /// Writes a new segment into `file`, to which the path `now` leads, if there is one, and later `path`.
    fn build_in(
        exclusive: &mut Exclusive,
        place: &ResolvedPlace<'_>,
        file: File,
        now: Option<&Path>,
        path: Option<&Path>,
        blueprint: &Blueprint<'_>,
    ) -> Result<Self> {
        let label = &place.label;
        let failed = |op| move |error| Error::from_os(label, op, error);
        let len = blueprint.total_len as u64;
        // The file is opened again while the mode still allows that, whatever the final mode is.
        os::set_mode(&file, OWNERS).map_err(failed("set the mode"))?;
        let apart = open_apart(&file, now).map_err(failed("open the segment again"))?;
        os::set_mode(&file, place.mode).map_err(failed("set the mode"))?;
        reserve(&file, len, label)?;
        let created = os::wall_clock().as_nanos();
        let header = Header::new(
            &blueprint.shape,
            len,
            place.persistent && path.is_some(),
            os::pid(),
            created.try_into().unwrap_or(u64::MAX),
        );
        // Written through the descriptor, before the mapping exists: no other process knows the file.
        let (offset, contents) = blueprint.contents;
        let pieces: [(usize, &[u8]); 3] = [
            (0, bytemuck::bytes_of(&header)),
            (NEXT_HOLDER, &hold::FIRST_COUNTER.to_le_bytes()),
            (offset, contents),
        ];
        for (at, bytes) in pieces {
            os::write_at(&file, bytes, at as u64).map_err(failed("write the segment"))?;
        }
        if path.is_none() {
            os::seal_size(file.as_fd()).map_err(failed("seal the size"))?;
        }
        Self::attach(
            exclusive,
            label.clone(),
            file,
            &apart,
            path,
            blueprint.total_len,
        )
    }

    /// Maps a sound segment's file through `apart`, and becomes a holder through `file`.
    fn attach(
        exclusive: &mut Exclusive,
        label: String,
        file: File,
        apart: &File,
        path: Option<&Path>,
        len: usize,
    ) -> Result<Self> {
        let map = os::map(apart, len)
            .map_err(|error| Error::from_os(&label, "map the segment", error))?;
        let counter = counter_of(&map);
        let path = path.map(Path::to_owned);
        // SAFETY: `counter` lies in the mapping of this file, which is undone after the hold.
        let held = unsafe { Hold::take(exclusive, file, counter, path) };
        let hold = held.map_err(|error| hold::refusal(&label, error))?;
        Ok(Self {
            map: Some(map),
            hold,
            label,
            has_name: false,
        })
    }

    /// Opens the segment to which the place leads, if `accept` accepts its header. Nothing is mapped or held
    /// before that; an orphan's name goes all the same.
    pub(crate) fn open(
        place: &ResolvedPlace<'_>,
        accept: impl Fn(&Header) -> Result<(), HeaderError>,
    ) -> Result<(Self, Header)> {
        let label = &place.label;
        match &place.target {
            Target::Anonymous => Err(Error::Unsupported {
                place: label.clone(),
                what: "an anonymous segment has no name to open it by; pass on its descriptor",
            }),
            Target::Fd(fd) => in_turns(label, |exclusive| {
                Self::try_open_fd(exclusive, label, fd, &accept)
            }),
            Target::Path(path) => in_turns(label, |exclusive| {
                Self::try_open_path(exclusive, label, path, &accept)
            }),
        }
    }

    fn try_open_fd(
        exclusive: &mut Exclusive,
        label: &str,
        fd: &OwnedFd,
        accept: impl Fn(&Header) -> Result<(), HeaderError>,
    ) -> Result<Option<(Self, Header)>> {
        let failed = |error| Error::from_os(label, "reopen the descriptor", error);
        let given = behind_descriptor(fd, label)?;
        let file = os::reopen(given.as_fd(), None).map_err(failed)?;
        drop(given); // others may share its description, and its locks
        let header = read_header(&file, label)?;
        accept(&header).map_err(|error| error.at(label))?;
        let len = mappable(&header, label)?;
        let apart = open_apart(&file, None).map_err(failed)?;
        // It does not matter whether a name leads to the file, as long as nobody is removing one.
        let gate = if FileStatus::of(&file).map_err(failed)?.links == 0 {
            None
        } else {
            // The file moves into the hold, and the copy keeps the gate until then.
            let copy = os::duplicate(file.as_fd()).map_err(failed)?;
            match try_gate(exclusive, copy, label)? {
                None => return Ok(None),
                gate => gate,
            }
        };
        let segment = Self::attach(exclusive, label.to_owned(), file, &apart, None, len)?;
        drop(gate);
        if !header.is_persistent() {
            segment.hold.unlink_on_last(UnlinkOnLast::Wherever);
        }
        Ok(Some((segment, header)))
    }

    fn try_open_path(
        exclusive: &mut Exclusive,
        label: &str,
        path: &Path,
        accept: impl Fn(&Header) -> Result<(), HeaderError>,
    ) -> Result<Option<(Self, Header)>> {
        let file = open_existing(path, label, true)?;
        let header = read_header(&file, label)?;
        // The file moves into the hold, and the copy keeps the gate until then.
        let copy = os::duplicate(file.as_fd())
            .map_err(|error| Error::from_os(label, "copy a descriptor", error))?;
        let Some(gate) = try_gate(exclusive, copy, label)? else {
            return Ok(None);
        };
        match name_status(&file, path, label, &header)? {
            NameStatus::LeadsElsewhere => return Ok(None),
            NameStatus::Orphan => {
                remove(path, label)?;
                return Err(Error::NotFound {
                    place: label.to_owned(),
                });
            }
            NameStatus::InUse => {}
        }
        accept(&header).map_err(|error| error.at(label))?;
        let len = mappable(&header, label)?;
        let apart = open_apart(&file, Some(path))
            .map_err(|error| Error::from_os(label, "open the segment again", error))?;
        let mut segment = Self::attach(exclusive, label.to_owned(), file, &apart, Some(path), len)?;
        drop(gate);
        segment.has_name = true;
        if !header.is_persistent() {
            segment
                .hold
                .unlink_on_last(UnlinkOnLast::At(path.to_owned()));
        }
        Ok(Some((segment, header)))
    }
}

/// The mode of a file that is not published yet.
const OWNERS: u32 = 0o600;

/// Returns another open file description of the same file, for its mapping alone.
///
/// Every mapping keeps its open file description, and the locks on it, and a forked child inherits the
/// mappings. If the hold's own description were mapped, a dead parent would look alive through its child.
/// If nothing leads to the file (no /proc, and no path), forks can't renew holds either, and the
/// description is shared.
fn open_apart(file: &File, path: Option<&Path>) -> io::Result<File> {
    match os::reopen(file.as_fd(), path) {
        Ok(apart) if FileStatus::of(&apart)?.id == FileStatus::of(file)?.id => Ok(apart),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => os::duplicate(file.as_fd()),
    }
}

/// Returns the counter of holder numbers in a mapped segment.
fn counter_of(map: &MmapRaw) -> NonNull<AtomicU64> {
    assert!(map.len() >= BODY, "a sound header is at least this long");
    let counter = map.as_mut_ptr().wrapping_add(NEXT_HOLDER);
    NonNull::new(counter.cast()).expect("no mapping begins at address 0")
}

fn mappable(header: &Header, label: &str) -> Result<usize> {
    usize::try_from(header.total_len()).map_err(|_| Error::InvalidSize {
        place: label.to_owned(),
        found: format!("{} bytes", header.total_len()),
        expected: "a length that fits the address space",
    })
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.map.is_some() {
            self.hold.leave();
            self.map = None;
        }
    }
}

impl Liveness for Segment {
    fn holder_state(&self, number: u64) -> HolderState {
        self.hold.holder_state(number)
    }

    fn identity(&self) -> (u64, u64) {
        self.hold.identity()
    }
}

// SAFETY: a mapping is aligned to a page, stays until `drop`, and is reached only through `base`; by hold's
// invariant 1 numbers are drawn once, and by its invariant 2 dead means that the kernel closed the holder's
// file.
unsafe impl Memory for Segment {
    fn base(&self) -> NonNull<u8> {
        let map = self.map.as_ref().expect("mapped until dropped");
        NonNull::new(map.as_mut_ptr()).expect("no mapping begins at address 0")
    }

    fn len(&self) -> usize {
        self.map.as_ref().map_or(0, MmapRaw::len)
    }

    fn number(&self) -> &AtomicU64 {
        self.hold.number()
    }

    fn name(&self) -> Option<&str> {
        self.has_name.then_some(self.label.as_str())
    }

    fn is_reachable(&self) -> bool {
        self.has_name && self.hold.is_reachable()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.hold.fd()
    }
}

fn reserve(file: &File, len: u64, label: &str) -> Result<()> {
    let no_space = |available| Error::NoSpace {
        place: label.to_owned(),
        needed: len,
        available,
    };
    let failed = |error| Error::from_os(label, "reserve memory", error);
    let free = os::free_space(file).map_err(failed)?;
    let limit = os::file_size_limit().map_err(failed)?;
    let free = free.into_iter().chain(limit).min();
    // A hopeless request fails before it has filled the filesystem, or a signal has ended the process.
    if free.is_some_and(|free| free < len) {
        return Err(no_space(free));
    }
    match os::reserve(file, len) {
        Err(error) if os::is_full(&error) => Err(no_space(free)),
        reserved => reserved.map_err(failed),
    }
}

/// Removes the name at `path` if it leads to a segment that nobody holds, and returns the segment's header.
pub(crate) fn remove_orphan(path: &Path, label: &str) -> Result<Option<Header>> {
    in_turns(label, |exclusive| {
        let file = open_existing(path, label, true)?;
        let header = read_header(&file, label)?;
        let Some(_gate) = try_gate(exclusive, &file, label)? else {
            return Ok(None);
        };
        Ok(Some(match name_status(&file, path, label, &header)? {
            NameStatus::Orphan => {
                remove(path, label)?;
                Some(header)
            }
            NameStatus::InUse | NameStatus::LeadsElsewhere => None,
        }))
    })
}

/// Removes a segment's name at once, whoever holds the segment. Holders go on with what they have, and the
/// name is free for a new segment. The memory ends with its last holder.
///
/// ```
/// use shmkit::{Error, Value};
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-unlink-{}", std::process::id());
/// let old = Value::create(&name, 1u8)?;
/// shmkit::unlink(&name)?;
/// assert!(matches!(Value::<u8>::open(&name), Err(Error::NotFound { .. })));
/// let new = Value::create(&name, 2u8)?; // another segment
/// assert_eq!((old.get(), new.get()), (1, 2));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::NotFound`] if there is no such segment; [`Error::Foreign`], [`Error::Corrupt`] or
/// [`Error::Mismatch`] for anything but a sound segment of a known layout, which is left as it was;
/// [`Error::PermissionDenied`]; [`Error::Stalled`]; [`Error::Unsupported`] for a place without a
/// name.
pub fn unlink(place: impl Into<Place>) -> Result<()> {
    let place = place.into();
    let label = place.label();
    let Target::Path(path) = place.target()? else {
        return Err(Error::Unsupported {
            place: label,
            what: "it has no name to remove",
        });
    };
    in_turns(&label, |exclusive| {
        let file = open_existing(&path, &label, true)?;
        let header = read_header(&file, &label)?;
        let Some(_gate) = try_gate(exclusive, &file, &label)? else {
            return Ok(None);
        };
        match name_status(&file, &path, &label, &header)? {
            NameStatus::InUse | NameStatus::Orphan => remove(&path, &label).map(Some),
            NameStatus::LeadsElsewhere => Ok(None),
        }
    })
}
