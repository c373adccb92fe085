//! A full filesystem: the creator is told how many bytes it needed, and leaves nothing behind.

use crate::support::checks::refused;
use crate::support::{Watchdog, start};
use crate::{LIMIT, sandbox};
use shmkit::{Error, Place, Queue, Value};
use std::ffi::CString;
use std::fmt::Debug;
use std::path::Path;

/// A queue's bytes besides its items: header and control words.
const OVERHEAD: u64 = 1024;

/// Plays a role in a new folder, which has to be empty afterwards.
fn in_a_folder(what: &'static str, play: impl FnOnce(&str)) {
    let _watchdog = Watchdog::new(what, LIMIT);
    let dir = tempfile::tempdir().unwrap();
    play(dir.path().to_str().unwrap());
    assert!(is_empty(dir.path()));
}

#[test]
fn a_full_filesystem_is_no_space() {
    in_a_folder("a full filesystem", |dir| {
        sandbox::run("small-filesystem", &[dir]);
    });
}

/// Takes `NoSpace` apart: the bytes that were needed, and those that were free.
fn no_space<T: Debug>(result: &Result<T, Error>) -> (u64, Option<u64>) {
    match result {
        Err(Error::NoSpace {
            needed, available, ..
        }) => (*needed, *available),
        other => panic!("not refused for lack of space: {other:?}"),
    }
}

/// No filesystem of files in memory can be full: the limit is the machine's memory.
#[test]
fn more_than_the_machine_has_is_no_space_at_once() {
    let _watchdog = Watchdog::new("a hopeless request", LIMIT);
    let (needed, available) = no_space(&Queue::<u8>::new(1 << 50));
    assert_eq!(needed, (1 << 50) + OVERHEAD);
    assert!(available.is_some_and(|available| available < needed));
}

fn is_empty(dir: &Path) -> bool {
    dir.read_dir().unwrap().next().is_none()
}

fn free_bytes(dir: &str) -> u64 {
    let dir = CString::new(dir).unwrap();
    // SAFETY: a statvfs of zeros is a valid value to be overwritten.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a live C string and a live, writable statvfs.
    assert_eq!(unsafe { libc::statvfs(dir.as_ptr(), &raw mut status) }, 0);
    status.f_bfree * status.f_frsize
}

/// Limits the size of this process's files. A write beyond the limit raises SIGXFSZ.
fn limit_file_size(bytes: libc::rlim_t) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a live, writable rlimit.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    assert_eq!(known, 0);
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: a live rlimit.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(limited, 0, "{}", std::io::Error::last_os_error());
}

pub fn small_filesystem(dir: &str) {
    sandbox::enter_own_mounts();
    sandbox::mount_tmpfs(dir, c"size=1m");
    let free = free_bytes(dir);
    assert!(free <= 1 << 20, "{free}");
    let path = format!("{dir}/queue");
    let place = Place::file(&path).persistent(false);
    let refuse = |capacity: u64| {
        let needed = OVERHEAD + capacity;
        let capacity = usize::try_from(capacity).unwrap();
        for result in [
            Queue::<u8>::create(&place, capacity),
            Queue::<u8>::open_or_create(&place, capacity),
        ] {
            assert_eq!(no_space(&result), (needed, Some(free)));
            refused!(
                Error::NoSpace { .. },
                format!("{path}: no space: the segment needs {needed} bytes, {free} are free"),
                result,
            );
        }
        assert_eq!(free_bytes(dir), free);
    };

    // Far too much, and one byte too much. A hopeless request fails before it has filled the
    // filesystem: it would go beyond this limit, and the signal would end this process.
    limit_file_size(free + 1);
    refuse(2 << 20);
    limit_file_size(libc::RLIM_INFINITY);
    refuse(free - OVERHEAD + 1);
    assert!(is_empty(Path::new(dir)));

    // A segment that fits to the byte is reserved to the byte: no write fails later.
    let capacity = usize::try_from(free - OVERHEAD).unwrap();
    let queue = Queue::<u8>::create(&place, capacity).unwrap();
    assert_eq!(free_bytes(dir), 0);
    assert_eq!(queue.put_many(&vec![7; capacity]), Ok(capacity));
    assert_eq!(queue.get_many(&mut vec![0; capacity]), Ok(capacity));

    // Now the filesystem is full, and the queue there goes on.
    let other = format!("{dir}/other");
    refused!(
        Error::NoSpace {
            available: Some(0),
            ..
        },
        format!("{other}: no space: the segment needs 792 bytes, 0 are free"),
        Value::create(Place::file(&other), 1u64),
    );
    assert!(!Path::new(&other).exists());
    queue.put(8).unwrap();
    assert_eq!(queue.get(), Ok(8));

    drop(queue);
    assert!(is_empty(Path::new(dir)));
    assert_eq!(free_bytes(dir), free);
}

/// A process's own limit on the size of files, which would end it with SIGXFSZ.
#[test]
fn a_limit_on_the_size_of_files_is_no_space_too() {
    in_a_folder("a limit on the size of files", |dir| {
        start("file-size-limit", &[dir]).finish();
    });
}

pub fn file_size_limit(dir: &str) {
    const LIMIT: u64 = 6 << 20;
    limit_file_size(LIMIT);

    let place = Place::file(format!("{dir}/queue")).persistent(false);
    let most = usize::try_from(LIMIT - OVERHEAD).unwrap();
    for result in [Queue::create(&place, most + 1), Queue::<u8>::new(most + 1)] {
        assert_eq!(no_space(&result), (LIMIT + 1, Some(LIMIT)));
    }
    assert!(is_empty(Path::new(dir)));
    // A segment within the limit works.
    let queue = Queue::<u8>::create(&place, most).unwrap();
    queue.put(1).unwrap();
}

/// The filesystem looked roomy and was full half-way, by another writer.
#[test]
fn running_out_half_way_is_no_space_too() {
    in_a_folder("running out half-way", |dir| {
        sandbox::run("second-writer", &[dir]);
    });
}

pub fn second_writer(dir: &str) {
    sandbox::enter_own_mounts();
    sandbox::mount_tmpfs(dir, c"size=32m");
    let free = free_bytes(dir);
    let (path, other) = (format!("{dir}/queue"), format!("{dir}/other"));
    // The other writer may be too late: the last piece is there before it has seen the first.
    let refused = loop {
        let writer = std::thread::spawn({
            let (dir, other) = (dir.to_string(), other.clone());
            move || {
                while free_bytes(&dir) == free {
                    std::hint::spin_loop();
                }
                // With this page gone, the creator lacks one. If none is left, this is too late.
                let _ = std::fs::write(&other, [1]);
            }
        });
        let created = Queue::<u8>::create(
            Place::file(&path).persistent(false),
            usize::try_from(free - OVERHEAD).unwrap(),
        );
        writer.join().unwrap();
        std::fs::remove_file(&other).unwrap();
        if created.is_err() {
            break created;
        }
    };
    assert_eq!(no_space(&refused), (free, Some(free)));
    assert_eq!(free_bytes(dir), free);
    assert!(is_empty(Path::new(dir)));
}
