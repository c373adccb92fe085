//! A worker: it takes tasks, runs them, and puts their results.
//!
//! | the worker | if it dies meanwhile |
//! |---|---|
//! | is idle, or takes a task | no task is lost: see [`lease`](super::lease) |
//! | decodes, runs, encodes | the supervisor reports the task |
//! | writes a long result's region, or puts its pieces: see [`result`](super::result) | the supervisor reports the task |
//! | puts the result | the result is in the queue, or the supervisor reports the task, or both: the first message counts |

use super::code::Runner;
use super::lease::{end_lease, take_task};
use super::payload::argument_of;
use super::result::put_result;
use super::wire::{Code, MAX_MESSAGE_LEN, MessageHeader, MessageKind, Shared, address_at};
use crate::error::{GetError, PutError};
use crate::os::{self, File};
use crate::types;
use std::any::Any;
use std::io::{self, Write};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::with_exposed_provenance;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A worker that finds no task for this long closes the handles that earlier tasks had as arguments.
const IDLE_TIME: Duration = Duration::from_millis(20);

/// The largest buffer that a worker keeps for the next task.
const MAX_KEPT_BUFFER: usize = 1 << 20;

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    code: &'a Code,
    number: u32,
    /// The message with the task.
    task: Vec<u8>,
    /// The message with the result.
    result: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// Makes the worker with this index and number, and moves it to the caller's process group; `None` if this
    /// process can't use the queues.
    pub(super) fn new(
        shared: &'a Shared,
        code: &'a Code,
        (index, number): (usize, u32),
        callers_group: i32,
    ) -> Option<Self> {
        let pid = shared.words.pid(index);
        pid.store(os::pid().into(), Ordering::Relaxed);
        // If the group is gone, the worker stays where the caller finds it too.
        let _ = os::join_group(callers_group);
        if !shared.is_usable() {
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

    /// Runs tasks until the pool is closed and no task is left, or until the worker is told to stop.
    pub(super) fn run(mut self) {
        while !self.is_stopped() {
            match self.take_next() {
                // If the result can't be put, the pool is ending, and the caller waits for no result.
                Ok(()) if self.handle_task().is_ok() => {}
                Ok(()) | Err(GetError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        types::let_go();
    }

    fn is_stopped(&self) -> bool {
        self.shared.words.stop().load(Ordering::Relaxed) != 0
    }

    /// Takes the next task into `self.task`. While no task comes, closes the handles of earlier tasks.
    fn take_next(&mut self) -> Result<(), GetError> {
        let (tasks, words) = (&self.shared.tasks, &self.shared.words);
        let task = &mut self.task;
        match take_task(tasks, words, self.number, task, Some(IDLE_TIME)) {
            Err(GetError::TimedOut | GetError::Busy) => {}
            taken => return taken,
        }
        types::let_go();
        take_task(tasks, words, self.number, task, None)
    }

    /// Runs the task in `self.task`, and puts its result.
    fn handle_task(&mut self) -> Result<(), PutError> {
        types::next_task();
        // No process of this pool wrote a message without a header, so nobody waits for its result.
        let Some(header) = MessageHeader::read(&self.task) else {
            return Ok(());
        };
        self.result.clear();
        self.result.resize(MessageHeader::LEN, 0);
        let (code, result) = (self.code, &mut self.result);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let arguments = &self.shared.arguments;
            run_task(code, arguments, (header, &self.task), result)
        }));
        let kind = match ended {
            Ok(Ok(kind)) => kind,
            Ok(Err(why)) => self.set_text(MessageKind::Decode, &why),
            Err(payload) => {
                let kind = self.set_text(MessageKind::Panicked, panic_text(&*payload));
                // The payload's drop is the task's code, and may panic too.
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                dropped.unwrap_or_else(mem::forget);
                kind
            }
        };
        // The task's output has to come before its result. If the flush fails, nothing is left to do: a task
        // that needs to know flushes by itself.
        let _ = catch_unwind(|| io::stdout().flush());
        let put = self.put_result(header.slot, header.generation, kind);
        for buffer in [&mut self.task, &mut self.result] {
            if buffer.capacity() > MAX_KEPT_BUFFER {
                *buffer = Vec::new();
            }
        }
        put
    }

    /// Makes a text the content of the result's message. Returns `kind`.
    fn set_text(&mut self, kind: MessageKind, text: &str) -> MessageKind {
        self.result.truncate(MessageHeader::LEN);
        self.result.extend_from_slice(text.as_bytes());
        kind
    }

    /// Puts the message in `self.result`, and ends the lease.
    fn put_result(
        &mut self,
        slot: u32,
        generation: u32,
        kind: MessageKind,
    ) -> Result<(), PutError> {
        MessageHeader::new(slot, generation, kind).write(&mut self.result);
        let Shared {
            results,
            result_file,
            ..
        } = self.shared;
        put_result(results, result_file, &mut self.result, MAX_MESSAGE_LEN)?;
        end_lease(&self.shared.words, self.number, slot, generation);
        Ok(())
    }
}

/// Runs a task, and appends its result to the message `result`.
///
/// # Errors
/// A text that says why the message is no task, or why its argument can't be read.
fn run_task(
    code: &Code,
    arguments: &File,
    (header, task): (MessageHeader, &[u8]),
    result: &mut Vec<u8>,
) -> Result<MessageKind, String> {
    let (runner, function) = addresses(code, task.get(MessageHeader::LEN..).unwrap_or_default())?;
    let argument = argument_of(header, task, arguments)?;
    let runner = with_exposed_provenance::<()>(runner);
    // SAFETY: `Task::start` wrote the address of a `Runner`, since the caller alone puts tasks; and
    // `addresses` has checked that it lies in code that this process inherited.
    let runner = unsafe { mem::transmute::<*const (), Runner>(runner) };
    Ok(runner(function, argument, result))
}

/// Returns the addresses of the runner and of the function, which follow the header.
///
/// # Errors
/// A text that says that an address is missing, or is not one of `code`.
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
fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return text;
    }
    let text = payload.downcast_ref::<String>();
    text.map_or("(not a text)", String::as_str)
}
