//! [`TaskError`]: the reason why a task ends without a result.

use std::error::Error as StdError;
use std::fmt;

/// The reason why a task ended without a result.
///
/// ```
/// use shmkit::{Pool, TaskError};
///
/// fn half(n: u32) -> u32 {
///     assert!(n % 2 == 0, "{n} is odd");
///     n / 2
/// }
///
/// # fn main() -> shmkit::Result<()> {
/// let pool = Pool::with_workers(1)?;
/// assert_eq!(pool.apply(half, 3), Err(TaskError::Panicked("3 is odd".into())));
/// assert_eq!(pool.apply(half, 4), Ok(2)); // the worker lives on
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// The task panicked, with this text. The worker lives on.
    Panicked(String),
    /// The worker died while it had the task; or the pool gave up after this worker's death.
    WorkerDied {
        /// The id of the process that died.
        pid: u32,
        /// `n` for an exit code, `-n` if signal n killed the process.
        exit_code: i32,
    },
    /// The pool's supervisor died, and all workers with it; or it gave up (exit code 1), because the system
    /// refused to fork a worker.
    SupervisorDied {
        /// The id of the process that died.
        pid: u32,
        /// `n` for an exit code, `-n` if signal n killed the process.
        exit_code: i32,
    },
    /// The argument or the result can't be encoded, or the argument can't be carried; the text says why.
    Encode(String),
    /// The task or the result can't be decoded; the text says why.
    Decode(String),
    /// The pool is closed, or was terminated before the task had ended.
    Closed,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "the task panicked: {text}"),
            Self::WorkerDied { pid, exit_code } => {
                write!(
                    f,
                    "the worker {pid} ended with its task: exit code {exit_code}"
                )
            }
            Self::SupervisorDied { pid, exit_code } => {
                write!(
                    f,
                    "the pool's supervisor {pid} ended: exit code {exit_code}"
                )
            }
            Self::Encode(why) => write!(f, "the task or its result can't be encoded: {why}"),
            Self::Decode(why) => write!(f, "the task or its result can't be decoded: {why}"),
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl StdError for TaskError {}
