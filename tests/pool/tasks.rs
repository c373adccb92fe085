//! Pools, and the tasks of these tests with their outcomes.

use crate::fork::kill_me;
use shmkit::{Pool, PoolBuilder, Queue, TaskError, Value};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The descriptor of which every process of a pool keeps a copy.
static WITNESS: OnceLock<BorrowedFd<'static>> = OnceLock::new();

/// From here on, every process of a pool keeps a copy of the descriptor, which stays open during the test.
pub(crate) fn witness_pools(descriptor: &impl AsRawFd) {
    // SAFETY: the caller keeps it open.
    WITNESS.get_or_init(|| unsafe { BorrowedFd::borrow_raw(descriptor.as_raw_fd()) });
}

/// The descriptor of [`witness_pools`].
pub(crate) fn witness() -> BorrowedFd<'static> {
    *WITNESS.get().expect("the test is `clean!`")
}

pub(crate) fn builder() -> PoolBuilder<'static> {
    match WITNESS.get() {
        Some(witness) => Pool::builder().keep(witness),
        None => Pool::builder(),
    }
}

pub(crate) fn pool(workers: usize) -> Pool {
    builder().workers(workers).start().expect("a pool")
}

pub(crate) fn double(n: u64) -> u64 {
    2 * n
}

pub(crate) fn pid_of(_: ()) -> u32 {
    std::process::id()
}

pub(crate) fn die(_: ()) {
    kill_me();
}

/// A task that takes so long: its time is the work.
pub(crate) fn nap(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A task that tells that it runs, and does not end within a test's time.
pub(crate) fn be_busy(busy: Value<u64>) {
    busy.update(|n| *n += 1);
    nap(60_000);
}

/// A task that ends when the test puts an item into the queue of that name.
pub(crate) fn await_turn(name: String) -> u64 {
    let turn = Queue::<u64>::open(name).expect("open");
    turn.get().expect("get")
}

/// Asserts that a task's process was killed by `SIGKILL`. Returns the pid.
pub(crate) fn killed<R: std::fmt::Debug>(outcome: Result<R, TaskError>) -> u32 {
    match outcome {
        Err(TaskError::WorkerDied { pid, exit_code: -9 }) => pid,
        other => panic!("{other:?}"),
    }
}

/// Asserts that a task ended because its pool's supervisor died. Returns the supervisor's pid and exit code.
pub(crate) fn supervisor_died<R: std::fmt::Debug>(outcome: Result<R, TaskError>) -> (u32, i32) {
    match outcome {
        Err(TaskError::SupervisorDied { pid, exit_code }) => (pid, exit_code),
        other => panic!("{other:?}"),
    }
}

/// Asserts that a pool does tasks.
pub(crate) fn works(pool: &Pool) {
    let doubled = pool.map(double, 0..100).expect("map");
    assert!(doubled.into_iter().eq((0..100).map(|n| 2 * n)));
}

/// How much memory this process's files in memory take, in blocks.
pub(crate) fn blocks() -> u64 {
    let listing = std::fs::read_dir("/proc/self/fd").expect("list");
    listing
        .map(|fd| fd.expect("list").path())
        .filter(|fd| {
            std::fs::read_link(fd).is_ok_and(|to| to == Path::new("/memfd:shmkit (deleted)"))
        })
        .map(|fd| std::fs::metadata(fd).expect("open").blocks())
        .sum()
}
