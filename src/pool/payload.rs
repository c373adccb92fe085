//! Messages that are too long for a queue. What is in the queue is a note of where the rest is, which no
//! death leaks.
//!
//! | | where it is | if its sender dies before it is read |
//! |---|---|---|
//! | a task's | in a extent of a file without a name, which supervisor and workers have inherited; the caller gives it back once the task has ended | the pool ends |
//! | a result's | in an anonymous segment of its own; the worker sends its descriptor through a socket, and then puts the note | it is in the socket, and the result is as good as any |
//!
//! Invariants:
//! 1. *A extent is one task's, and written before its note is put*; it is given back, and may become
//!    another's, after that task's result has come or its worker has died: nobody reads it any more.
//! 2. *A result's segment begins as its note does*, so that none is taken for another's.

use super::wire::{ADDRESSES, INLINE_LEN, MessageHeader, address_at};
use crate::os::{self, AsFd, File, OwnedFd};
use crate::segment::Place;
use crate::types::Array;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// Which parts of the file are arguments: the caller's knowledge. A extent begins behind all others that
/// are in use; what was before it takes no memory once it was given back.
pub(super) struct Extents {
    file: Arc<File>,
    /// Of the last extent.
    end: u64,
    in_use: usize,
}

/// What a extent's start is a multiple of: of every page's size, so that no two share one.
const EXTENT_ALIGN: u64 = 64 << 10;

impl Extents {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            end: 0,
            in_use: 0,
        }
    }

    /// A extent of so many bytes.
    pub(super) fn take(&mut self, len: usize) -> Range<u64> {
        let start = self.end.next_multiple_of(EXTENT_ALIGN);
        self.end = start + len as u64;
        self.in_use += 1;
        start..self.end
    }

    /// Gives one back (invariant 1).
    pub(super) fn release(&mut self, extent: &Range<u64>) {
        // Where that fails, the memory waits for the next extent there, or for the pool's end.
        let pages = extent.start..extent.end.next_multiple_of(EXTENT_ALIGN);
        let _ = os::discard(self.file.as_fd(), &pages);
        self.in_use -= 1;
        if self.in_use == 0 {
            self.end = 0;
        }
    }
}

/// Whether a task's argument is to travel in a extent, and of how many bytes.
pub(super) fn extent_len(message: &[u8]) -> Option<usize> {
    (message.len() > INLINE_LEN).then(|| message.len() - MessageHeader::LEN - ADDRESSES)
}

/// Writes a task's argument to its extent: the message becomes a note. `Err` says what the system
/// refused.
pub(super) fn pack_task(
    header: MessageHeader,
    message: &mut Vec<u8>,
    file: &File,
    extent: &Range<u64>,
) -> Result<(), String> {
    let argument = &message[MessageHeader::LEN + ADDRESSES..];
    let failed = |error| format!("{} bytes in memory: {error}", argument.len());
    // To write beyond the limit would end this process.
    let limit = os::file_size_limit().map_err(failed)?;
    if limit.is_some_and(|limit| limit < extent.end) {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    os::write_at(file, argument, extent.start).map_err(failed)?;
    message.truncate(MessageHeader::LEN + ADDRESSES);
    header.as_out_of_line().write(message);
    for word in [extent.start, extent.end] {
        message.extend_from_slice(&word.to_ne_bytes());
    }
    Ok(())
}

/// Has a result that is too long travel in a segment, whose descriptor this is: the message becomes a
/// note. `Err` says what the system refused.
pub(super) fn pack_result(
    header: MessageHeader,
    message: &mut Vec<u8>,
) -> Result<Option<OwnedFd>, String> {
    if message.len() <= INLINE_LEN {
        return Ok(None);
    }
    let failed = |error| format!("{} bytes in a segment: {error}", message.len());
    let segment = Array::new(message.as_slice()).map_err(failed)?;
    let fd = segment.try_clone_fd().map_err(failed)?;
    message.truncate(MessageHeader::LEN);
    header.as_out_of_line().write(message);
    Ok(Some(fd))
}

/// An argument or a result, or a text about it: in the bytes of its message, in bytes of its own, or in
/// a segment.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    Inline(&'a [u8]),
    Own(Vec<u8>),
    /// From that offset on.
    Segment(Array<u8>, usize),
}

impl<'a> Payload<'a> {
    /// The argument of a task that begins with `header`. `Err` says why its extent can't be read.
    pub(super) fn of_task(
        header: MessageHeader,
        message: &'a [u8],
        file: &File,
    ) -> Result<Self, String> {
        let rest = message.get(MessageHeader::LEN + ADDRESSES..);
        let rest = rest.ok_or("a task without a function")?;
        if !header.out_of_line {
            return Ok(Self::Inline(rest));
        }
        let failed = |error: std::io::Error| format!("the memory of an argument: {error}");
        let written = os::FileStatus::of(file).map_err(failed)?.len;
        let extent = address_at(rest, 0).zip(address_at(rest, 8));
        let extent = extent.filter(|(start, end)| start <= end && *end as u64 <= written);
        let (start, end) = extent.ok_or("a note of no extent")?;
        let mut bytes = vec![0; end - start];
        os::read_exact_at(file, &mut bytes, start as u64).map_err(failed)?;
        Ok(Self::Own(bytes))
    }

    /// The result in a segment, which `note` is of.
    pub(super) fn in_segment(note: MessageHeader, fd: OwnedFd) -> Result<Self, String> {
        let segment = Array::open(Place::fd(fd)).map_err(|error| error.to_string())?;
        let mut start = [0; MessageHeader::LEN];
        let read = segment.read_at(0, &mut start);
        if read.is_err()
            || MessageHeader::read(&start).map(MessageHeader::as_out_of_line) != Some(note)
        {
            return Err("another message's segment".into());
        }
        Ok(Self::Segment(segment, MessageHeader::LEN))
    }

    /// One that does without the message.
    pub(super) fn kept(self) -> Payload<'static> {
        match self {
            Self::Inline(bytes) => Payload::Own(bytes.to_vec()),
            Self::Own(bytes) => Payload::Own(bytes),
            Self::Segment(segment, from) => Payload::Segment(segment, from),
        }
    }

    /// Runs `f` on the bytes, and lets go of them.
    pub(super) fn read<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Inline(bytes) => f(bytes),
            Self::Own(bytes) => f(&bytes),
            Self::Segment(segment, from) => {
                // Its sender wrote it before anybody could open it.
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
        let mut message = vec![0; MessageHeader::LEN + ADDRESSES];
        MessageHeader::new(3, 4, MessageKind::Task).write(&mut message);
        message.extend((0..len).map(|at| at.to_le_bytes()[0] ^ 0x5a));
        message
    }

    #[test]
    fn a_region_is_one_argument_s_and_takes_no_memory_afterwards() {
        let file = Arc::new(os::create_in_memory().unwrap());
        let mut extents = Extents::new(Arc::clone(&file));
        assert_eq!(extent_len(&task(100)), None);
        for _ in 0..2 {
            let mut taken = Vec::new();
            for len in [100_000, 65_536, 300_001] {
                let mut message = task(len);
                let extent = extents.take(extent_len(&message).unwrap());
                let header = MessageHeader::read(&message).unwrap();
                pack_task(header, &mut message, &file, &extent).unwrap();
                taken.push((len, extent, message));
            }
            for (len, extent, note) in taken {
                let header = MessageHeader::read(&note).unwrap();
                let payload = Payload::of_task(header, &note, &file).unwrap();
                let all =
                    payload.read(|bytes| bytes == &task(len)[MessageHeader::LEN + ADDRESSES..]);
                assert!(all, "{len} bytes at {extent:?}");
                extents.release(&extent);
            }
            assert_eq!(file.metadata().unwrap().blocks(), 0);
            assert_eq!(extents.take(1).start, 0);
            extents.release(&(0..1));
        }
    }

    #[test]
    fn a_note_of_no_region_is_an_error() {
        let file = os::create_in_memory().unwrap();
        for (start, end) in [(0u64, 1u64), (1, 0), (0, u64::MAX)] {
            let mut note = task(0);
            MessageHeader::read(&note)
                .unwrap()
                .as_out_of_line()
                .write(&mut note);
            note.extend(start.to_ne_bytes());
            note.extend(end.to_ne_bytes());
            let header = MessageHeader::read(&note).unwrap();
            for len in [
                MessageHeader::LEN,
                MessageHeader::LEN + ADDRESSES,
                note.len(),
            ] {
                assert!(Payload::of_task(header, &note[..len], &file).is_err());
            }
        }
    }
}
