//! Names: what a path leads to, what a folder contains, giving a file a name and removing it.

use super::base::{AsFd, AsRawFd, BorrowedFd, check, retried};
use super::file::{CPath, FileStatus};
use std::ffi::OsString;
use std::io;
#[cfg(feature = "serde")]
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// Returns whether a path leads to this very file.
pub(crate) fn leads_to(path: &Path, file: &impl AsFd) -> io::Result<bool> {
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
pub(crate) fn find_name(file: BorrowedFd<'_>) -> io::Result<Option<PathBuf>> {
    let status = FileStatus::of(&file)?;
    if status.links == 0 {
        return Ok(None); // a file in memory, or one whose name is gone
    }
    let opened_as = std::fs::read_link(CPath::of_descriptor(file.as_raw_fd()).as_path())?;
    let Some(folder) = opened_as.parent() else {
        return Ok(None);
    };
    for entry in retried(|| std::fs::read_dir(folder))? {
        let entry = entry?;
        if entry.ino() == status.id.inode && leads_to(&entry.path(), &file)? {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Returns the names in a folder, in no particular order.
pub(crate) fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    retried(|| std::fs::read_dir(folder))?
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
    let from = CPath::of_descriptor(file.as_raw_fd());
    link_with(&from, path, libc::AT_SYMLINK_FOLLOW)
}

/// Gives a file another name instead of `from`, in one step; `AlreadyExists` if that name is taken.
/// Filesystems that can't do that give the file a second name.
pub(crate) fn rename_or_link(from: &Path, to: &Path) -> io::Result<()> {
    let (old, new) = (CPath::new(from)?, CPath::new(to)?);
    let (old, new) = (old.as_c_str().as_ptr(), new.as_c_str().as_ptr());
    let (here, call) = (libc::AT_FDCWD, libc::SYS_renameat2);
    // SAFETY: both are live C strings. Not every C library has a function for the call.
    let renamed = unsafe { libc::syscall(call, here, old, here, new, libc::RENAME_NOREPLACE) };
    if renamed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // A rule of the system may know the one call and not the other.
    let is_refusal = matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM | libc::EACCES)
    );
    if !is_refusal {
        return Err(error);
    }
    link_with(&CPath::new(from)?, to, 0)
}

fn link_with(from: &CPath, to: &Path, flags: libc::c_int) -> io::Result<()> {
    let to = CPath::new(to)?;
    let (from, to) = (from.as_c_str(), to.as_c_str());
    let here = libc::AT_FDCWD;
    // SAFETY: both are live C strings.
    check(unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), flags) }).map(drop)
}
