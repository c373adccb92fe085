//! Segments of another user: some verbs are refused, and some are not.

use crate::snapshot::Snapshot;
use crate::support::checks::{exists, refused, shm};
use crate::support::{Name, Watchdog, start};
use crate::{LIMIT, sandbox};
use shmkit::{Error, Place, Queue, Value, inspect, list, sweep, unlink};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Leaves a sound segment that nobody holds, as a crash of all its holders would: a copy of a file.
fn leave_orphan(name: &str, mode: u32) {
    let original = Name::new("original");
    let _held = Value::create(&*original, 7u64).unwrap();
    fs::copy(shm(&original), shm(name)).unwrap();
    set_mode(shm(name), mode);
}

#[test]
fn another_users_segment_is_out_of_reach() {
    let _watchdog = Watchdog::new("another user", LIMIT);
    sandbox::run("another-user", &[]);
}

/// Plays in a /dev/shm of its own, where nobody else's segments are.
pub fn another_user() {
    sandbox::enter_own_mounts();
    // The mode of every system's /dev/shm: all may create, and remove what is their own.
    sandbox::mount_tmpfs("/dev/shm", c"size=8m,mode=1777");
    fs::create_dir("/dev/shm/folder").unwrap();
    set_mode("/dev/shm/folder", 0o755);
    let private = Value::create("private", 7u64).unwrap();
    let readable = Value::create(Place::named("readable").mode(0o644), 7u64).unwrap();
    let shared = Value::create(Place::named("shared").mode(0o666), 7u64).unwrap();
    leave_orphan("orphan", 0o666);
    leave_orphan("readable-orphan", 0o644);
    leave_orphan("hidden-orphan", 0o600);
    leave_orphan("folder/orphan", 0o666);
    let readable_files = ["readable", "orphan", "readable-orphan"];
    let before = readable_files.map(|name| Snapshot::of(shm(name)));

    sandbox::become_nobody();
    refuse_private("private");
    refuse_opening("readable");
    let info = inspect("readable").unwrap();
    assert_eq!((info.holders, info.element.as_str()), (1, "u64"));

    // A user with the right to write may take part, and may not take the name away.
    let opened = Value::<u64>::open("shared").unwrap();
    opened.set(8);
    assert_eq!((shared.get(), inspect("shared").unwrap().holders), (8, 2));
    let text = "shared: no permission to remove the name: the file belongs to user 0";
    refused!(Error::PermissionDenied { .. }, text, unlink("shared"));

    // Another user's leftovers stay, and everybody is told why.
    let left = "user 0 left it, nobody holds it";
    refused!(
        Error::PermissionDenied { .. },
        format!("orphan: no permission to remove the name: {left}, and user 0 can remove it"),
        Value::<u64>::open("orphan"),
        Value::create("orphan", 1u64),
        Value::open_or_create("orphan", 1u64),
        unlink("orphan"),
    );
    // This user may read the next one, and so sees that nobody holds it.
    let name = "readable-orphan";
    refused!(
        Error::PermissionDenied { .. },
        format!("{name}: no permission to open: {left}, and user 0 can remove it"),
        Value::<u64>::open(name),
        Value::create(name, 1u64),
        unlink(name),
    );
    // Of this one, this user sees only to whom it belongs.
    refuse_private("hidden-orphan");
    // The last one's folder has no sticky bit, and its mode protects the file.
    let place = Place::file(shm("folder/orphan")).persistent(false);
    let remover = "a user who may write its folder can remove it";
    refused!(
        Error::PermissionDenied { .. },
        format!("{place}: no permission to remove the name: {left}, and {remover}"),
        Value::<u64>::open(&place),
    );
    assert_eq!(sweep().unwrap(), []);
    let infos = list().unwrap();
    let listed = infos.iter().map(|i| (&*i.name, i.holders, i.is_orphan()));
    let expected = [
        ("orphan", 0, true),
        ("readable", 1, false),
        ("readable-orphan", 0, true),
        ("shared", 2, false),
    ];
    assert_eq!(listed.collect::<Vec<_>>(), expected);

    // A folder that is not this user's.
    let place = Place::file("/dev/shm/folder/value");
    refused!(
        Error::PermissionDenied { .. },
        format!("{place}: no permission to create a file"),
        Value::create(&place, 1u64),
        Queue::<u8>::open_or_create(&place, 1),
    );

    // This user's own segments work as ever.
    let own = Value::create("own", 1u64).unwrap();
    assert_eq!(Value::<u64>::open("own").unwrap().get(), 1);
    drop(own);
    assert!(!exists("own"));
    drop(opened);

    let after = readable_files.map(|name| Snapshot::of(shm(name)));
    assert_eq!(after, before);
    for name in ["private", "hidden-orphan", "folder/orphan"] {
        assert!(exists(name), "{name}");
    }
    // Their creator has become another user as well, and leaves without a word.
    drop((private, readable, shared));
}

fn not_opened(name: &str) -> String {
    let owner = fs::metadata(shm(name)).unwrap().uid();
    format!("{name}: no permission to open: the file belongs to user {owner}")
}

fn refuse_opening(name: &str) {
    refused!(
        Error::PermissionDenied { .. },
        not_opened(name),
        Value::<u64>::open(name),
        Value::open_or_create(name, 1u64),
        Queue::<u64>::open(name),
        unlink(name),
    );
    refused!(
        Error::AlreadyExists { .. },
        format!("{name}: name is taken by a file that this user can't open"),
        Value::create(name, 1u64),
        Queue::<u64>::create(name, 1),
    );
}

fn refuse_private(name: &str) {
    refuse_opening(name);
    let text = not_opened(name);
    refused!(Error::PermissionDenied { .. }, text, inspect(name));
}

/// Nobody but root may open a file of mode 0, its owner included: this needs no second user.
#[test]
fn a_mode_without_rights_refuses_even_the_owner() {
    let _watchdog = Watchdog::new("a mode without rights", LIMIT);
    let name = Name::new("mode-0");
    if sandbox::is_root() {
        sandbox::run("own-without-rights", &[&name]);
    } else {
        start("own-without-rights", &[&name]).finish();
    }
}

pub fn own_without_rights(name: &str) {
    if sandbox::is_root() {
        sandbox::become_nobody();
    }
    let held = Value::create(Place::named(name).mode(0), 7u64).unwrap();
    refuse_private(name);
    set_mode(shm(name), 0o444);
    refuse_opening(name);
    assert_eq!(inspect(name).unwrap().holders, 1);
    set_mode(shm(name), 0o600);
    assert_eq!(Value::<u64>::open(name).unwrap().get(), 7);
    drop(held);
    assert!(!exists(name));
}
