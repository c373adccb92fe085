//! [`TaskError`]: how a task ends without a result.

use std::error::Error as StdError;
use std::fmt;

/// How a task ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// It panicked; what the panic said. The worker lives on.
    Panicked(String),
    /// Its worker ended while it had the task; or the pool's supervisor did, or the pool gave up.
    WorkerDied {
        /// Of the process that ended.
        pid: u32,
        /// `n` for an exit code, `-n` where the signal n killed it.
        exit_code: i32,
    },
    /// The argument or the result can't be encoded, or carried; and why.
    Encode(String),
    /// The task or the result can't be decoded; and why.
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
            Self::Encode(why) => write!(f, "the task or its result can't be encoded: {why}"),
            Self::Decode(why) => write!(f, "the task or its result can't be decoded: {why}"),
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl StdError for TaskError {}
