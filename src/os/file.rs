//! Files: opening, looking at, reading and writing, mapping.

use super::base::{AsFd, AsRawFd, BorrowedFd, File, MmapRaw, RawFd, check, retried};
use super::descriptor::StandardTaken;
use super::space::to_off;
use memmap2::{Advice, MmapOptions};
use std::ffi::{CStr, CString, OsStr};
use std::io::{self, Write};
use std::mem::zeroed;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Identifies a file for as long as somebody has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    /// The device's number.
    pub(crate) device: u64,
    /// The inode's number on that device.
    pub(crate) inode: u64,
}

/// The answer of `fstat`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStatus {
    pub(crate) id: FileId,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Whether this is a regular file: no directory, device, pipe or link.
    pub(crate) regular: bool,
    /// How many names lead to the file.
    pub(crate) links: u64,
    /// The number of the user to whom the file belongs.
    pub(crate) owner: u32,
    /// Whether this is a folder in which a user may remove no other user's files.
    pub(crate) sticky: bool,
}

impl FileStatus {
    fn new(data: &std::fs::Metadata) -> Self {
        Self {
            id: FileId {
                device: data.dev(),
                inode: data.ino(),
            },
            len: data.len(),
            regular: data.is_file(),
            links: data.nlink(),
            owner: data.uid(),
            sticky: data.mode() & libc::S_ISVTX != 0,
        }
    }

    /// Returns the status of an open file.
    pub(crate) fn of(file: &impl AsFd) -> io::Result<Self> {
        // SAFETY: the fields are numbers, for which zeros are valid.
        let mut status: libc::stat = unsafe { zeroed() };
        // SAFETY: `status` is alive and writable.
        check(unsafe { libc::fstat(file.as_fd().as_raw_fd(), &raw mut status) })?;
        Ok(Self {
            id: FileId {
                device: status.st_dev,
                inode: status.st_ino,
            },
            len: status.st_size.try_into().unwrap_or(0),
            regular: status.st_mode & libc::S_IFMT == libc::S_IFREG,
            links: status.st_nlink,
            owner: status.st_uid,
            sticky: status.st_mode & libc::S_ISVTX != 0,
        })
    }

    /// Returns the status of the file that a path leads to. A symbolic link at the path's end is not
    /// followed.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&std::fs::symlink_metadata(path)?))
    }
}

/// A path as a C string.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is there to do without an allocation"
)]
pub(super) enum CPath {
    /// Without an allocation, which a fork handler should not make: a named segment's path, or one in /proc.
    Short([u8; CPath::SHORT]),
    Long(CString),
}

impl CPath {
    const SHORT: usize = 256;

    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let path = path.as_os_str().as_bytes();
        if path.len() >= Self::SHORT {
            return Ok(Self::Long(CString::new(path)?));
        }
        if path.contains(&0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut text = [0; Self::SHORT];
        text[..path.len()].copy_from_slice(path);
        Ok(Self::Short(text))
    }

    /// Returns the path by which /proc leads to the file behind a descriptor of this process.
    pub(super) fn of_descriptor(fd: RawFd) -> Self {
        let mut text = [0; Self::SHORT];
        write!(&mut text[..], "/proc/self/fd/{fd}").expect("it is short");
        Self::Short(text)
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        match self {
            Self::Short(text) => CStr::from_bytes_until_nul(text).expect("it ends in NUL"),
            Self::Long(text) => text,
        }
    }

    pub(super) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.as_c_str().to_bytes()))
    }
}

fn open_with(path: &CPath, flags: libc::c_int) -> io::Result<File> {
    let _taken = StandardTaken::new()?;
    let path = path.as_c_str();
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: `path` is a live C string; the mode is given for the flags that want one.
    let fd = retried(|| check(unsafe { libc::open(path.as_ptr(), flags, 0o600) }))?;
    // SAFETY: `fd` was just opened, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Opens an existing file. This neither follows a symbolic link at the path's end, nor waits for the other
/// end of a pipe or a device, nor passes `O_CREAT`, which `fs.protected_regular` refuses on another
/// user's file.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
    open_with(
        &CPath::new(path)?,
        access | libc::O_NOFOLLOW | libc::O_NONBLOCK,
    )
}

/// Returns whether an error of [`open`] says that the path ends in a symbolic link.
pub(crate) fn is_symlink_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// Returns whether an error of [`open`] says that the path leads to a socket, or to a device without a
/// driver.
pub(crate) fn is_device_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
}

/// Opens a new file that has no name, in the filesystem of the folder `dir`.
pub(crate) fn open_unnamed(dir: &Path) -> io::Result<File> {
    open_with(&CPath::new(dir)?, libc::O_RDWR | libc::O_TMPFILE)
}

/// Returns whether an error of [`open_unnamed`] says that the filesystem has no unnamed files, or that a
/// rule of the system may forbid them. Such rules (AppArmor, seccomp) often allow files with names.
pub(crate) fn is_unnamed_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::EACCES | libc::EPERM)
    )
}

/// Creates a file, which must not exist yet.
pub(crate) fn create_exclusive(path: &Path) -> io::Result<File> {
    open_with(
        &CPath::new(path)?,
        libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
    )
}

/// Creates a file in memory, to which no path leads and whose size can be sealed.
pub(crate) fn create_in_memory() -> io::Result<File> {
    let _taken = StandardTaken::new()?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string literal; it is only a label in /proc.
    let fd = check(unsafe { libc::memfd_create(c"shmkit".as_ptr(), flags) })?;
    // SAFETY: `fd` was just made, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Seals the size of a file from [`create_in_memory`]: nobody can change it any more.
pub(crate) fn seal_size(file: BorrowedFd<'_>) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of ours.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// Opens the file behind a descriptor again. The result is an open file description of its own, which
/// shares no locks with `fd`. If /proc is missing, this opens `path` instead, and the caller checks that
/// the path led to the same file.
pub(crate) fn reopen(fd: BorrowedFd<'_>, path: Option<&Path>) -> io::Result<File> {
    let reopened = open_with(&CPath::of_descriptor(fd.as_raw_fd()), libc::O_RDWR);
    match (reopened, path) {
        (Err(error), Some(path)) if error.kind() == io::ErrorKind::NotFound => open(path, true),
        (reopened, _) => reopened,
    }
}

/// Sets the permission bits exactly, whatever the umask.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    // SAFETY: fchmod touches no memory of ours.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) }).map(drop)
}

/// Reads from `offset` on into the front of `bytes`, and returns how many bytes there were: fewer than
/// asked for only at the end of the file.
pub(crate) fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        let at = to_off(offset + filled as u64)?;
        let more = retried(|| {
            let (start, len) = (rest.as_mut_ptr().cast(), rest.len());
            // SAFETY: `rest` is alive and writable, and its length is passed.
            let read = unsafe { libc::pread(fd.as_raw_fd(), start, len, at) };
            usize::try_from(read).map_err(|_| io::Error::last_os_error())
        })?;
        if more == 0 {
            break;
        }
        filled += more;
    }
    Ok(filled)
}

/// Writes all the bytes from `offset` on.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Maps the first `len` bytes of a file, shared, readable and writable. No core dump contains the mapping:
/// a dead process keeps its locks until its dump is written.
pub(crate) fn map(file: &File, len: usize) -> io::Result<MmapRaw> {
    let map = MmapOptions::new().len(len).map_raw(file)?;
    map.advise(Advice::DontDump)?;
    Ok(map)
}
