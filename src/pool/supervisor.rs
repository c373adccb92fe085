//! The supervisor: it forks the workers, waits for deaths among them, reports the tasks that ended with a
//! dead worker, and forks another worker in the dead one's place.
//!
//! The supervisor has a single thread, however many threads the caller has started since, so that its forks
//! are sound. It sleeps until a worker ends, or until the caller tells it to stop. The workers are daemons of
//! the supervisor, and the supervisor is a daemon of the caller: the kernel kills the workers when the
//! supervisor dies, and the supervisor when the caller dies. Two more ties hold if one of them changes its
//! credentials: the supervisor waits for the caller's end too, and its own death closes the workers' `Lifeline`.
//!
//! The supervisor leads a process group of its own. Each worker begins in that group, writes down its pid, and
//! moves to the caller's group, where it stops and goes on with the caller (`SIGTSTP`). So if the supervisor is
//! killed, a caller that adopts orphans finds every worker, by its pid or by the group.

use super::lease::{end_lease, leases_of};
use super::wire::{
    Code, Death, EXIT_DONE, EXIT_FAILED, EXIT_NOT_STARTED, MessageHeader, MessageKind, READY_KEY,
    Shared,
};
use super::worker::Worker;
use crate::os::{self, AsFd, AsRawFd, OwnedFd, PipeReader, PipeWriter, RawFd};
use crate::process::Process;
use crate::segment;
use std::cell::Cell;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A worker that is told to stop has this long before it is killed: enough to let go of its handles, but not
/// to finish a task.
const WORKER_GRACE: Duration = Duration::from_millis(50);

/// The supervisor retries a failed fork after this long. Each further failure in a row doubles the delay.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(10);

/// The longest delay before the next try of a failed fork.
const MAX_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Stands for the exit code of a worker that other code has waited for.
const UNKNOWN_EXIT_CODE: i32 = 0;

pub(super) struct Supervisor<'a> {
    shared: &'a Shared,
    code: &'a Code,
    /// The pipe from the caller. It is readable, or at its end, once the pool has to end.
    stop_rx: &'a PipeReader,
    /// The workers by their index; `None` until a worker is forked in a dead worker's place.
    workers: Vec<Option<LiveWorker>>,
    lifeline: Lifeline,
    /// The caller's process.
    caller: OwnedFd,
    /// The caller's process group.
    callers_group: i32,
    /// How many workers the supervisor has tried to fork so far, which is also the last worker's number.
    workers_forked: u32,
    /// How many workers in a row died before they entered their loops.
    failed_starts: usize,
    /// How long to wait after the next failed fork.
    retry_delay: Duration,
    /// The words [`ready`](super::wire::Words::ready) of all indices, as they were at the last death.
    ready_before: Vec<u64>,
}

/// A worker whose death has not been seen.
struct LiveWorker {
    process: Process,
    number: u32,
}

/// A pipe whose only writer is the supervisor.
struct Lifeline {
    reader: PipeReader,
    /// `None` in a worker.
    writer: Cell<Option<PipeWriter>>,
}

impl Lifeline {
    fn new() -> io::Result<Self> {
        let (reader, writer) = os::pipe()?;
        Ok(Self {
            reader,
            writer: Cell::new(Some(writer)),
        })
    }

    /// Ties a worker, which was just forked, to its supervisor. Without /proc, or without a descriptor left, the
    /// worker is only a daemon.
    fn tie(&self) -> Option<OwnedFd> {
        drop(self.writer.take());
        os::end_with_writers(&self.reader).ok()
    }
}

/// Says that the pool can't go on.
struct GivenUp;

impl<'a> Supervisor<'a> {
    /// Makes the supervisor in its own process, and closes everything there that the pool does not need. If
    /// `kept` is `None`, all descriptors stay open.
    pub(super) fn new(
        shared: &'a Shared,
        code: &'a Code,
        stop_rx: &'a PipeReader,
        workers: usize,
        kept: Option<&[RawFd]>,
    ) -> io::Result<Self> {
        if let Some(kept) = kept {
            let mut all = segment::held_descriptors();
            all.extend(shared.descriptors());
            all.push(stop_rx.as_raw_fd());
            all.extend(kept);
            os::close_all_but(&all)?;
        }
        // If the caller is gone, the pid may be another process's by now, but not this one's parent's.
        let parent = os::parent_pid();
        let caller = os::open_process(parent)?;
        if os::parent_pid() != parent {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            shared,
            code,
            stop_rx,
            workers: (0..workers).map(|_| None).collect(),
            lifeline: Lifeline::new()?,
            caller,
            callers_group: os::lead_group()?,
            workers_forked: 0,
            failed_starts: 0,
            retry_delay: FIRST_RETRY_DELAY,
            ready_before: vec![0; workers],
        })
    }

    /// Runs the supervisor until the pool ends; returns the exit code.
    pub(super) fn run(mut self) -> i32 {
        if let Err(error) = self.report_ready() {
            return EXIT_NOT_STARTED + error.raw_os_error().unwrap_or(0);
        }
        let exit_code = loop {
            let retry_delay = match self.fork_workers() {
                Ok(retry_delay) => retry_delay,
                Err(GivenUp) => break EXIT_FAILED,
            };
            if self.workers.iter().all(Option::is_none) && retry_delay.is_none() {
                return EXIT_DONE; // the pool is closed, and every task has ended
            }
            match self.wait(retry_delay) {
                Ok(false) => {}
                Ok(true) => break EXIT_DONE,
                // The kernel has no memory for the list, at this moment.
                Err(_) => os::sleep(FIRST_RETRY_DELAY),
            }
            if self.handle_deaths().is_err() {
                break EXIT_FAILED;
            }
        };
        self.end_workers();
        exit_code
    }

    /// Waits until a worker ends, or until the pool has to end, for at most `timeout`. Returns whether the
    /// pool has to end. A signal may end the wait early.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let workers = self.workers.iter().flatten();
        let workers = workers.map(|worker| worker.process.fd());
        let ends = [self.stop_rx.as_fd(), self.caller.as_fd()];
        let fds: Vec<_> = ends.into_iter().chain(workers).collect();
        let ready = os::wait_for_any(&fds, timeout)?;
        Ok(ready[..ends.len()].contains(&true))
    }

    /// Tells the caller that the supervisor is ready. Fails if this process can't use the queues.
    fn report_ready(&self) -> io::Result<()> {
        if !self.shared.is_usable() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let socket = self.shared.workers_socket.as_fd();
        // Each message in the sockets carries a descriptor. The caller drops this message's.
        os::send_fd(socket, READY_KEY, socket)
    }

    /// Returns whether a worker that is forked now would find no task, ever.
    fn has_no_more_work(&self) -> bool {
        self.shared.tasks.is_closed() && self.shared.tasks.is_empty()
    }

    /// Returns how many workers in a row have to die before they enter their loops for the pool to give up.
    fn max_failed_starts(&self) -> usize {
        3 * self.workers.len() + 3
    }

    /// Forks workers for the indices without one. If a fork failed, returns how long to wait before the next
    /// try.
    fn fork_workers(&mut self) -> Result<Option<Duration>, GivenUp> {
        for index in 0..self.workers.len() {
            if self.workers[index].is_some() || self.has_no_more_work() {
                continue;
            }
            let number = self.workers_forked + 1;
            let (shared, code) = (self.shared, self.code);
            let builder = Process::builder().daemon(true).go_on_at_requests();
            let process = builder.name(format!("PoolWorker-{number}")).spawn(|| {
                let _tied = self.lifeline.tie();
                match Worker::new(shared, code, (index, number), self.callers_group) {
                    Some(worker) => {
                        worker.run();
                        EXIT_DONE
                    }
                    None => EXIT_FAILED,
                }
            });
            self.workers_forked = number;
            let Ok(process) = process else {
                // A worker for which no descriptor was left ran until it was killed, and may have taken a task.
                let death = Death {
                    pid: os::pid(),
                    exit_code: EXIT_FAILED,
                };
                self.report_tasks_of(number, death)?;
                // The pool works as long as a worker lives, and the failure may pass.
                if self.workers.iter().all(Option::is_none) {
                    self.count_failed_start(death)?;
                }
                let delay = self.retry_delay;
                self.retry_delay = (2 * delay).min(MAX_RETRY_DELAY);
                return Ok(Some(delay));
            };
            self.retry_delay = FIRST_RETRY_DELAY;
            self.workers[index] = Some(LiveWorker { process, number });
        }
        Ok(None)
    }

    /// Looks for workers that have ended, and reports their deaths.
    fn handle_deaths(&mut self) -> Result<(), GivenUp> {
        for index in 0..self.workers.len() {
            let Some(worker) = &self.workers[index] else {
                continue;
            };
            if !worker.process.is_alive() {
                let death = Death {
                    pid: worker.process.pid(),
                    exit_code: worker.process.exit_code().unwrap_or(UNKNOWN_EXIT_CODE),
                };
                let number = worker.number;
                self.shared.words.pid(index).store(0, Ordering::Relaxed);
                self.workers[index] = None;
                self.report_tasks_of(number, death)?;
                self.judge_start(index, number, death)?;
            }
        }
        Ok(())
    }

    /// Reports the tasks that ended with the dead worker.
    fn report_tasks_of(&self, number: u32, death: Death) -> Result<(), GivenUp> {
        let Shared {
            tasks,
            results,
            words,
            ..
        } = self.shared;
        let leases = leases_of(tasks, words, number).map_err(|_| GivenUp)?;
        for (slot, generation) in leases {
            let header = MessageHeader::new(slot, generation, MessageKind::Died);
            // The report follows everything that the dead worker put. If the put fails, the pool is ending.
            let _ = results.put(&death.message(header));
            end_lease(words, number, slot, generation);
        }
        Ok(())
    }

    /// Counts the dead worker's start as failed if the worker died before it entered its loop. The count
    /// begins anew when any worker has entered its loop since the last death.
    fn judge_start(&mut self, index: usize, number: u32, death: Death) -> Result<(), GivenUp> {
        // Relaxed: the kernel told this process of the worker's end.
        let was_ready = self.shared.words.ready(index).load(Ordering::Relaxed) == u64::from(number);
        let ready_now: Vec<u64> = (0..self.workers.len())
            .map(|index| self.shared.words.ready(index).load(Ordering::Relaxed))
            .collect();
        if was_ready || ready_now != self.ready_before {
            self.failed_starts = 0;
        }
        self.ready_before = ready_now;
        if was_ready {
            return Ok(());
        }
        self.count_failed_start(death)
    }

    fn count_failed_start(&mut self, death: Death) -> Result<(), GivenUp> {
        self.failed_starts += 1;
        if self.failed_starts < self.max_failed_starts() {
            return Ok(());
        }
        let header = MessageHeader::new(0, 0, MessageKind::GivenUp);
        let _ = self.shared.results.put(&death.message(header));
        self.shared.tasks.close();
        Err(GivenUp)
    }

    /// Ends the workers. Idle workers have [`WORKER_GRACE`] to let go of their handles.
    fn end_workers(&mut self) {
        self.shared.words.stop().store(1, Ordering::Relaxed);
        self.shared.tasks.close();
        let deadline = Instant::now() + WORKER_GRACE;
        let workers = self.workers.drain(..).flatten();
        let mut processes: Vec<Process> = workers.map(|worker| worker.process).collect();
        for process in &processes {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = process.join_timeout(left);
        }
        processes.retain(Process::is_alive);
        for process in &processes {
            let _ = process.kill();
        }
        for process in &processes {
            let _ = process.join();
        }
    }
}
