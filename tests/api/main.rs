//! The public surface over real segments, in one process: the handles, how they meet under names, files
//! and descriptors, and the edges of each verb. `tests/model` has the verbs' everyday use; the tests with
//! several processes have the rest.

#[path = "../support/mod.rs"]
mod support;

mod array;
mod bytes;
mod endpoints;
mod handles;
mod large;
#[cfg(feature = "serde")]
mod messages;
mod places;
mod queue;
mod take_with;
mod value;
mod waiting;

use std::fmt::Debug;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};
use support::Watchdog;

/// Limits one test to some hundred times the time that it takes.
fn watchdog(what: &'static str) -> Watchdog {
    Watchdog::new(what, Duration::from_secs(60))
}

/// Longer than any wait that is due; ends one that is not.
const LONG: Duration = Duration::from_secs(50);

/// Makes a call that has to wait for at least this long.
#[track_caller]
fn waits<R>(at_least: Duration, call: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = call();
    assert!(start.elapsed() >= at_least);
    result
}

/// Waits for the threads, each of which has to return this result.
#[track_caller]
fn all_return<'scope, T: PartialEq + Debug>(
    threads: impl IntoIterator<Item = ScopedJoinHandle<'scope, T>>,
    result: &T,
) {
    for thread in threads {
        assert_eq!(thread.join().unwrap(), *result);
    }
}
