//! Results that are too long for one message of the queue: their way from a worker to the caller.
//!
//! | way | where the result is meanwhile | taken |
//! |---|---|---|
//! | out of line | in the task's *region*: a part of a file without a name, which all processes of the pool have inherited. The message says how long the result is | if the system lets the worker write the region |
//! | in pieces | in messages of the kind [`Piece`](MessageKind::Piece), and in a last message with the result's kind and the rest | otherwise. The worker waits for space in the queue, piece by piece |
//!
//! So a finished result waits for the caller without its worker, needs no descriptor, and is not lost if the file
//! is refused. A slot's region lies at the slot's number times [`REGION_LEN`]. Most of the file is a hole, which
//! takes no memory.
//!
//! | if the worker dies | the caller finds |
//! |---|---|
//! | while it writes the region, or before it has put the message | the supervisor's report, and discards the region |
//! | after it has put the message | the whole result |
//! | between the pieces | some pieces, and then the supervisor's report; it drops the pieces |
//!
//! Invariants:
//! 1. *A region belongs to the task that has the slot.* One worker writes the region, before it puts the task's
//!    message. The caller reads and discards the region before it frees the slot; and it frees the slot only for
//!    a message that follows the worker's last write: this worker's own, or the report of its death.
//! 2. *What the caller has gathered in pieces is a prefix of the result, and the last message makes it whole.*
//!    One worker puts the pieces in order, and the queue keeps the order. Messages of other tasks may lie between
//!    them; slot and generation tell them apart.
//! 3. *No piece follows its task's end.* The last message follows the pieces, and so does the report of a death:
//!    the supervisor puts it after the kernel has told it of the worker's end.

use super::wire::{MessageHeader, MessageKind, SLOTS, address_at};
use crate::error::PutError;
use crate::os::{self, AsFd, File};
use crate::types::ByteQueue;
use std::io;
use std::ops::Range;

/// The length of a region: more than any machine has memory for a result.
const REGION_LEN: u64 = 1 << 40;

const _: () = assert!(REGION_LEN <= i64::MAX as u64 / SLOTS as u64);

fn region(slot: u32) -> Range<u64> {
    let start = u64::from(slot) * REGION_LEN;
    start..start + REGION_LEN
}

/// Gives the memory of a slot's region back.
pub fn discard_result(file: &File, slot: u32) {
    // If the system refuses, the memory stays until another long result of this slot, or the pool's end.
    let _ = os::discard(file.as_fd(), &region(slot));
}

/// Writes a result to its slot's region. If the system refuses, the region is empty.
fn write_result(file: &File, slot: u32, result: &[u8]) -> io::Result<()> {
    if result.len() as u64 > REGION_LEN {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let written = os::write_within_limit(file, result, region(slot).start);
    if written.is_err() {
        discard_result(file, slot);
    }
    written
}

/// Takes the result of the task in `slot` from its region. `payload` is what follows the header of the task's
/// message.
///
/// # Errors
/// A text that says why the region can't be read.
pub fn take_result(file: &File, slot: u32, payload: &[u8]) -> Result<Vec<u8>, String> {
    let len = address_at(payload, 0).filter(|len| *len as u64 <= REGION_LEN);
    let len = len.ok_or("a result that is nowhere")?;
    let mut result = vec![0; len];
    let taken = os::read_exact_at(file, &mut result, region(slot).start);
    discard_result(file, slot);
    taken.map_err(|error| format!("the memory of a result of {len} bytes: {error}"))?;
    Ok(result)
}

/// Puts a result's message, which begins with its header. If the message is longer than `most` bytes, puts shorter
/// messages in its stead, and `message` is no message afterwards. Waits while the queue is full.
///
/// # Errors
/// As for [`ByteQueue::put`].
#[inline]
pub fn put_result(
    results: &ByteQueue,
    file: &File,
    message: &mut [u8],
    most: usize,
) -> Result<(), PutError> {
    if message.len() <= most {
        return results.put(message);
    }
    put_long(results, file, message, most)
}

#[cold]
fn put_long(
    results: &ByteQueue,
    file: &File,
    message: &mut [u8],
    most: usize,
) -> Result<(), PutError> {
    const LEN: usize = MessageHeader::LEN;
    let header = MessageHeader::read(message).expect("a result's header");
    if write_result(file, header.slot, &message[LEN..]).is_ok() {
        let mut short = [0; LEN + 8];
        header.as_out_of_line().write(&mut short);
        short[LEN..].copy_from_slice(&(message.len() - LEN).to_ne_bytes());
        return results.put(&short);
    }
    let mut from = 0;
    while message.len() - from > most {
        let piece = MessageHeader::new(header.slot, header.generation, MessageKind::Piece);
        piece.write(&mut message[from..]);
        results.put(&message[from..from + most])?;
        // The next header takes the place of bytes that have been put.
        from += most - LEN;
    }
    header.write(&mut message[from..]);
    results.put(&message[from..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MOST: usize = MessageHeader::LEN + 10;

    fn result(slot: u32, len: usize) -> Vec<u8> {
        let mut message = vec![0; MessageHeader::LEN];
        MessageHeader::new(slot, 4, MessageKind::Value).write(&mut message);
        message.extend((0..len).map(|at| at.to_le_bytes()[0] ^ 0x5a));
        message
    }

    #[test]
    fn a_result_out_of_line_is_whole_and_takes_no_memory_afterwards() {
        let results = ByteQueue::new(4096).unwrap();
        let file = os::create_in_memory().unwrap();
        let all = [(0, 100), (1, 300_001), (SLOTS - 1, 4096), (7, 11)];
        for (slot, len) in all {
            put_result(&results, &file, &mut result(slot, len), MOST).unwrap();
        }
        assert!(file.metadata().unwrap().blocks() > 0);
        for (slot, len) in all {
            let message = results.try_get().unwrap();
            let header = MessageHeader::new(slot, 4, MessageKind::Value).as_out_of_line();
            assert_eq!(MessageHeader::read(&message), Some(header));
            let taken = take_result(&file, slot, &message[MessageHeader::LEN..]).unwrap();
            assert!(taken == result(slot, len)[MessageHeader::LEN..], "{slot}");
        }
        assert_eq!(file.metadata().unwrap().blocks(), 0);
        for nowhere in [&[][..], &5000u64.to_ne_bytes(), &u64::MAX.to_ne_bytes()] {
            assert!(take_result(&file, SLOTS - 1, nowhere).is_err());
        }
    }

    #[test]
    fn a_result_whose_file_is_refused_travels_in_pieces() {
        let results = ByteQueue::new(4096).unwrap();
        let file = File::open("/dev/null").unwrap();
        for len in 0..100 {
            let whole = result(3, len);
            put_result(&results, &file, &mut whole.clone(), MOST).unwrap();
            let mut found = Vec::new();
            loop {
                let message = results.try_get().unwrap();
                assert!(message.len() <= MOST);
                let (header, piece) = message.split_at(MessageHeader::LEN);
                found.extend_from_slice(piece);
                if MessageHeader::read(header).unwrap().kind != MessageKind::Piece {
                    assert_eq!(header, &whole[..MessageHeader::LEN]);
                    break;
                }
            }
            assert_eq!(found, whole[MessageHeader::LEN..]);
            assert!(results.is_empty());
        }
    }
}
