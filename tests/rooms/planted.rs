//! The test of the test: it finds each planted violation once, and nothing else.

use crate::house::{House, Source};
use crate::table::Row;

const WINGS: &[Row] = &[
    ("error", &[]),
    ("os", &[]),
    ("sync", &["error", "os"]),
    ("segment", &["error", "os", "sync"]),
];

const ROOMS: &[Row] = &[
    ("os/file", &[]),
    ("sync/event", &[]),
    ("sync/lock", &["sync/event"]),
    ("sync/ring", &["sync/lock"]),
    ("segment/place", &[]),
];

/// The violations in a small house, into which the test plants one file.
fn findings(name: &str, text: &str) -> Vec<String> {
    let rest = [
        ("lib.rs", ""),
        ("error.rs", "pub struct PutError;"),
        ("os/mod.rs", ""),
        ("os/file.rs", ""),
        ("sync/mod.rs", ""),
        ("sync/event.rs", "pub struct Event;"),
        ("sync/lock.rs", "pub struct LockError;"),
        ("sync/ring.rs", "pub struct Refusal;"),
        ("sync/ring/claim.rs", "pub struct Claim;"),
        ("segment/mod.rs", ""),
        ("segment/place.rs", "pub struct Place;"),
    ];
    let planted = Source::new(name, text);
    let mut sources: Vec<_> = rest
        .iter()
        .map(|(name, text)| Source::new(name, text))
        .filter(|source| source.module != planted.module)
        .collect();
    sources.push(planted);
    House::new(&sources, WINGS, ROOMS).violations()
}

#[test]
fn planted_paths_are_found() {
    let planted = [
        // Wings.
        ("sync/lock.rs", "use crate::segment::Place;"),
        ("sync/lock.rs", "use crate::{error::PutError, segment};"),
        ("sync/lock.rs", "use super::super::segment::*;"),
        ("sync/lock.rs", "use crate as root;"),
        ("sync/lock.rs", "use crate::{self as root};"),
        ("sync/lock.rs", "use crate::Place;"),
        ("error.rs", "fn f() { crate::os::now(); }"),
        ("error.rs", "fn f() { super::os::now(); }"),
        ("error.rs", "fn f(_: Option<crate::segment::Place>) {}"),
        ("error.rs", "fn f() { assert!(crate::os::now() == x); }"),
        ("error.rs", "fn f() { vec![(1, [super::os::now()])]; }"),
        ("error.rs", "macro_rules! m { () => { $crate::os::now() } }"),
        (
            "error.rs",
            "mod deep { fn f() { super::super::os::now(); } }",
        ),
        ("error.rs", "#[cfg(test)] mod tests { use crate::segment; }"),
        ("misc.rs", ""),
        // Past a door.
        ("segment/place.rs", "use crate::sync::lock::LockError;"),
        ("segment/mod.rs", "use crate::os::file::open;"),
        // Rooms.
        ("sync/event.rs", "use super::lock::LockError;"),
        ("sync/event.rs", "use crate::sync::ring::Refusal;"),
        ("sync/lock.rs", "use super::ring::claim::Claim;"),
        ("sync/lock.rs", "use super::LockGuard;"),
        ("sync/lock.rs", "use crate::sync::LockGuard;"),
        ("sync/ring/claim.rs", "use super::super::Lock;"),
        // The operating system.
        ("sync/lock.rs", "use libc::c_int;"),
        ("sync/lock.rs", "fn f() { libc::getpid(); }"),
        ("sync/lock.rs", "fn f() { ::libc::getpid(); }"),
        ("sync/lock.rs", "fn f() { assert_eq!(libc::getpid(), 1); }"),
        ("sync/lock.rs", "extern crate libc;"),
        (
            "sync/lock.rs",
            "#[cfg(test)] mod tests { use libc::c_int; }",
        ),
        ("segment/place.rs", "use std::fs::File;"),
        ("segment/place.rs", "use std::os::fd::AsFd;"),
        ("segment/place.rs", "fn f() { std::fs::remove_file(x); }"),
        ("segment/place.rs", "fn f() { std::process::id(); }"),
        ("segment/place.rs", "fn f() { std::thread::sleep(x); }"),
        ("segment/place.rs", "fn f() { path.exists(); }"),
        ("segment/place.rs", "fn f() { file.metadata(); }"),
        ("lib.rs", "pub use libc;"),
        // Impls that cross a wall.
        (
            "sync/lock.rs",
            "use super::event::Event; impl From<Event> for u8 {}",
        ),
        (
            "segment/place.rs",
            "use crate::sync::Refusal; use crate::error::PutError; impl From<Refusal> for PutError {}",
        ),
        // Names and tricks.
        ("segment/place.rs", "mod utils {}"),
        ("segment/place.rs", "#[path = \"os/file.rs\"] mod file;"),
        ("segment/place.rs", "include!(\"os/file.rs\");"),
    ];
    for (name, text) in planted {
        let found = findings(name, text);
        assert_eq!(found.len(), 1, "{name}: {text}: {found:?}");
    }
}

#[test]
fn allowed_paths_are_not_found() {
    let sound = [
        (
            "sync/lock.rs",
            "use crate::error::{PutError}; use std::fmt;",
        ),
        ("sync/lock.rs", "/// See [`crate::segment`].\nfn f() {}"),
        (
            "sync/lock.rs",
            "pub(crate) struct A; pub(in crate::sync) struct B;",
        ),
        ("sync/lock.rs", "pub(super) fn f() { let super_ = 1; }"),
        (
            "sync/lock.rs",
            "#[cfg(test)] mod tests { use super::*; use std::fs; }",
        ),
        (
            "sync/lock.rs",
            "#[cfg(all(test, not(loom)))] mod tests { fn f() { x.exists(); } }",
        ),
        (
            "sync/lock.rs",
            "mod deep { use super::super::event::Event; use self::x::Y; }",
        ),
        ("sync/lock.rs", "use super::event::Event; use crate::os;"),
        (
            "sync/lock.rs",
            "fn f() { super::event::f(1); println!(\"crate::segment\"); }",
        ),
        (
            "sync/ring.rs",
            "use super::lock::LockError; pub struct Refusal; impl From<LockError> for Refusal {}",
        ),
        (
            "sync/ring/claim.rs",
            "use super::Refusal; use crate::sync::lock::LockError;",
        ),
        (
            "sync/mod.rs",
            "mod lock; pub use lock::LockError; use ring::Refusal;",
        ),
        (
            "os/file.rs",
            "use libc::c_int; use std::fs::File; fn f() { x.exists(); }",
        ),
        (
            "segment/place.rs",
            "use crate::sync::{Lock, Ring}; use crate::os::File;",
        ),
        (
            "lib.rs",
            "mod os; pub use segment::Place; pub use crate::sync::Ring;",
        ),
    ];
    for (name, text) in sound {
        let found = findings(name, text);
        assert!(found.is_empty(), "{name}: {text}: {found:?}");
    }
}
