//! The public surface over real segments, in one process: what handles are and say, how they meet
//! under names, files and descriptors, and the edges of each verb. What the verbs do to an item
//! in the middle is `tests/model`'s; what other processes see is the multi-process tests'.

#[path = "../support/mod.rs"]
mod support;

mod array;
mod bytes;
mod endpoints;
mod handles;
#[cfg(feature = "serde")]
mod messages;
mod places;
mod queue;
mod value;
mod waiting;

use std::time::Duration;
use support::Watchdog;

/// A limit for one test: some hundred times what it takes.
fn watchdog(what: &'static str) -> Watchdog {
    Watchdog::new(what, Duration::from_secs(60))
}

/// Longer than any wait that is due; ends one that is not.
const LONG: Duration = Duration::from_secs(50);
