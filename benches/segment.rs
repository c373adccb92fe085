//! Creating and dropping a named segment, of 4 KiB and 1 MiB, against the same system calls made by
//! hand. (The calls are those that `strace` shows; where the crate's change, these should.)

mod support;

use criterion::{Criterion, criterion_group};
use shmkit::Queue;
use std::ffi::{CStr, CString};
use std::fs::{File, metadata, symlink_metadata};
use std::io::{Error, ErrorKind};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr::null_mut;
use support::{compare, describe};

/// The control words and the header: what a segment has beside its elements.
const OVERHEAD: usize = 1024;
const SIZES: [(&str, usize); 2] = [("4 KiB", 4096), ("1 MiB", 1 << 20)];

/// Far beyond any file's end: where the gate is, and above it the holders.
const GATE: i64 = 1 << 62;

fn name() -> String {
    format!("bench-segment-{}", std::process::id())
}

/// A segment of `size` bytes, made and dropped by the crate.
fn by_crate(name: &str, size: usize) {
    drop(Queue::<u8>::create(name, size - OVERHEAD).expect("a new segment"));
}

/// What succeeded, as a descriptor or a count.
fn checked(result: libc::c_int) -> libc::c_int {
    assert_ne!(result, -1, "{}", Error::last_os_error());
    result
}

fn adopt(fd: libc::c_int) -> File {
    // SAFETY: what a call just returned is open, and nobody else's.
    unsafe { File::from_raw_fd(checked(fd)) }
}

fn set_lock(fd: &File, command: libc::c_int, kind: libc::c_int, start: i64, len: i64) -> bool {
    // SAFETY: integers alone, for which zeros are valid.
    let mut lock: libc::flock = unsafe { zeroed() };
    lock.l_type = i16::try_from(kind).expect("a small constant");
    lock.l_start = start;
    lock.l_len = len;
    // SAFETY: both are alive.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) });
    i32::from(lock.l_type) == libc::F_UNLCK
}

fn write_at(fd: &File, bytes: &[u8], offset: i64) {
    // SAFETY: the buffer is alive and of the length that is passed.
    let written =
        unsafe { libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset) };
    assert_eq!(
        written,
        bytes.len().cast_signed(),
        "{}",
        Error::last_os_error()
    );
}

/// The same by hand.
fn by_hand(path: &CStr, size: usize) {
    let file_path = Path::new(path.to_str().expect("ASCII"));
    let length = i64::try_from(size).expect("a small size");
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: strings end in NUL, and everything passed is alive.
    let absent = unsafe { libc::open(path.as_ptr(), flags | libc::O_NOFOLLOW | libc::O_NONBLOCK) };
    assert_eq!(
        (absent, Error::last_os_error().kind()),
        (-1, ErrorKind::NotFound)
    );
    // SAFETY: as above.
    let file = unsafe { libc::open(c"/dev/shm".as_ptr(), flags | libc::O_TMPFILE, 0o600) };
    let draft = adopt(file);
    metadata("/proc/self/fd").expect("/proc");
    // SAFETY: as above.
    let file = adopt(unsafe { libc::fcntl(draft.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) });
    // SAFETY: as above.
    checked(unsafe { libc::fchmod(file.as_raw_fd(), 0o600) });
    // SAFETY: integers alone, for which zeros are valid.
    let mut space: libc::statvfs = unsafe { zeroed() };
    // SAFETY: as above.
    checked(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut space) });
    assert!(space.f_bavail * space.f_frsize > size as u64);
    // SAFETY: as above.
    checked(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) });
    write_at(&file, &[1; 144], 0);
    write_at(&file, &[1; 8], 256);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.as_raw_fd();
    // SAFETY: a new mapping, at a place of the kernel's choice.
    let map = unsafe { libc::mmap(null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
    assert_ne!(map, libc::MAP_FAILED);
    // SAFETY: a page that was reserved and mapped; drawing a holder's number touches it too.
    unsafe { map.cast::<u64>().write_volatile(1) };
    file.metadata().expect("its metadata");
    set_lock(&file, libc::F_OFD_SETLK, libc::F_WRLCK, GATE + 1, 1);
    let by_fd = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("no NUL");
    let here = libc::AT_FDCWD;
    let follow = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: as above.
    checked(unsafe { libc::linkat(here, by_fd.as_ptr(), here, path.as_ptr(), follow) });
    drop(draft);

    // SAFETY: mapped above, and not used since.
    checked(unsafe { libc::munmap(map, size) });
    // SAFETY: as above.
    let gate = adopt(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) });
    set_lock(&gate, libc::F_OFD_SETLK, libc::F_WRLCK, GATE, 1);
    let mine = file.metadata().expect("its metadata");
    let there = symlink_metadata(file_path).expect("the name's metadata");
    assert_eq!((mine.dev(), mine.ino()), (there.dev(), there.ino()));
    assert!(set_lock(
        &file,
        libc::F_OFD_GETLK,
        libc::F_WRLCK,
        GATE + 1,
        0
    ));
    // SAFETY: as above.
    checked(unsafe { libc::unlink(path.as_ptr()) });
    set_lock(&gate, libc::F_OFD_SETLK, libc::F_UNLCK, GATE, 1);
}

fn path_of(name: &str) -> CString {
    CString::new(format!("/dev/shm/{name}")).expect("no NUL")
}

fn create_and_drop(c: &mut Criterion) {
    let name = name();
    let path = path_of(&name);
    for (text, size) in SIZES {
        let mut group = c.benchmark_group(format!("create and drop {text}"));
        group.bench_function("shmkit", |b| b.iter(|| by_crate(&name, size)));
        group.bench_function("by hand", |b| b.iter(|| by_hand(&path, size)));
        group.finish();
    }
}

criterion_group!(benches, create_and_drop);

fn main() {
    describe("segment");
    let name = name();
    let path = path_of(&name);
    let file = Path::new("/dev/shm").join(&name);
    for (_, size) in SIZES {
        let queue = Queue::<u8>::create(&name, size - OVERHEAD).expect("a new segment");
        assert_eq!(metadata(&file).expect("its file").len(), size as u64);
        drop(queue);
        assert!(!file.exists());
        by_hand(&path, size);
        assert!(!file.exists());
    }

    benches();
    Criterion::default().configure_from_args().final_summary();

    for (text, size) in SIZES {
        let ours = format!("create and drop {text}");
        compare(
            [&ours, "by hand"],
            Some(1.5),
            || by_crate(&name, size),
            || by_hand(&path, size),
        );
    }
}
