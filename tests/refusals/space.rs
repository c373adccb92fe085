//! A full filesystem: told at creation, with the bytes that were needed, and nothing left behind.

use crate::support::{Watchdog, start};
use crate::{LIMIT, refused, sandbox};
use shmkit::{Error, Place, Queue, Value};
use std::ffi::CString;
use std::path::Path;

/// A queue's bytes besides its items: header and control words.
const OVERHEAD: u64 = 1024;

#[test]
fn a_full_filesystem_is_no_space() {
    let _watchdog = Watchdog::new("a full filesystem", LIMIT);
    let dir = tempfile::tempdir().unwrap();
    sandbox::run("small-filesystem", &[dir.path().to_str().unwrap()]);
    assert!(is_empty(dir.path()));
}

/// Files in memory have no filesystem that could be full: the machine's memory is what there is.
#[test]
fn more_than_the_machine_has_is_no_space_at_once() {
    let _watchdog = Watchdog::new("a hopeless request", LIMIT);
    let Err(Error::NoSpace {
        needed, available, ..
    }) = Queue::<u8>::new(1 << 50)
    else {
        panic!("not refused for lack of space");
    };
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

/// Limits the size of this process's files; what grows beyond raises SIGXFSZ.
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

pub fn small_filesystem(args: &[&str]) {
    let [dir] = args else { panic!("{args:?}") };
    sandbox::enter_own_mounts();
    sandbox::mount_tmpfs(dir, c"size=1m");
    let free = free_bytes(dir);
    assert!(free <= 1 << 20, "{free}");
    let path = format!("{dir}/queue");
    let place = Place::file(&path).persistent(false);
    let no_space = |capacity: u64, free: u64| {
        let needed = OVERHEAD + capacity;
        let text = format!("{path}: no space: the segment needs {needed} bytes, {free} are free");
        let capacity = usize::try_from(capacity).unwrap();
        for result in [
            Queue::<u8>::create(&place, capacity),
            Queue::<u8>::open_or_create(&place, capacity),
        ] {
            let Err(Error::NoSpace {
                needed: told,
                available,
                ..
            }) = &result
            else {
                panic!("{result:?}");
            };
            assert_eq!((*told, *available), (needed, Some(free)));
            refused!(result, Error::NoSpace { .. }, text);
        }
        assert_eq!(free_bytes(dir), free);
    };

    // Far too much, and one byte too much. A hopeless request fails before it has filled what there
    // is: it would go beyond this limit, and the signal would end us.
    limit_file_size(free + 1);
    no_space(2 << 20, free);
    limit_file_size(libc::RLIM_INFINITY);
    no_space(free - OVERHEAD + 1, free);
    assert!(is_empty(Path::new(dir)));

    // What fits to the byte is reserved to the byte: no write fails later.
    let capacity = usize::try_from(free - OVERHEAD).unwrap();
    let queue = Queue::<u8>::create(&place, capacity).unwrap();
    assert_eq!(free_bytes(dir), 0);
    assert_eq!(queue.put_many(&vec![7; capacity]), Ok(capacity));
    assert_eq!(queue.get_many(&mut vec![0; capacity]), Ok(capacity));

    // Now the filesystem is full, and what is there goes on.
    let other = format!("{dir}/other");
    refused!(
        Value::create(Place::file(&other), 1u64),
        Error::NoSpace {
            available: Some(0),
            ..
        },
        format!("{other}: no space: the segment needs 792 bytes, 0 are free")
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
    let _watchdog = Watchdog::new("a limit on the size of files", LIMIT);
    let dir = tempfile::tempdir().unwrap();
    start("file-size-limit", &[dir.path().to_str().unwrap()]).finish();
    assert!(is_empty(dir.path()));
}

pub fn file_size_limit(args: &[&str]) {
    let [dir] = args else { panic!("{args:?}") };
    const LIMIT: u64 = 6 << 20;
    limit_file_size(LIMIT);

    let place = Place::file(format!("{dir}/queue")).persistent(false);
    let most = usize::try_from(LIMIT - OVERHEAD).unwrap();
    for result in [Queue::create(&place, most + 1), Queue::<u8>::new(most + 1)] {
        let Err(Error::NoSpace {
            needed, available, ..
        }) = result
        else {
            panic!("{result:?}");
        };
        assert_eq!((needed, available), (LIMIT + 1, Some(LIMIT)));
    }
    assert!(is_empty(Path::new(dir)));
    // What is within the limit works.
    let queue = Queue::<u8>::create(&place, most).unwrap();
    queue.put(1).unwrap();
}

/// The filesystem looked roomy and was full half-way, by another writer.
#[test]
fn running_out_half_way_is_no_space_too() {
    let _watchdog = Watchdog::new("running out half-way", LIMIT);
    let dir = tempfile::tempdir().unwrap();
    sandbox::run("second-writer", &[dir.path().to_str().unwrap()]);
    assert!(is_empty(dir.path()));
}

pub fn second_writer(args: &[&str]) {
    let [dir] = args else { panic!("{args:?}") };
    sandbox::enter_own_mounts();
    sandbox::mount_tmpfs(dir, c"size=32m");
    let free = free_bytes(dir);
    let (path, other) = (format!("{dir}/queue"), format!("{dir}/other"));
    // It may be too late: the last piece is there before the other writer has seen the first.
    let refusal = loop {
        let writer = std::thread::spawn({
            let (dir, other) = (dir.to_string(), other.clone());
            move || {
                while free_bytes(&dir) == free {
                    std::hint::spin_loop();
                }
                // A page: then there is one too few. Where there is none any more, it was too late.
                let _ = std::fs::write(&other, [1]);
            }
        });
        let created = Queue::<u8>::create(
            Place::file(&path).persistent(false),
            usize::try_from(free - OVERHEAD).unwrap(),
        );
        writer.join().unwrap();
        std::fs::remove_file(&other).unwrap();
        if let Err(refusal) = created {
            break refusal;
        }
    };
    let Error::NoSpace {
        needed, available, ..
    } = refusal
    else {
        panic!("{refusal}");
    };
    assert_eq!((needed, available), (free, Some(free)));
    assert_eq!(free_bytes(dir), free);
    assert!(is_empty(Path::new(dir)));
}
