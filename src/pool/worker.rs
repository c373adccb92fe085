//! A worker: takes tasks, runs them, and answers.
//!
//! | stage | if the worker dies in it |
//! |---|---|
//! | idle, or taking | nobody notices: see [`claim`](super::claim) |
//! | decoding, running, encoding | the supervisor reports its task |
//! | sending the result's segment, putting the result | either the result is in, or the supervisor reports its task; or both, and the first of them counts |

use super::claim::{owe_nothing, take_task};
use super::code::Runner;
use super::parcel::{Letter, pack_result};
use super::wire::{Code, Header, Kind, Shared, address_at};
use crate::error::{GetError, PutError};
use crate::handles;
use crate::os;
use std::any::Any;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::with_exposed_provenance;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a worker without a task keeps the handles open that tasks had as arguments.
const IDLE: Duration = Duration::from_millis(20);

/// From this size on a buffer is given back after use.
const LARGE: usize = 1 << 20;

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    code: &'a Code,
    number: u32,
    /// The task's message, and then the result's.
    task: Vec<u8>,
    result: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// `index` is its place in the crew. `None` where it can't work.
    pub(super) fn new(
        shared: &'a Shared,
        code: &'a Code,
        index: usize,
        number: u32,
    ) -> Option<Self> {
        let pid = shared.words.pid(index);
        pid.store(std::process::id().into(), Ordering::Relaxed);
        if !shared.is_held() {
            return None;
        }
        handles::keep_open();
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

    /// Its whole life.
    pub(super) fn run(mut self) {
        while !self.is_stopped() {
            match self.take() {
                // Else the pool is being terminated: there is nobody left to answer.
                Ok(()) if self.work().is_ok() => {}
                Ok(()) | Err(GetError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        handles::let_go();
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
        handles::let_go();
        take_task(tasks, words, self.number, task, None)
    }

    /// Runs the task that was taken, and answers.
    fn work(&mut self) -> Result<(), PutError> {
        handles::next_task();
        // What none of ours wrote is nobody's.
        let Some(header) = Header::read(&self.task) else {
            return Ok(());
        };
        self.result.clear();
        self.result.resize(Header::LEN, 0);
        let (code, result) = (self.code, &mut self.result);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let arguments = &self.shared.arguments;
            perform(code, arguments, (header, &self.task), result)
        }));
        let kind = match ended {
            Ok(Ok(kind)) => kind,
            Ok(Err(why)) => self.say(Kind::Decode, &why),
            Err(payload) => {
                let kind = self.say(Kind::Panicked, text_of(&*payload));
                // Its drop is the task's code as well.
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                dropped.unwrap_or_else(mem::forget);
                kind
            }
        };
        // What the task printed comes before its result. A failure is the task's, which can look itself.
        let _ = catch_unwind(|| io::stdout().flush());
        let answered = self.answer(header.slot, header.generation, kind);
        for buffer in [&mut self.task, &mut self.result] {
            if buffer.capacity() > LARGE {
                *buffer = Vec::new();
            }
        }
        answered
    }

    fn say(&mut self, kind: Kind, text: &str) -> Kind {
        self.result.truncate(Header::LEN);
        self.result.extend_from_slice(text.as_bytes());
        kind
    }

    fn answer(&mut self, slot: u32, generation: u32, kind: Kind) -> Result<(), PutError> {
        let header = Header::new(slot, generation, kind);
        header.write(&mut self.result);
        let passed = pack_result(&mut self.result).and_then(|parcel| match parcel {
            Some(fd) => self.pass(header, &fd),
            None => Ok(()),
        });
        if let Err(why) = passed {
            let kind = self.say(Kind::Encode, &why);
            Header::new(slot, generation, kind).write(&mut self.result);
        }
        self.shared.results.put(&self.result)?;
        owe_nothing(&self.shared.words, self.number, slot, generation);
        Ok(())
    }

    /// Sends a result's segment.
    fn pass(&self, header: Header, fd: &OwnedFd) -> Result<(), String> {
        let (end, _) = &self.shared.passage;
        os::send_fd(end.as_fd(), header.key(), fd.as_fd())
            .map_err(|error| format!("a segment that can't be sent: {error}"))
    }
}

/// Runs a task, and appends its result. `Err` says why it is no task.
fn perform(
    code: &Code,
    arguments: &File,
    (header, task): (Header, &[u8]),
    result: &mut Vec<u8>,
) -> Result<Kind, String> {
    let (runner, function) = addresses(code, task.get(Header::LEN..).unwrap_or_default())?;
    let argument = Letter::of_task(header, task, arguments)?;
    let runner = with_exposed_provenance::<()>(runner);
    // SAFETY: code that this process was forked with, at the address of a `Runner` that the caller's
    // part of this pool wrote (`Pool::apply_async`). Nobody else has the queue.
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

/// What a panic said.
fn text_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return text;
    }
    let text = payload.downcast_ref::<String>();
    text.map_or("(not a text)", String::as_str)
}
