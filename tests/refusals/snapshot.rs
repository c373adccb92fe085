//! The state of a file, to see that nobody touched it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Everything about a file that a touch would change.
#[derive(Debug, PartialEq)]
pub struct Snapshot {
    inode: u64,
    links: u64,
    mode: u32,
    len: u64,
    modified: (i64, i64),
    /// Changes with the name, the mode and the owner too.
    changed: (i64, i64),
    /// A regular file's bytes, a link's target.
    contents: Vec<u8>,
}

impl Snapshot {
    pub fn of(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let status = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let kind = status.file_type();
        let contents = if kind.is_symlink() {
            let target = fs::read_link(path).expect("a link leads somewhere");
            target.into_os_string().into_encoded_bytes()
        } else if kind.is_fifo() || kind.is_dir() || kind.is_socket() {
            Vec::new()
        } else {
            fs::read(path).expect("a test's file can be read")
        };
        Self {
            inode: status.ino(),
            links: status.nlink(),
            mode: status.mode(),
            len: status.len(),
            modified: (status.mtime(), status.mtime_nsec()),
            changed: (status.ctime(), status.ctime_nsec()),
            contents,
        }
    }
}
