//! A new segment's file before it has its name: out of sight, and gone if its creator dies.

use super::name::{enter_gate, ignore_absence, remove, stalled};
use crate::error::{Error, Result};
use crate::os::{self, AsFd, BorrowedFd, File};
use crate::segment::hold::{self, Exclusive, GATE_TIMEOUT};
use crate::segment::layout::MAGIC;
use crate::sync::Deadline;
use std::io;
use std::path::{Path, PathBuf};

/// A new file, and how it stays out of sight.
#[derive(Debug)]
pub(super) enum Draft {
    /// The file has no name at all.
    Unnamed(File),
    /// For filesystems without unnamed files, and systems without /proc: the file has a hidden name,
    /// derived from the target's name, so that the next create finds the leftover of a crash.
    ///
    /// *While the file is held, only its creator may remove the hidden name.* The creator took its hold
    /// before it saw, in the file's gate, that the name still leads to the file. Others remove the name in
    /// that same gate, after a look that nobody holds the file. The creator removes the name, outside the
    /// gate, before it ends its hold, so that it can't hit a successor's name.
    Hidden(File, PathBuf),
}

impl Draft {
    pub(super) fn new(
        exclusive: &Exclusive,
        label: &str,
        path: &Path,
        deadline: Deadline,
    ) -> Result<Self> {
        match os::open_unnamed(folder_of(path)) {
            Ok(file) if os::can_link_unnamed() => Ok(Self::Unnamed(file)),
            Err(error) if !os::is_unnamed_refusal(&error) => Err(not_created(label, error)),
            _ => Self::hidden(exclusive, label, path, deadline),
        }
    }

    /// Makes a file under a hidden name, and holds it from inside its gate on. A process that finds such a
    /// file without a holder may remove it.
    fn hidden(exclusive: &Exclusive, label: &str, path: &Path, deadline: Deadline) -> Result<Self> {
        let hidden = hidden_name(path);
        let failed = |op| move |error| Error::from_os(label, op, error);
        while deadline.left().is_some() {
            match os::create_exclusive(&hidden) {
                Ok(file) => {
                    let gate = enter_gate(exclusive, &file, label, deadline)?;
                    hold::lock_first_number(file.as_fd()).map_err(failed("lock a new file"))?;
                    let found = os::leads_to(&hidden, &file);
                    drop(gate);
                    if found.map_err(failed("look at a new file"))? {
                        return Ok(Self::Hidden(file, hidden));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    reclaim_hidden(exclusive, label, &hidden, deadline)?;
                }
                Err(error) => return Err(not_created(label, error)),
            }
        }
        Err(stalled(label))
    }

    /// Returns another descriptor for the same open file, which the segment will own.
    pub(super) fn open_file(&self, label: &str) -> Result<File> {
        let (Self::Unnamed(file) | Self::Hidden(file, _)) = self;
        os::duplicate(file.as_fd())
            .map_err(|error| Error::from_os(label, "copy a descriptor", error))
    }

    pub(super) fn publish(&self, file: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        match self {
            Self::Unnamed(_) => os::link_unnamed(file, path),
            Self::Hidden(_, hidden) => os::link(hidden, path),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Self::Hidden(file, hidden) = self
            && os::leads_to(hidden, file).unwrap_or(false)
        {
            let _ = os::unlink(hidden);
        }
    }
}

/// Translates an error of creating a file. `NotFound` means the folder, not the segment, which was not there
/// yet.
fn not_created(label: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Os {
            place: label.to_owned(),
            op: "find its folder",
            source: error,
        },
        _ => Error::from_os(label, "create a file", error),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().expect("an absolute path to a file")
}

/// The beginning of every hidden name.
const HIDDEN: &str = ".shmkit~";

fn hidden_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(HIDDEN);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Removes a hidden file that a crash left and that nobody holds. If the file is not the beginning of a
/// segment, it stays.
fn reclaim_hidden(
    exclusive: &Exclusive,
    label: &str,
    hidden: &Path,
    deadline: Deadline,
) -> Result<()> {
    let Some(file) = ignore_absence(os::open(hidden, true))
        .map_err(|error| Error::from_os(label, "open a hidden file", error))?
    else {
        return Ok(());
    };
    let failed = |error| Error::from_os(label, "look at a hidden file", error);
    let mut magic = [0; MAGIC.len()];
    let read = os::read_at(&file, &mut magic, 0).map_err(failed)?;
    if read > 0 && magic != [0; MAGIC.len()] && magic != MAGIC {
        return Err(Error::AlreadyExists {
            place: label.to_owned(),
            by: "a hidden file that is not a segment",
        });
    }
    let _gate = enter_gate(exclusive, &file, label, deadline)?;
    if !hold::is_held_by_others(file.as_fd()).map_err(failed)? {
        if os::leads_to(hidden, &file).map_err(failed)? {
            remove(hidden, label)?;
        }
        return Ok(());
    }
    Err(Error::AlreadyExists {
        place: label.to_owned(),
        by: "another process that is creating it",
    })
}

/// Removes the leftover of a crash under a hidden name in the folder of named segments. Returns whether
/// `path` ends in a hidden name at all.
pub(crate) fn sweep_hidden(path: &Path, label: &str) -> Result<bool> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if !name.starts_with(HIDDEN.as_bytes()) {
        return Ok(false);
    }
    let exclusive = hold::exclusive();
    let deadline = Deadline::after(GATE_TIMEOUT);
    reclaim_hidden(&exclusive, label, path, deadline).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::super::{Blueprint, Segment, open_existing};
    use super::*;
    use crate::os::FileStatus;
    use crate::segment::layout::{Kind, Shape, Tag};
    use crate::segment::place::Place;

    fn blueprint() -> Blueprint<'static> {
        Blueprint {
            shape: Shape {
                kind: Kind::Value,
                elem_size: 8,
                elem_align: 8,
                capacity: Some(1),
                tag: Tag::of_text("u64"),
            },
            total_len: 1024,
            contents: (1000, b"here"),
        }
    }

    /// Does on a system with unnamed files what systems without them do.
    #[test]
    fn a_hidden_draft_is_published_whole_and_reclaimed_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("draft");
        let hidden = hidden_name(&path);
        let deadline = || Deadline::after(GATE_TIMEOUT);
        let draft = || Draft::hidden(&hold::exclusive(), "draft", &path, deadline());

        // Two creators at once: the second is refused, and the first one's file stays.
        let first = draft().unwrap();
        let refused = draft().unwrap_err();
        assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
        assert!(os::leads_to(&hidden, &first_file(&first)).unwrap());

        // The creator died: nobody holds its hidden file any more, and the next creator removes it.
        let Draft::Hidden(file, _) = &first else {
            unreachable!()
        };
        let crashed = open_existing(&hidden, "draft", false).unwrap();
        hold::unlock_first_number(file.as_fd()).unwrap();
        let second = draft().unwrap();
        assert!(!os::leads_to(&hidden, &crashed).unwrap());
        assert_eq!(FileStatus::of(&crashed).unwrap().links, 0);
        std::mem::forget(first);

        // Publishing gives the file its name, and dropping the draft removes the hidden name. Nobody else
        // may remove the hidden name meanwhile.
        let place = Place::file(&path).persistent(false);
        let segment = Segment::build(
            &mut hold::exclusive(),
            &place.resolve().unwrap(),
            second.open_file("draft").unwrap(),
            Some(&path),
            &blueprint(),
        )
        .unwrap();
        segment
            .with_file(|file| second.publish(file, &path))
            .unwrap();
        let refused = draft().unwrap_err();
        assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
        assert!(hidden.exists());
        drop(second);
        assert!(!hidden.exists());
        let (opened, _) = Segment::open(&place.resolve().unwrap(), |_| Ok(())).unwrap();
        drop(segment);
        drop(opened);
        assert!(!path.exists());
    }

    fn first_file(draft: &Draft) -> File {
        draft.open_file("draft").unwrap()
    }
}
