//! What several test binaries check: files in /dev/shm, refusals, panics.

use super::Name;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The file of a named segment.
pub fn shm(name: &str) -> String {
    format!("/dev/shm/{name}")
}

/// Tells whether the name is there.
pub fn exists(name: &str) -> bool {
    Path::new(&shm(name)).exists()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Asserts that each of the results is an error of this variant.
#[allow(unused_macros)] // some test binaries check no refusal
macro_rules! fails {
    ($variant:pat, $($result:expr),+ $(,)?) => {{
        $(match $result {
            Err(error) => assert!(matches!(&error, $variant), "{}: {error:?}", stringify!($result)),
            Ok(found) => panic!("{}: not refused: {found:?}", stringify!($result)),
        })+
    }};
}
#[allow(unused_imports)]
pub(crate) use fails;

/// Asserts that each of the results is an error of this variant and with this text.
#[allow(unused_macros)]
macro_rules! refused {
    ($variant:pat, $text:expr, $($result:expr),+ $(,)?) => {{
        let text = &$text;
        $(match $result {
            Err(error) => {
                assert_eq!(error.to_string(), *text, "{}", stringify!($result));
                assert!(matches!(&error, $variant), "{}: {error:?}", stringify!($result));
            }
            Ok(found) => panic!("{}: not refused: {found:?}", stringify!($result)),
        })+
    }};
}
#[allow(unused_imports)]
pub(crate) use refused;

/// Returns the text of the panic that ends `f`.
#[track_caller]
pub fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("no panic");
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}

/// Asserts that `f` panics, instead of waiting for a lock that its own thread holds.
#[track_caller]
pub fn deadlocks<R>(f: impl FnOnce() -> R) {
    let text = panic_of(f);
    assert!(text.starts_with("deadlock"), "{text}");
}
