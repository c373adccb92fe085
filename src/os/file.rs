//! Files: opening, publishing, reserving, locking, mapping.

use super::check;
use memmap2::{MmapOptions, MmapRaw};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
#[cfg(feature = "shared_memory")]
use std::ptr::NonNull;

/// Which file something is, for as long as it is open somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    /// The device's number.
    pub(crate) device: u64,
    /// The inode's number on that device.
    pub(crate) inode: u64,
}

/// What `fstat` tells of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStatus {
    pub(crate) id: FileId,
    /// Length in bytes.
    pub(crate) len: u64,
    /// A regular file: no directory, no device, no pipe, no link.
    pub(crate) regular: bool,
    /// How many names lead to it.
    pub(crate) links: u64,
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
        }
    }

    /// Of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&file.metadata()?))
    }

    /// Of what a path leads to, without following a last symbolic link.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&std::fs::symlink_metadata(path)?))
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn open_with(path: &Path, flags: libc::c_int) -> io::Result<File> {
    let path = c_path(path)?;
    // SAFETY: `path` is a live C string; the mode is given for the flags that want one.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })?;
    // SAFETY: `fd` was just opened, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Opens an existing file, never through a last symbolic link, and never waiting for a pipe's or a
/// device's other end. Never with `O_CREAT`, which `fs.protected_regular` refuses on others' files.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
    open_with(path, access | libc::O_NOFOLLOW | libc::O_NONBLOCK)
}

/// Whether an error of [`open`] says that a symbolic link stands there.
pub(crate) fn is_symlink_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// Whether an error of [`open`] says that a socket or a device without a driver stands there.
pub(crate) fn is_device_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
}

/// Whether a path leads to this very file.
pub(crate) fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let id = FileStatus::of(file)?.id;
    match FileStatus::at(path) {
        Ok(there) => Ok(there.id == id),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A name that leads to an open file, in the folder where that was opened or made; `None` where it
/// has none there.
///
/// /proc knows that folder, and the name only if it was there when the file was opened, which the
/// file behind a creator's descriptor never had: so the folder is looked through.
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

/// Removes a name.
pub(crate) fn unlink(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// Opens a new file that has no name, in the filesystem of the folder `dir`.
pub(crate) fn open_unnamed(dir: &Path) -> io::Result<File> {
    open_with(dir, libc::O_RDWR | libc::O_TMPFILE)
}

/// Whether [`link_unnamed`] has the /proc that it needs.
pub(crate) fn can_link_unnamed() -> bool {
    Path::new("/proc/self/fd").exists()
}

/// Whether an error of [`open_unnamed`] says that this filesystem has no such thing.
pub(crate) fn is_unnamed_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
    )
}

/// Creates a file that must not exist yet.
pub(crate) fn create_exclusive(path: &Path) -> io::Result<File> {
    open_with(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)
}

/// Creates a file in memory that no path leads to, and whose size can be sealed.
pub(crate) fn create_in_memory() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string literal, a label in /proc only.
    let fd = check(unsafe { libc::memfd_create(c"shmkit".as_ptr(), flags) })?;
    // SAFETY: `fd` was just made, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Gives the memory of a part of a file back, which reads as zeros then.
#[cfg(feature = "serde")] // for pools
pub(crate) fn discard(file: BorrowedFd<'_>, part: &Range<u64>) -> io::Result<()> {
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let at = |offset: u64| libc::off64_t::try_from(offset).map_err(io::Error::other);
    let (start, len) = (at(part.start)?, at(part.end - part.start)?);
    // SAFETY: it takes numbers.
    check(unsafe { libc::fallocate64(file.as_raw_fd(), how, start, len) }).map(drop)
}

/// Makes the size of a file of [`create_in_memory`] final, whoever asks.
pub(crate) fn seal_size(file: BorrowedFd<'_>) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of ours.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

fn proc_path(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

/// Opens the file behind a descriptor once more: an open file description of its own, so that locks
/// and their lifetime are not shared with `fd`. `path`, where the file has one, serves where /proc
/// is missing; the caller checks what it leads to.
pub(crate) fn reopen(fd: BorrowedFd<'_>, path: Option<&Path>) -> io::Result<File> {
    let reopened = open_with(&proc_path(fd.as_raw_fd()), libc::O_RDWR);
    match (reopened, path) {
        (Err(error), Some(path)) if error.kind() == io::ErrorKind::NotFound => open(path, true),
        (reopened, _) => reopened,
    }
}

/// Gives a file of [`open_unnamed`] its name, at once and whole; `AlreadyExists` where the name is
/// taken.
pub(crate) fn link_unnamed(file: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    link_with(&proc_path(file.as_raw_fd()), path, libc::AT_SYMLINK_FOLLOW)
}

/// Gives a file a second name; `AlreadyExists` where that is taken.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    link_with(from, to, 0)
}

fn link_with(from: &Path, to: &Path, flags: libc::c_int) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    let here = libc::AT_FDCWD;
    // SAFETY: both are live C strings.
    check(unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), flags) }).map(drop)
}

/// Sets the permission bits exactly, whatever the umask.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    // SAFETY: fchmod touches no memory of ours.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) }).map(drop)
}

/// Bytes that are free in the file's filesystem; where it has no limit of its own (files in memory),
/// the machine's memory and swap, which no request can exceed; `None` where neither is told.
pub(crate) fn free_space(file: &File) -> io::Result<Option<u64>> {
    // SAFETY: a statvfs of zeros is a valid value to be overwritten.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is alive and writable.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut status) })?;
    if status.f_blocks > 0 {
        return Ok(Some(status.f_bfree.saturating_mul(status.f_frsize)));
    }
    // SAFETY: a sysinfo of zeros is a valid value to be overwritten.
    let mut machine: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `machine` is alive and writable.
    let told = check(unsafe { libc::sysinfo(&raw mut machine) }).is_ok();
    let memory = machine.totalram.saturating_add(machine.totalswap);
    Ok(told.then(|| memory.saturating_mul(machine.mem_unit.into())))
}

/// How long the process's files may grow, if that is limited: what grows beyond raises SIGXFSZ.
pub(crate) fn file_size_limit() -> io::Result<Option<u64>> {
    // SAFETY: an rlimit of zeros is a valid value to be overwritten.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: `limit` is alive and writable.
    check(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) })?;
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur))
}

/// Whether an error says that the filesystem, or the user's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::ENOMEM)
    )
}

/// Reserves and zeroes the first `len` bytes of an empty file.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    match fill(file, len) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => write_zeros(file, 0, len),
        filled => filled,
    }
}

/// Reserves the first `len` bytes of a file; what is there stays, the rest is zero.
///
/// In pieces: on tmpfs a signal undoes the call that it interrupts, so under a profiler's timer one
/// call for everything might never end.
pub(crate) fn fill(file: &File, len: u64) -> io::Result<()> {
    const PIECE: u64 = 4 << 20;
    let mut done = 0;
    while done < len {
        let piece = PIECE.min(len - done);
        match allocate(file, done, piece) {
            Ok(()) => done += piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (to_off(offset)?, to_off(len)?);
    // SAFETY: fallocate touches no memory of ours.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) }).map(drop)
}

/// Reserves by writing, for filesystems that can't do it otherwise.
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 16];
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// Which file is mapped at an address that is part of a file's mapping. Needs /proc.
#[cfg(feature = "shared_memory")]
pub(crate) fn mapped_file(at: NonNull<u8>) -> io::Result<FileId> {
    // start-end rights offset major:minor inode path, of which the path need not be UTF-8
    let maps = std::fs::read("/proc/self/maps")?;
    let maps = String::from_utf8_lossy(&maps);
    let parse = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let (major, minor) = words.nth(2)?.split_once(':')?;
        let device = libc::makedev(
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        );
        let inode = words.next()?.parse().ok()?;
        range
            .contains(&at.addr().get())
            .then_some(FileId { device, inode })
    };
    maps.lines()
        .find_map(parse)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Maps the first `len` bytes of a file, shared, readable and writable.
pub(crate) fn map(file: &File, len: usize) -> io::Result<MmapRaw> {
    MmapOptions::new().len(len).map_raw(file)
}

fn to_off(value: u64) -> io::Result<libc::off_t> {
    value
        .try_into()
        .map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

fn byte_range(kind: libc::c_int, start: u64, len: u64) -> io::Result<libc::flock> {
    // SAFETY: an flock of zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind.try_into().expect("lock kinds are small");
    range.l_whence = libc::SEEK_SET.try_into().expect("SEEK_SET is 0");
    range.l_start = to_off(start)?;
    range.l_len = to_off(len)?;
    Ok(range)
}

fn fcntl_range(fd: RawFd, command: libc::c_int, range: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the commands passed here read, and F_OFD_GETLK writes, one flock, which is alive.
    check(unsafe { libc::fcntl(fd, command, std::ptr::from_mut(range)) }).map(drop)
}

/// Write-locks one byte for the open file description behind `fd`; `false` where another one has
/// it. Never waits. The lock ends with the description's last descriptor.
pub(crate) fn try_lock_byte(fd: BorrowedFd<'_>, at: u64) -> io::Result<bool> {
    let mut range = byte_range(libc::F_WRLCK, at, 1)?;
    match fcntl_range(fd.as_raw_fd(), libc::F_OFD_SETLK, &mut range) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Undoes [`try_lock_byte`].
pub(crate) fn unlock_byte(fd: BorrowedFd<'_>, at: u64) -> io::Result<()> {
    let mut range = byte_range(libc::F_UNLCK, at, 1)?;
    fcntl_range(fd.as_raw_fd(), libc::F_OFD_SETLK, &mut range)
}

/// Some bytes from `start` on (`len` bytes; 0 is all the rest) that another open file description
/// has locked, not always the first. Asks without taking, even through a read-only descriptor.
pub(crate) fn find_locked(
    fd: BorrowedFd<'_>,
    start: u64,
    len: u64,
) -> io::Result<Option<Range<u64>>> {
    let mut range = byte_range(libc::F_WRLCK, start, len)?;
    fcntl_range(fd.as_raw_fd(), libc::F_OFD_GETLK, &mut range)?;
    if libc::c_int::from(range.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let first = u64::try_from(range.l_start).unwrap_or(0);
    let end = match u64::try_from(range.l_len) {
        Ok(len) if len > 0 => first.saturating_add(len),
        _ => i64::MAX as u64, // 0 is to the end of what a file can be
    };
    Ok(Some(first.max(start)..end.max(start + 1)))
}

/// Takes the ownership of a raw descriptor.
///
/// # Safety
/// `fd` is open, and the caller gives up the only claim to it.
pub(crate) unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's contract is this call's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
