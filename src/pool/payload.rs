//! Payloads: arguments and results. A payload that is too long for a queue travels out of line, where no
//! death leaks it, and its message in the queue says where the payload is.
//!
//! | payload | where it is | if its sender dies before it is read |
//! |---|---|---|
//! | a task's argument | in an extent of a file without a name, which supervisor and workers have inherited; the caller releases the extent once the task has ended | the pool ends |
//! | a task's result | in an anonymous segment of its own; the worker sends the segment's descriptor through a socket, and then puts the message | the descriptor is in the socket, and the caller reads the result as usual |
//!
//! Invariants:
//! 1. *An extent belongs to one task, and the caller writes it before it puts the task.* The caller releases
//!    the extent after the task's result has come or its worker has died, when no worker reads the extent any
//!    more. Only then may the same bytes become another task's extent.
//! 2. *A result's segment begins with the header of its message*, so that the caller never takes it for
//!    another task's result.

use super::wire::{ADDRESSES_LEN, MAX_INLINE_LEN, MessageHeader, address_at};
use crate::os::{self, AsFd, File, OwnedFd};
use crate::segment::Place;
use crate::types::Array;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// The caller's record of which parts of the file are in use. A new extent begins behind all extents in use.
/// A released extent takes no memory.
pub(super) struct Extents {
    file: Arc<File>,
    /// The end of the last extent; 0 if none is in use.
    end: u64,
    in_use: usize,
}

/// Alignment of an extent: a multiple of every page size, so that extents never share a page.
const EXTENT_ALIGN: u64 = 64 << 10;

impl Extents {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            end: 0,
            in_use: 0,
        }
    }

    /// Returns a new extent of `len` bytes.
    pub(super) fn allocate(&mut self, len: usize) -> Range<u64> {
        let start = self.end.next_multiple_of(EXTENT_ALIGN);
        self.end = start + len as u64;
        self.in_use += 1;
        start..self.end
    }

    /// Releases an extent (invariant 1).
    pub(super) fn release(&mut self, extent: &Range<u64>) {
        let pages = extent.start..extent.end.next_multiple_of(EXTENT_ALIGN);
        // If the system refuses, the memory stays until the extent's bytes are used again, or the pool ends.
        let _ = os::discard(self.file.as_fd(), &pages);
        self.in_use -= 1;
        if self.in_use == 0 {
            self.end = 0;
        }
    }
}

/// Returns the length of the extent that a task's argument needs; `None` if the argument fits into the
/// message.
pub(super) fn extent_len(message: &[u8]) -> Option<usize> {
    (message.len() > MAX_INLINE_LEN).then(|| message.len() - MessageHeader::LEN - ADDRESSES_LEN)
}

/// Moves a task's argument to its extent. In the message, the extent's bounds take the argument's place.
///
/// # Errors
/// A text that says what the system refused.
pub(super) fn pack_task(
    header: MessageHeader,
    message: &mut Vec<u8>,
    file: &File,
    extent: &Range<u64>,
) -> Result<(), String> {
    let argument = &message[MessageHeader::LEN + ADDRESSES_LEN..];
    let failed = |error| format!("{} bytes in memory: {error}", argument.len());
    // A write beyond the limit would raise SIGXFSZ, which ends this process.
    let limit = os::file_size_limit().map_err(failed)?;
    if limit.is_some_and(|limit| limit < extent.end) {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    os::write_at(file, argument, extent.start).map_err(failed)?;
    message.truncate(MessageHeader::LEN + ADDRESSES_LEN);
    header.as_out_of_line().write(message);
    for word in [extent.start, extent.end] {
        message.extend_from_slice(&word.to_ne_bytes());
    }
    Ok(())
}

/// Moves a result that is too long for the queue into a segment, and returns the segment's descriptor.
///
/// # Errors
/// A text that says what the system refused.
pub(super) fn pack_result(
    header: MessageHeader,
    message: &mut Vec<u8>,
) -> Result<Option<OwnedFd>, String> {
    if message.len() <= MAX_INLINE_LEN {
        return Ok(None);
    }
    let failed = |error| format!("{} bytes in a segment: {error}", message.len());
    let segment = Array::new(message.as_slice()).map_err(failed)?;
    let fd = segment.try_clone_fd().map_err(failed)?;
    message.truncate(MessageHeader::LEN);
    header.as_out_of_line().write(message);
    Ok(Some(fd))
}

/// An argument, a result, or a text that says why there is no result.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    /// The bytes lie in the message.
    Inline(&'a [u8]),
    /// The bytes are a copy.
    Owned(Vec<u8>),
    /// The bytes lie in a segment, from this offset on.
    Segment(Array<u8>, usize),
}

impl<'a> Payload<'a> {
    /// Returns the argument of the task in `message`, which begins with `header`.
    ///
    /// # Errors
    /// A text that says why the argument's extent can't be read.
    pub(super) fn of_task(
        header: MessageHeader,
        message: &'a [u8],
        file: &File,
    ) -> Result<Self, String> {
        let rest = message.get(MessageHeader::LEN + ADDRESSES_LEN..);
        let rest = rest.ok_or("a task without a function")?;
        if !header.out_of_line {
            return Ok(Self::Inline(rest));
        }
        let failed = |error: std::io::Error| format!("the memory of an argument: {error}");
        let written = os::FileStatus::of(file).map_err(failed)?.len;
        let extent = address_at(rest, 0).zip(address_at(rest, 8));
        let extent = extent.filter(|(start, end)| start <= end && *end as u64 <= written);
        let (start, end) = extent.ok_or("an argument that is nowhere")?;
        let mut bytes = vec![0; end - start];
        os::read_exact_at(file, &mut bytes, start as u64).map_err(failed)?;
        Ok(Self::Owned(bytes))
    }

    /// Returns the result in a segment, whose message begins with `header`.
    ///
    /// # Errors
    /// A text that says why the segment can't be opened, or that it belongs to another message.
    pub(super) fn open_segment(header: MessageHeader, fd: OwnedFd) -> Result<Self, String> {
        let segment = Array::open(Place::fd(fd)).map_err(|error| error.to_string())?;
        let mut start = [0; MessageHeader::LEN];
        let read = segment.read_at(0, &mut start);
        if read.is_err()
            || MessageHeader::read(&start).map(MessageHeader::as_out_of_line) != Some(header)
        {
            return Err("another message's segment".into());
        }
        Ok(Self::Segment(segment, MessageHeader::LEN))
    }

    /// Returns the payload, copied if it lies in the message.
    pub(super) fn into_owned(self) -> Payload<'static> {
        match self {
            Self::Inline(bytes) => Payload::Owned(bytes.to_vec()),
            Self::Owned(bytes) => Payload::Owned(bytes),
            Self::Segment(segment, from) => Payload::Segment(segment, from),
        }
    }

    /// Calls `f` with the bytes, and drops the payload.
    pub(super) fn read<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Inline(bytes) => f(bytes),
            Self::Owned(bytes) => f(&bytes),
            Self::Segment(segment, from) => {
                // The sender wrote all bytes before anybody could open the segment, so the bytes of a
                // poisoned segment are whole, too.
                let bytes = segment.lock().unwrap_or_else(PoisonError::into_inner);
                f(bytes.get(from..).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::MessageKind;
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn task(len: usize) -> Vec<u8> {
        let mut message = vec![0; MessageHeader::LEN + ADDRESSES_LEN];
        MessageHeader::new(3, 4, MessageKind::Task).write(&mut message);
        message.extend((0..len).map(|at| at.to_le_bytes()[0] ^ 0x5a));
        message
    }

    #[test]
    fn an_extent_belongs_to_one_argument_and_takes_no_memory_afterwards() {
        let file = Arc::new(os::create_in_memory().unwrap());
        let mut extents = Extents::new(Arc::clone(&file));
        assert_eq!(extent_len(&task(100)), None);
        for _ in 0..2 {
            let mut taken = Vec::new();
            for len in [100_000, 65_536, 300_001] {
                let mut message = task(len);
                let extent = extents.allocate(extent_len(&message).unwrap());
                let header = MessageHeader::read(&message).unwrap();
                pack_task(header, &mut message, &file, &extent).unwrap();
                taken.push((len, extent, message));
            }
            for (len, extent, message) in taken {
                let header = MessageHeader::read(&message).unwrap();
                let payload = Payload::of_task(header, &message, &file).unwrap();
                let all =
                    payload.read(|bytes| bytes == &task(len)[MessageHeader::LEN + ADDRESSES_LEN..]);
                assert!(all, "{len} bytes at {extent:?}");
                extents.release(&extent);
            }
            assert_eq!(file.metadata().unwrap().blocks(), 0);
            assert_eq!(extents.allocate(1).start, 0);
            extents.release(&(0..1));
        }
    }

    #[test]
    fn an_argument_that_is_nowhere_is_an_error() {
        let file = os::create_in_memory().unwrap();
        for (start, end) in [(0u64, 1u64), (1, 0), (0, u64::MAX)] {
            let mut message = task(0);
            MessageHeader::read(&message)
                .unwrap()
                .as_out_of_line()
                .write(&mut message);
            message.extend(start.to_ne_bytes());
            message.extend(end.to_ne_bytes());
            let header = MessageHeader::read(&message).unwrap();
            for len in [
                MessageHeader::LEN,
                MessageHeader::LEN + ADDRESSES_LEN,
                message.len(),
            ] {
                assert!(Payload::of_task(header, &message[..len], &file).is_err());
            }
        }
    }
}
