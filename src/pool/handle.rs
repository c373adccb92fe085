//! The handle to a pool.

use super::caller::Core;
use super::error::TaskError;
use super::imap::{Imap, ImapUnordered};
use super::supervisor::Supervisor;
use super::task::Task;
use super::wire::{Code, Shared};
use crate::error::{Error, Result};
use crate::os;
use crate::process::{Process, ProcessBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// Worker processes that run functions, and may die.
///
/// ```
/// use shmkit::{Pool, TaskError};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// fn half(n: u64) -> u64 {
///     assert!(n % 2 == 0, "{n} is odd");
///     n / 2
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::with_workers(2)?;
/// assert_eq!(pool.apply(square, 7)?, 49);
/// assert_eq!(pool.map(square, 1..=4)?, [1, 4, 9, 16]);
///
/// let task = pool.apply_async(square, 12)?; // meanwhile, something else
/// assert_eq!(task.get()?, 144);
///
/// let halves: Vec<_> = pool.imap(half, [4, 5, 6]).collect();
/// assert_eq!(halves[0], Ok(2));
/// assert_eq!(halves[1], Err(TaskError::Panicked("5 is odd".into())));
/// assert_eq!(halves[2], Ok(3));
/// pool.join()?;
/// # Ok(())
/// # }
/// ```
///
/// # Tasks
///
/// A task is a function (`fn(A) -> R`, so no closure that captures) and its argument. Arguments and
/// results are of any types that serde can write and read, and are carried whole, whatever their size.
///
/// Handles with a name are such types: [`Value`](crate::Value), [`Array`](crate::Array),
/// [`Queue`](crate::Queue), [`ByteQueue`](crate::ByteQueue) and [`MessageQueue`](crate::MessageQueue) travel
/// by name. The worker opens them, and keeps them open while it is busy, for the next task with the same
/// handle.
///
/// The function must be one of the program or of a library, as they were when the pool was made. A function
/// of a library that was loaded later, or that the program made for itself, is [`TaskError::Decode`]. (Don't
/// unload a library whose functions you send: nothing tells another function at the same address from it.)
///
/// A task sees the caller's memory as it was when the pool was made, and the caller never sees what a task
/// changes there. Each task is run once, by one worker, in no particular order. At most 16,384 tasks can be
/// under way; the next one waits until one of them has ended.
///
/// # Deaths
///
/// - A **worker** is killed while it has a task, or exits in it: that task, and no other, is
///   [`TaskError::WorkerDied`], and another worker takes its place. The task may have done anything or
///   nothing; you decide whether to try it again.
/// - A worker is killed while it has no task: nobody notices.
/// - A **task panics**: it is [`TaskError::Panicked`], with the panic's text, and the worker lives on. (With
///   `panic = "abort"` it is a death.)
/// - The **caller** is killed, or becomes another program (`exec`): everything else ends too, and nothing
///   is left (except, after an `exec`, one zombie for that program to wait for).
/// - The **supervisor** (a process without any work of its own, the workers' parent) is killed: the
///   workers end, and every task that has not ended, or comes later, is `WorkerDied` with the
///   supervisor's pid.
/// - Workers die **before they get to work**, more than three times as many in a row as the pool has: the
///   pool gives up. All tasks are `WorkerDied`, with the last worker's pid. A worker that can't even be
///   forked counts only if no other worker lives; otherwise the supervisor tries again.
///
/// # Where a pool can be made
///
/// A pool can be made in a process with a single thread, by its main thread. A fork copies only the calling
/// thread, but also the locks that other threads hold. So make the pool first, and start threads then. The
/// supervisor, which stays single-threaded, forks workers that replace dead ones later. Two other ways: say
/// that nobody needs the others' locks ([`with_workers_unchecked`](Self::with_workers_unchecked)), or start
/// another program, which makes the pool and opens by name what you share.
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let (go, wait) = std::sync::mpsc::channel::<()>();
/// let thread = std::thread::spawn(move || wait.recv());
/// assert!(matches!(shmkit::Pool::new(), Err(shmkit::Error::MultiThreaded { .. })));
/// # drop(go);
/// # let _ = thread.join();
/// # Ok(())
/// # }
/// ```
///
/// Any number of threads may *use* a pool. A forked child's inherited copy is of no use: its tasks are
/// [`TaskError::Closed`], and dropping it does nothing.
///
/// Supervisor and workers have `SIGCHLD` at its default. If the caller has a handler for `SIGCHLD` that waits
/// for any child, the handler sees only the supervisor, and [`join`](Self::join) is an error then.
///
/// Supervisor and workers hold every segment that the caller had open when the pool was made, until the pool
/// ends. So a name that goes with its last holder stays that long. (If they are killed as the last holders,
/// the name waits for the next create, open or [`sweep`](crate::sweep).)
///
/// A result of more than 64 KiB has a descriptor of its own in the caller, from the moment it comes until
/// somebody asks for it or drops its `Task`. A process that is forked meanwhile has that descriptor, and the
/// memory, too.
///
/// # The end
///
/// Dropping the pool is the same as [`terminate`](Self::terminate): running tasks are killed, and pending
/// tasks are [`Closed`](TaskError::Closed). To finish them, call [`join`](Self::join). Either way no process,
/// zombie, descriptor or segment is left. (A [`Task`] that you keep keeps the pool's memory.)
pub struct Pool {
    core: Arc<Core>,
    workers: usize,
}

/// The largest number of workers of a pool.
const MOST_WORKERS: usize = 4096;

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
    /// [`Error::InvalidSize`] for 0, or more than 4096. [`MultiThreaded`](Error::MultiThreaded),
    /// [`GuardsHeld`](Error::GuardsHeld), [`Unsupported`](Error::Unsupported) as for
    /// [`Process::spawn`] of a daemon. [`NoSpace`](Error::NoSpace); [`Os`](Error::Os), also if this process
    /// has descriptors left and the supervisor has none.
    pub fn with_workers(workers: usize) -> Result<Self> {
        Self::made_by(workers, |builder, run| builder.spawn(run))
    }

    /// Makes a pool as [`with_workers`](Self::with_workers) does, in a process of any number of threads, by its
    /// main thread.
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
    /// As for [`Process::spawn_unchecked`], for everything that any task will do: no task may need anything that
    /// another thread had in its hands when this was called.
    ///
    /// # Errors
    /// As for [`with_workers`](Self::with_workers), without `MultiThreaded`.
    pub unsafe fn with_workers_unchecked(workers: usize) -> Result<Self> {
        Self::made_by(workers, |builder, run| {
            // SAFETY: the caller's contract; the supervisor itself needs nothing of that kind.
            unsafe { builder.spawn_unchecked(run) }
        })
    }

    fn made_by(
        workers: usize,
        spawn: impl FnOnce(ProcessBuilder, &dyn Fn() -> i32) -> Result<Process>,
    ) -> Result<Self> {
        if !(1..=MOST_WORKERS).contains(&workers) {
            return Err(Error::InvalidSize {
                place: "(pool)".into(),
                found: format!("{workers} workers"),
                expected: "1 to 4096 workers",
            });
        }
        let failed = |op| move |error| Error::from_os("(pool)", op, error);
        let shared = Shared::new(workers)?;
        let code = Code::mapped().map_err(failed("read /proc/self/maps"))?;
        let (stop_rx, stop_tx) = os::pipe().map_err(failed("make a pipe"))?;
        let builder = Process::builder().name("PoolSupervisor").daemon(true);
        let stop_tx = Cell::new(Some(stop_tx));
        let supervisor = spawn(builder, &|| {
            // The supervisor drops its copy, which its workers would inherit. So it hears when the caller
            // becomes another program, which closes the caller's end.
            drop(stop_tx.take());
            Supervisor::new(&shared, &code, &stop_rx, workers).run()
        })?;
        let stop_tx = stop_tx.take().expect("another process took its own");
        let core = Core::new(shared, supervisor, (stop_rx, stop_tx));
        core.hear_greeting()?;
        Ok(Self {
            core: Arc::new(core),
            workers,
        })
    }

    /// Returns how many workers there are. A worker that has died is replaced.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    fn is_copy(&self) -> bool {
        self.core.is_copy()
    }

    /// Lets a worker run `f`, and waits for the result.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = shmkit::Pool::with_workers(1)?;
    /// fn shout(text: String) -> String {
    ///     text.to_uppercase()
    /// }
    /// assert_eq!(pool.apply(shout, "hello".to_owned())?, "HELLO");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A [`TaskError`] if the task ended without a result.
    pub fn apply<A, R>(&self, f: fn(A) -> R, arg: A) -> std::result::Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.apply_async(f, arg)?.get()
    }

    /// Lets a worker run `f`, and returns at once. This waits only if 16,384 tasks are under way, or if their
    /// queue is full.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = shmkit::Pool::with_workers(1)?;
    /// let task = pool.apply_async(u32::leading_zeros, 1)?;
    /// let meanwhile = 2 + 2;
    /// assert_eq!((task.get()?, meanwhile), (31, 4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TaskError::Encode`] for the argument; [`TaskError::Closed`]; [`TaskError::WorkerDied`] if the pool has
    /// given up.
    pub fn apply_async<A, R>(
        &self,
        f: fn(A) -> R,
        arg: A,
    ) -> std::result::Result<Task<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Task::start(&self.core, f, arg)
    }

    /// Lets the workers run `f` for each argument, waits for all tasks, and returns the results in order.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = shmkit::Pool::with_workers(2)?;
    /// assert_eq!(pool.map(u64::isqrt, [16, 81, 100])?, [4, 9, 10]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error, in the order of the arguments, once all tasks have ended.
    pub fn map<A, R>(
        &self,
        f: fn(A) -> R,
        args: impl IntoIterator<Item = A>,
    ) -> std::result::Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let tasks = self.start_all(f, args);
        let mut results = Ok(Vec::with_capacity(tasks.len()));
        for task in tasks {
            match (task.and_then(Task::get), &mut results) {
                (Ok(result), Ok(all)) => all.push(result),
                (Err(error), Ok(_)) => results = Err(error),
                (_, Err(_)) => {}
            }
        }
        results
    }

    /// Lets the workers run `f` for each argument as [`map`](Self::map) does, and returns the outcome of each
    /// task.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// # let pool = shmkit::Pool::with_workers(1)?;
    /// fn invert(n: i32) -> i32 {
    ///     100 / n
    /// }
    /// let outcomes = pool.map_results(invert, [5, 0, 10]);
    /// assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_results<A, R>(
        &self,
        f: fn(A) -> R,
        args: impl IntoIterator<Item = A>,
    ) -> Vec<std::result::Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let tasks = self.start_all(f, args).into_iter();
        tasks.map(|task| task.and_then(Task::get)).collect()
    }

    fn start_all<A, R>(
        &self,
        f: fn(A) -> R,
        args: impl IntoIterator<Item = A>,
    ) -> Vec<std::result::Result<Task<R>, TaskError>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        args.into_iter()
            .map(|arg| self.apply_async(f, arg))
            .collect()
    }

    /// Returns an iterator over the outcomes, in the order of the arguments, each as soon as it is there. A
    /// failing task is an error in its place, and the iteration goes on. The iterator is lazy: it draws
    /// arguments as you ask for results, at most four for each worker ahead, or 32.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = shmkit::Pool::with_workers(2)?;
    /// for (n, square) in pool.imap(|n: u64| n * n, 1..).take(3).enumerate() {
    ///     assert_eq!(square?, (n as u64 + 1).pow(2));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, args: I) -> Imap<'_, A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        Imap::new(&self.core, f, args.into_iter())
    }

    /// Returns an iterator over the outcomes as [`imap`](Self::imap) does, in the order in which they come.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = shmkit::Pool::with_workers(2)?;
    /// let sum: Result<u32, _> = pool.imap_unordered(u32::count_ones, [1, 3, 7]).sum();
    /// assert_eq!(sum?, 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap_unordered<A, R, I>(
        &self,
        f: fn(A) -> R,
        args: I,
    ) -> ImapUnordered<'_, A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(&self.core, f, args.into_iter())
    }

    /// Closes the pool for new tasks. The tasks under way are finished, and then the workers end.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let pool = shmkit::Pool::with_workers(1)?;
    /// pool.close();
    /// assert_eq!(pool.apply(u32::count_ones, 1), Err(shmkit::TaskError::Closed));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        self.core.close();
    }

    /// Ends the workers at once. Idle workers, and those about to take the next task, have a moment; running
    /// tasks are killed within 50 ms. Pending tasks are [`TaskError::Closed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::with_workers(1)?;
    /// let task = pool.apply_async(|(): ()| loop { std::thread::park(); }, ())?;
    /// pool.terminate();
    /// let outcome: Result<(), _> = task.get();
    /// assert_eq!(outcome, Err(shmkit::TaskError::Closed));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A worker that somebody has *stopped* (`SIGSTOP`) in the middle of a take has the queue locked. Until
    /// it goes on, no other worker takes a task, and no other worker's death is reported; but this call ends
    /// the stopped worker too, within 2 s.
    pub fn terminate(self) {
        drop(self);
    }

    /// Closes the pool, and waits until all tasks and all processes have ended. You can still ask the
    /// [`Task`]s for their results afterwards.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = shmkit::Pool::with_workers(1)?;
    /// let task = pool.apply_async(u32::count_ones, 7)?;
    /// pool.join()?;
    /// assert_eq!(task.get()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`] if this process is a fork of the one that made the pool, or if somebody else has waited
    /// for its child.
    pub fn join(self) -> Result<()> {
        if !self.is_copy() {
            self.core.close();
            self.core.wait_for_all();
        }
        let joined = self.core.supervisor.join();
        self.core.reap_orphans();
        joined.map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.core.terminate();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("workers", &self.workers)
            .field("supervisor", &self.core.supervisor)
            .finish_non_exhaustive()
    }
}
