//! The supervisor: forks the workers, waits for the deaths among them, reports the tasks that end with
//! them, and forks others in their place.
//!
//! It has a single thread, whatever the caller has come to have, so that its forks are sound. It
//! sleeps until a child ends or the caller says a word. The workers are its daemons, and it is the
//! caller's: whoever of them dies, those below end too.

use super::lease::{end_lease, leases_of};
use super::wire::{Code, MessageHeader, MessageKind, Shared, of_words};
use super::worker::Worker;
use crate::os::{self, AsFd, PipeReader};
use crate::process::Process;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a worker that was told to stop may take: to let go of handles, not to end a task.
const GRACE: Duration = Duration::from_millis(50);

/// How long it is before another worker is tried to be started where one could not be: at first, and at
/// most, each time twice as long.
const AGAIN: Duration = Duration::from_millis(10);
const AGAIN_AT_MOST: Duration = Duration::from_millis(100);

/// How a pool ended.
pub(super) const WELL: i32 = 0;
pub(super) const BADLY: i32 = 1;

/// What comes out of the passage first.
const GREETING: [u8; 8] = *b"greeting";

/// The exit code of a worker whose status somebody else took.
const UNKNOWN: i32 = 0;

pub(super) struct Supervisor<'a> {
    shared: &'a Shared,
    code: &'a Code,
    /// Has something to read, or nobody to write to it, once the pool is to be terminated.
    stop_rx: &'a PipeReader,
    crew: Vec<Option<CrewMember>>,
    /// How many workers have been started.
    started: u32,
    /// How many in a row did not get as far as their loop.
    stillborn: usize,
    /// When to try to fork again, after the next time that it can't be done.
    again: Duration,
    /// Who had, in each place of the crew, when that was last looked at.
    ready: Vec<u64>,
}

struct CrewMember {
    process: Process,
    number: u32,
}

/// The pool can't go on.
struct GivenUp;

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        code: &'a Code,
        stop_rx: &'a PipeReader,
        workers: usize,
    ) -> Self {
        Self {
            shared,
            code,
            stop_rx,
            crew: (0..workers).map(|_| None).collect(),
            started: 0,
            stillborn: 0,
            again: AGAIN,
            ready: vec![0; workers],
        }
    }

    /// Its whole life; the exit code.
    pub(super) fn run(mut self) -> i32 {
        os::default_sigchld(); // the caller's handler may wait for children: the workers, here
        if self.greet().is_err() {
            return BADLY;
        }
        let code = loop {
            let retry = match self.staff() {
                Ok(retry) => retry,
                Err(GivenUp) => break BADLY,
            };
            if self.crew.iter().all(Option::is_none) && retry.is_none() {
                return WELL; // closed, and everything done
            }
            let crew = self.crew.iter().flatten().map(|member| &member.process);
            match Process::wait_for_any(crew, self.stop_rx.as_fd(), retry) {
                Ok(false) => {}
                Ok(true) => break WELL,
                Err(_) => break BADLY,
            }
            if self.bury_the_dead().is_err() {
                break BADLY;
            }
        };
        self.dismiss();
        code
    }

    /// Tells the caller that there is a supervisor, if it can be one.
    fn greet(&self) -> io::Result<()> {
        if !self.shared.is_held() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (end, _) = &self.shared.passage;
        // With some descriptor, as everything that goes through there.
        os::send_fd(end.as_fd(), GREETING, end.as_fd())
    }

    /// Whether there will be no work for a worker that is started now.
    fn is_finished(&self) -> bool {
        self.shared.tasks.is_closed() && self.shared.tasks.is_empty()
    }

    /// How many workers in a row may die before they get as far as their loop.
    fn wait(&self) -> usize {
        3 * self.crew.len() + 3
    }

    /// Fills the crew's empty places; when to try again, if that did not do for all of them.
    fn staff(&mut self) -> Result<Option<Duration>, GivenUp> {
        for index in 0..self.crew.len() {
            if self.crew[index].is_some() || self.is_finished() {
                continue;
            }
            let number = self.started + 1;
            let (shared, code) = (self.shared, self.code);
            let builder = Process::builder().daemon(true);
            let process = builder
                .name(format!("PoolWorker-{number}"))
                .spawn(|| match Worker::new(shared, code, index, number) {
                    Some(worker) => {
                        worker.run();
                        WELL
                    }
                    None => BADLY,
                });
            let Ok(process) = process else {
                // As long as others work, it may well pass.
                if self.crew.iter().all(Option::is_none) {
                    self.note_stillborn([os::pid(), BADLY.cast_unsigned()])?;
                }
                let again = self.again;
                self.again = (2 * again).min(AGAIN_AT_MOST);
                return Ok(Some(again));
            };
            self.again = AGAIN;
            self.started = number;
            self.crew[index] = Some(CrewMember { process, number });
        }
        Ok(None)
    }

    fn bury_the_dead(&mut self) -> Result<(), GivenUp> {
        for index in 0..self.crew.len() {
            let Some(member) = &self.crew[index] else {
                continue;
            };
            if !member.process.is_alive() {
                let exit_code = member.process.exit_code().unwrap_or(UNKNOWN);
                self.shared.words.pid(index).store(0, Ordering::Relaxed);
                let member = self.crew[index].take().expect("looked at just now");
                self.bury(index, &member, exit_code)?;
            }
        }
        Ok(())
    }

    /// Reports the tasks that end with a dead worker.
    fn bury(&mut self, index: usize, member: &CrewMember, exit_code: i32) -> Result<(), GivenUp> {
        let Shared {
            tasks,
            results,
            words,
            ..
        } = self.shared;
        let obituary = [member.process.pid(), exit_code.cast_unsigned()];
        let taken = leases_of(tasks, words, member.number).map_err(|_| GivenUp)?;
        for (slot, generation) in taken {
            let header = MessageHeader::new(slot, generation, MessageKind::Died);
            // Behind whatever the dead one put. Where it fails the pool is being terminated.
            let _ = results.put(&of_words(header, obituary));
            end_lease(words, member.number, slot, generation);
        }
        // Relaxed: the kernel told us of its end.
        let was_ready = words.ready(index).load(Ordering::Relaxed) == u64::from(member.number);
        let ready_now: Vec<u64> = (0..self.crew.len())
            .map(|index| words.ready(index).load(Ordering::Relaxed))
            .collect();
        if was_ready || ready_now != self.ready {
            self.stillborn = 0;
        }
        self.ready = ready_now;
        if was_ready {
            return Ok(());
        }
        self.note_stillborn(obituary)
    }

    fn note_stillborn(&mut self, obituary: [u32; 2]) -> Result<(), GivenUp> {
        self.stillborn += 1;
        if self.stillborn < self.wait() {
            return Ok(());
        }
        let header = MessageHeader::new(0, 0, MessageKind::GivenUp);
        let _ = self.shared.results.put(&of_words(header, obituary));
        self.shared.tasks.close();
        Err(GivenUp)
    }

    /// UnlinkOnLast the workers: those that can have a moment for it.
    fn dismiss(&mut self) {
        self.shared.words.stop().store(1, Ordering::Relaxed);
        self.shared.tasks.close();
        let deadline = Instant::now() + GRACE;
        let mut crew: Vec<Process> = self.crew.drain(..).flatten().map(|m| m.process).collect();
        for process in &crew {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = process.join_timeout(left);
        }
        crew.retain(Process::is_alive);
        for process in &crew {
            let _ = process.kill();
        }
        for process in &crew {
            let _ = process.join();
        }
    }
}
