//! Arguments that are too long for a queue. Such an argument travels out of line: it lies in an extent of a file
//! without a name, which supervisor and workers have inherited, and its message says where.
//!
//! Invariant: *an extent belongs to one task, and the caller writes it before it puts the task.* The caller
//! releases the extent after the task's result has come or its worker has died, when no worker reads the extent
//! any more. Only then may the same bytes become another task's extent. If the caller dies, the pool ends.

use super::wire::{ADDRESSES_LEN, MAX_MESSAGE_LEN, MessageHeader, address_at};
use crate::os::{self, AsFd, File};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

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

    /// Releases an extent, as the invariant allows.
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
    (message.len() > MAX_MESSAGE_LEN).then(|| message.len() - MessageHeader::LEN - ADDRESSES_LEN)
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
    os::write_within_limit(file, argument, extent.start).map_err(failed)?;
    message.truncate(MessageHeader::LEN + ADDRESSES_LEN);
    header.as_out_of_line().write(message);
    for word in [extent.start, extent.end] {
        message.extend_from_slice(&word.to_ne_bytes());
    }
    Ok(())
}

/// Returns the argument of the task in `message`, which begins with `header`.
///
/// # Errors
/// A text that says why the argument's extent can't be read.
pub(super) fn argument_of<'a>(
    header: MessageHeader,
    message: &'a [u8],
    file: &File,
) -> Result<Cow<'a, [u8]>, String> {
    let rest = message.get(MessageHeader::LEN + ADDRESSES_LEN..);
    let rest = rest.ok_or("a task without a function")?;
    if !header.out_of_line {
        return Ok(Cow::Borrowed(rest));
    }
    let failed = |error: std::io::Error| format!("the memory of an argument: {error}");
    let written = os::FileStatus::of(file).map_err(failed)?.len;
    let extent = address_at(rest, 0).zip(address_at(rest, 8));
    let extent = extent.filter(|(start, end)| start <= end && *end as u64 <= written);
    let (start, end) = extent.ok_or("an argument that is nowhere")?;
    let mut bytes = vec![0; end - start];
    os::read_exact_at(file, &mut bytes, start as u64).map_err(failed)?;
    Ok(Cow::Owned(bytes))
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
                let argument = argument_of(header, &message, &file).unwrap();
                let whole = *argument == task(len)[MessageHeader::LEN + ADDRESSES_LEN..];
                assert!(whole, "{len} bytes at {extent:?}");
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
                assert!(argument_of(header, &message[..len], &file).is_err());
            }
        }
    }
}
