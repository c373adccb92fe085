//! Names: looking at the file behind a name, and deciding about the name. Decisions are made in the gate of
//! the file to which the name leads (lifecycle's invariant 3), and never about a file that is not a sound
//! segment (invariant 4).

use crate::error::{Error, Result};
use crate::os::{self, AsFd, File, FileStatus, OwnedFd};
use crate::segment::hold::{self, Exclusive, GATE_TIMEOUT, Gate};
use crate::segment::layout::{Header, SEALED};
use std::io;
use std::path::Path;

/// The status of a name, seen from inside the gate of a file that was found under the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameStatus {
    /// The name leads to another file by now, or to none.
    LeadsElsewhere,
    /// The name leads to this file, which nobody else holds, and goes with its holders.
    Orphan,
    /// The name leads to this file, which is held or persistent.
    InUse,
}

/// Looks at the name. The caller is in the gate of `file`, which it found under the name before.
pub(super) fn name_status(
    file: &File,
    path: &Path,
    label: &str,
    header: &Header,
) -> Result<NameStatus> {
    let look = || -> io::Result<NameStatus> {
        Ok(if !os::leads_to(path, file)? {
            NameStatus::LeadsElsewhere
        } else if header.is_persistent() || hold::is_held_by_others(file.as_fd())? {
            NameStatus::InUse
        } else {
            NameStatus::Orphan
        })
    };
    look().map_err(|error| Error::from_os(label, "look at the name", error))
}

/// Enters the gate of a segment's file; returns `None` if another process is inside.
pub(crate) fn try_gate<F: AsFd>(
    exclusive: &Exclusive,
    file: F,
    label: &str,
) -> Result<Option<Gate<F>>> {
    Gate::try_enter(exclusive, file).map_err(|error| Error::from_os(label, "enter the gate", error))
}

/// Makes attempts, each with the process-wide lock, until one returns a result; [`Error::Stalled`] if the gate
/// stays shut, or the name changes all the time. An attempt that returns `None` keeps nothing.
pub(crate) fn in_turns<T>(
    label: &str,
    mut attempt: impl FnMut(&mut Exclusive) -> Result<Option<T>>,
) -> Result<T> {
    let result = hold::in_turns(|exclusive| attempt(exclusive).transpose());
    result.unwrap_or_else(|| {
        Err(Error::Stalled {
            place: label.to_owned(),
            waited: GATE_TIMEOUT,
        })
    })
}

/// Removes a name. It is no error if somebody else has removed it already.
pub(crate) fn remove(path: &Path, label: &str) -> Result<()> {
    match os::unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refusal(path, label, "remove the name", error))
        }
        _ => Ok(()),
    }
}

/// Makes an error of the operating system's refusal to do `op` with the file at `path`. If permission is
/// missing, the error tells as much about the file as can be found out without it.
fn refusal(path: &Path, label: &str, op: &'static str, error: io::Error) -> Error {
    let mut refusal = Error::from_os(label, op, error);
    if let Error::PermissionDenied { detail, .. } = &mut refusal {
        *detail = about(path, label);
    }
    refusal
}

/// Describes the file at `path`, which this user may not open or remove.
fn about(path: &Path, label: &str) -> Option<String> {
    let owner = FileStatus::at(path).ok()?.owner;
    if !is_leftover(path, label) {
        return Some(format!("the file belongs to user {owner}"));
    }
    let folder = FileStatus::at(path.parent()?).ok()?;
    let remover = match owner {
        _ if !folder.sticky => "a user who may write its folder".to_owned(),
        0 => "user 0".to_owned(),
        _ => format!("user {owner} or user 0"),
    };
    Some(format!(
        "user {owner} left it, nobody holds it, and {remover} can remove it"
    ))
}

/// Returns whether the file at `path` is an orphan, as far as this user may see. No gate is entered, so the
/// answer is for texts alone.
fn is_leftover(path: &Path, label: &str) -> bool {
    let header = |file: &File| read_header(file, label).ok();
    os::open(path, false).is_ok_and(|file| {
        header(&file).is_some_and(|header| !header.is_persistent())
            && hold::is_held_by_others(file.as_fd()).is_ok_and(|held| !held)
    })
}

/// Frees a name for a new segment: removes an orphan, and refuses to remove anything else. Returns `None` if
/// that has to be tried again.
pub(super) fn try_clear_name(
    exclusive: &Exclusive,
    label: &str,
    path: &Path,
) -> Result<Option<()>> {
    let taken = |by| Error::AlreadyExists {
        place: label.to_owned(),
        by,
    };
    let file = match open_existing(path, label, true) {
        Ok(file) => file,
        Err(Error::NotFound { .. }) => return Ok(Some(())),
        Err(Error::Foreign { .. }) => return Err(taken("something that is not a segment")),
        Err(Error::PermissionDenied { .. }) if !is_leftover(path, label) => {
            return Err(taken("a file that this user can't open"));
        }
        Err(error) => return Err(error),
    };
    let header = read_header(&file, label).map_err(|error| match error {
        Error::Foreign { .. } => taken("a file that is not a segment"),
        Error::Mismatch { .. } => taken("a segment of another layout"),
        Error::Corrupt { .. } => taken("a damaged segment"),
        error => error,
    })?;
    let Some(_gate) = try_gate(exclusive, &file, label)? else {
        return Ok(None);
    };
    match name_status(&file, path, label, &header)? {
        NameStatus::InUse if header.is_persistent() => Err(taken("a persistent segment")),
        NameStatus::InUse => Err(taken("a segment in use")),
        NameStatus::Orphan => remove(path, label).map(Some),
        NameStatus::LeadsElsewhere => Ok(None),
    }
}

/// Opens a file that may be a segment; [`Error::Foreign`] if it can be none.
pub(crate) fn open_existing(path: &Path, label: &str, write: bool) -> Result<File> {
    let foreign = |found: &str| Error::Foreign {
        place: label.to_owned(),
        found: found.to_owned(),
    };
    let file = os::open(path, write).map_err(|error| match error.kind() {
        _ if os::is_symlink_refusal(&error) => foreign("a symbolic link"),
        io::ErrorKind::IsADirectory => foreign("a directory"),
        _ if os::is_device_refusal(&error) => foreign("a socket or a device"),
        _ => refusal(path, label, "open", error),
    })?;
    regular(file, label)
}

/// Returns the file behind a descriptor that somebody passed, if it may be a segment. This does not open the
/// file again, because opening a pipe or a device has effects.
pub(crate) fn behind_descriptor(fd: &OwnedFd, label: &str) -> Result<File> {
    let file = os::duplicate(fd.as_fd())
        .map_err(|error| Error::from_os(label, "copy the descriptor", error))?;
    regular(file, label)
}

fn regular(file: File, label: &str) -> Result<File> {
    let status = FileStatus::of(&file).map_err(|e| Error::from_os(label, "look at it", e))?;
    if status.regular {
        return Ok(file);
    }
    Err(Error::Foreign {
        place: label.to_owned(),
        found: "something that is not a regular file".into(),
    })
}

/// Reads and validates the header. Nothing is changed.
pub(crate) fn read_header(file: &File, label: &str) -> Result<Header> {
    let failed = |error| Error::from_os(label, "read the header", error);
    let status = FileStatus::of(file).map_err(failed)?;
    let mut start = [0; SEALED];
    let filled = os::read_at(file.as_fd(), &mut start, 0).map_err(failed)?;
    Header::parse(&start[..filled], status.len).map_err(|error| error.at(label))
}
