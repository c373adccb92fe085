//! The crate's errors: [`Error`] for what the environment refuses, [`PutError`] and [`GetError`] for
//! the outcomes of a queue's verbs, [`OutOfBounds`] for an array's.
//!
//! Every text is lower case, has no full stop, names the place it speaks of, and says what was
//! expected and what was found. `tests/refusals` pins the texts.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

/// A result whose error is the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What creating, opening, listing or removing a segment can be refused with, and what starting or
/// waiting for a process can.
///
/// `place` is always the place as the caller gave it: a name, a path, or a description in round
/// brackets where there is neither. For a process it is `process` and its name.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The name or the schema can't be one.
    InvalidName {
        /// The name as it was given.
        place: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A capacity of zero, or a size that no address space holds.
    InvalidSize {
        /// Where the segment was to be.
        place: String,
        /// What was asked for.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// Nothing of that name, or only what a crash of all its holders left (it has been removed).
    NotFound {
        /// The place that was looked at.
        place: String,
    },
    /// The name is taken by a segment that somebody holds, by a persistent one, or by a file that
    /// is not ours to remove; or the memory for a `create_in` has something in it.
    AlreadyExists {
        /// The place that is taken.
        place: String,
        /// What it is taken by.
        by: &'static str,
    },
    /// The operating system refused for lack of rights.
    PermissionDenied {
        /// The place that was refused.
        place: String,
        /// The operation that was refused.
        op: &'static str,
    },
    /// The filesystem can't hold the segment, or the process's limit on the size of files
    /// (`RLIMIT_FSIZE`) forbids it. Nothing is left behind.
    NoSpace {
        /// Where the segment was to be.
        place: String,
        /// The segment's length in bytes.
        needed: u64,
        /// Bytes that were free when the request failed, where the filesystem tells; at most the limit.
        available: Option<u64>,
    },
    /// The file is not a shmkit segment. It is left as it was.
    Foreign {
        /// The place that leads to it.
        place: String,
        /// What is there instead.
        found: String,
    },
    /// A shmkit segment, but not the one that was asked for. It is left as it was.
    Mismatch {
        /// The place that leads to it.
        place: String,
        /// Which property differs: `layout`, `kind`, `type`, `size`, `alignment` or `capacity`.
        what: &'static str,
        /// What the caller asked for.
        expected: String,
        /// What the segment says.
        found: String,
    },
    /// A shmkit segment whose header contradicts itself. It is left as it was.
    Corrupt {
        /// The place that leads to it.
        place: String,
        /// Which part is damaged.
        what: &'static str,
        /// What that part would say in a sound segment.
        expected: String,
        /// What it says.
        found: String,
    },
    /// Somebody sat in the segment's gate, or others kept changing the name, for longer than a
    /// live process needs: most likely a stopped process (`SIGSTOP`, a debugger).
    Stalled {
        /// The place whose gate it is.
        place: String,
        /// How long it was tried for.
        waited: Duration,
    },
    /// A process was not started, because a fork copies the calling thread alone, and with it
    /// whatever locks the others hold at that moment.
    MultiThreaded {
        /// The name that the new process was to have.
        process: String,
        /// How many threads this process has.
        threads: u64,
    },
    /// A process was not started, because the calling thread is inside a closure that runs under a
    /// lock, or holds a guard: the child would have a copy of what is its parent's.
    GuardsHeld {
        /// The name that the new process was to have.
        process: String,
        /// How many of them there are.
        guards: usize,
    },
    /// The place can't do what was asked of it.
    Unsupported {
        /// The place as it was given.
        place: String,
        /// What was asked, and what to do instead.
        what: &'static str,
    },
    /// Any other refusal of the operating system.
    Os {
        /// The place that was being worked on.
        place: String,
        /// The operation that failed.
        op: &'static str,
        /// The operating system's own error.
        source: io::Error,
    },
    /// A queue's put, where a caller wants one error type for everything.
    Put {
        /// The outcome.
        source: PutError,
    },
    /// A queue's get, where a caller wants one error type for everything.
    Get {
        /// The outcome.
        source: GetError,
    },
    /// An array's access, where a caller wants one error type for everything.
    OutOfBounds {
        /// What was asked for.
        source: OutOfBounds,
    },
}

impl Error {
    /// Sorts an error of the operating system into the variant that says the most.
    pub(crate) fn from_os(place: &str, op: &'static str, source: io::Error) -> Self {
        let place = place.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { place },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { place, op },
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
            Self::PermissionDenied { place, op } => write!(f, "{place}: no permission to {op}"),
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
            Error::Stalled { .. } => ErrorKind::TimedOut,
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

/// Why an item was not put. The item is not in the queue, and never will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutError {
    /// No room, and the call was not to wait.
    Full,
    /// No room, or no turn at the lock, until the deadline.
    TimedOut,
    /// A live process holds the producers' side, and the call was not to wait.
    Busy,
    /// The queue is closed.
    Closed,
    /// A message that is longer than any that fits, or than what was reserved for it.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest that would have been accepted.
        max: usize,
    },
    /// An item that can't be encoded, and why.
    Encode(String),
    /// The shared indices contradict each other: a peer wrote where it must not.
    Corrupt,
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue is full",
            Self::TimedOut => "no room in the queue before the deadline",
            Self::Busy => "the producers' side is held by another",
            Self::Closed => "the queue is closed",
            Self::TooLong { len, max } => {
                return write!(
                    f,
                    "the message is too long: expected at most {max} bytes, found {len}"
                );
            }
            Self::Encode(why) => return write!(f, "the item can't be encoded: {why}"),
            Self::Corrupt => "the queue's indices are corrupt",
        })
    }
}

impl StdError for PutError {}

/// Why no item was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// No item, and the call was not to wait.
    Empty,
    /// No item, or no turn at the lock, until the deadline.
    TimedOut,
    /// A live process holds the consumers' side, and the call was not to wait.
    Busy,
    /// The queue is closed and drained: no item will ever come.
    Closed,
    /// A message that was taken, and is no item of the queue's type: why not.
    Decode(String),
    /// The shared indices contradict each other: a peer wrote where it must not.
    Corrupt,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::TimedOut => "no item in the queue before the deadline",
            Self::Busy => "the consumers' side is held by another",
            Self::Closed => "the queue is closed and drained",
            Self::Decode(why) => return write!(f, "the message can't be decoded: {why}"),
            Self::Corrupt => "the queue's indices are corrupt",
        })
    }
}

impl StdError for GetError {}

/// A [`put_all`](crate::Queue::put_all) that ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAllError {
    /// How many of the items are in the queue: the first `put`.
    pub put: usize,
    /// Why the next was not put.
    pub source: PutError,
}

impl fmt::Display for PutAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} items were put)", self.source, self.put)
    }
}

impl StdError for PutAllError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

/// Elements that an array does not have. None was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// Index of the first element that was asked for.
    pub offset: usize,
    /// How many elements were asked for.
    pub count: usize,
    /// How many the array has.
    pub len: usize,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, count, len } = *self;
        if count == 1 {
            return write!(
                f,
                "out of bounds: expected an index below {len}, found {offset}"
            );
        }
        let end = offset as u128 + count as u128; // which a `usize` may not hold
        write!(
            f,
            "out of bounds: expected a range within 0..{len}, found {offset}..{end}"
        )
    }
}

impl StdError for OutOfBounds {}
