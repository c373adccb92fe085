//! Behaviours known from Python's `multiprocessing`, case by case and by its tests' names: processes,
//! queues, pools, and what is inherited by a fork.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[cfg(feature = "serde")]
#[path = "../support/crew.rs"]
mod crew;
#[path = "../support/fork.rs"]
mod fork;

mod inherited;
#[cfg(feature = "serde")]
mod pool;
mod process;
mod queue;

use std::time::{Duration, Instant};

const TESTS: &[(&str, fn())] = &[
    ("process_current", process::current),
    ("process_daemon", process::daemon),
    ("process_lifecycle", process::lifecycle),
    ("process_terminate_and_kill", process::terminate_and_kill),
    ("process_recursion", process::recursion),
    ("process_many_processes", process::many_processes),
    ("process_exit_codes", process::exit_codes),
    (
        "process_captures_dropped_in_the_parent_and_in_the_child",
        process::captures,
    ),
    (
        "process_stdout_of_the_child_flushed_once_never_twice",
        process::stdout,
    ),
    ("queue_put_and_get", queue::put_and_get),
    ("queue_fork", queue::fork),
    ("queue_len_is_empty_is_full", queue::len),
    ("queue_timeout", queue::timeout),
    ("queue_close", queue::close),
    #[cfg(feature = "serde")]
    (
        "queue_a_message_that_cannot_be_encoded_takes_no_room",
        queue::not_encoded,
    ),
    (
        "value_a_childs_writes_are_seen_by_the_parent_for_every_primitive_type",
        inherited::every_primitive_type,
    ),
];

fn main() {
    let tests = TESTS.to_vec();
    #[cfg(feature = "serde")]
    let tests = [tests, pool::TESTS.to_vec()].concat();
    fork::run(&tests);
}

/// What a call that does not wait may take on a machine that is busy with other things.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What came of a call, and how long that took.
fn timed<R>(call: impl FnOnce() -> R) -> (R, Duration) {
    let began = Instant::now();
    let result = call();
    (result, began.elapsed())
}

/// What came of a call that does not wait.
fn at_once<R>(call: impl FnOnce() -> R) -> R {
    let (result, took) = timed(call);
    assert!(took < AT_ONCE, "took {took:?}");
    result
}

/// What came of a call that waits in vain.
fn within<R>(timeout: Duration, call: impl FnOnce(Duration) -> R) -> R {
    let (result, took) = timed(|| call(timeout));
    assert!(took >= timeout, "ended after {took:?} of {timeout:?}");
    assert!(took < timeout + AT_ONCE, "took {took:?}");
    result
}
