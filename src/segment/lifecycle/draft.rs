//! A new segment's file before it has its name: out of sight, and gone if its creator dies.

use super::name::{in_turns, open_existing, remove, try_gate};
use crate::error::{Error, Result};
use crate::os::{self, AsFd, File};
use crate::segment::hold::{self, Exclusive};
use crate::segment::layout::MAGIC;
use crate::segment::place::HIDDEN;
use std::io;
use std::path::{Path, PathBuf};

/// A new file, and how it stays out of sight.
#[derive(Debug)]
pub(super) enum Draft {
    /// The file has no name at all.
    Unnamed(File),
    /// For filesystems without unnamed files, rules that forbid them, and systems without /proc: the file has
    /// a hidden name, which begins with the target's name, because rules may allow nothing else; so the next
    /// create finds the leftover of a crash.
    ///
    /// *While the file is held, only its creator may remove the hidden name.* The creator took its hold
    /// before it saw, in the file's gate, that the name still leads to the file. Others remove the name in
    /// that same gate, after a look that nobody holds the file. The creator removes the name, outside the
    /// gate, before it ends its hold, so that it can't hit a successor's name.
    Hidden(File, PathBuf),
}

impl Draft {
    /// Makes a file; returns `None` if that has to be tried again.
    pub(super) fn try_new(exclusive: &Exclusive, label: &str, path: &Path) -> Result<Option<Self>> {
        match os::open_unnamed(folder_of(path)) {
            Ok(file) if os::can_link_unnamed() => Ok(Some(Self::Unnamed(file))),
            Err(error) if !os::is_unnamed_refusal(&error) => Err(not_created(label, error)),
            _ => Self::try_hidden(exclusive, label, path),
        }
    }

    /// Makes a file under a hidden name, and holds it from inside its gate on. A process that finds such a
    /// file without a holder may remove it.
    fn try_hidden(exclusive: &Exclusive, label: &str, path: &Path) -> Result<Option<Self>> {
        let hidden = hidden_name(path);
        let file = match os::create_exclusive(&hidden) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                reclaim_hidden(exclusive, label, &hidden)?;
                return Ok(None);
            }
            Err(error) => return Err(not_created(label, error)),
        };
        // If another process is inside, it takes the file for a leftover, and removes it.
        let Some(gate) = try_gate(exclusive, &file, label)? else {
            return Ok(None);
        };
        let held = hold::lock_first_number(file.as_fd());
        let held = held.and_then(|_| os::leads_to(&hidden, &file));
        if held.is_err() {
            remove_hidden(&hidden, &file); // in the gate, so nobody else removes it
        }
        drop(gate);
        let held = held.map_err(|error| Error::from_os(label, "hold a new file", error))?;
        Ok(held.then_some(Self::Hidden(file, hidden)))
    }

    /// Returns the path that leads to the file already, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Unnamed(_) => None,
            Self::Hidden(_, hidden) => Some(hidden),
        }
    }

    /// Returns another descriptor for the same open file, which the segment will own.
    pub(super) fn open_file(&self, label: &str) -> Result<File> {
        let (Self::Unnamed(file) | Self::Hidden(file, _)) = self;
        os::duplicate(file.as_fd())
            .map_err(|error| Error::from_os(label, "copy a descriptor", error))
    }

    pub(super) fn publish(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Unnamed(file) => os::link_unnamed(file.as_fd(), path),
            Self::Hidden(_, hidden) => os::rename_or_link(hidden, path),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Self::Hidden(file, hidden) = self {
            remove_hidden(hidden, file);
        }
    }
}

/// Removes a hidden name that leads to the creator's own file, if it can be removed.
fn remove_hidden(hidden: &Path, file: &File) {
    let _ = os::insist(|| match os::leads_to(hidden, file)? {
        true => os::unlink(hidden),
        false => Ok(()),
    });
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

fn hidden_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(HIDDEN);
    path.with_file_name(name)
}

/// Removes a hidden file that a crash left and that nobody holds: an empty one, one that begins with zeros,
/// or the beginning of a segment. Any other file stays. Returns `None` if that has to be tried again.
fn reclaim_hidden(exclusive: &Exclusive, label: &str, hidden: &Path) -> Result<Option<()>> {
    let taken = |by| Error::AlreadyExists {
        place: label.to_owned(),
        by,
    };
    let not_a_segment = "a hidden file that is not a segment";
    let file = match open_existing(hidden, label, true) {
        Ok(file) => file,
        Err(Error::NotFound { .. }) => return Ok(Some(())),
        Err(Error::Foreign { .. }) => return Err(taken(not_a_segment)),
        Err(error) => return Err(error),
    };
    let failed = |error| Error::from_os(label, "look at a hidden file", error);
    let mut magic = [0; MAGIC.len()];
    let read = os::read_at(file.as_fd(), &mut magic, 0).map_err(failed)?;
    if read > 0 && magic != [0; MAGIC.len()] && magic != MAGIC {
        return Err(taken(not_a_segment));
    }
    let Some(_gate) = try_gate(exclusive, &file, label)? else {
        return Ok(None);
    };
    if hold::is_held_by_others(file.as_fd()).map_err(failed)? {
        return Err(taken("another process that is creating it"));
    }
    if os::leads_to(hidden, &file).map_err(failed)? {
        remove(hidden, label)?;
    }
    Ok(Some(()))
}

/// Removes the leftover of a crash under a hidden name in the folder of named segments. Returns whether
/// `path` ends in a hidden name at all.
pub(crate) fn sweep_hidden(path: &Path, label: &str) -> Result<bool> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if !name.ends_with(HIDDEN.as_bytes()) {
        return Ok(false);
    }
    in_turns(label, |exclusive| reclaim_hidden(exclusive, label, path)).map(|()| true)
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
        let draft = || {
            in_turns("draft", |exclusive| {
                Draft::try_hidden(exclusive, "draft", &path)
            })
        };

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
            &second,
            &path,
            &blueprint(),
        )
        .unwrap();
        second.publish(&path).unwrap();
        assert!(!hidden.exists(), "it was renamed");
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
