//! Space in a filesystem: how much there is, reserving it, giving it back.

use super::base::{AsRawFd, File, check, retried};
use std::io;
use std::os::unix::fs::FileExt;

/// Returns how many bytes are free in the file's filesystem. For files in memory, whose filesystem has no
/// limit of its own, this is the machine's memory and swap, which no request can exceed. `None` if the
/// system tells neither.
pub(crate) fn free_space(file: &File) -> io::Result<Option<u64>> {
    // SAFETY: a statvfs of zeros is a valid value to be overwritten.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is alive and writable.
    retried(|| check(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut status) }))?;
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

/// Returns the limit on the length of this process's files, if there is one. Growing a file beyond the
/// limit raises SIGXFSZ.
pub(crate) fn file_size_limit() -> io::Result<Option<u64>> {
    // SAFETY: an rlimit of zeros is a valid value to be overwritten.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: `limit` is alive and writable.
    check(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) })?;
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur))
}

/// Returns whether an error says that the filesystem, or the user's share of it, is full.
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

/// Reserves the first `len` bytes of a file. Bytes that are there stay, the others are zero.
///
/// The function reserves in pieces. On tmpfs a signal undoes the call that it interrupts, so that one
/// call for everything might never end under a profiler's timer.
pub(crate) fn fill(file: &File, len: u64) -> io::Result<()> {
    const PIECE: u64 = 4 << 20;
    let mut done = 0;
    while done < len {
        let piece = PIECE.min(len - done);
        retried(|| allocate(file, done, piece))?;
        done += piece;
    }
    Ok(())
}

fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (to_off(offset)?, to_off(len)?);
    // SAFETY: fallocate touches no memory of ours.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) }).map(drop)
}

/// Reserves by writing, for filesystems that can't reserve otherwise.
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

pub(super) fn to_off(value: u64) -> io::Result<libc::off_t> {
    value
        .try_into()
        .map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}
