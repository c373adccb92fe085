//! The supervisor: it forks the workers, waits for deaths among them, reports the tasks that end with a dead
//! worker, and forks another worker in its place.
//!
//! The supervisor has a single thread, however many threads the caller has by now, so that its forks are
//! sound. It sleeps until a child ends, or until the caller tells it to stop. The workers are daemons of the
//! supervisor, and the supervisor is a daemon of the caller: if one of them dies, those below end too.

use super::lease::{end_lease, leases_of};
use super::wire::{Code, MessageHeader, MessageKind, Shared, of_words};
use super::worker::Worker;
use crate::os::{self, AsFd, PipeReader};
use crate::process::Process;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a worker may take when it is told to stop: enough to let go of handles, not to end a task.
const GRACE: Duration = Duration::from_millis(50);

/// How long the supervisor waits after a failed fork before it tries again: at first, and at most. It waits
/// twice as long each time.
const AGAIN: Duration = Duration::from_millis(10);
const AGAIN_AT_MOST: Duration = Duration::from_millis(100);

/// The exit codes of a supervisor and of a worker: it ended well, or badly.
pub(super) const WELL: i32 = 0;
pub(super) const BADLY: i32 = 1;

/// The first message in the passage.
const GREETING: [u8; 8] = *b"greeting";

/// Stands for the exit code of a worker whose status somebody else took.
const UNKNOWN: i32 = 0;

pub(super) struct Supervisor<'a> {
    shared: &'a Shared,
    code: &'a Code,
    /// Readable, or without a writer, once the pool has to end.
    stop_rx: &'a PipeReader,
    /// The workers, by slot.
    crew: Vec<Option<CrewMember>>,
    /// How many workers have been started so far.
    started: u32,
    /// How many workers in a row died before they entered their loop.
    stillborn: usize,
    /// How long to wait after the next failed fork.
    again: Duration,
    /// For each slot, the number of the last worker that was seen to enter its loop.
    ready: Vec<u64>,
}

struct CrewMember {
    process: Process,
    number: u32,
}

/// Says that the pool can't go on.
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

    /// Lives the supervisor's whole life; returns the exit code.
    pub(super) fn run(mut self) -> i32 {
        os::default_sigchld(); // the caller's handler might wait for the workers
        if self.greet().is_err() {
            return BADLY;
        }
        let code = loop {
            let retry = match self.staff() {
                Ok(retry) => retry,
                Err(GivenUp) => break BADLY,
            };
            if self.crew.iter().all(Option::is_none) && retry.is_none() {
                return WELL; // the pool is closed, and everything is done
            }
            match self.wait(retry) {
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

    /// Waits until a worker ends, or until the pool has to end, for at most `timeout`; returns whether the
    /// pool has to end. The wait may end early.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let crew = self.crew.iter().flatten().map(|member| member.process.fd());
        let fds: Vec<_> = std::iter::once(self.stop_rx.as_fd()).chain(crew).collect();
        Ok(os::wait_for_any(&fds, timeout)?[0])
    }

    /// Tells the caller that the supervisor is ready, if it can use the queues.
    fn greet(&self) -> io::Result<()> {
        if !self.shared.is_held() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (end, _) = &self.shared.passage;
        // Every message in the passage carries a descriptor; this one carries any.
        os::send_fd(end.as_fd(), GREETING, end.as_fd())
    }

    /// Returns whether there will be no work for a worker that is started now.
    fn is_finished(&self) -> bool {
        self.shared.tasks.is_closed() && self.shared.tasks.is_empty()
    }

    /// Returns how many workers in a row may die before they enter their loop.
    fn stillborn_limit(&self) -> usize {
        3 * self.crew.len() + 3
    }

    /// Forks workers for the empty slots. Returns how long to wait before trying again, if a fork failed.
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
                // As long as other workers live, the failure may pass.
                if self.crew.iter().all(Option::is_none) {
                    self.count_stillborn([os::pid(), BADLY.cast_unsigned()])?;
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
        let death = [member.process.pid(), exit_code.cast_unsigned()];
        let taken = leases_of(tasks, words, member.number).map_err(|_| GivenUp)?;
        for (slot, generation) in taken {
            let header = MessageHeader::new(slot, generation, MessageKind::Died);
            // This comes after everything that the dead worker put. If it fails, the pool is ending.
            let _ = results.put(&of_words(header, death));
            end_lease(words, member.number, slot, generation);
        }
        // Relaxed: the kernel told us of the worker's end.
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
        self.count_stillborn(death)
    }

    fn count_stillborn(&mut self, death: [u32; 2]) -> Result<(), GivenUp> {
        self.stillborn += 1;
        if self.stillborn < self.stillborn_limit() {
            return Ok(());
        }
        let header = MessageHeader::new(0, 0, MessageKind::GivenUp);
        let _ = self.shared.results.put(&of_words(header, death));
        self.shared.tasks.close();
        Err(GivenUp)
    }

    /// Ends the workers. Idle workers have a moment to let go of their handles.
    fn dismiss(&mut self) {
        self.shared.words.stop().store(1, Ordering::Relaxed);
        self.shared.tasks.close();
        let deadline = Instant::now() + GRACE;
        let mut crew: Vec<Process> = self
            .crew
            .drain(..)
            .flatten()
            .map(|member| member.process)
            .collect();
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
