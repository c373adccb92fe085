//! A descriptor's number is not ours to keep: programs start without the standard streams, and close
//! everything from 3 on.

use crate::fork::{Child, Line, Name, for_ever, limit_descriptors, panic_of, soon};
use shmkit::{Place, Queue, Value};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

fn close(fd: RawFd) {
    // SAFETY: the numbers passed here are the test's own, or a segment's, which is what is tested.
    unsafe { libc::close(fd) };
}

/// Runs `f` while the three standard numbers are free. A panic's text comes once they are back.
fn without_standard_streams(f: impl FnOnce()) {
    let kept: Vec<RawFd> = (0..3)
        // SAFETY: the call takes numbers.
        .map(|fd| unsafe { libc::fcntl(fd, libc::F_DUPFD, 100) })
        .collect();
    assert!(kept.iter().all(|fd| *fd >= 100), "{kept:?}");
    (0..3).for_each(close);
    let ended = catch_unwind(AssertUnwindSafe(f));
    for (fd, standard) in kept.into_iter().zip(0..) {
        // SAFETY: the call takes numbers.
        assert_eq!(unsafe { libc::dup2(fd, standard) }, standard);
        close(fd);
    }
    if let Err(payload) = ended {
        let text = payload.downcast_ref::<String>();
        eprintln!("without standard streams: {text:?}");
        resume_unwind(payload);
    }
}

fn assert_standard_numbers_are_free(after: &str) {
    for fd in 0..3 {
        // SAFETY: the call takes numbers.
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        assert!(!open, "after {after}, number {fd} is taken");
    }
}

pub(crate) fn no_descriptor_of_ours_is_a_standard_stream() {
    let name = Name::new("streams");
    without_standard_streams(|| {
        let queue = Queue::<u64>::new(64).expect("create");
        assert_standard_numbers_are_free("an anonymous create");
        let created = Value::create(&name.0, 1u64).expect("create");
        assert_standard_numbers_are_free("a create by name");
        let opened = Value::<u64>::open(&name.0).expect("open");
        assert_standard_numbers_are_free("an open by name");
        let fd = created.try_clone_fd().expect("clone");
        assert_standard_numbers_are_free("a clone of a descriptor");
        let by_fd = Value::<u64>::open(Place::fd(fd)).expect("open");
        assert_standard_numbers_are_free("an open by descriptor");
        let child = shmkit::Process::spawn(|| ()).expect("spawn");
        assert_standard_numbers_are_free("a start of a process");
        child.join().expect("join");
        Child::fork(|| assert_standard_numbers_are_free("a fork")).finish();

        // The case itself: a program prints without an output to print to.
        queue.put(7).expect("put");
        let text = [b'x'; 1500];
        // SAFETY: the text is alive, and its length is passed.
        let written = unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
        assert_eq!(written, -1);
        assert_eq!(queue.get(), Ok(7));
        drop((created, opened, by_fd));
    });
    assert!(!name.exists());
}

/// Closes every descriptor of a segment, as a program does that closes everything from 3 on.
pub(crate) fn close_segments() -> Vec<RawFd> {
    let found = segments();
    found.iter().copied().for_each(close);
    found
}

/// The descriptors that lead to segments, in order.
fn segments() -> Vec<RawFd> {
    let listing = std::fs::read_dir("/proc/self/fd").expect("list the descriptors");
    let mut found: Vec<RawFd> = listing
        .map(|fd| fd.expect("list").path())
        .filter(|path| {
            let target = std::fs::read_link(path).unwrap_or_default();
            let target = target.to_string_lossy();
            target.starts_with("/dev/shm/") || target.starts_with("/memfd:shmkit")
        })
        .map(|path| {
            path.file_name()
                .expect("a number")
                .to_string_lossy()
                .parse()
        })
        .collect::<Result<_, _>>()
        .expect("numbers");
    found.sort_unstable();
    found
}

pub(crate) fn a_closed_descriptor_ends_no_hold() {
    let name = Name::new("closed");
    let (ready, go) = (Line::new(), Line::new());
    let value = Value::create(&name.0, 0u64).expect("create");
    let peer = Child::fork(|| {
        let value = Value::<u64>::open(&name.0).expect("open");
        ready.tell();
        go.hear();
        let began = Instant::now();
        value.update(|n| *n += 1);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(100), "let in after {took:?}");
        assert_eq!(value.get(), 2);
    });
    ready.hear();
    assert!(!close_segments().is_empty());
    assert_eq!(name.holders(), 3, "this one, and the peer with its two");
    value.update(|n| {
        go.tell();
        std::thread::sleep(Duration::from_millis(300)); // the peer asks meanwhile whether we live
        *n += 1;
    });
    peer.finish();
    assert_eq!(value.get(), 2);
    assert!(
        shmkit::sweep()
            .expect("sweep")
            .iter()
            .all(|left| left.name != name.0)
    );
    assert!(name.exists());
    // A child becomes a holder all the same.
    Child::fork(|| {
        assert_eq!(name.holders(), 2);
        value.set(3);
    })
    .finish();
    assert_eq!(value.get(), 3);
    drop(value);
    assert!(!name.exists());
}

pub(crate) fn a_drop_closes_no_strangers_file() {
    let name = Name::new("stranger");
    for drop_by in [drop::<Value<u64>>, |value: Value<u64>| {
        Child::fork(|| value.set(2)).finish();
        drop(value);
    }] {
        let value = Value::create(&name.0, 1u64).expect("create");
        let anonymous = Value::new(1u64).expect("create");
        let numbers = close_segments();
        let mut strangers = Vec::new();
        while strangers.len() < 8 {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(b"theirs").expect("write");
            strangers.push(file);
        }
        let reused = |file: &File| numbers.contains(&file.as_raw_fd());
        assert!(strangers.iter().any(reused), "none got a number again");
        drop_by(value);
        drop(anonymous);
        for file in &mut strangers {
            let mut text = String::new();
            file.rewind().expect("it is open");
            file.read_to_string(&mut text).expect("it is open");
            assert_eq!(text, "theirs");
        }
        assert!(!name.exists());
    }
}

/// The number of a closed descriptor leads to the very same file again, through another open of it.
pub(crate) fn a_number_that_comes_again_for_the_same_file_is_not_ours() {
    let name = Name::new("again");
    let open = || Value::<u64>::open(&name.0).expect("open");
    let old = [Value::create(&name.0, 1u64).expect("create"), open()];
    let numbers = close_segments();
    let (again, third) = (open(), open());
    assert_eq!(segments(), numbers, "they got the same numbers");
    third.update(|_| {
        std::thread::scope(|scope| {
            for value in &old {
                let other = scope.spawn(|| value.try_update(|n| *n = 2));
                assert_eq!(other.join().expect("join"), None, "two in the lock");
            }
        });
    });
    drop(old);
    drop(again);
    assert!(third.is_reachable() && name.exists(), "it is held");
    third.set(3);

    // The program's own file, which no drop closes.
    close_segments();
    let path = format!("/dev/shm/{}", name.0);
    let mut options = File::options();
    let file = options.read(true).write(true).open(path).expect("open");
    assert!(numbers.contains(&file.as_raw_fd()));
    Child::fork(|| {
        third.set(4);
        file.metadata().expect("it is open");
    })
    .finish();
    assert_eq!(third.get(), 4);
    drop(third);
    file.metadata().expect("it is open");
    assert!(!name.exists());
}

/// Whoever can't ask at this moment asks again, and does not guess.
pub(crate) fn a_waiter_without_a_spare_descriptor_waits() {
    let name = Name::new("spare");
    let value = Value::create(&name.0, 1u64).expect("create");
    let (ready, go) = (Line::new(), Line::new());
    let owner = Child::fork(|| {
        value.update(|n| {
            ready.tell();
            go.hear();
            *n = 2;
        });
    });
    ready.hear();
    close_segments();
    let before = limit_descriptors(3);
    let waited = value.set_timeout(3, Duration::from_millis(100));
    limit_descriptors(before);
    assert_eq!(waited, Err(shmkit::TimedOut));
    go.tell();
    owner.finish();
    soon("a set", || value.set(3));
}

/// What can't be asked any more is said, instead of waiting for ever or letting two in.
pub(crate) fn a_lost_descriptor_is_told_to_who_must_ask() {
    let name = Name::new("lost");
    let ready = Line::new();
    for named in [true, false] {
        let place = if named {
            Place::named(&name.0)
        } else {
            Place::anonymous()
        };
        let value = Value::create(place, 1u64).expect("create");
        let owner = Child::fork(|| {
            value.update(|_| {
                ready.tell();
                for_ever()
            });
        });
        ready.hear();
        close_segments();
        owner.kill();
        if named {
            // Its path leads to the file.
            soon("a take-over", || value.set(2));
        } else {
            Child::fork(|| {
                let text = panic_of(|| value.set(2));
                assert!(text.contains("closed by the program"), "{text}");
            })
            .finish();
            let text = panic_of(|| value.set(2));
            assert!(text.contains("the program closed"), "{text}");
            assert_eq!(value.get(), 1, "reading asks nobody");
        }
    }
}

/// What `/proc/self/smaps` says about mappings of this file.
fn flags_of_mappings(of: &str) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("read the mappings");
    let mut found = Vec::new();
    let mut is_ours = false;
    for line in maps.lines() {
        let is_head = line
            .split(' ')
            .next()
            .is_some_and(|word| word.contains('-'));
        if is_head {
            is_ours = line.contains(of) && line.contains("rw-s");
        } else if is_ours && let Some(flags) = line.strip_prefix("VmFlags:") {
            found.push(flags.to_owned());
        }
    }
    found
}

/// A dead process keeps its locks until its core dump is written.
pub(crate) fn a_core_dump_contains_no_segment() {
    let name = Name::new("dump");
    let _segments = (
        Value::create(&name.0, 1u64).expect("create"),
        Value::new(1u64).expect("create"),
    );
    for of in ["/dev/shm/", "memfd:shmkit"] {
        let flags = flags_of_mappings(of);
        assert!(!flags.is_empty(), "{of}");
        let is_left_out = |flags: &String| flags.split(' ').any(|flag| flag == "dd");
        assert!(flags.iter().all(is_left_out), "{of}: {flags:?}");
    }
}

/// A receiver in a process without standard streams.
pub(crate) fn a_descriptor_that_was_a_standard_stream_is_opened_above() {
    let name = Name::new("passed");
    let value = Value::create(&name.0, 5u64).expect("create");
    let fd = value.try_clone_fd().expect("clone");
    without_standard_streams(|| {
        // SAFETY: the call takes numbers.
        let low = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 0) };
        assert_eq!(low, 0);
        // SAFETY: it was just opened, and nobody else has it.
        let low = unsafe { OwnedFd::from_raw_fd(low) };
        let opened = Value::<u64>::open(Place::fd(low)).expect("open");
        assert_standard_numbers_are_free("the end of what was passed");
        assert_eq!(opened.get(), 5);
    });
}
