//! [`list`], [`inspect`], [`sweep`]: what is there, without taking part.

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

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its name in /dev/shm, or the place it was inspected by.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The element type's unqualified name, or the creator's schema.
    pub element: String,
    /// Bytes of one element.
    pub element_size: u64,
    /// How many elements fit; 1 for a value. Of queues of messages, how many bytes.
    pub capacity: u64,
    /// Bytes of the whole segment.
    pub size: u64,
    /// How many hold it open at this moment: processes, and further opens within a process. 0 is
    /// what a crash of all holders left, unless it is persistent.
    pub holders: usize,
    /// Whether the name outlives its holders.
    pub persistent: bool,
    /// The process that created it, as its own pid namespace numbered it.
    pub creator_pid: u32,
    /// When it was created, by the creator's wall clock.
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

    /// Whether it is what a crash of all holders left: [`sweep`] would remove it.
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

/// Tells what the segment at a place says of itself. Reads only: permission to read is enough, no
/// lock is taken, no hold, nothing is removed.
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

/// Every segment in /dev/shm that this user may read, by name. Reads only.
///
/// Files that are not segments, damaged ones, ones of a layout that this version does not know, and
/// ones without permission are left out; [`inspect`] says of each why.
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

/// Removes from /dev/shm every segment that a crash of all its holders left, and tells which.
///
/// Segments that are held or persistent stay, and so does whatever is not a sound segment of a known
/// layout. Another user's leftovers in the sticky /dev/shm can't be removed by this one: they stay
/// too, and [`list`] shows them with no holders if it may read them.
///
/// # Errors
/// [`Error::Os`] or [`Error::PermissionDenied`] if /dev/shm itself can't be read.
pub fn sweep() -> Result<Vec<SegmentInfo>> {
    let mut removed = Vec::new();
    for (path, name) in entries()? {
        // What can't be removed now, for whatever reason, is left as it is for `list` to show.
        if let Ok(true) = sweep_hidden(&path, &name) {
            continue;
        }
        if let Ok(Some(header)) = remove_orphan(&path, &name) {
            removed.push(SegmentInfo::new(name, &header, 0));
        }
    }
    Ok(removed)
}

/// The files in /dev/shm, by name. A name that is not UTF-8 is not one of ours.
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
