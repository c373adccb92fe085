//! Making a pool: the channels, and then the supervisor.

use super::Pool;
use crate::error::{Error, Result};
use crate::os::{self, AsFd};
use crate::pool::caller::Caller;
use crate::pool::supervisor::Supervisor;
use crate::pool::wire::{Code, Shared};
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
        Self::with_workers(os::cpus())
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
        Self::start_with(workers, |builder, run| builder.spawn(run))
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
        Self::start_with(workers, |builder, run| {
            // SAFETY: the caller vouches for the tasks; the supervisor itself uses nothing of other threads.
            unsafe { builder.spawn_unchecked(run) }
        })
    }

    fn start_with(
        workers: usize,
        spawn: impl FnOnce(ProcessBuilder, &dyn Fn() -> i32) -> Result<Process>,
    ) -> Result<Self> {
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
        let builder = Process::builder().name("PoolSupervisor").daemon(true);
        let stop_tx = Cell::new(Some(stop_tx));
        let supervisor = spawn(builder, &|| {
            // The supervisor closes its copy, before the workers could inherit it. So the caller has the only
            // writing end, and an `exec` that closes this end tells the supervisor that the caller is gone.
            drop(stop_tx.take());
            Supervisor::new(&shared, &code, &stop_rx, workers).run()
        })?;
        let stop_tx = stop_tx.take().expect("only the supervisor closes it");
        wait_until_ready(&shared, &supervisor)?;
        Ok(Self {
            caller: Arc::new(Caller::new(shared, supervisor, (stop_rx, stop_tx))),
            workers,
        })
    }
}

/// Waits until the supervisor says that it is ready. If the supervisor can't start, ends it.
fn wait_until_ready(shared: &Shared, supervisor: &Process) -> Result<()> {
    let socket = shared.caller_socket.as_fd();
    let received = loop {
        match os::wait_for_any(&[socket, supervisor.fd()], None).map(|ready| ready[0]) {
            Ok(true) => break os::try_receive_fd(socket).map(drop),
            Ok(false) if supervisor.is_alive() => {} // a signal ended the wait
            Ok(false) => {
                break Err(io::Error::other(
                    "it could not become a holder of its queues",
                ));
            }
            Err(error) => break Err(error),
        }
    };
    received.map_err(|error| {
        let _ = supervisor.kill();
        let _ = supervisor.join();
        Error::from_os("(pool)", "start its supervisor", error)
    })
}
