//! A worker: it takes tasks, runs them, and answers.
//!
//! | stage | if the worker dies in it |
//! |---|---|
//! | idle, or taking a task | nobody notices: see [`lease`](super::lease) |
//! | decoding, running, encoding | the supervisor reports its task |
//! | sending the result's segment, putting the result | the result is in, or the supervisor reports the task; or both, and the first of them counts |

use super::code::Runner;
use super::lease::{end_lease, take_task};
use super::payload::{Payload, pack_result};
use super::wire::{Code, MessageHeader, MessageKind, Shared, address_at};
use crate::error::{GetError, PutError};
use crate::os::{self, AsFd, File, OwnedFd};
use crate::types;
use std::any::Any;
use std::io::{self, Write};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::with_exposed_provenance;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a worker without a task keeps open the handles that came as arguments.
const IDLE: Duration = Duration::from_millis(20);

/// A buffer of at least this size is freed after use.
const LARGE: usize = 1 << 20;

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    code: &'a Code,
    number: u32,
    /// The task's message.
    task: Vec<u8>,
    /// The result's message.
    result: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// Makes the worker in slot `index`; `None` if this process can't use the queues.
    pub(super) fn new(
        shared: &'a Shared,
        code: &'a Code,
        index: usize,
        number: u32,
    ) -> Option<Self> {
        let pid = shared.words.pid(index);
        pid.store(os::pid().into(), Ordering::Relaxed);
        if !shared.is_held() {
            return None;
        }
        types::keep_open();
        let ready = shared.words.ready(index);
        ready.store(number.into(), Ordering::Relaxed);
        Some(Self {
            shared,
            code,
            number,
            task: Vec::new(),
            result: Vec::new(),
        })
    }

    /// Lives the worker's whole life.
    pub(super) fn run(mut self) {
        while !self.is_stopped() {
            match self.take() {
                // If answering fails, the pool is ending, and there is nobody left to answer.
                Ok(()) if self.work().is_ok() => {}
                Ok(()) | Err(GetError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        types::let_go();
    }

    fn is_stopped(&self) -> bool {
        self.shared.words.stop().load(Ordering::Relaxed) != 0
    }

    fn take(&mut self) -> Result<(), GetError> {
        let (tasks, words) = (&self.shared.tasks, &self.shared.words);
        let task = &mut self.task;
        match take_task(tasks, words, self.number, task, Some(IDLE)) {
            Err(GetError::TimedOut) => {}
            taken => return taken,
        }
        types::let_go();
        take_task(tasks, words, self.number, task, None)
    }

    /// Runs the task that was taken, and answers.
    fn work(&mut self) -> Result<(), PutError> {
        types::next_task();
        // A message that no process of this pool wrote belongs to nobody.
        let Some(header) = MessageHeader::read(&self.task) else {
            return Ok(());
        };
        self.result.clear();
        self.result.resize(MessageHeader::LEN, 0);
        let (code, result) = (self.code, &mut self.result);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let arguments = &self.shared.arguments;
            perform(code, arguments, (header, &self.task), result)
        }));
        let kind = match ended {
            Ok(Ok(kind)) => kind,
            Ok(Err(why)) => self.set_text(MessageKind::Decode, &why),
            Err(payload) => {
                let kind = self.set_text(MessageKind::Panicked, text_of(&*payload));
                // The panic's payload is dropped by the task's code, which may panic again.
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                dropped.unwrap_or_else(mem::forget);
                kind
            }
        };
        // The task's output comes before its result. If the flush fails, the task could have seen that itself.
        let _ = catch_unwind(|| io::stdout().flush());
        let answered = self.answer(header.slot, header.generation, kind);
        for buffer in [&mut self.task, &mut self.result] {
            if buffer.capacity() > LARGE {
                *buffer = Vec::new();
            }
        }
        answered
    }

    fn set_text(&mut self, kind: MessageKind, text: &str) -> MessageKind {
        self.result.truncate(MessageHeader::LEN);
        self.result.extend_from_slice(text.as_bytes());
        kind
    }

    fn answer(&mut self, slot: u32, generation: u32, kind: MessageKind) -> Result<(), PutError> {
        let header = MessageHeader::new(slot, generation, kind);
        header.write(&mut self.result);
        let passed = pack_result(header, &mut self.result).and_then(|fd| match fd {
            Some(fd) => self.send_segment(header, &fd),
            None => Ok(()),
        });
        if let Err(why) = passed {
            let kind = self.set_text(MessageKind::Encode, &why);
            MessageHeader::new(slot, generation, kind).write(&mut self.result);
        }
        self.shared.results.put(&self.result)?;
        end_lease(&self.shared.words, self.number, slot, generation);
        Ok(())
    }

    /// Sends a result's segment.
    fn send_segment(&self, header: MessageHeader, fd: &OwnedFd) -> Result<(), String> {
        let (end, _) = &self.shared.passage;
        os::send_fd(end.as_fd(), header.key(), fd.as_fd())
            .map_err(|error| format!("a segment that can't be sent: {error}"))
    }
}

/// Runs a task, and appends its result.
///
/// # Errors
/// A text that says why the message is no task.
fn perform(
    code: &Code,
    arguments: &File,
    (header, task): (MessageHeader, &[u8]),
    result: &mut Vec<u8>,
) -> Result<MessageKind, String> {
    let (runner, function) = addresses(code, task.get(MessageHeader::LEN..).unwrap_or_default())?;
    let argument = Payload::of_task(header, task, arguments)?;
    let runner = with_exposed_provenance::<()>(runner);
    // SAFETY: the address is that of code with which this process was forked, and of a `Runner`, since the
    // caller's part of this pool wrote it (`Task::start`) and nobody else has the queue.
    let runner = unsafe { mem::transmute::<*const (), Runner>(runner) };
    Ok(runner(function, argument, result))
}

fn addresses(code: &Code, task: &[u8]) -> Result<(usize, usize), String> {
    let (Some(runner), Some(function)) = (address_at(task, 0), address_at(task, 8)) else {
        return Err("a task without a function".into());
    };
    for address in [runner, function] {
        if !code.contains(address) {
            return Err(format!(
                "the function at {address:#x} is in no file's code that was loaded when the pool was made"
            ));
        }
    }
    Ok((runner, function))
}

/// Returns the text of a panic.
fn text_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return text;
    }
    let text = payload.downcast_ref::<String>();
    text.map_or("(not a text)", String::as_str)
}
