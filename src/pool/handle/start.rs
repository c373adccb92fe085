//! [`PoolBuilder`]: makes a pool: the channels, and then the supervisor.

use super::Pool;
use crate::error::{Error, Result};
use crate::os::{self, AsFd, AsRawFd, BorrowedFd, RawFd};
use crate::pool::caller::Caller;
use crate::pool::supervisor::Supervisor;
use crate::pool::wire::{Code, EXIT_NOT_STARTED, Shared};
use crate::process::{Process, ProcessBuilder};
use std::cell::Cell;
use std::io;
use std::sync::Arc;

/// The largest number of workers of a pool.
const MAX_WORKERS: usize = 4096;

impl Pool {
    /// Makes a pool of as many workers as this process has CPUs.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::new()?;
    /// assert_eq!(pool.map(u32::count_ones, [1, 3, 7])?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`with_workers`](Self::with_workers).
    pub fn new() -> Result<Self> {
        Self::builder().start()
    }

    /// Makes a pool of `workers` workers.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let pool = shmkit::Pool::with_workers(3)?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::InvalidSize`] for no worker, or more than 4096.
    /// - [`Error::MultiThreaded`], [`Error::GuardsHeld`] and [`Error::Unsupported`] as for a daemon's
    ///   [`spawn`](ProcessBuilder::spawn).
    /// - [`Error::NoSpace`] if the system has no memory left for the queues.
    /// - [`Error::Os`] if the system refuses anything else, to this process or to the supervisor.
    pub fn with_workers(workers: usize) -> Result<Self> {
        Self::builder().workers(workers).start()
    }

    /// Makes a pool as [`with_workers`](Self::with_workers) does. The calling thread must be the main thread,
    /// but there may be other threads.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (done, wait) = std::sync::mpsc::channel::<()>();
    /// let thread = std::thread::spawn(move || wait.recv());
    /// // SAFETY: the tasks use nothing that the other thread may have locked.
    /// let pool = unsafe { shmkit::Pool::with_workers_unchecked(1) }?;
    /// assert_eq!(pool.apply(u32::swap_bytes, 1)?, 1 << 24);
    /// # drop(done);
    /// # let _ = thread.join();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    /// As for [`Process::spawn_unchecked`], for everything that any task will do: no task may use anything that
    /// another thread may have been using at the moment of this call.
    ///
    /// # Errors
    /// As for [`with_workers`](Self::with_workers), without `MultiThreaded`.
    pub unsafe fn with_workers_unchecked(workers: usize) -> Result<Self> {
        // SAFETY: the caller's contract.
        unsafe { Self::builder().workers(workers).start_unchecked() }
    }

    /// Returns a builder for a pool whose processes keep some of this process's descriptors.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::builder().workers(3).start()?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder<'fd>() -> PoolBuilder<'fd> {
        PoolBuilder::default()
    }
}

/// The options of a pool that is not made yet: see [`Pool::builder`].
#[must_use = "nothing is started before `start`"]
#[derive(Clone, Debug, Default)]
pub struct PoolBuilder<'fd> {
    workers: Option<usize>,
    kept: Vec<BorrowedFd<'fd>>,
    keeps_all: bool,
}

impl<'fd> PoolBuilder<'fd> {
    /// Sets the number of workers. By default, it is the number of this process's CPUs.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let pool = shmkit::Pool::builder().workers(2).start()?;
    /// assert_eq!(pool.workers(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Keeps a descriptor open in supervisor and workers, besides those of segments and the standard streams. All
    /// others are closed there (see [Descriptors](Pool#descriptors)).
    ///
    /// ```
    /// use std::io::{PipeWriter, Read, Write};
    /// use std::sync::OnceLock;
    ///
    /// static LOG: OnceLock<PipeWriter> = OnceLock::new();
    ///
    /// fn log(line: String) -> bool {
    ///     let mut log = LOG.get().expect("set before the pool was made");
    ///     log.write_all(line.as_bytes()).is_ok()
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut lines, log_file) = std::io::pipe()?;
    /// let log_file = LOG.get_or_init(|| log_file);
    /// let pool = shmkit::Pool::builder().workers(1).keep(log_file).start()?;
    /// assert!(pool.apply(log, "hello".to_owned())?);
    /// let mut line = [0; 5];
    /// lines.read_exact(&mut line)?;
    /// assert_eq!(&line, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep(mut self, descriptor: &'fd impl AsFd) -> Self {
        self.kept.push(descriptor.as_fd());
        self
    }

    /// Keeps all descriptors open in supervisor and workers: for a program that can't name those that its tasks
    /// need. Nobody sees the end of a pipe then, and no port is free, before the pool has ended.
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::Read;
    /// use std::sync::OnceLock;
    ///
    /// static ZEROS: OnceLock<File> = OnceLock::new();
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// ZEROS.get_or_init(|| File::open("/dev/zero").expect("it exists"));
    /// let pool = shmkit::Pool::builder().workers(1).keep_all().start()?;
    /// let read = |len: usize| {
    ///     let mut bytes = vec![1; len];
    ///     let mut zeros = ZEROS.get().expect("set before the pool was made");
    ///     zeros.read_exact(&mut bytes).map_err(|error| error.to_string())?;
    ///     Ok::<_, String>(bytes)
    /// };
    /// assert_eq!(pool.apply(read, 3)?, Ok(vec![0; 3]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_all(mut self) -> Self {
        self.keeps_all = true;
        self
    }

    /// Makes the pool, as [`Pool::with_workers`] does.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::builder().workers(1).start()?;
    /// assert_eq!(pool.apply(u32::count_ones, 7)?, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Pool::with_workers`].
    pub fn start(self) -> Result<Pool> {
        self.start_with(|builder, run| builder.spawn(run))
    }

    /// Makes the pool, as [`Pool::with_workers_unchecked`] does.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (done, wait) = std::sync::mpsc::channel::<()>();
    /// let thread = std::thread::spawn(move || wait.recv());
    /// let builder = shmkit::Pool::builder().workers(1);
    /// // SAFETY: the tasks use nothing that the other thread may have locked.
    /// let pool = unsafe { builder.start_unchecked() }?;
    /// assert_eq!(pool.apply(u32::count_ones, 7)?, 3);
    /// # drop(done);
    /// # let _ = thread.join();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    /// As for [`Pool::with_workers_unchecked`].
    ///
    /// # Errors
    /// As for [`Pool::with_workers_unchecked`].
    pub unsafe fn start_unchecked(self) -> Result<Pool> {
        self.start_with(|builder, run| {
            // SAFETY: the caller vouches for the tasks; the supervisor itself uses nothing of other threads.
            unsafe { builder.spawn_unchecked(run) }
        })
    }

    fn start_with(
        self,
        spawn: impl FnOnce(ProcessBuilder, &dyn Fn() -> i32) -> Result<Process>,
    ) -> Result<Pool> {
        let workers = self.workers.unwrap_or_else(os::cpus);
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(Error::InvalidSize {
                place: "(pool)".into(),
                found: format!("{workers} workers"),
                expected: "1 to 4096 workers",
            });
        }
        let failed = |op| move |error| Error::from_os("(pool)", op, error);
        let shared = Shared::new(workers)?;
        let code = Code::of_this_process().map_err(failed("read /proc/self/maps"))?;
        let (stop_rx, stop_tx) = os::pipe().map_err(failed("make a pipe"))?;
        let kept: Vec<RawFd> = self.kept.iter().map(AsRawFd::as_raw_fd).collect();
        let kept = (!self.keeps_all).then_some(kept.as_slice());
        let builder = Process::builder().name("PoolSupervisor").daemon(true);
        let builder = builder.go_on_at_requests();
        let stop_tx = Cell::new(Some(stop_tx));
        let supervisor = spawn(builder, &|| {
            // The supervisor closes its copy, before the workers could inherit it. So the caller has the only
            // writing end, and an `exec` that closes this end tells the supervisor that the caller is gone.
            drop(stop_tx.take());
            match Supervisor::new(&shared, &code, &stop_rx, workers, kept) {
                Ok(supervisor) => supervisor.run(),
                Err(error) => EXIT_NOT_STARTED + error.raw_os_error().unwrap_or(0),
            }
        })?;
        let stop_tx = stop_tx.take().expect("only the supervisor closes it");
        wait_until_ready(&shared, &supervisor)?;
        let caller = Arc::new(Caller::new(shared, supervisor, (stop_rx, stop_tx)));
        caller.end_at_exit();
        Ok(Pool { caller, workers })
    }
}

/// Returns the error for which a supervisor ended before it was ready.
fn cause_of_end(supervisor: &Process) -> io::Error {
    match supervisor.exit_code() {
        Some(EXIT_NOT_STARTED) => {
            io::Error::other("it could not become a holder of its queues, or is an orphan")
        }
        Some(code) if code > EXIT_NOT_STARTED => {
            io::Error::from_raw_os_error(code - EXIT_NOT_STARTED)
        }
        code => io::Error::other(format!("it ended at once, with exit code {code:?}")),
    }
}

/// Waits until the supervisor says that it is ready. If the supervisor can't start, ends it.
fn wait_until_ready(shared: &Shared, supervisor: &Process) -> Result<()> {
    let socket = shared.caller_socket.as_fd();
    let received = loop {
        match os::wait_for_any(&[socket, supervisor.fd()], None).map(|ready| ready[0]) {
            Ok(true) => break os::try_receive_fd(socket).map(drop),
            Ok(false) if supervisor.is_alive() => {} // a signal ended the wait
            Ok(false) => break Err(cause_of_end(supervisor)),
            Err(error) => break Err(error),
        }
    };
    received.map_err(|error| {
        let _ = supervisor.kill();
        let _ = supervisor.join();
        Error::from_os("(pool)", "start its supervisor", error)
    })
}
