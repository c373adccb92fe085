//! Where segments live: names, files, nowhere, descriptors; and how long.

use crate::support::Name;
use crate::support::checks::{exists, fails, shm};
use shmkit::{Error, Kind, Place, Queue, Value, inspect, list, unlink};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn every_way_to_say_a_name_leads_to_the_same_segment() {
    let name = Name::new("place");
    let string: String = name.to_string();
    let place = Place::named(string.clone());
    let value = Value::create(&place, 1u64).unwrap();
    let ways: [Place; 6] = [
        Place::from(&*name),
        Place::from(string.clone()),
        Place::from(&string),
        Place::from(&place),
        Place::named(&*name),
        Place::file(shm(&name)),
    ];
    for (n, way) in (2u64..).zip(ways) {
        Value::<u64>::open(way.clone())
            .unwrap_or_else(|error| panic!("{way:?}: {error}"))
            .set(n);
        assert_eq!(value.get(), n);
    }
    assert_eq!(place.to_string(), *name);
}

#[test]
fn a_named_segment_ends_with_its_last_handle() {
    let name = Name::new("named");
    let first = Value::create(&*name, 1u64).unwrap();
    assert_eq!(first.name(), Some(&*name));
    let second = Value::<u64>::open(&*name).unwrap();
    assert_eq!(second.name(), Some(&*name));
    drop(first);
    assert!(exists(&name));
    drop(second);
    assert!(!exists(&name));
    fails!(Error::NotFound { .. }, Value::<u64>::open(&*name));
}

#[test]
fn a_persistent_name_outlives_its_handles() {
    let name = Name::new("persistent");
    let place = Place::named(&*name).persistent(true);
    drop(Value::create(&place, 7u64).unwrap());
    assert!(exists(&name));
    // The creator's word counts, which is in the segment: the opener says nothing.
    drop(Value::<u64>::open(&*name).unwrap());
    let again = Value::<u64>::open(&*name).unwrap();
    assert_eq!(again.get(), 7);
    fails!(Error::AlreadyExists { .. }, Value::create(&*name, 8u64));
    drop(again);
    unlink(&place).unwrap();
    assert!(!exists(&name));
    fails!(Error::NotFound { .. }, unlink(&place));
}

#[test]
fn unlink_takes_the_name_from_a_segment_in_use() {
    let name = Name::new("unlink");
    let old = Value::create(&*name, 1u64).unwrap();
    unlink(&*name).unwrap();
    let new = Value::create(&*name, 2u64).unwrap();
    old.set(3);
    assert_eq!((old.get(), new.get()), (3, 2));
    drop(old); // leaves its successor's name alone
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), 2);
}

#[test]
fn a_file_is_persistent_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let queue = Queue::<u16>::create(Place::file(&path), 5).unwrap();
    assert_eq!(queue.name(), path.to_str());
    queue.put(9).unwrap();
    drop(queue);
    let queue = Queue::<u16>::open(Place::file(&path)).unwrap();
    assert_eq!((queue.capacity(), queue.try_get()), (5, Ok(9)));

    let path = folder.path().join("brief");
    let place = Place::file(&path).persistent(false);
    drop(Queue::<u16>::create(&place, 5).unwrap());
    assert!(!path.exists());

    let nowhere = Place::file(folder.path().join("no/where"));
    fails!(Error::NotFound { .. }, Value::<u8>::open(nowhere));
}

#[test]
fn an_anonymous_segment_has_no_name_to_open_it_by() {
    let value = Value::new(1u64).unwrap();
    assert_eq!(value.name(), None);
    assert!(value.was_created());
    let queue = Queue::<u64>::new(3).unwrap();
    assert_eq!((queue.name(), queue.capacity()), (None, 3));
    let opened = Value::<u64>::open(Place::anonymous());
    fails!(Error::Unsupported { .. }, opened);
}

#[test]
fn a_descriptor_leads_to_the_same_segment() {
    let value = Value::new(1u64).unwrap();
    let passed_on = Value::<u64>::open(Place::fd(value.try_clone_fd().unwrap())).unwrap();
    passed_on.set(2);
    assert_eq!(value.get(), 2);
    assert!(!passed_on.was_created());
    // The new handle is a holder of its own: the first may leave.
    drop(value);
    assert_eq!(passed_on.swap(3), 2);

    let queue = Queue::<u8>::new(3).unwrap();
    let by_fd = || Place::fd(queue.try_clone_fd().unwrap());
    let passed_on = Queue::<u8>::open(by_fd()).unwrap();
    queue.put(1).unwrap();
    assert_eq!((passed_on.capacity(), passed_on.get()), (3, Ok(1)));
    fails!(Error::Mismatch { .. }, Queue::<u16>::open(by_fd()));
    fails!(Error::Unsupported { .. }, Queue::<u8>::create(by_fd(), 3));
}

#[test]
fn the_mode_is_exact() {
    for (mode, expected) in [(None, 0o600), (Some(0o666), 0o666), (Some(0o640), 0o640)] {
        let name = Name::new("mode");
        let place = Place::named(&*name);
        let place = mode.into_iter().fold(place, Place::mode);
        let _value = Value::create(place, 1u8).unwrap();
        let found = std::fs::metadata(shm(&name)).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, expected, "whatever the umask");
    }
}

#[test]
fn a_schema_replaces_the_type_s_name() {
    let name = Name::new("schema");
    let place = Place::named(&*name).schema("count/v2");
    let value = Value::create(&place, 1u64).unwrap();
    assert_eq!(Value::<u64>::open(&place).unwrap().get(), 1);
    // A type of the same size and alignment, under the same schema, is taken at its word.
    assert_eq!(Value::<i64>::open(&place).unwrap().get(), 1);
    fails!(
        Error::Mismatch { what: "type", .. },
        Value::<u64>::open(&*name),
        Value::<u64>::open(Place::named(&*name).schema("count/v3")),
    );
    let smaller = Value::<u32>::open(&place);
    fails!(Error::Mismatch { what: "size", .. }, smaller);
    drop(value);
    for schema in ["", "a\0b", &"x".repeat(65)] {
        let place = Place::named(&*name).schema(schema);
        fails!(Error::InvalidName { .. }, Value::create(place, 1u64));
    }
    Value::create(Place::named(&*name).schema("x".repeat(64)), 1u64).unwrap();
}

#[test]
fn open_or_create_wants_the_capacity_it_asks_for() {
    let name = Name::new("capacity");
    let queue = Queue::<u8>::open_or_create(&*name, 3).unwrap();
    fails!(
        Error::Mismatch {
            what: "capacity",
            ..
        },
        Queue::<u8>::open_or_create(&*name, 4),
    );
    assert_eq!(Queue::<u8>::open(&*name).unwrap().capacity(), 3);
    assert_eq!(queue.capacity(), 3);
}

#[test]
fn a_segment_s_memory_is_there_from_the_start() {
    let name = Name::new("reserved");
    let _queue = Queue::<[u8; 4096]>::create(&*name, 64).unwrap();
    let file = std::fs::metadata(shm(&name)).unwrap();
    assert!(file.blocks() * 512 >= file.len(), "{file:?}");
}

#[test]
fn segments_can_be_looked_at() {
    let name = Name::new("inspect");
    let queue = Queue::<u32>::create(&*name, 9).unwrap();
    let second = Queue::<u32>::open(&*name).unwrap();
    let info = inspect(&*name).unwrap();
    assert_eq!((&*info.name, info.kind), (&*name, Kind::Queue));
    assert_eq!((&*info.element, info.element_size), ("u32", 4));
    assert_eq!((info.capacity, info.holders), (9, 2));
    assert!(!info.persistent && !info.is_orphan());
    assert_eq!(info.creator_pid, std::process::id());
    assert_eq!(info.size, std::fs::metadata(shm(&name)).unwrap().len());
    let found = list().unwrap();
    assert!(found.iter().any(|other| other.name == *name), "{found:?}");
    let by_fd = inspect(Place::fd(queue.try_clone_fd().unwrap())).unwrap();
    assert_eq!((by_fd.kind, by_fd.holders), (Kind::Queue, 2));
    drop((queue, second));
    fails!(Error::NotFound { .. }, inspect(&*name));
}
