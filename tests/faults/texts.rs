//! The texts of faults and of refusals.

use crate::tracer::{Fault, Site};
use std::io;

/// `openat 3: Too many open files (os error 24)`, with the number of the process if it is not the first.
pub(crate) fn of(fault: Fault) -> String {
    let Site { process, call, nth } = fault.site;
    let error = io::Error::from_raw_os_error(fault.errno);
    match process {
        0 => format!("{call} {nth}: {error}"),
        _ => format!("{call} {nth} in process {process}: {error}"),
    }
}

/// Returns whether a refusal names the cause: the errno, or what the errno means.
pub(crate) fn names_cause(text: &str, errno: i32) -> bool {
    let means: &[&str] = match errno {
        libc::EACCES | libc::EPERM => &["no permission to ", "a file that this user can't open"],
        libc::ENOENT => &["no such segment", "cannot find its folder"],
        libc::EAGAIN => &["a reader of the file has locked the bytes"],
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => &["no space: the segment needs "],
        _ => &[],
    };
    // Memory that can't be reserved is missing space.
    let full = errno == libc::ENOMEM && text.contains("no space: the segment needs ");
    full || text.contains(&format!("(os error {errno})"))
        || means.iter().any(|meaning| text.contains(meaning))
}

/// Returns whether an errno says that a name can't be removed, or that its folder can't be looked through, now or
/// later.
pub(crate) fn forbids(errno: i32) -> bool {
    let forbidden = matches!(
        errno,
        libc::EACCES | libc::EPERM | libc::EBUSY | libc::EROFS
    );
    forbidden || errno == libc::EMFILE
}

/// Returns whether a pool's refusal names the consequence of a failure in a fork handler or in the supervisor, which
/// tell nobody the errno.
pub(crate) fn names_consequence(text: &str) -> bool {
    text.contains("(pool): cannot start its supervisor: it could not become a holder of its queues")
        || text.contains("ended with its task: exit code 1")
}
