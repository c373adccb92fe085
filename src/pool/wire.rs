//! The channels between caller, supervisor and workers, and the form of their messages: [`Shared`],
//! [`Words`], [`MessageHeader`], [`Death`].

use crate::error::{Error, Result};
use crate::os::{self, AsRawFd, File, OwnedFd, RawFd};
use crate::types::{ByteQueue, SharedWords, is_holder};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How many tasks may be under way, that is, put and not ended yet. Each of them has a slot.
pub(super) const SLOTS: u32 = 1 << 14;

/// The capacity of the queue of tasks in bytes: enough for a task of some 100 bytes in each slot.
const TASKS_CAPACITY: usize = 2 << 20;

/// The capacity of the queue of results in bytes.
const RESULTS_CAPACITY: usize = 1 << 20;

/// The longest message in a queue. Longer arguments and results travel as [`payload`](super::payload) and
/// [`result`](super::result) explain.
pub(super) const MAX_MESSAGE_LEN: usize = 64 << 10;

/// The length of the two addresses of code between a task's header and its argument.
pub(super) const ADDRESSES_LEN: usize = 16;

/// The only message in the sockets: the supervisor is ready.
pub(super) const READY_KEY: [u8; 8] = *b"is ready";

/// The exit code of a supervisor or a worker that did all its work, or was told to stop.
pub(super) const EXIT_DONE: i32 = 0;

/// The exit code of a supervisor that gave up, or of a supervisor or a worker that can't use the queues.
pub(super) const EXIT_FAILED: i32 = 1;

/// A supervisor that can't start ends with this exit code and the number of the error, or 0. The numbers of
/// Linux's errors go to 133.
pub(super) const EXIT_NOT_STARTED: i32 = 100;

/// The channels that a pool's processes share. The channels are anonymous, and forks inherit them, so that no
/// death leaks them.
#[derive(Debug)]
pub(super) struct Shared {
    /// Tasks, from the caller to the workers. Each task goes to the worker that takes it first.
    pub(super) tasks: ByteQueue,
    /// Results, from the workers and the supervisor to the caller.
    pub(super) results: ByteQueue,
    /// The socket to which the supervisor sends [`READY_KEY`].
    pub(super) workers_socket: OwnedFd,
    /// The socket from which the caller receives this message.
    pub(super) caller_socket: OwnedFd,
    /// The file with the [extents](super::payload) of arguments that are too long for the queue.
    pub(super) arguments: Arc<File>,
    /// The file through which results travel that are too long for the queue.
    pub(super) result_file: File,
    pub(super) words: Words,
}

impl Shared {
    pub(super) fn new(workers: usize) -> Result<Self> {
        let tasks = ByteQueue::new(TASKS_CAPACITY)?;
        let results = ByteQueue::new(RESULTS_CAPACITY)?;
        let (workers_socket, caller_socket) = os::socket_pair()
            .map_err(|error| Error::from_os("(pool)", "make a pair of sockets", error))?;
        let file = || {
            os::create_in_memory()
                .map_err(|error| Error::from_os("(pool)", "create a file in memory", error))
        };
        Ok(Self {
            tasks,
            results,
            workers_socket,
            caller_socket,
            arguments: Arc::new(file()?),
            result_file: file()?,
            words: Words::new(workers)?,
        })
    }

    /// Returns the descriptors, besides those of segments, that supervisor and workers need.
    pub(super) fn descriptors(&self) -> [RawFd; 3] {
        [
            self.workers_socket.as_raw_fd(),
            self.arguments.as_raw_fd(),
            self.result_file.as_raw_fd(),
        ]
    }

    /// Returns whether this process can use the queues. A fork that had no descriptors left is no holder of
    /// the queues, and can't use them. (The words need no holder.)
    pub(super) fn is_usable(&self) -> bool {
        is_holder(&self.tasks) && is_holder(&self.results)
    }
}

/// The words that a pool's processes share besides the queues. All of them are zero at first.
///
/// A worker has a *number*, from 1 on, which no other worker of its pool ever has; and an *index*, from 0 on,
/// which it takes over if it replaces a dead worker.
#[derive(Clone, Debug)]
pub struct Words {
    /// [`stop`](Self::stop); [`ready`](Self::ready) and then [`pid`](Self::pid) of each index;
    /// [`lease`](Self::lease) of each slot.
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

    /// Returns the word that tells the workers to leave their loops, even if tasks are left, once the word is
    /// not 0. The caller and the supervisor write the word.
    pub(super) fn stop(&self) -> &AtomicU64 {
        self.words.word(0)
    }

    /// Returns the word with the number of the last worker with this index that entered its loop. That worker
    /// writes the word.
    pub(super) fn ready(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.workers, "an index of a worker");
        self.words.word(1 + index)
    }

    /// Returns the word with the pid of the worker with this index. The worker writes the word before it leaves
    /// the supervisor's process group, and the supervisor zeroes it after it has reaped the worker. The caller
    /// reads it to reap a worker whose supervisor was killed.
    pub(super) fn pid(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.workers, "an index of a worker");
        self.words.word(1 + self.workers + index)
    }

    /// Returns how many workers the pool has.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the word with the [`Lease`] of a slot's task; 0 if no worker has the task. A worker writes the
    /// word inside the take, and zeroes it after it has put the result. The supervisor zeroes a dead
    /// worker's.
    pub(super) fn lease(&self, slot: u32) -> &AtomicU64 {
        assert!(slot < SLOTS, "a slot that exists");
        self.words.word(1 + 2 * self.workers + slot as usize)
    }
}

/// The record that a worker has a task: the content of the word [`Words::lease`] of the task's slot.
///
/// ```text
/// bit 63 … 32   the worker's number
/// bit 31 … 0    the generation of the task in its slot
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) worker: u32,
    pub(super) generation: u32,
}

impl Lease {
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.worker) << 32 | u64::from(self.generation)
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub(super) fn from_word(word: u64) -> Self {
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
    /// A piece of what a worker says of a task, in one of the next four kinds; the rest follows.
    Piece,
    /// The result of a task.
    Value,
    /// The task panicked: the text of the panic.
    Panicked,
    /// The result could not be encoded: a text that says why.
    Encode,
    /// The task could not be decoded: a text that says why.
    Decode,
    /// The worker that had the task died: its [`Death`].
    Died,
    /// The pool gives up: the [`Death`] of the last worker.
    GivenUp,
}

impl MessageKind {
    const ALL: [Self; 8] = [
        Self::Task,
        Self::Piece,
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
    /// True if the argument or the result is not in the message.
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

    /// Returns the same header, but of a message with its argument or result out of line.
    pub(super) fn as_out_of_line(self) -> Self {
        Self {
            out_of_line: true,
            ..self
        }
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
            .find(|candidate| *candidate as u32 == kind & !Self::OUT_OF_LINE)?;
        let slot = word_at(message, 0)?;
        (slot < SLOTS).then_some(Self {
            slot,
            generation: word_at(message, 4)?,
            kind: found,
            out_of_line: kind & Self::OUT_OF_LINE != 0,
        })
    }
}

/// The end of a process: the content of a message [`Died`](MessageKind::Died) or
/// [`GivenUp`](MessageKind::GivenUp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) pid: u32,
    /// `n` for an exit code, `-n` if the signal n killed the process.
    pub(super) exit_code: i32,
}

impl Death {
    /// Returns the message with this header.
    pub(super) fn message(self, header: MessageHeader) -> [u8; MessageHeader::LEN + 8] {
        let mut message = [0; MessageHeader::LEN + 8];
        header.write(&mut message);
        let (pid, exit_code) = message[MessageHeader::LEN..].split_at_mut(4);
        pid.copy_from_slice(&self.pid.to_ne_bytes());
        exit_code.copy_from_slice(&self.exit_code.to_ne_bytes());
        message
    }

    /// Reads a message; zeros stand for words that are missing.
    pub(super) fn read(message: &[u8]) -> Self {
        let word = |at| word_at(message, MessageHeader::LEN + at).unwrap_or_default();
        Self {
            pid: word(0),
            exit_code: word(4).cast_signed(),
        }
    }
}

fn word_at(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
}

pub(super) fn address_at(message: &[u8], at: usize) -> Option<usize> {
    let bytes = message.get(at..at + 8)?;
    Some(usize::from_ne_bytes(bytes.try_into().expect("8 bytes")))
}

/// The addresses of code when the pool was made. Only the code of files counts, because a file's code does
/// not change. If a program generates code, other code may lie at the same address by the time of a call. (If
/// a library was unloaded since, and another was loaded at its address, nothing here can tell the two apart.)
#[derive(Clone, Debug)]
pub(super) struct Code(Vec<Range<usize>>);

impl Code {
    /// Returns the addresses of this process's code now.
    pub(super) fn of_this_process() -> std::io::Result<Self> {
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
    fn a_death_is_read_as_it_was_written() {
        let death = Death {
            pid: 7,
            exit_code: -9,
        };
        let header = MessageHeader::new(1, 2, MessageKind::Died);
        let message = death.message(header);
        assert_eq!(MessageHeader::read(&message), Some(header));
        assert_eq!(Death::read(&message), death);
        let missing = Death {
            pid: 0,
            exit_code: 0,
        };
        assert_eq!(Death::read(&message[..MessageHeader::LEN]), missing);
    }

    #[test]
    fn code_is_where_functions_are() {
        let code = Code::of_this_process().unwrap();
        let function: fn() = code_is_where_functions_are;
        assert!(code.contains(function as usize));
        let local = 0;
        assert!(!code.contains(std::ptr::from_ref(&local).addr()));
        assert!(!code.contains(0));
    }
}
