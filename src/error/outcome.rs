//! The outcomes of the types' verbs: [`PutError`], [`GetError`], [`PutAllError`] of a queue's, [`OutOfBounds`],
//! [`TimedOut`] and [`AccessError`] of an array's and a value's.

use std::error::Error as StdError;
use std::fmt;

/// Why an item was not put. The item is not in the queue, and never will be.
///
/// Which verb gives which error:
///
/// | verb | `Full` | `TimedOut` | `Busy` | `Closed` | `TooLong` | `Encode` | `Corrupt` |
/// |---|---|---|---|---|---|---|---|
/// | [`Queue`](crate::Queue): `put`, `put_many`, `put_all`, `producer` | | | | ✓ | | | ✓ |
/// | ... `try_put` | ✓ | | ✓ | ✓ | | | ✓ |
/// | ... `try_producer` | | | ✓ | ✓ | | | ✓ |
/// | ... `put_timeout`, `put_many_timeout`, `put_all_timeout` | | ✓ | ✓ | ✓ | | | ✓ |
/// | ... `producer_timeout` | | | ✓ | ✓ | | | ✓ |
/// | [`Producer`](crate::Producer): `put`, `put_many`, `put_all`, `chunk` | | | | ✓ | | | ✓ |
/// | ... `try_put`, `try_chunk` | ✓ | | | ✓ | | | ✓ |
/// | ... `put_timeout`, `chunk_timeout` | | ✓ | | ✓ | | | ✓ |
/// | [`WriteChunk`](crate::WriteChunk): `commit`, `commit_all` | | | | ✓ | | | ✓ |
/// | [`ByteQueue`](crate::ByteQueue): `put`, `reserve` | | | | ✓ | ✓ | | ✓ |
/// | ... `try_put`, `try_reserve` | ✓ | | ✓ | ✓ | ✓ | | ✓ |
/// | ... `put_timeout`, `reserve_timeout` | | ✓ | ✓ | ✓ | ✓ | | ✓ |
/// | [`Reservation`](crate::Reservation): `commit` | | | | ✓ | ✓ | | ✓ |
/// | `MessageQueue`: `put` | | | | ✓ | ✓ | ✓ | ✓ |
/// | ... `try_put` | ✓ | | ✓ | ✓ | ✓ | ✓ | ✓ |
/// | ... `put_timeout` | | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutError {
    /// There is no space, and the call does not wait.
    Full,
    /// There was no space until the deadline.
    TimedOut,
    /// A live process holds the producers' side, or held it until the deadline. Whether there is space is
    /// not known.
    Busy,
    /// The queue is closed.
    Closed,
    /// The message is longer than any that fits, or than the space that was reserved for it.
    TooLong {
        /// The message's length in bytes.
        len: usize,
        /// The greatest length that would have been accepted.
        max: usize,
    },
    /// The item can't be encoded; the text says why.
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
///
/// Which verb gives which error:
///
/// | verb | `Empty` | `TimedOut` | `Busy` | `Closed` | `Decode` | `Corrupt` |
/// |---|---|---|---|---|---|---|
/// | [`Queue`](crate::Queue): `get`, `get_many`, `get_with`, `take_with`, `consumer` | | | | ✓ | | ✓ |
/// | ... `try_get`, `try_get_with`, `try_take_with` | ✓ | | ✓ | ✓ | | ✓ |
/// | ... `try_consumer` | | | ✓ | ✓ | | ✓ |
/// | ... `get_timeout`, `get_many_timeout`, `get_with_timeout`, `take_with_timeout` | | ✓ | ✓ | ✓ | | ✓ |
/// | ... `consumer_timeout` | | | ✓ | ✓ | | ✓ |
/// | [`Consumer`](crate::Consumer): `get`, `get_many`, `peek`, `chunk` | | | | ✓ | | ✓ |
/// | ... `try_get`, `try_peek`, `try_chunk` | ✓ | | | ✓ | | ✓ |
/// | ... `get_timeout`, `peek_timeout`, `chunk_timeout` | | ✓ | | ✓ | | ✓ |
/// | [`ByteQueue`](crate::ByteQueue): `get`, `get_into`, `get_with`, `take_with` | | | | ✓ | | ✓ |
/// | ... `try_get`, `try_get_into`, `try_get_with`, `try_take_with` | ✓ | | ✓ | ✓ | | ✓ |
/// | ... `get_timeout`, `get_into_timeout`, `get_with_timeout`, `take_with_timeout` | | ✓ | ✓ | ✓ | | ✓ |
/// | `MessageQueue`: `get`, `take_with` | | | | ✓ | ✓ | ✓ |
/// | ... `try_get`, `try_take_with` | ✓ | | ✓ | ✓ | ✓ | ✓ |
/// | ... `get_timeout`, `take_with_timeout` | | ✓ | ✓ | ✓ | ✓ | ✓ |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// There is no item, and the call does not wait.
    Empty,
    /// There was no item until the deadline.
    TimedOut,
    /// A live process holds the consumers' side, or held it until the deadline. Whether there is an item is
    /// not known.
    Busy,
    /// The queue is closed and drained: no item will ever come.
    Closed,
    /// A message was taken that is no item of the queue's type; the text says why.
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

/// Why a [`put_all`](crate::Queue::put_all) ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAllError {
    /// How many of the items are in the queue: the first `put`.
    pub put: usize,
    /// Why the next item was not put.
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

/// An access to elements that an array does not have. No element was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// The index of the first element that was asked for.
    pub offset: usize,
    /// How many elements were asked for.
    pub count: usize,
    /// How many elements the array has.
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
        let end = offset as u128 + count as u128; // may be too large for a `usize`
        write!(
            f,
            "out of bounds: expected a range within 0..{len}, found {offset}..{end}"
        )
    }
}

impl StdError for OutOfBounds {}

/// Another process or thread held the lock of a value or an array until the deadline. Nothing was read or
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lock was held by another until the deadline")
    }
}

impl StdError for TimedOut {}

/// Why a timed access to an array's elements did not happen. No element was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// The array does not have all of these elements.
    OutOfBounds(OutOfBounds),
    /// Another process or thread held the array's lock until the deadline.
    TimedOut,
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds(source) => source.fmt(f),
            Self::TimedOut => TimedOut.fmt(f),
        }
    }
}

impl StdError for AccessError {}

impl From<OutOfBounds> for AccessError {
    fn from(source: OutOfBounds) -> Self {
        Self::OutOfBounds(source)
    }
}

impl From<TimedOut> for AccessError {
    fn from(TimedOut: TimedOut) -> Self {
        Self::TimedOut
    }
}
