//! Names: what a path leads to, what a folder contains, giving a file a name and removing it.

use super::base::{AsRawFd, BorrowedFd, File, check};
use super::file::{FileStatus, c_path, proc_path};
use std::ffi::OsString;
use std::io;
#[cfg(feature = "serde")]
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// Returns whether a path leads to this very file.
pub(crate) fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let id = FileStatus::of(file)?.id;
    match FileStatus::at(path) {
        Ok(there) => Ok(there.id == id),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns a name that leads to an open file, in the folder where the file was opened or made; `None` if
/// the file has no name there.
///
/// /proc knows that folder. But /proc knows the name only if the file had it when it was opened, and the
/// file behind a creator's descriptor never had one then. So this looks through the folder.
pub(crate) fn find_name(file: &File) -> io::Result<Option<PathBuf>> {
    let status = FileStatus::of(file)?;
    if status.links == 0 {
        return Ok(None); // a file in memory, or one whose name is gone
    }
    let opened_as = std::fs::read_link(proc_path(file.as_raw_fd()))?;
    let Some(folder) = opened_as.parent() else {
        return Ok(None);
    };
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.ino() == status.id.inode && leads_to(&entry.path(), file)? {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Returns the names in a folder, in no particular order.
pub(crate) fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// Returns the path as an absolute one; a relative path counts from the working folder.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

/// Returns the bytes of a path.
#[cfg(feature = "serde")]
pub(crate) fn path_into_bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}

/// Returns the path that consists of these bytes.
#[cfg(feature = "serde")]
pub(crate) fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// Removes a name.
pub(crate) fn unlink(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// Returns whether [`link_unnamed`] has the /proc that it needs.
pub(crate) fn can_link_unnamed() -> bool {
    Path::new("/proc/self/fd").exists()
}

/// Gives an unnamed file its name, in one step; `AlreadyExists` if the name is taken.
pub(crate) fn link_unnamed(file: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    link_with(&proc_path(file.as_raw_fd()), path, libc::AT_SYMLINK_FOLLOW)
}

/// Gives a file a second name; `AlreadyExists` if that name is taken.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    link_with(from, to, 0)
}

fn link_with(from: &Path, to: &Path, flags: libc::c_int) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    let here = libc::AT_FDCWD;
    // SAFETY: both are live C strings.
    check(unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), flags) }).map(drop)
}
