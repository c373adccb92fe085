//! A segment's life, seen from outside: modes, names that stay and names that go, listings, and segments
//! passed on by their descriptor.

use crate::support::checks::{exists, refused, shm};
use crate::support::{Kid, Name, Watchdog, command, start};
use crate::{LIMIT, end_in_time};
use shmkit::{Error, Kind, Place, Queue, SegmentInfo, Value, inspect, list, sweep, unlink};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Keeps tests that sweep, and tests that leave an orphan and look for it, out of each other's way.
fn lock_orphans() -> MutexGuard<'static, ()> {
    static ORPHANS: Mutex<()> = Mutex::new(());
    ORPHANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sweeps while no other test here has an orphan that it wants to find.
pub fn sweep_alone() -> Vec<SegmentInfo> {
    let _lock = lock_orphans();
    sweep().unwrap()
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    let _watchdog = Watchdog::new("modes", LIMIT);
    let dir = tempfile::tempdir().unwrap();
    let name = Name::new("mode");
    start("modes-under-umask", &[&name, dir.path().to_str().unwrap()]).finish();
}

/// A role, because the umask is the whole process's.
pub fn modes_under_umask(name: &str, dir: &str) {
    let mode_of = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for umask in [0, 0o022, 0o077, 0o777] {
        // SAFETY: touches no memory.
        unsafe { libc::umask(umask) };
        let file = format!("{dir}/value");
        for (place, path) in [
            (Place::named(name), shm(name)),
            (Place::file(&file).persistent(false), file),
        ] {
            let value = Value::create(place.clone(), 1u64).unwrap();
            assert_eq!(mode_of(&path), 0o600, "the default, under {umask:o}");
            drop(value);
            for (asked, exact) in [
                (0o666, 0o666),
                (0o640, 0o640),
                (0o777, 0o777),
                (0, 0),
                (0o6755, 0o755), // set-uid and the like mean nothing here
            ] {
                let value = Value::create(place.clone().mode(asked), 1u64).unwrap();
                assert_eq!(mode_of(&path), exact, "{asked:o} under {umask:o}");
                drop(value);
            }
        }
    }
}

#[test]
fn a_name_ends_with_its_last_holder() {
    let _watchdog = Watchdog::new("the last holder", LIMIT);
    let name = Name::new("last");
    let first = Value::create(&*name, 1u64).unwrap();
    let clone = first.clone();
    let second = Value::<u64>::open(&*name).unwrap();
    assert!(first.was_created() && clone.was_created() && !second.was_created());
    drop(first);
    assert!(exists(&name), "a clone holds it");
    drop(clone);
    assert!(exists(&name), "another holds it");
    drop(second);
    assert!(!exists(&name));

    // A file is persistent unless told otherwise.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("value");
    drop(Value::create(Place::file(&path).persistent(false), 1u64).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_persistent_name_outlives_its_holders() {
    let _watchdog = Watchdog::new("persistent names", LIMIT);
    let name = Name::new("persistent");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("value");
    for (place, path) in [
        (Place::named(&*name).persistent(true), shm(&name).into()),
        (Place::file(&path), path),
    ] {
        drop(Value::create(&place, 1u64).unwrap());
        for round in 1..4 {
            let value = Value::<u64>::open(&place).unwrap();
            assert_eq!(value.swap(round + 1), round);
            assert!(!value.was_created());
        }
        let swept = sweep_alone();
        assert!(swept.iter().all(|info| info.name != *name), "{swept:?}");
        let info = inspect(&place).unwrap();
        let is_kept = info.persistent && info.holders == 0 && !info.is_orphan();
        assert!(is_kept, "{info:?}");
        // An opener's word does not make it less persistent.
        drop(Value::<u64>::open(place.clone().persistent(false)).unwrap());
        assert!(path.exists());
        unlink(&place).unwrap();
        assert!(!path.exists());
    }
}

/// Somebody else's lock on the file, from the first holder's byte to the end of all bytes.
#[test]
fn a_lock_on_many_bytes_is_no_holder_and_holds_nobody_up() {
    let _watchdog = Watchdog::new("inspecting a locked file", LIMIT);
    let name = Name::new("range-lock");
    drop(Value::create(Place::named(&*name).persistent(true), 1u64).unwrap());
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(shm(&name))
        .unwrap();
    // SAFETY: a flock of zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK.try_into().unwrap();
    range.l_start = (1 << 62) + 1;
    // SAFETY: the command reads one flock, which is alive.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    assert_eq!(locked, 0);
    assert_eq!(inspect(&*name).unwrap().holders, 0);
}

#[test]
fn what_is_listed() {
    let _watchdog = Watchdog::new("listing", LIMIT);
    let (queue_name, value_name) = (Name::new("b-queue"), Name::new("a-value"));
    let before = SystemTime::now();
    let _queue = Queue::<[u16; 3]>::create(&*queue_name, 5).unwrap();
    let _again = Queue::<[u16; 3]>::open(&*queue_name).unwrap();
    let _clone = _again.clone();
    let place = Place::named(&*value_name).persistent(true).schema("pi/v1");
    let _value = Value::create(place, 2.5f64).unwrap();
    let after = SystemTime::now();

    let queue = inspect(&*queue_name).unwrap();
    assert_eq!(queue.name, *queue_name);
    assert_eq!((queue.kind, &*queue.element), (Kind::Queue, "[u16; 3]"));
    assert_eq!((queue.element_size, queue.capacity), (6, 5));
    assert_eq!(queue.size, fs::metadata(shm(&queue_name)).unwrap().len());
    assert_eq!((queue.holders, queue.persistent), (2, false));
    assert_eq!(queue.creator_pid, std::process::id());
    assert!((before..=after).contains(&queue.created), "{queue:?}");

    let value = inspect(&*value_name).unwrap();
    assert_eq!((value.kind, value.element.as_str()), (Kind::Value, "pi/v1"));
    assert_eq!((value.element_size, value.capacity), (8, 1));
    assert_eq!((value.holders, value.persistent), (1, true));
    assert!(!value.is_orphan() && !queue.is_orphan());

    let listed = list().unwrap();
    assert!(listed.is_sorted_by_key(|info| info.name.clone()));
    let both = listed.contains(&queue) && listed.contains(&value);
    assert!(both, "{listed:?}");
    // By its descriptor, the queue is the same segment under another name.
    let by_fd = inspect(Place::fd(_queue.try_clone_fd().unwrap())).unwrap();
    let seen = (by_fd.kind, by_fd.holders, by_fd.size);
    assert_eq!(seen, (queue.kind, 2, queue.size));
}

#[test]
fn unlink_takes_the_name_and_leaves_the_holders() {
    let _watchdog = Watchdog::new("unlink", LIMIT);
    let name = Name::new("unlink");
    let old = Value::create(&*name, 1u64).unwrap();
    let old_too = Value::<u64>::open(&*name).unwrap();
    unlink(&*name).unwrap();
    assert!(!exists(&name));
    old.set(2);
    assert_eq!(old_too.get(), 2);

    // The name is free; and the old one's last holder does not take its successor's name away.
    let new = Value::create(&*name, 10u64).unwrap();
    drop((old, old_too));
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), 10);
    drop(new);
}

/// Holds a new value until it is killed.
pub fn hold(name: &str, ready: &str) {
    end_in_time();
    let _held = Value::create(name, 7u64).unwrap();
    let ready = Value::<u32>::open(ready).unwrap();
    ready.set(1);
    ready.wait_until(|word| *word == 2); // never: the test kills this process
}

/// Starts a process that holds a new segment called `name`, alone.
fn start_holder(name: &str) -> Kid {
    let ready_name = Name::new("ready");
    let ready = Value::create(&*ready_name, 0u32).unwrap();
    let kid = start("hold", &[name, &ready_name]);
    let is_ready = ready.wait_until_timeout(LIMIT, |word| *word == 1);
    assert_eq!(is_ready, Some(1), "the child holds it");
    kid
}

/// Leaves a killed holder's segment. The caller has the orphans locked.
fn leave_orphan(name: &str) {
    let kid = start_holder(name);
    assert_eq!(inspect(name).unwrap().holders, 1);
    let status = kid.kill_and_reap();
    assert!(!status.success());
}

#[test]
fn what_a_killed_holder_left_is_not_found_and_gone() {
    let _watchdog = Watchdog::new("opening an orphan", LIMIT);
    let _lock = lock_orphans();
    let name = Name::new("orphan");
    leave_orphan(&name);
    let text = format!("{name}: no such segment");
    refused!(Error::NotFound { .. }, text, Value::<u64>::open(&*name));
    assert!(!exists(&name));
}

#[test]
fn what_a_killed_holder_left_is_replaced_by_create() {
    let _watchdog = Watchdog::new("replacing an orphan", LIMIT);
    let _lock = lock_orphans();
    let name = Name::new("orphan");
    leave_orphan(&name);
    let left = fs::metadata(shm(&name)).map(|status| status.ino());
    let queue = Queue::<u8>::create(&*name, 4).unwrap();
    let inode = fs::metadata(shm(&name)).unwrap().ino();
    assert!(queue.is_empty() && left.is_ok_and(|left| left != inode));

    drop(queue);
    leave_orphan(&name);
    let value = Value::open_or_create(&*name, 1u64).unwrap();
    assert!(value.was_created());
    assert_eq!(value.get(), 1);
}

#[test]
fn what_a_killed_holder_left_is_listed_and_swept() {
    let _watchdog = Watchdog::new("sweeping an orphan", LIMIT);
    let _lock = lock_orphans();
    let held_name = Name::new("held");
    let held = start_holder(&held_name);
    // Another program on this machine may sweep between the kill and the look: then once more.
    let swept = (0..20).find_map(|_| {
        let name = Name::new("orphan");
        leave_orphan(&name);
        let listed = list().unwrap().into_iter().find(|info| info.name == *name);
        let swept = sweep().unwrap().into_iter().find(|info| info.name == *name);
        assert!(!exists(&name), "swept by somebody");
        Some((listed?, swept?))
    });
    let (listed, swept) = swept.expect("this test found one of 20 orphans itself");
    assert!(listed.is_orphan(), "{listed:?}");
    assert_eq!(swept, listed);
    let seen = (swept.kind, swept.element.as_str(), swept.holders);
    assert_eq!(seen, (Kind::Value, "u64", 0));

    // A live process's segment stays.
    assert_eq!(inspect(&*held_name).unwrap().holders, 1);
    assert_eq!(Value::<u64>::open(&*held_name).unwrap().get(), 7);
    drop(held);
}

/// Opens the segment whose descriptor is this process's standard input.
pub fn open_fd() {
    let fd = io::stdin().as_fd().try_clone_to_owned().unwrap();
    let value = Value::<u64>::open(Place::fd(fd)).unwrap();
    assert_eq!((value.name(), value.was_created()), (None, false));
    assert_eq!(value.swap(8), 7);
    let done = value.wait_until_timeout(Duration::from_secs(60), |v| *v == 9);
    assert_eq!(done, Some(9));
    value.set(10);
}

#[test]
fn a_descriptor_passes_a_segment_on() {
    let _watchdog = Watchdog::new("passing a descriptor", LIMIT);
    let name = Name::new("by-fd");
    for value in [
        Value::new(7u64).unwrap(),
        Value::create(&*name, 7u64).unwrap(),
    ] {
        let fd = value.try_clone_fd().unwrap();
        let kid = Kid(command("open-fd", &[]).stdin(fd).spawn().unwrap());
        assert_eq!(value.wait_until_timeout(LIMIT, |v| *v != 7), Some(8));
        let info = inspect(Place::fd(value.try_clone_fd().unwrap())).unwrap();
        assert_eq!(info.holders, 2, "the child is a holder of its own");
        value.set(9);
        kid.finish();
        assert_eq!(value.get(), 10);
    }
}

#[test]
fn a_descriptor_is_no_hold() {
    let _watchdog = Watchdog::new("a mere descriptor", LIMIT);
    let name = Name::new("fd");
    let value = Value::create(&*name, 7u64).unwrap();
    let fd = value.try_clone_fd().unwrap();
    assert_eq!(inspect(&*name).unwrap().holders, 1);
    drop(value);
    assert!(!exists(&name));
    // The memory is there as long as the descriptor is.
    assert_eq!(Value::<u64>::open(Place::fd(fd)).unwrap().get(), 7);
}

#[test]
fn nobody_can_resize_an_anonymous_segment() {
    let _watchdog = Watchdog::new("seals", LIMIT);
    let value = Value::new(7u64).unwrap();
    let queue = Queue::<u64>::new(8).unwrap();
    for fd in [value.try_clone_fd().unwrap(), queue.try_clone_fd().unwrap()] {
        let file = File::from(fd);
        let len = file.metadata().unwrap().len();
        for other in [0, len - 1, len + 1, 1 << 20] {
            let error = file.set_len(other).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{len} to {other}");
        }
        assert_eq!(file.metadata().unwrap().len(), len);
    }
    assert_eq!(value.get(), 7);
}
