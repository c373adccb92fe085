//! Messages that are too long for a queue: each in an anonymous segment of its own, which no death
//! leaks. The message in the queue is a note of that.
//!
//! | | how the segment gets there | if its sender dies before it is open there |
//! |---|---|---|
//! | a task's | the caller keeps it open until the task has ended; the worker opens `/proc/PID/fd/N` | the pool ends |
//! | a result's | the worker sends its descriptor through a socket, and then puts the note | it is in the socket, and the result is as good as any |
//!
//! A segment begins as its note does, so that none is taken for another's.

use super::wire::{Header, INLINE_LEN, word_at};
use crate::array::Array;
use crate::place::Place;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::PoisonError;

/// Has a message that is too long travel in a segment, whose descriptor this is: the message becomes a
/// note. `Err` says what the system refused.
pub(super) fn pack(message: &mut Vec<u8>) -> Result<Option<OwnedFd>, String> {
    if message.len() <= INLINE_LEN {
        return Ok(None);
    }
    let header = Header::read(message).expect("one of ours");
    let failed = |error| format!("{} bytes in a segment: {error}", message.len());
    let segment = Array::new(message.as_slice()).map_err(failed)?;
    let fd = segment.try_clone_fd().map_err(failed)?;
    let note = Header {
        is_note: true,
        ..header
    };
    message.truncate(Header::LEN);
    note.write(message);
    Ok(Some(fd))
}

/// Says in a task's note where its segment is open.
pub(super) fn say_where(note: &mut Vec<u8>, fd: &OwnedFd) {
    for word in [std::process::id(), fd.as_raw_fd().cast_unsigned()] {
        note.extend_from_slice(&word.to_ne_bytes());
    }
}

/// What a message says behind its header: in its own bytes, or in a segment.
#[derive(Debug)]
pub(super) enum Letter<'a> {
    Inline(&'a [u8]),
    /// From that offset on.
    Parcel(Array<u8>, usize),
}

impl<'a> Letter<'a> {
    /// A task's, which begins with `header`. `Err` says why its segment can't be opened.
    pub(super) fn of_task(header: Header, message: &'a [u8]) -> Result<Self, String> {
        if !header.is_note {
            return Ok(Self::Inline(&message[Header::LEN..]));
        }
        let word = |at| word_at(message, Header::LEN + at).ok_or("a note of no segment");
        let path = format!("/proc/{}/fd/{}", word(0)?, word(4)?);
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| format!("{path}: {error}"))?;
        Self::in_segment(header, file.into())
    }

    /// The message in a segment, which `note` is of.
    pub(super) fn in_segment(note: Header, fd: OwnedFd) -> Result<Self, String> {
        let segment = Array::open(Place::fd(fd)).map_err(|error| error.to_string())?;
        let mut start = [0; Header::LEN];
        let read = segment.read_at(0, &mut start);
        let expected = Header {
            is_note: false,
            ..note
        };
        if read.is_err() || Header::read(&start) != Some(expected) {
            return Err("another message's segment".into());
        }
        Ok(Self::Parcel(segment, Header::LEN))
    }

    /// Runs `f` on the bytes, and lets go of them.
    pub(super) fn read<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Inline(bytes) => f(bytes),
            Self::Parcel(segment, from) => {
                // Its sender wrote it before anybody could open it.
                let bytes = segment.lock().unwrap_or_else(PoisonError::into_inner);
                f(bytes.get(from..).unwrap_or_default())
            }
        }
    }
}
