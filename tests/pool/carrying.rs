//! Arguments and results that a pool carries, and those that it can't carry.

use crate::crew::{crew_of, supervisor};
use crate::fork::{descriptors, limit_descriptors, panic_of, set_limit};
use crate::tasks::{double, pid_of, pool};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shmkit::{Pool, TaskError};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Words that depend on their places.
fn pattern(len: usize) -> Vec<u64> {
    (0..len as u64)
        .map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect()
}

fn invert(all: Vec<u64>) -> Vec<u64> {
    all.into_iter().map(|word| !word).collect()
}

/// Many bytes, which serde moves as one piece.
#[derive(Debug, PartialEq)]
pub(crate) struct Lump(pub(crate) Vec<u8>);

impl Serialize for Lump {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct Bytes;

impl serde::de::Visitor<'_> for Bytes {
    type Value = Lump;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lump, E> {
        Ok(Lump(bytes.to_vec()))
    }
}

impl<'de> Deserialize<'de> for Lump {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

fn flip_ends(mut lump: Lump) -> Lump {
    lump.0.reverse();
    lump
}

pub(crate) fn large_arguments_and_results_are_whole() {
    let pool = pool(2);
    let open = descriptors();
    // The lengths are around the limit beyond which an argument or a result travels out of line, and far beyond.
    for len in [
        0, 1, 6_000, 7_000, 8_190, 8_192, 8_200, 16_381, 131_072, 393_216,
    ] {
        let all = pattern(len);
        let found = pool.apply(invert, all.clone()).expect("apply");
        assert!(found.into_iter().map(|word| !word).eq(all), "{len} words");
    }
    // Many arguments at once keep their order.
    let found = pool
        .map(invert, (0..40).map(|_| pattern(30_000)))
        .expect("map");
    let inverse = invert(pattern(30_000));
    assert!(found.iter().all(|all| *all == inverse));
    for mib in [3usize, 200] {
        let began = Instant::now();
        let mut all = vec![0u8; mib << 20];
        for (page, bytes) in all.chunks_exact_mut(4096).enumerate() {
            bytes[..8].copy_from_slice(&page.to_ne_bytes());
        }
        let made = Instant::now();
        let found = pool.apply(flip_ends, Lump(all.clone())).expect("apply").0;
        let took = made.elapsed();
        all.reverse();
        assert!(found == all, "{mib} MiB");
        println!(
            "  {mib} MiB to a worker and back: {took:?} (made in {:?})",
            made - began
        );
    }
    // No task has left a descriptor open.
    assert_eq!(descriptors(), open);
    pool.join().expect("join");
}

fn big(len: usize) -> Vec<u8> {
    vec![3; len]
}

pub(crate) fn a_large_result_needs_no_descriptor() {
    const LEN: usize = 1 << 20;
    let pool = pool(1);
    let carries = || {
        let sent = pool.apply(|all: Vec<u8>| all.len(), vec![1; LEN]);
        assert_eq!(sent, Ok(LEN));
        assert!(pool.apply(big, LEN).expect("carried") == big(LEN));
    };
    let before = limit_descriptors(0);
    carries();
    limit_descriptors(before);
    // The same in the worker.
    assert_eq!(pool.apply(limit_descriptors, 0), Ok(before));
    carries();
    assert_eq!(pool.apply(limit_descriptors, before), Ok(0));
    pool.join().expect("join");
}

/// A limit on files sends the results in pieces. Each result is longer than the queue. A wait for one task, or a
/// look, takes pieces of all tasks.
pub(crate) fn large_results_beyond_the_limit_of_files_are_whole() {
    const LEN: usize = 3 << 20;
    let pool = pool(3);
    for worker in crew_of(supervisor(), 3) {
        set_limit(worker, libc::RLIMIT_FSIZE, 6 << 20);
    }
    let start = || pool.apply_async(big, LEN).expect("apply");
    let (first, dropped, mut last) = (start(), start(), start());
    drop(dropped);
    while !first.is_ready() {
        std::thread::yield_now();
    }
    let last = loop {
        // Each wait ends with a part of the result, and none loses the part.
        match last.get_timeout(Duration::from_micros(100)).expect("get") {
            Some(all) => break all,
            None => assert_eq!(pool.apply(double, 4), Ok(8)),
        }
    };
    assert!(last == big(LEN));
    assert!(first.get().expect("get") == big(LEN));
    pool.join().expect("join");
}

/// A process that has dropped its privileges, as daemons do. No unprivileged process may look into it, not
/// even its own children.
pub(crate) fn a_process_that_dropped_its_privileges_carries_large_ones_too() {
    const NOBODY: u32 = 65_534;
    // These two calls fail only if there are no privileges to drop.
    // SAFETY: it takes a number.
    unsafe { libc::setgid(NOBODY) };
    // SAFETY: it takes a number.
    unsafe { libc::setuid(NOBODY) };
    // The kernel has done the same, if there were privileges.
    // SAFETY: this option takes a number.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
    let pool = pool(2);
    for len in [100, 1 << 20] {
        assert_eq!(pool.apply(big, len).map(|all| all.len()), Ok(len));
        let sent = pool.apply(|all: Vec<u8>| all.len(), vec![1; len]);
        assert_eq!(sent, Ok(len));
    }
    pool.join().expect("join");
}

/// `Odd(true)` can't be encoded, and the encoding of `Odd(false)` can't be decoded.
#[derive(Debug, PartialEq)]
struct Odd(bool);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            true => Err(S::Error::custom("not that one")),
            false => 7u8.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(Odd) // and 7 is no `bool`
    }
}

/// A type that panics when it is encoded, or decoded. Its encoding is too long for one message.
struct Bad {
    encoded: bool,
    decoded: bool,
}

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.encoded, "encoded");
        (self.decoded, vec![0u8; 100_000]).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bad {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (decoded, _) = <(bool, Vec<u8>)>::deserialize(deserializer)?;
        assert!(!decoded, "decoded");
        Ok(Self {
            encoded: false,
            decoded,
        })
    }
}

/// A panic in the types of a task is the caller's if the caller encodes or decodes, and otherwise the task's
/// error. It leaves nothing behind in either case.
pub(crate) fn a_panic_in_a_tasks_types_leaves_nothing() {
    let make = |(encoded, decoded): (bool, bool)| Bad { encoded, decoded };
    let eat = |_: Bad| 1;
    let pool = pool(1);
    let worker = pool.apply(pid_of, ());
    let open = descriptors();
    for _ in 0..3 {
        let task = |text: &str| Some(TaskError::Panicked(text.into()));
        assert_eq!(pool.apply(make, (true, false)).err(), task("encoded"));
        assert_eq!(pool.apply(eat, make((false, true))).err(), task("decoded"));
        assert_eq!(pool.apply(eat, make((false, false))), Ok(1));
        let here = panic_of(|| pool.apply(eat, make((true, false))));
        assert_eq!(here, "encoded");
        let here = panic_of(|| pool.apply(make, (false, true)).is_ok());
        assert_eq!(here, "decoded");
    }
    assert_eq!(pool.apply(pid_of, ()), worker);
    assert_eq!(descriptors(), open);
    pool.join().expect("join");
}

pub(crate) fn what_cannot_be_encoded_or_decoded_is_that_tasks_error() {
    let pool = pool(2);
    let sent = pool.apply(|_: Odd| (), Odd(true));
    assert!(matches!(sent, Err(TaskError::Encode(_))), "{sent:?}");
    let sent = pool.apply(|_: Odd| (), Odd(false));
    assert!(matches!(sent, Err(TaskError::Decode(_))), "{sent:?}");
    let got = pool.apply(|()| Odd(true), ());
    assert!(matches!(got, Err(TaskError::Encode(_))), "{got:?}");
    let got = pool.apply(|()| Odd(false), ());
    assert!(matches!(got, Err(TaskError::Decode(_))), "{got:?}");
    assert_eq!(pool.apply(double, 4), Ok(8));
    pool.join().expect("join");
}

/// Maps a page of executable memory, anonymous or of a file.
fn map_code(flags: i32, file: i32) -> *mut libc::c_void {
    let rights = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping, wherever there is room.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, flags, file, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page
}

/// Asserts that the pool refuses a function in that page, and unmaps the page.
fn is_no_task(pool: Pool, page: *mut libc::c_void) {
    // SAFETY: nobody calls the function, as this test shows.
    let function = unsafe { std::mem::transmute::<*mut libc::c_void, fn(u64) -> u64>(page) };
    let outcome = pool.apply(function, 1);
    let Err(TaskError::Decode(text)) = outcome else {
        panic!("{outcome:?}");
    };
    let expected = format!(
        "the function at {page:p} is in no file's code that was loaded when the pool was made"
    );
    assert_eq!(text, expected);
    assert_eq!(pool.apply(double, 4), Ok(8));
    // SAFETY: nobody else knows the page.
    assert_eq!(unsafe { libc::munmap(page, 4096) }, 0);
    pool.join().expect("join");
}

/// Code that is in no file: the caller may have changed it by the time of the task.
pub(crate) fn code_that_a_program_made_for_itself_is_that_tasks_error() {
    let page = map_code(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    is_no_task(pool(2), page);
}

pub(crate) fn code_that_came_later_is_that_tasks_error() {
    let pool = pool(2);
    let program = File::open("/proc/self/exe").expect("open");
    is_no_task(pool, map_code(libc::MAP_PRIVATE, program.as_raw_fd()));
}
