//! Where segments live: names, files, nowhere, descriptors; and how long.

use crate::support::Name;
use shmkit::{Error, Kind, Place, Queue, Value, inspect, list, unlink};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn shm(name: &str) -> String {
    format!("/dev/shm/{name}")
}

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
    assert!(Path::new(&shm(&name)).exists());
    drop(second);
    assert!(!Path::new(&shm(&name)).exists());
    let gone = Value::<u64>::open(&*name).unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone:?}");
}

#[test]
fn a_persistent_name_outlives_its_handles() {
    let name = Name::new("persistent");
    let place = Place::named(&*name).persistent(true);
    drop(Value::create(&place, 7u64).unwrap());
    assert!(Path::new(&shm(&name)).exists());
    // It is the creator's word, in the segment, that counts: the opener says nothing.
    drop(Value::<u64>::open(&*name).unwrap());
    let again = Value::<u64>::open(&*name).unwrap();
    assert_eq!(again.get(), 7);
    let taken = Value::create(&*name, 8u64).unwrap_err();
    assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken:?}");
    drop(again);
    unlink(&place).unwrap();
    assert!(!Path::new(&shm(&name)).exists());
    let gone = unlink(&place).unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone:?}");
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

    let none = Value::<u8>::open(Place::file(folder.path().join("no/where"))).unwrap_err();
    assert!(matches!(none, Error::NotFound { .. }), "{none:?}");
}

#[test]
fn an_anonymous_segment_has_no_name_to_open_it_by() {
    let value = Value::new(1u64).unwrap();
    assert_eq!(value.name(), None);
    assert!(value.was_created());
    let queue = Queue::<u64>::new(3).unwrap();
    assert_eq!((queue.name(), queue.capacity()), (None, 3));
    let refused = Value::<u64>::open(Place::anonymous()).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
}

#[test]
fn a_descriptor_leads_to_the_same_segment() {
    let value = Value::new(1u64).unwrap();
    let passed_on = Value::<u64>::open(Place::fd(value.try_clone_fd().unwrap())).unwrap();
    passed_on.set(2);
    assert_eq!(value.get(), 2);
    assert!(!passed_on.was_created());
    // A holder of its own: the first may leave.
    drop(value);
    assert_eq!(passed_on.swap(3), 2);

    let queue = Queue::<u8>::new(3).unwrap();
    let passed_on = Queue::<u8>::open(Place::fd(queue.try_clone_fd().unwrap())).unwrap();
    queue.put(1).unwrap();
    assert_eq!((passed_on.capacity(), passed_on.get()), (3, Ok(1)));
    let other = Queue::<u16>::open(Place::fd(queue.try_clone_fd().unwrap())).unwrap_err();
    assert!(matches!(other, Error::Mismatch { .. }), "{other:?}");
    let refused = Queue::<u8>::create(Place::fd(queue.try_clone_fd().unwrap()), 3).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
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
    // Another type of the same size and alignment, under the same schema, is what it says it is.
    assert_eq!(Value::<i64>::open(&place).unwrap().get(), 1);
    for wrong in [
        Place::named(&*name),
        Place::named(&*name).schema("count/v3"),
    ] {
        let error = Value::<u64>::open(wrong).unwrap_err();
        assert!(
            matches!(error, Error::Mismatch { what: "type", .. }),
            "{error:?}"
        );
    }
    let error = Value::<u32>::open(&place).unwrap_err();
    assert!(
        matches!(error, Error::Mismatch { what: "size", .. }),
        "{error:?}"
    );
    drop(value);
    for schema in ["", "a\0b", &"x".repeat(65)] {
        let error = Value::create(Place::named(&*name).schema(schema), 1u64).unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
    }
    Value::create(Place::named(&*name).schema("x".repeat(64)), 1u64).unwrap();
}

#[test]
fn open_or_create_wants_the_capacity_it_asks_for() {
    let name = Name::new("capacity");
    let queue = Queue::<u8>::open_or_create(&*name, 3).unwrap();
    let error = Queue::<u8>::open_or_create(&*name, 4).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Mismatch {
                what: "capacity",
                ..
            }
        ),
        "{error:?}"
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
    assert!(matches!(inspect(&*name), Err(Error::NotFound { .. })));
}
