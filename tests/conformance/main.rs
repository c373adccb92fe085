//! Behaviours known from Python's `multiprocessing`, case by case and by its tests' names: processes,
//! queues, pools, and values that a fork inherits.
//!
//! The tests have no libtest harness, because its threads would be in the way of the forks. Arguments are
//! parts of the names of the tests to run.

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

use shmkit::Process;
use std::time::{Duration, Instant};

const TESTS: fork::Tests = fork::tests![
    process::current,
    process::daemon,
    process::lifecycle,
    process::terminate_and_kill,
    process::recursion,
    process::many_processes,
    process::exit_codes,
    process::captures_dropped_in_the_parent_and_in_the_child,
    process::stdout_of_the_child_flushed_once_never_twice,
    queue::put_and_get,
    queue::fork,
    queue::len_is_empty_is_full,
    queue::timeout,
    queue::close,
    #[cfg(feature = "serde")]
    queue::a_message_that_cannot_be_encoded_takes_no_space,
    inherited::a_childs_writes_are_seen_by_the_parent_for_every_primitive_type,
    #[cfg(feature = "serde")]
    pool::apply,
    #[cfg(feature = "serde")]
    pool::map,
    #[cfg(feature = "serde")]
    pool::map_empty_input_does_not_stall,
    #[cfg(feature = "serde")]
    pool::map_10_000_items,
    #[cfg(feature = "serde")]
    pool::apply_async,
    #[cfg(feature = "serde")]
    pool::async_timeout,
    #[cfg(feature = "serde")]
    pool::imap,
    #[cfg(feature = "serde")]
    pool::imap_unordered,
    #[cfg(feature = "serde")]
    pool::terminate_with_10_000_pending,
    #[cfg(feature = "serde")]
    pool::a_panicking_task_is_that_tasks_error_and_the_worker_lives_on,
    #[cfg(feature = "serde")]
    pool::a_plain_variable_stays_unchanged_and_a_named_value_and_array_change,
    #[cfg(feature = "serde")]
    pool::drop_reaps_every_worker,
    #[cfg(feature = "serde")]
    pool::futures_a_worker_killed_while_idle,
    #[cfg(feature = "serde")]
    pool::futures_a_worker_killed_while_running_or_encoding_a_big_result,
    #[cfg(feature = "serde")]
    pool::futures_shutting_down_with_work_pending_ends,
];

fn main() {
    fork::run(TESTS);
}

/// Starts a child that does not outlive a failed test for long.
fn spawn(f: impl FnOnce()) -> Process {
    let child = Process::spawn(|| {
        fork::end_after(fork::LIMIT);
        f();
    });
    child.expect("spawn")
}

/// Waits for a child, and fails unless it ended well.
fn finish(child: &Process) {
    child.join().expect("join");
    assert_eq!(child.exit_code(), Some(0));
}

/// The most that a call without a wait may take, on a machine that is busy with other things.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Returns the result of a call, and the time that it took.
fn timed<R>(call: impl FnOnce() -> R) -> (R, Duration) {
    let began = Instant::now();
    let result = call();
    (result, began.elapsed())
}

/// Makes a call that must not wait.
fn at_once<R>(call: impl FnOnce() -> R) -> R {
    let (result, took) = timed(call);
    assert!(took < AT_ONCE, "took {took:?}");
    result
}

/// Makes a call that waits in vain.
fn within<R>(timeout: Duration, call: impl FnOnce(Duration) -> R) -> R {
    let (result, took) = timed(|| call(timeout));
    assert!(took >= timeout, "ended after {took:?} of {timeout:?}");
    assert!(took < timeout + AT_ONCE, "took {took:?}");
    result
}
