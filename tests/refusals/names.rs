//! Names that are taken, absent, or none.

use crate::LIMIT;
use crate::support::checks::{refused, shm};
use crate::support::{Name, Watchdog};
use shmkit::{Error, Place, Queue, Value, inspect, unlink};

#[test]
fn a_name_in_use_is_taken() {
    let _watchdog = Watchdog::new("a name in use", LIMIT);
    let name = Name::new("taken");
    let first = Value::create(&*name, 7u64).unwrap();
    refused!(
        Error::AlreadyExists { .. },
        format!("{name}: name is taken by a segment in use"),
        Value::create(&*name, 8u64),
        Queue::<u8>::create(&*name, 8),
    );
    assert_eq!(first.get(), 7);

    // Its last holder takes the name away.
    drop(first);
    let text = format!("{name}: no such segment");
    refused!(Error::NotFound { .. }, text, Value::<u64>::open(&*name));
}

#[test]
fn a_persistent_name_is_taken_though_nobody_holds_it() {
    let _watchdog = Watchdog::new("a persistent name", LIMIT);
    let name = Name::new("persistent");
    let place = Place::named(&*name).persistent(true);
    drop(Value::create(place.clone(), 7u64).unwrap());
    refused!(
        Error::AlreadyExists { .. },
        format!("{name}: name is taken by a persistent segment"),
        Value::create(place, 8u64),
        Value::create(&*name, 8u64),
    );
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), 7);
    unlink(&*name).unwrap();
}

#[test]
fn nothing_is_not_found() {
    let _watchdog = Watchdog::new("an absent name", LIMIT);
    let name = Name::new("absent");
    refused!(
        Error::NotFound { .. },
        format!("{name}: no such segment"),
        Value::<u64>::open(&*name),
        Queue::<u64>::open(&*name),
        inspect(&*name),
        unlink(&*name),
    );

    // A file is not found either if its folder is not there. A creator is told about the folder.
    let path = shm(&format!("{name}/no-such-folder"));
    let place = Place::file(&path);
    let text = format!("{path}: no such segment");
    refused!(Error::NotFound { .. }, text, Value::<u64>::open(&place));
    refused!(
        Error::Os { .. },
        format!("{path}: cannot find its folder: No such file or directory (os error 2)"),
        Value::create(&place, 1u64),
        Value::open_or_create(&place, 1u64),
    );
}

#[test]
fn what_is_no_name_is_refused_by_every_verb() {
    let _watchdog = Watchdog::new("invalid names", LIMIT);
    let too_long = "n".repeat(201);
    let cases = [
        ("", "a name has at least 1 byte"),
        (&too_long, "a name has at most 200 bytes"),
        ("a/b", "a name has no slash"),
        ("/a", "a name has no slash"),
        (".x", "a name does not begin with a dot"),
        ("..", "a name does not begin with a dot"),
        ("a\0b", "a name has no NUL"),
    ];
    for (name, reason) in cases {
        refused!(
            Error::InvalidName { .. },
            format!("invalid name {name:?}: {reason}"),
            Value::create(name, 1u64),
            Value::<u64>::open(name),
            Value::open_or_create(name, 1u64),
            Queue::<u64>::create(name, 1),
            Queue::<u64>::open(name),
            Queue::<u64>::open_or_create(name, 1),
            inspect(name),
            unlink(name),
        );
    }
    assert_eq!(
        Value::<u64>::open("a\0b").unwrap_err().to_string(),
        r#"invalid name "a\0b": a name has no NUL"#
    );
}

#[test]
fn a_name_of_200_bytes_is_one() {
    let _watchdog = Watchdog::new("a long name", LIMIT);
    let short = Name::new("long");
    // Bytes are counted, not letters.
    let letters = "é".repeat((200 - short.len()) / 2);
    let mut name = format!("{short}{letters}");
    name.push_str(&"x".repeat(200 - name.len()));
    assert_eq!(name.len(), 200);
    let value = Value::create(&name, 7u64).unwrap();
    assert_eq!(value.name(), Some(name.as_str()));
    assert_eq!(Value::<u64>::open(&name).unwrap().get(), 7);
}

#[test]
fn a_path_ends_in_a_name() {
    let _watchdog = Watchdog::new("invalid paths", LIMIT);
    for (path, reason) in [
        ("", "a path ends in a file's name"),
        ("/", "a path ends in a file's name"),
        ("/dev/shm/..", "a path ends in a file's name"),
        ("/dev/shm/a\0b", "a path has no NUL"),
    ] {
        let place = || Place::file(path);
        refused!(
            Error::InvalidName { .. },
            format!("invalid name {path:?}: {reason}"),
            Value::create(place(), 1u64),
            Value::<u64>::open(place()),
            unlink(place()),
        );
    }
}

#[test]
fn what_is_no_schema_is_refused() {
    let _watchdog = Watchdog::new("invalid schemas", LIMIT);
    let name = Name::new("schema");
    let too_long = "s".repeat(65);
    let cases = [
        ("", "a schema has at least 1 byte"),
        (&too_long, "a schema has at most 64 bytes"),
        ("job\0v2", "a schema has no NUL"),
    ];
    for (schema, reason) in cases {
        let place = || Place::named(&*name).schema(schema);
        refused!(
            Error::InvalidName { .. },
            format!("invalid name {schema:?}: {reason}"),
            Value::create(place(), 1u64),
            Value::<u64>::open(place()),
            Queue::<u64>::open_or_create(place(), 1),
        );
    }
    let longest = Place::named(&*name).schema("s".repeat(64));
    let value = Value::create(longest.clone(), 7u64).unwrap();
    assert_eq!(Value::<u64>::open(longest).unwrap().get(), 7);
    drop(value);
}
