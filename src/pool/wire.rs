//! The channels between caller, supervisor and workers, and the form of their messages: [`Shared`],
//! [`Words`], [`MessageHeader`].

use crate::error::{Error, Result};
use crate::os::{self, File, OwnedFd};
use crate::types::{ByteQueue, SharedWords, is_holder};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How many tasks may be under way, that is, put and not ended yet.
pub(super) const SLOTS: u32 = 1 << 14;

/// The capacity for tasks in bytes: as many as there are slots, of some 100 bytes each.
const TASKS_LEN: usize = 2 << 20;

/// The capacity for results in bytes.
const RESULTS_LEN: usize = 1 << 20;

/// The longest message. A longer one sends its [`payload`](super::payload) out of line.
pub(super) const INLINE_LEN: usize = 64 << 10;

/// Bytes of the two addresses of code between a task's header and its argument.
pub(super) const ADDRESSES: usize = 16;

/// The channels that a pool's processes share. They are anonymous and inherited by the forks, so that no
/// death leaks them.
#[derive(Debug)]
pub(super) struct Shared {
    /// Tasks, from the caller to whichever worker comes first.
    pub(super) tasks: ByteQueue,
    /// Results, from the workers and the supervisor to the caller.
    pub(super) results: ByteQueue,
    /// The sockets for the segments of results: the workers' end, and the caller's. The supervisor's greeting
    /// comes through them first.
    pub(super) passage: (OwnedFd, OwnedFd),
    /// The file with the [extents](super::payload) of arguments that are too long for the queue.
    pub(super) arguments: Arc<File>,
    pub(super) words: Words,
}

impl Shared {
    pub(super) fn new(workers: usize) -> Result<Self> {
        Ok(Self {
            tasks: ByteQueue::new(TASKS_LEN)?,
            results: ByteQueue::new(RESULTS_LEN)?,
            passage: os::socket_pair()
                .map_err(|error| Error::from_os("(pool)", "make a pair of sockets", error))?,
            arguments: os::create_in_memory()
                .map(Arc::new)
                .map_err(|error| Error::from_os("(pool)", "create a file in memory", error))?,
            words: Words::new(workers)?,
        })
    }

    /// Returns whether this process can use the queues. A fork that found no descriptors is no holder of
    /// them. (The words need no holder.)
    pub(super) fn is_held(&self) -> bool {
        is_holder(&self.tasks) && is_holder(&self.results)
    }
}

/// The words that a pool's processes share besides the queues. They are zero at first.
#[derive(Clone, Debug)]
pub struct Words {
    /// One word for "stop", two words a worker, one word a slot.
    words: SharedWords,
    workers: usize,
}

impl Words {
    /// Makes the words for a pool of `workers` workers.
    ///
    /// # Errors
    /// As for [`Array::zeroed`](crate::Array::zeroed).
    pub fn new(workers: usize) -> Result<Self> {
        let words = SharedWords::new(1 + 2 * workers + SLOTS as usize)?;
        Ok(Self { words, workers })
    }

    /// Returns the word that tells the workers to leave their loops, whatever there is to do, when it is not
    /// 0. Caller and supervisor write it.
    pub(super) fn stop(&self) -> &AtomicU64 {
        self.words.word(0)
    }

    /// Returns the word with the number of the last worker in a slot of the crew that entered its loop. That
    /// worker writes it.
    pub(super) fn ready(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.workers, "a slot of the crew");
        self.words.word(1 + index)
    }

    /// Returns the word with the pid of the worker in a slot of the crew. The worker writes it at its start,
    /// and the supervisor zeroes it once it has waited for the worker. A caller that has to wait for the
    /// worker itself reads it.
    pub(super) fn pid(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.workers, "a slot of the crew");
        self.words.word(1 + self.workers + index)
    }

    /// Returns how many workers the pool has.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the word with the [`Lease`] of a slot's task; 0 if nobody has the task. A worker writes it
    /// inside the take, and zeroes it once it has answered.
    pub(super) fn lease(&self, slot: u32) -> &AtomicU64 {
        assert!(slot < SLOTS, "a slot that exists");
        self.words.word(1 + 2 * self.workers + slot as usize)
    }
}

/// A worker's right to a task: the content of a word of [`Words::lease`].
///
/// ```text
/// bit 63 … 32   the worker's number, from 1 on, never used again
/// bit 31 … 0    the slot's generation
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) worker: u32,
    pub(super) generation: u32,
}

impl Lease {
    pub(super) fn word(self) -> u64 {
        u64::from(self.worker) << 32 | u64::from(self.generation)
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub(super) fn of(word: u64) -> Self {
        Self {
            worker: (word >> 32) as u32,
            generation: word as u32,
        }
    }
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum MessageKind {
    /// A task: two addresses of code, and the argument.
    Task = 1,
    /// The result of a task.
    Value,
    /// The text of the task's panic.
    Panicked,
    /// Why the result could not be encoded.
    Encode,
    /// Why the task could not be decoded.
    Decode,
    /// The worker that had the task died: its pid and its exit code.
    Died,
    /// The pool gives up: the pid and the exit code of the last worker.
    GivenUp,
}

impl MessageKind {
    const ALL: [Self; 7] = [
        Self::Task,
        Self::Value,
        Self::Panicked,
        Self::Encode,
        Self::Decode,
        Self::Died,
        Self::GivenUp,
    ];
}

/// The beginning of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageHeader {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) kind: MessageKind,
    /// Whether the [`payload`](super::payload) is not in the message.
    pub(super) out_of_line: bool,
}

impl MessageHeader {
    pub(super) const LEN: usize = 12;
    const OUT_OF_LINE: u32 = 1 << 31;

    pub(super) fn new(slot: u32, generation: u32, kind: MessageKind) -> Self {
        Self {
            slot,
            generation,
            kind,
            out_of_line: false,
        }
    }

    /// Returns the header for the same message with its payload out of line.
    pub(super) fn as_out_of_line(self) -> Self {
        Self {
            out_of_line: true,
            ..self
        }
    }

    /// Returns the slot and the generation, as the key of a segment in the sockets.
    pub(super) fn key(self) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&self.slot.to_ne_bytes());
        key[4..].copy_from_slice(&self.generation.to_ne_bytes());
        key
    }

    /// Returns the slot and the generation from a [`key`](Self::key).
    pub(super) fn of_key(key: [u8; 8]) -> (u32, u32) {
        let slot = u32::from_ne_bytes([key[0], key[1], key[2], key[3]]);
        (slot, u32::from_ne_bytes([key[4], key[5], key[6], key[7]]))
    }

    /// Writes the header over the first bytes of a message.
    pub(super) fn write(self, message: &mut [u8]) {
        let kind = self.kind as u32
            | if self.out_of_line {
                Self::OUT_OF_LINE
            } else {
                0
            };
        for (at, word) in [self.slot, self.generation, kind].into_iter().enumerate() {
            message[4 * at..4 * at + 4].copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Reads the header of a message; `None` if no process of a pool wrote it.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let kind = word_at(message, 8)?;
        let found = MessageKind::ALL
            .into_iter()
            .find(|one| *one as u32 == kind & !Self::OUT_OF_LINE)?;
        let slot = word_at(message, 0)?;
        (slot < SLOTS).then_some(Self {
            slot,
            generation: word_at(message, 4)?,
            kind: found,
            out_of_line: kind & Self::OUT_OF_LINE != 0,
        })
    }
}

/// Returns a message that consists of a header and two words.
pub(super) fn of_words(header: MessageHeader, words: [u32; 2]) -> [u8; MessageHeader::LEN + 8] {
    let mut message = [0; MessageHeader::LEN + 8];
    header.write(&mut message);
    message[MessageHeader::LEN..MessageHeader::LEN + 4].copy_from_slice(&words[0].to_ne_bytes());
    message[MessageHeader::LEN + 4..].copy_from_slice(&words[1].to_ne_bytes());
    message
}

pub(super) fn word_at(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
}

pub(super) fn address_at(message: &[u8], at: usize) -> Option<usize> {
    let bytes = message.get(at..at + 8)?;
    Some(usize::from_ne_bytes(bytes.try_into().expect("8 bytes")))
}

/// The addresses of code when the pool was made: only code of files, which nobody writes. Code that a program
/// makes for itself may be other code by the time it is called. (The same is true of a library that was
/// unloaded since, if another was loaded in its place: nothing here can tell.)
#[derive(Clone, Debug)]
pub(super) struct Code(Vec<Range<usize>>);

impl Code {
    /// Returns the code that this process has now.
    pub(super) fn mapped() -> std::io::Result<Self> {
        let mappings = os::mappings()?.into_iter();
        let code = mappings.filter(|mapping| mapping.is_code && mapping.file.is_some());
        Ok(Self(code.map(|mapping| mapping.range).collect()))
    }

    pub(super) fn contains(&self, address: usize) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for kind in MessageKind::ALL {
            for out_of_line in [false, true] {
                let header = MessageHeader {
                    out_of_line,
                    ..MessageHeader::new(7, u32::MAX, kind)
                };
                let mut message = [0; MessageHeader::LEN];
                header.write(&mut message);
                assert_eq!(MessageHeader::read(&message), Some(header));
                assert_eq!(MessageHeader::read(&message[1..]), None);
            }
        }
        let mut beyond = [0; MessageHeader::LEN];
        MessageHeader::new(u32::MAX, 0, MessageKind::Task).write(&mut beyond);
        assert_eq!(MessageHeader::read(&beyond), None);
        assert_eq!(MessageHeader::read(&[0; MessageHeader::LEN]), None);
    }

    #[test]
    fn code_is_where_functions_are() {
        let code = Code::mapped().unwrap();
        let function: fn() = code_is_where_functions_are;
        assert!(code.contains(function as usize));
        let local = 0;
        assert!(!code.contains(std::ptr::from_ref(&local).addr()));
        assert!(!code.contains(0));
    }
}
