//! Files that are not ours: refused by every verb, and left as they were.

use crate::LIMIT;
use crate::life::sweep_alone;
use crate::shapes::fd_place;
use crate::snapshot::Snapshot;
use crate::support::checks::{exists, fails, refused, shm};
use crate::support::{Name, Watchdog};
use shmkit::{Error, Place, Queue, Value, inspect, unlink};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};

/// Runs every verb on the file `name` in /dev/shm, by its name and by its path. An opener is told that
/// `found` is there, a creator that `taken` is.
fn refuse_everything(name: &str, found: &str, taken: &str) {
    let before = Snapshot::of(shm(name));
    for place in [Place::named(name), Place::file(shm(name))] {
        refused!(
            Error::Foreign { .. },
            format!("{place}: expected a shmkit segment, found {found}"),
            Value::<u64>::open(&place),
            Queue::<u64>::open(&place),
            Value::open_or_create(&place, 1u64),
            Queue::<u64>::open_or_create(&place, 8),
            unlink(&place),
        );
        refused!(
            Error::AlreadyExists { .. },
            format!("{place}: name is taken by {taken}"),
            Value::create(&place, 1u64),
            Queue::<u64>::create(&place, 8),
        );
        fails!(Error::Foreign { .. }, inspect(&place));
    }
    let swept = sweep_alone();
    assert!(swept.iter().all(|info| info.name != name), "{swept:?}");
    assert_eq!(Snapshot::of(shm(name)), before);
}

#[test]
fn files_of_any_size_stay_as_they_were() {
    let _watchdog = Watchdog::new("foreign files", LIMIT);
    const TEXT: &[u8] = b"# not a segment\n";
    for (len, found) in [
        (0, "a file of 0 bytes"),
        (7, "a file of 7 bytes"),
        (8, r##"a file that begins with "# not a ""##),
        (64, r##"a file that begins with "# not a ""##),
        (4096, r##"a file that begins with "# not a ""##),
    ] {
        let name = Name::new("foreign");
        let bytes: Vec<u8> = TEXT.iter().copied().cycle().take(len).collect();
        fs::write(shm(&name), bytes).unwrap();
        refuse_everything(&name, found, "a file that is not a segment");
    }
}

#[test]
fn zeros_are_no_segment() {
    let _watchdog = Watchdog::new("zeros", LIMIT);
    let name = Name::new("zeros");
    fs::write(shm(&name), [0; 4096]).unwrap();
    let found = r#"a file that begins with "\x00\x00\x00\x00\x00\x00\x00\x00""#;
    refuse_everything(&name, found, "a file that is not a segment");
}

#[test]
fn links_folders_pipes_and_sockets_are_no_segments() {
    let _watchdog = Watchdog::new("special files", LIMIT);
    let taken = "something that is not a segment";

    // A link to a sound segment is not followed: a user who may put it there need not be allowed to open
    // the target.
    let target = Name::new("target");
    let value = Value::create(&*target, 7u64).unwrap();
    let link = Name::new("link");
    symlink(shm(&target), shm(&link)).unwrap();
    refuse_everything(&link, "a symbolic link", taken);
    assert_eq!((value.get(), inspect(&*target).unwrap().holders), (7, 1));

    let dangling = Name::new("dangling");
    symlink("/nowhere", shm(&dangling)).unwrap();
    refuse_everything(&dangling, "a symbolic link", taken);

    let folder = Name::new("folder");
    fs::create_dir(shm(&folder)).unwrap();
    refuse_everything(&folder, "a directory", taken);
    fs::remove_dir(shm(&folder)).unwrap();

    // Nobody is at the pipe's other end, and nobody will be: opening it must not wait.
    let pipe = Name::new("pipe");
    let path = CString::new(shm(&pipe)).unwrap();
    // SAFETY: a live C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    refuse_everything(&pipe, "something that is not a regular file", taken);

    let socket = Name::new("socket");
    let _listener = UnixListener::bind(shm(&socket)).unwrap();
    refuse_everything(&socket, "a socket or a device", taken);
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let _watchdog = Watchdog::new("foreign descriptors", LIMIT);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    fs::write(&path, "seven b").unwrap();
    let before = Snapshot::of(&path);
    let place = Place::fd(File::open(&path).unwrap());
    refused!(
        Error::Foreign { .. },
        format!("{place}: expected a shmkit segment, found a file of 7 bytes"),
        Value::<u64>::open(&place),
        inspect(&place),
    );
    assert_eq!(Snapshot::of(&path), before);

    let ((reader, writer), (socket, _peer)) =
        (std::io::pipe().unwrap(), UnixStream::pair().unwrap());
    let others: [OwnedFd; 5] = [
        reader.into(),
        writer.into(),
        socket.into(),
        File::open(dir.path()).unwrap().into(),
        File::open("/dev/null").unwrap().into(),
    ];
    for (label, place) in others.map(fd_place) {
        refused!(
            Error::Foreign { .. },
            format!(
                "{label}: expected a shmkit segment, found something that is not a regular file"
            ),
            Value::<u64>::open(&place),
            inspect(&place),
        );
    }
}

/// A sound, persistent segment that nobody holds, in bytes.
pub fn segment_bytes() -> Vec<u8> {
    let name = Name::new("model");
    drop(Value::create(Place::named(&*name).persistent(true), 7u64).unwrap());
    fs::read(shm(&name)).unwrap()
}

#[test]
fn another_layout_version_is_a_mismatch_and_stays() {
    let _watchdog = Watchdog::new("another layout", LIMIT);
    let sound = segment_bytes();
    // A newer version may have changed everything but the magic and the version.
    let rest_of_layout_1 = sound.len() - 12;
    for (version, rest) in [
        (2u32, 0),
        (0, 1000),
        (7, rest_of_layout_1),
        (u32::MAX, 5000),
    ] {
        let name = Name::new("layout");
        let bytes = [&sound[..8], &version.to_le_bytes(), &vec![0xaa; rest]].concat();
        fs::write(shm(&name), bytes).unwrap();
        let text = format!("other layout: expected 1, found {version}");
        refuse_ours(&name, &text, "a segment of another layout", |error| {
            matches!(error, Error::Mismatch { what: "layout", .. })
        });
    }
}

#[test]
fn a_segment_of_another_length_than_it_says_is_corrupt_and_stays() {
    let _watchdog = Watchdog::new("truncated segments", LIMIT);
    let sound = segment_bytes();
    let whole = sound.len();
    let cut = [8, 11, 12, 100, 143, 144, 256, 511, 512];
    for len in cut.into_iter().chain([whole - 1, whole + 1]) {
        let name = Name::new("cut");
        let mut bytes = sound.clone();
        bytes.resize(len, 0);
        fs::write(shm(&name), bytes).unwrap();
        let expected = match len {
            ..512 => "at least 512".to_owned(),
            _ => whole.to_string(),
        };
        let text = format!("corrupt length: expected {expected} bytes, found {len} bytes");
        refuse_ours(&name, &text, "a damaged segment", |error| {
            matches!(error, Error::Corrupt { what: "length", .. })
        });
    }
    // The whole one opens: what was refused was the length.
    let name = Name::new("whole");
    fs::write(shm(&name), sound).unwrap();
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), 7);
}

/// Runs every verb on a file that claims to be a segment. After the name, an opener is told `text`; a
/// creator is told that `taken` has the name.
pub fn refuse_ours(name: &str, text: &str, taken: &str, is_it: impl Fn(&Error) -> bool) {
    let before = Snapshot::of(shm(name));
    let refusals = [
        Value::<u64>::open(name).unwrap_err(),
        Value::<u128>::open(name).unwrap_err(),
        Queue::<u64>::open(name).unwrap_err(),
        Value::open_or_create(name, 1u64).unwrap_err(),
        Queue::<u64>::open_or_create(name, 8).unwrap_err(),
        inspect(name).unwrap_err(),
        unlink(name).unwrap_err(),
        Value::<u64>::open(Place::fd(File::open(shm(name)).unwrap())).unwrap_err(),
    ];
    for error in refusals {
        // The error of a descriptor begins with another label.
        let found = error.to_string();
        assert_eq!(found.split_once(": ").unwrap().1, text);
        assert!(is_it(&error), "{error:?}");
    }
    refused!(
        Error::AlreadyExists { .. },
        format!("{name}: name is taken by {taken}"),
        Value::create(name, 1u64),
        Queue::<u64>::create(name, 8),
    );
    sweep_alone();
    assert_eq!(Snapshot::of(shm(name)), before);
    assert!(exists(name));
}
