//! The crate's errors: [`Error`] for refusals of the environment, and in `outcome` the outcomes of the types'
//! verbs.
//!
//! Every text is lower case, has no full stop, names its place, and says what was expected and what was
//! found. `tests/refusals` pins the texts.

mod outcome;

pub use outcome::{AccessError, GetError, OutOfBounds, PutAllError, PutError, TimedOut};

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

/// A result whose error is the crate's [`Error`], unless it says otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the environment refused to create, open, list or remove a segment, or to start or wait for a process.
///
/// `place` is always the place as the caller gave it: a name, a path, or a description in round
/// brackets if there is neither. For a process it is `process` and the process's name.
///
/// ```
/// use shmkit::{Error, Queue};
///
/// # let name = format!("doc-error-{}", std::process::id());
/// match Queue::<u64>::open(&name) {
///     Ok(queue) => println!("{} items", queue.len()),
///     Err(Error::NotFound { place }) => println!("nobody has created {place} yet"),
///     Err(Error::Mismatch { what, expected, found, .. }) => {
///         println!("another {what}: expected {expected}, found {found}");
///     }
///     Err(error) => println!("{error}"), // says what happened, and where
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The text can't be a name, or a schema.
    InvalidName {
        /// The name as the caller gave it.
        place: String,
        /// The rule that the name breaks.
        reason: &'static str,
    },
    /// A capacity of zero, or a size that no address space holds.
    InvalidSize {
        /// The place of the segment that was to be created.
        place: String,
        /// The size that the caller asked for.
        found: String,
        /// The sizes that would have been accepted.
        expected: &'static str,
    },
    /// There is no segment of that name, or only the leftover of a crash of all holders, which has been
    /// removed.
    NotFound {
        /// The place that has no segment.
        place: String,
    },
    /// The name is taken by a segment that somebody holds, by a persistent segment, or by a file that this
    /// crate must not remove; or the memory for a `create_in` is in use.
    AlreadyExists {
        /// The place that is taken.
        place: String,
        /// What takes the place.
        by: &'static str,
    },
    /// The operating system refused for lack of permission.
    PermissionDenied {
        /// The place that the operating system refused.
        place: String,
        /// The operation that the operating system refused.
        op: &'static str,
        /// What can be found out about the file without that permission: the user to whom the file belongs, and,
        /// if the file is the leftover of a crash, who can remove it.
        detail: Option<String>,
    },
    /// The filesystem can't hold the segment, or the process's limit on the size of files
    /// (`RLIMIT_FSIZE`) forbids it. Nothing is left behind.
    NoSpace {
        /// The place of the segment that was to be created.
        place: String,
        /// The segment's length in bytes.
        needed: u64,
        /// How many bytes were free when the request failed, if the filesystem says so; at most the limit.
        available: Option<u64>,
    },
    /// The file is no shmkit segment. It is left as it was.
    Foreign {
        /// The place of the file.
        place: String,
        /// What the file is instead.
        found: String,
    },
    /// The file is a shmkit segment, but not the one that was asked for. It is left as it was.
    Mismatch {
        /// The place that leads to it.
        place: String,
        /// The property that differs: `layout`, `kind`, `type`, `size`, `alignment` or `capacity`.
        what: &'static str,
        /// The property that the caller asked for.
        expected: String,
        /// The property that the segment has.
        found: String,
    },
    /// The file is a shmkit segment whose header contradicts itself. It is left as it was.
    Corrupt {
        /// The place that leads to it.
        place: String,
        /// The part that is damaged.
        what: &'static str,
        /// The content of that part in a sound segment.
        expected: String,
        /// The content that was found.
        found: String,
    },
    /// A process stayed in the segment's gate, or others kept changing the name, for longer than a running
    /// process needs. Most likely a process is stopped (`SIGSTOP`, a debugger).
    Stalled {
        /// The place whose gate is closed.
        place: String,
        /// How long this process tried.
        waited: Duration,
    },
    /// A process was not started. A fork copies only the calling thread, but also all locks that the other
    /// threads hold at that moment, which nobody would release in the child.
    MultiThreaded {
        /// The name of the process that was to be started.
        process: String,
        /// How many threads this process has.
        threads: u64,
    },
    /// A process was not started, because the calling thread is inside a closure that runs under a
    /// lock, or holds a guard. The child would have a copy that belongs to its parent.
    GuardsHeld {
        /// The name of the process that was to be started.
        process: String,
        /// How many such closures and guards there are.
        guards: usize,
    },
    /// The operation is not possible at this place.
    Unsupported {
        /// The place as the caller gave it.
        place: String,
        /// What is not possible, and what to do instead.
        what: &'static str,
    },
    /// The operating system refused for another reason.
    Os {
        /// The place on which the operation worked.
        place: String,
        /// The operation that failed.
        op: &'static str,
        /// The operating system's own error.
        source: io::Error,
    },
    /// A queue's put failed. This variant serves callers that want one error type for everything.
    Put {
        /// The put's error.
        source: PutError,
    },
    /// A queue's get failed. This variant serves callers that want one error type for everything.
    Get {
        /// The get's error.
        source: GetError,
    },
    /// An access to an array failed. This variant serves callers that want one error type for everything.
    OutOfBounds {
        /// The access that failed.
        source: OutOfBounds,
    },
    /// Another held the lock of a value or an array until the deadline. This variant serves callers that want
    /// one error type for everything.
    TimedOut {
        /// The wait that ended.
        source: TimedOut,
    },
}

impl Error {
    /// Makes the most telling variant of an error of the operating system.
    pub(crate) fn from_os(place: &str, op: &'static str, source: io::Error) -> Self {
        let place = place.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { place },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied {
                place,
                op,
                detail: None,
            },
            _ => Self::Os { place, op, source },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { place, reason } => write!(f, "invalid name {place:?}: {reason}"),
            Self::InvalidSize {
                place,
                found,
                expected,
            } => write!(
                f,
                "{place}: invalid size: expected {expected}, found {found}"
            ),
            Self::NotFound { place } => write!(f, "{place}: no such segment"),
            // A description in brackets is no name.
            Self::AlreadyExists { place, by } if place.starts_with('(') => {
                write!(f, "{place}: is taken by {by}")
            }
            Self::AlreadyExists { place, by } => write!(f, "{place}: name is taken by {by}"),
            Self::PermissionDenied { place, op, detail } => {
                write!(f, "{place}: no permission to {op}")?;
                match detail {
                    Some(detail) => write!(f, ": {detail}"),
                    None => Ok(()),
                }
            }
            Self::NoSpace {
                place,
                needed,
                available,
            } => {
                write!(f, "{place}: no space: the segment needs {needed} bytes")?;
                match available {
                    Some(available) => write!(f, ", {available} are free"),
                    None => Ok(()),
                }
            }
            Self::Foreign { place, found } => {
                write!(f, "{place}: expected a shmkit segment, found {found}")
            }
            Self::Mismatch {
                place,
                what,
                expected,
                found,
            } => write!(
                f,
                "{place}: other {what}: expected {expected}, found {found}"
            ),
            Self::Corrupt {
                place,
                what,
                expected,
                found,
            } => write!(
                f,
                "{place}: corrupt {what}: expected {expected}, found {found}"
            ),
            Self::Stalled { place, waited } => write!(
                f,
                "{place}: stalled: no turn at its gate for {} ms (is a process that uses it stopped?)",
                waited.as_millis()
            ),
            Self::MultiThreaded { process, threads } => write!(
                f,
                "process {process}: not started: expected a single thread, found {threads} \
                 (a fork would copy the locks that the others hold): use `spawn_unchecked` if the \
                 child needs none of those, or start another program that opens by name"
            ),
            Self::GuardsHeld { process, guards } => write!(
                f,
                "process {process}: not started: expected no guard and no closure under a lock \
                 in the starting thread, found {guards}: drop or leave it first"
            ),
            Self::Unsupported { place, what } => write!(f, "{place}: unsupported: {what}"),
            Self::Os { place, op, source } => write!(f, "{place}: cannot {op}: {source}"),
            Self::Put { source } => write!(f, "put: {source}"),
            Self::Get { source } => write!(f, "get: {source}"),
            Self::OutOfBounds { source } => write!(f, "array: {source}"),
            Self::TimedOut { source } => write!(f, "{source}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            Self::Put { source } => Some(source),
            Self::Get { source } => Some(source),
            Self::OutOfBounds { source } => Some(source),
            Self::TimedOut { source } => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        use io::ErrorKind;
        let kind = match &error {
            Error::InvalidName { .. } | Error::InvalidSize { .. } | Error::OutOfBounds { .. } => {
                ErrorKind::InvalidInput
            }
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Error::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            Error::NoSpace { .. } => ErrorKind::StorageFull,
            Error::Foreign { .. } | Error::Mismatch { .. } | Error::Corrupt { .. } => {
                ErrorKind::InvalidData
            }
            Error::Stalled { .. } | Error::TimedOut { .. } => ErrorKind::TimedOut,
            Error::MultiThreaded { .. } | Error::GuardsHeld { .. } => ErrorKind::ResourceBusy,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Os { source, .. } => source.kind(),
            Error::Put { source } => match source {
                PutError::Full | PutError::Busy => ErrorKind::WouldBlock,
                PutError::TimedOut => ErrorKind::TimedOut,
                PutError::Closed => ErrorKind::BrokenPipe,
                PutError::TooLong { .. } | PutError::Encode(_) => ErrorKind::InvalidInput,
                PutError::Corrupt => ErrorKind::InvalidData,
            },
            Error::Get { source } => match source {
                GetError::Empty | GetError::Busy => ErrorKind::WouldBlock,
                GetError::TimedOut => ErrorKind::TimedOut,
                GetError::Closed => ErrorKind::UnexpectedEof,
                GetError::Decode(_) | GetError::Corrupt => ErrorKind::InvalidData,
            },
        };
        Self::new(kind, error)
    }
}

impl From<PutError> for Error {
    fn from(source: PutError) -> Self {
        Self::Put { source }
    }
}

impl From<GetError> for Error {
    fn from(source: GetError) -> Self {
        Self::Get { source }
    }
}

impl From<OutOfBounds> for Error {
    fn from(source: OutOfBounds) -> Self {
        Self::OutOfBounds { source }
    }
}

impl From<TimedOut> for Error {
    fn from(source: TimedOut) -> Self {
        Self::TimedOut { source }
    }
}

impl From<AccessError> for Error {
    fn from(source: AccessError) -> Self {
        match source {
            AccessError::OutOfBounds(source) => source.into(),
            AccessError::TimedOut => TimedOut.into(),
        }
    }
}
