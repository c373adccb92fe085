//! [`list`], [`inspect`], [`sweep`]: looking at segments from outside, and removing leftovers.

use crate::error::{Error, Result};
use crate::os::{self, AsFd, File};
use crate::segment::hold;
use crate::segment::layout::{Header, Kind};
use crate::segment::lifecycle::{
    behind_descriptor, open_existing, read_header, remove_orphan, sweep_hidden,
};
use crate::segment::place::{Place, SHM_DIR, Target};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A segment's description, from its header and its holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The name in /dev/shm, or the place by which the segment was inspected.
    pub name: String,
    /// The type that the segment holds.
    pub kind: Kind,
    /// The element type's unqualified name, or the creator's schema.
    pub element: String,
    /// The size of one element in bytes.
    pub element_size: u64,
    /// How many elements fit; 1 for a value. For queues of messages, how many bytes fit.
    pub capacity: u64,
    /// The length of the whole segment in bytes.
    pub size: u64,
    /// How many holders there are at this moment: processes, and further opens within a process. A segment
    /// without holders is the leftover of a crash, unless it is persistent.
    pub holders: usize,
    /// Whether the name outlives the holders.
    pub persistent: bool,
    /// The process that created the segment, as its own pid namespace numbered it.
    pub creator_pid: u32,
    /// The time of creation, by the creator's wall clock.
    pub created: SystemTime,
}

impl SegmentInfo {
    fn new(name: String, header: &Header, holders: usize) -> Self {
        Self {
            name,
            kind: header.kind(),
            element: header.tag().to_string(),
            element_size: header.elem_size(),
            capacity: header.capacity(),
            size: header.total_len(),
            holders,
            persistent: header.is_persistent(),
            creator_pid: header.creator_pid(),
            created: UNIX_EPOCH + Duration::from_nanos(header.created()),
        }
    }

    /// Returns whether the segment is the leftover of a crash of all holders: it is neither held nor
    /// persistent. The next create or open of its name removes it, and so does [`sweep`], with three
    /// exceptions:
    /// - In the sticky /dev/shm a user can remove only leftovers of their own. Create, open and
    ///   [`unlink`](crate::unlink) of another user's say whose it is, in an
    ///   [`Error::PermissionDenied`]; `sweep` leaves it.
    /// - To remove a leftover, a process opens its file for reading *and* writing, which the file's mode may
    ///   forbid even to its owner.
    /// - `sweep` looks at /dev/shm alone, and not at the leftovers of a non-persistent
    ///   [`Place::file`](crate::Place::file) elsewhere.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// # let name = format!("doc-orphan-{}", std::process::id());
    /// let creator = shmkit::Process::spawn(|| {
    ///     let value = shmkit::Value::create(&name, 1u8);
    ///     std::mem::forget(value);
    ///     std::process::abort(); // a crash: nothing is cleaned up
    /// })?;
    /// creator.join()?;
    /// assert!(shmkit::inspect(&name)?.is_orphan());
    ///
    /// let value = shmkit::Value::create(&name, 2u8)?; // which removes the leftover
    /// assert!(!shmkit::inspect(&name)?.is_orphan()); // this process holds the new segment
    /// # drop(value);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.holders == 0 && !self.persistent
    }
}

fn info_of(file: &File, label: &str) -> Result<SegmentInfo> {
    let header = read_header(file, label)?;
    let holders = hold::count_holders(file.as_fd())
        .map_err(|error| Error::from_os(label, "count the holders", error))?;
    Ok(SegmentInfo::new(label.to_owned(), &header, holders))
}

/// Describes the segment at a place. This only reads: permission to read is enough, no lock and no hold is
/// taken, and nothing is removed.
///
/// ```
/// use shmkit::{Kind, Queue};
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-inspect-{}", std::process::id());
/// let queue = Queue::<u32>::create(&name, 100)?;
/// let info = shmkit::inspect(&name)?;
/// assert_eq!((info.kind, info.capacity, info.holders), (Kind::Queue, 100, 1));
/// assert_eq!(info.element, "u32");
/// # drop(queue);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Foreign`], [`Error::Corrupt`] or [`Error::Mismatch`] for anything
/// but a sound segment of a known layout; [`Error::PermissionDenied`]; [`Error::Unsupported`] for a
/// new anonymous place.
pub fn inspect(place: impl Into<Place>) -> Result<SegmentInfo> {
    let place = place.into();
    let label = place.label();
    match place.target()? {
        Target::Path(path) => info_of(&open_existing(&path, &label, false)?, &label),
        Target::Fd(fd) => info_of(&behind_descriptor(fd, &label)?, &label),
        Target::Anonymous => Err(Error::Unsupported {
            place: label,
            what: "an anonymous segment has no name to find it by; inspect its descriptor",
        }),
    }
}

/// Describes every segment in /dev/shm that this user may read, ordered by name. This only reads.
///
/// Four kinds of files are left out: files that are not segments, damaged segments, segments of a layout
/// that this version does not know, and files without permission. [`inspect`] says why for each of them.
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-list-{}", std::process::id());
/// let value = shmkit::Value::create(&name, 1u8)?;
/// for info in shmkit::list()? {
///     println!("{}: {}, {} bytes, {} holders", info.name, info.kind, info.size, info.holders);
/// }
/// # assert!(shmkit::list()?.iter().any(|info| info.name == name));
/// # drop(value);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Os`] or [`Error::PermissionDenied`] if /dev/shm itself can't be read.
pub fn list() -> Result<Vec<SegmentInfo>> {
    let mut found = Vec::new();
    for (path, name) in entries()? {
        let info = open_existing(&path, &name, false).and_then(|file| info_of(&file, &name));
        found.extend(info);
    }
    Ok(found)
}

/// Removes from /dev/shm every segment that a crash of all its holders left, and returns their
/// descriptions.
///
/// Segments that are held or persistent stay, and so does everything that is not a sound segment of a known
/// layout. This user can't remove another user's leftovers from the sticky /dev/shm: they stay too, and
/// [`list`] shows them without holders if it may read them.
///
/// ```no_run
/// # fn main() -> shmkit::Result<()> {
/// for left in shmkit::sweep()? {
///     println!("removed {}, {} bytes, of process {}", left.name, left.size, left.creator_pid);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Os`] or [`Error::PermissionDenied`] if /dev/shm itself can't be read.
pub fn sweep() -> Result<Vec<SegmentInfo>> {
    let mut removed = Vec::new();
    for (path, name) in entries()? {
        // If a segment can't be removed now, for whatever reason, it stays for `list` to show.
        if let Ok(true) = sweep_hidden(&path, &name) {
            continue;
        }
        if let Ok(Some(header)) = remove_orphan(&path, &name) {
            removed.push(SegmentInfo::new(name, &header, 0));
        }
    }
    Ok(removed)
}

/// Returns the files in /dev/shm, ordered by name. A name that is not UTF-8 is not one of ours.
fn entries() -> Result<Vec<(PathBuf, String)>> {
    let failed = |error| Error::from_os(SHM_DIR, "list the folder", error);
    let mut entries = Vec::new();
    for name in os::names_in(Path::new(SHM_DIR)).map_err(failed)? {
        if let Ok(name) = name.into_string() {
            entries.push((Path::new(SHM_DIR).join(&name), name));
        }
    }
    entries.sort();
    Ok(entries)
}
