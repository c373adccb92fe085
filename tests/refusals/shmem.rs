//! Mappings of the crate `shared_memory` that are no memory for a segment.

use crate::damage::counter_text;
use crate::gate::{patiently, sit_in_the_gate};
use crate::support::checks::{exists, refused, shm};
use crate::support::{Name, Watchdog};
use crate::{LIMIT, sandbox};
use shmkit::memory::Memory;
use shmkit::shared_memory::{Shmem, ShmemConf};
use shmkit::{Error, Result, ShmemMemory, Value, unlink};
use std::sync::Arc;

fn create(name: &str, size: usize) -> Shmem {
    ShmemConf::new().os_id(name).size(size).create().unwrap()
}

fn open(name: &str) -> Shmem {
    ShmemConf::new().os_id(name).open().unwrap()
}

fn hold(shmem: Shmem) -> Result<Arc<dyn Memory>> {
    // SAFETY: the bytes are written by this one thread alone, between the uses of a segment.
    Ok(Arc::new(unsafe { ShmemMemory::new(shmem) }?))
}

/// Overwrites a word of the mapping.
fn write(shmem: &Shmem, at: usize, word: u64) {
    assert!(at + 8 <= shmem.len() && at.is_multiple_of(8));
    let at = shmem.as_ptr().wrapping_add(at);
    // SAFETY: inside the mapping, aligned, and nobody else uses it.
    unsafe { at.cast::<u64>().write(word) };
}

#[test]
fn a_shmem_that_is_too_small_or_has_no_name_of_ours_says_so() {
    let _watchdog = Watchdog::new("small shmems", LIMIT);
    let name = Name::new("small");
    refused!(
        Error::NoSpace { .. },
        format!("{name}: no space: the segment needs 512 bytes, 511 are free"),
        hold(create(&name, 511)),
    );
    assert!(!exists(&name), "its owner took it along");
    // A header fits, a value does not.
    refused!(
        Error::NoSpace { .. },
        format!("{name}: no space: the segment needs 792 bytes, 512 are free"),
        Value::create_in(hold(create(&name, 512)).unwrap(), 1u64),
    );
    let hidden = format!(".{name}");
    refused!(
        Error::InvalidName { .. },
        format!("invalid name \"{hidden}\": a name does not begin with a dot"),
        hold(create(&hidden, 4096)),
    );
    assert!(!exists(&hidden));
    // With the slash that `shm_open` wants it is the same name.
    let slash = create(&format!("/{name}"), 4096);
    let value = Value::create_in(hold(slash).unwrap(), 1u64).unwrap();
    assert_eq!(value.name(), Some(&*name));
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), 1);
}

#[test]
fn a_shmem_with_something_else_in_it_is_foreign_and_stays() {
    let _watchdog = Watchdog::new("foreign shmems", LIMIT);
    let name = Name::new("foreign");
    let shmem = create(&name, 4096);
    write(&shmem, 0, u64::from_le_bytes(*b"theirs!!"));
    refused!(
        Error::Foreign { .. },
        format!("{name}: expected a shmkit segment, found a file that begins with \"theirs!!\""),
        hold(open(&name)),
    );
    assert!(exists(&name));
    // SAFETY: nobody writes it meanwhile.
    let bytes = unsafe { shmem.as_slice() };
    assert!(bytes.starts_with(b"theirs!!"));
    assert!(bytes[8..].iter().all(|byte| *byte == 0), "left as it was");
}

#[test]
fn a_shmem_whose_name_leads_elsewhere_is_refused_and_removes_nothing() {
    let _watchdog = Watchdog::new("stale shmems", LIMIT);
    let name = Name::new("stale");
    let (owner, user) = (create(&name, 4096), open(&name));
    Value::create_in(hold(open(&name)).unwrap(), 1u64).unwrap();
    assert!(!exists(&name), "the last one out removed it");
    let text = format!("{name}: no such segment");
    refused!(Error::NotFound { .. }, text, hold(user));
    let successor = Value::create(&*name, 2u64).unwrap();
    let found = "another file than the one that is mapped";
    let text = format!("{name}: expected a shmkit segment, found {found}");
    refused!(Error::Foreign { .. }, text, hold(owner));
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), successor.get());
    unlink(&*name).unwrap();
}

/// Whichever way an owner's `Shmem` is refused, its drop must not remove a successor's name.
#[test]
fn a_refused_owner_leaves_the_name_of_a_successor() {
    let _watchdog = Watchdog::new("refused owners", LIMIT);
    // Too small, and a name that no segment may have.
    for (prefix, size) in [("", 511), (".", 4096)] {
        let name = Name::new("refused-owner");
        let name = format!("{prefix}{name}");
        let path = shm(&name);
        let owner = create(&name, size);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a successor's").unwrap();
        assert!(hold(owner).is_err());
        let left = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        assert_eq!(left, "a successor's", "{name}");
    }
}

/// The removal happens in the file's gate: whoever is inside decides about the name.
#[test]
fn a_refused_owner_removes_nothing_while_the_gate_is_shut() {
    let _watchdog = Watchdog::new("refused owners at a gate", LIMIT);
    let name = Name::new("shut-out");
    let owner = create(&name, 511);
    let path = shm(&name);
    let mut options = std::fs::File::options();
    let sitting = options.read(true).write(true).open(&path).unwrap();
    sit_in_the_gate(&sitting);
    assert!(patiently(|| hold(owner)).is_err());
    assert!(exists(&name));
}

#[test]
fn a_counter_of_holders_that_was_set_back_is_corrupt() {
    let _watchdog = Watchdog::new("a counter set back", LIMIT);
    let name = Name::new("counter");
    let first = Value::create(&*name, 1u64).unwrap();
    let value = Value::<u64>::open_in(hold(open(&name)).unwrap()).unwrap();
    drop(first); // whose number would be drawn again
    for word in [0, 99] {
        let shmem = open(&name);
        write(&shmem, 256, word);
        refused!(
            Error::Corrupt {
                what: "holder counter",
                ..
            },
            counter_text(&name),
            hold(shmem),
        );
    }
    assert_eq!(value.get(), 1);
}

#[test]
fn a_shmem_that_is_not_all_there_is_no_space() {
    let _watchdog = Watchdog::new("a shmem in a full filesystem", LIMIT);
    sandbox::run("shmem-in-little-space", &[]);
}

/// Role. `shared_memory` reserves nothing: it says yes to more than there is.
pub fn in_little_space() {
    sandbox::enter_own_mounts();
    sandbox::mount_tmpfs("/dev/shm", c"size=1m");
    let Err(error) = hold(create("much", 2 << 20)) else {
        panic!("not refused");
    };
    let text = "much: no space: the segment needs 2097152 bytes";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(matches!(error, Error::NoSpace { .. }));
    assert!(!exists("much"), "its owner took it along");
    Value::create_in(hold(create("little", 4096)).unwrap(), 1u64).unwrap();
}
