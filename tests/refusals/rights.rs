//! Segments of another user: what is refused, and what is not.

use crate::snapshot::Snapshot;
use crate::support::{Name, Watchdog, start};
use crate::{LIMIT, refused, sandbox};
use shmkit::{Error, Place, Queue, Value, inspect, list, sweep, unlink};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What a crash of all its holders leaves: a sound segment that nobody holds. A copy is one.
fn leave_orphan(path: &str, mode: u32) {
    let name = Name::new("original");
    let _held = Value::create(&*name, 7u64).unwrap();
    fs::copy(format!("/dev/shm/{}", &*name), path).unwrap();
    set_mode(path, mode);
}

#[test]
fn another_users_segment_is_out_of_reach() {
    let _watchdog = Watchdog::new("another user", LIMIT);
    sandbox::run("another-user", &[]);
}

/// Has a /dev/shm of its own: everything here is out of others' way, and they of ours.
pub fn another_user(_: &[&str]) {
    sandbox::enter_own_mounts();
    // The mode of every system's /dev/shm: all may create, and remove what is their own.
    sandbox::mount_tmpfs("/dev/shm", c"size=8m,mode=1777");
    fs::create_dir("/dev/shm/folder").unwrap();
    set_mode("/dev/shm/folder", 0o755);
    let private = Value::create("private", 7u64).unwrap();
    let readable = Value::create(Place::named("readable").mode(0o644), 7u64).unwrap();
    let shared = Value::create(Place::named("shared").mode(0o666), 7u64).unwrap();
    leave_orphan("/dev/shm/orphan", 0o666);
    leave_orphan("/dev/shm/readable-orphan", 0o644);
    leave_orphan("/dev/shm/hidden-orphan", 0o600);
    leave_orphan("/dev/shm/folder/orphan", 0o666);
    let files = [
        "private",
        "readable",
        "orphan",
        "readable-orphan",
        "hidden-orphan",
        "folder/orphan",
    ]
    .map(|name| format!("/dev/shm/{name}"));
    let before = files.each_ref().map(Snapshot::of);

    sandbox::become_nobody();
    refuse_private("private");
    refuse_opening("readable");
    let info = inspect("readable").unwrap();
    assert_eq!((info.holders, info.element.as_str()), (1, "u64"));

    // Who may write may take part, and may not take the name away.
    let opened = Value::<u64>::open("shared").unwrap();
    opened.set(8);
    assert_eq!((shared.get(), inspect("shared").unwrap().holders), (8, 2));
    let text = "shared: no permission to remove the name: the file belongs to user 0";
    refused!(unlink("shared"), Error::PermissionDenied { .. }, text);

    // Another user's leftovers stay, and everybody is told why.
    let text = "orphan: no permission to remove the name: user 0 left it, nobody holds it, \
                and user 0 can remove it";
    refused!(
        Value::<u64>::open("orphan"),
        Error::PermissionDenied { .. },
        text
    );
    refused!(
        Value::create("orphan", 1u64),
        Error::PermissionDenied { .. },
        text
    );
    refused!(
        Value::open_or_create("orphan", 1u64),
        Error::PermissionDenied { .. },
        text
    );
    refused!(unlink("orphan"), Error::PermissionDenied { .. }, text);
    // This user may read the next one, and so sees that nobody holds it.
    let text = "readable-orphan: no permission to open: user 0 left it, nobody holds it, \
                and user 0 can remove it";
    let name = "readable-orphan";
    refused!(
        Value::<u64>::open(name),
        Error::PermissionDenied { .. },
        text
    );
    refused!(
        Value::create(name, 1u64),
        Error::PermissionDenied { .. },
        text
    );
    refused!(unlink(name), Error::PermissionDenied { .. }, text);
    // And of this one, to whom it belongs.
    refuse_private("hidden-orphan");
    // No user's sticky bit, but the folder's mode protects the last one.
    let place = Place::file("/dev/shm/folder/orphan").persistent(false);
    let text = format!(
        "{place}: no permission to remove the name: user 0 left it, nobody holds it, \
         and a user who may write its folder can remove it"
    );
    refused!(
        Value::<u64>::open(&place),
        Error::PermissionDenied { .. },
        text
    );
    assert_eq!(sweep().unwrap(), []);
    let listed: Vec<_> = list().unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|i| (&*i.name, i.holders, i.is_orphan()))
        .collect();
    let expected = [
        ("orphan", 0, true),
        ("readable", 1, false),
        ("readable-orphan", 0, true),
        ("shared", 2, false),
    ];
    assert_eq!(listed, expected);

    // A folder that is not this user's.
    let place = Place::file("/dev/shm/folder/value");
    refused!(
        Value::create(&place, 1u64),
        Error::PermissionDenied { .. },
        format!("{place}: no permission to create a file")
    );
    refused!(
        Queue::<u8>::open_or_create(&place, 1),
        Error::PermissionDenied { .. },
        format!("{place}: no permission to create a file")
    );

    // What is this user's own works as ever.
    let own = Value::create("own", 1u64).unwrap();
    assert_eq!(Value::<u64>::open("own").unwrap().get(), 1);
    drop(own);
    assert!(!Path::new("/dev/shm/own").exists());
    drop(opened);

    let after = ["readable", "orphan", "readable-orphan"]
        .map(|name| Snapshot::of(format!("/dev/shm/{name}")));
    assert_eq!(after[..], before[1..4]);
    for path in &files {
        assert!(Path::new(path).exists(), "{path}");
    }
    // Their creator has become somebody else, too, and leaves without a word.
    drop((private, readable, shared));
}

fn refuse_opening(name: &str) {
    let owner = fs::metadata(format!("/dev/shm/{name}")).unwrap().uid();
    let text = format!("{name}: no permission to open: the file belongs to user {owner}");
    refused!(
        Value::<u64>::open(name),
        Error::PermissionDenied { .. },
        text
    );
    refused!(
        Value::open_or_create(name, 1u64),
        Error::PermissionDenied { .. },
        text
    );
    refused!(
        Queue::<u64>::open(name),
        Error::PermissionDenied { .. },
        text
    );
    refused!(unlink(name), Error::PermissionDenied { .. }, text);
    let text = format!("{name}: name is taken by a file that this user can't open");
    refused!(Value::create(name, 1u64), Error::AlreadyExists { .. }, text);
    refused!(
        Queue::<u64>::create(name, 1),
        Error::AlreadyExists { .. },
        text
    );
}

fn refuse_private(name: &str) {
    refuse_opening(name);
    let owner = fs::metadata(format!("/dev/shm/{name}")).unwrap().uid();
    let text = format!("{name}: no permission to open: the file belongs to user {owner}");
    refused!(inspect(name), Error::PermissionDenied { .. }, text);
}

/// The same without a second user: nobody but root may open a file of mode 0, its owner included.
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

pub fn own_without_rights(args: &[&str]) {
    let [name] = args else { panic!("{args:?}") };
    if sandbox::is_root() {
        sandbox::become_nobody();
    }
    let path = format!("/dev/shm/{name}");
    let held = Value::create(Place::named(*name).mode(0), 7u64).unwrap();
    refuse_private(name);
    set_mode(&path, 0o444);
    refuse_opening(name);
    assert_eq!(inspect(*name).unwrap().holders, 1);
    set_mode(&path, 0o600);
    assert_eq!(Value::<u64>::open(*name).unwrap().get(), 7);
    drop(held);
    assert!(!Path::new(&path).exists());
}
