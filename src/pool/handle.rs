//! [`Pool`]: the handle to a pool.

mod start;

pub use start::PoolBuilder;

use super::caller::Caller;
use super::error::TaskError;
use super::imap::{Imap, ImapUnordered};
use super::task::Task;
use crate::error::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
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
/// by name. The worker opens the handle, and keeps it open while the worker is busy, for the next task with
/// the same handle.
///
/// The function must be part of the program, or of a library that was loaded when the pool was made. A task
/// with a function of a library that was loaded later, or with a function that the program has generated,
/// ends with [`TaskError::Decode`]. (Don't unload a library whose functions you send: if another library is
/// loaded at its address, a task may run another function.)
///
/// A task sees the caller's memory as it was when the pool was made, and the caller never sees what a task
/// changes there. One worker runs each task, once; tasks run in no particular order. At most 16,384 tasks can
/// be under way. Then a further task waits until one of these has ended.
///
/// # Deaths
///
/// - A **worker is killed** while it has a task, or exits in it: this task, and no other, ends with
///   [`TaskError::WorkerDied`], and another worker replaces the dead worker. The task may have done all, some
///   or none of its work; you decide whether to try again.
/// - A worker is killed while it has no task: another worker replaces it.
/// - A **task panics**: the task ends with [`TaskError::Panicked`] and the panic's text, and the worker lives
///   on. (If the program is built with `panic = "abort"`, the worker dies.)
/// - The **caller is killed**, or becomes another program (`exec`): supervisor and workers end too, and
///   nothing is left. (After an `exec`, one zombie is left, for which the other program can wait.)
/// - The **supervisor is killed** (the workers' parent, a process that runs no tasks): the workers end, and
///   every task that has not ended, or is started later, ends with [`TaskError::SupervisorDied`].
/// - **Workers die before they can take a task**, more than three times as many in a row as the pool has: the
///   pool gives up. All tasks end with `WorkerDied` and the last worker's pid. If the system refuses to fork
///   a worker, the supervisor tries again later; this counts as a death only while no worker lives. If the last
///   of these was such a refusal, the error is `SupervisorDied`, with exit code 1.
///
/// All of this holds also if the caller or a task has changed its credentials (`setuid`, `setegid`), for which the
/// kernel forgets to end a child with its parent.
///
/// # Signals
///
/// Supervisor and workers start with default signals, as every child does (see [`Process`](crate::Process)),
/// except that `SIGINT`, `SIGTERM`, `SIGHUP` and `SIGQUIT` do nothing. If a terminal (Ctrl-C) or a service manager
/// sends one of these to all processes, and the caller handles the signal, the pool goes on; if it ends the
/// caller, the pool ends with the caller. A program that a task executes has the defaults. To end a single worker,
/// send it `SIGKILL`.
///
/// If the caller has a handler for `SIGCHLD` that waits for any child, the handler may reap the supervisor (but
/// never a worker), and [`join`](Self::join) is an error then. The workers are in the caller's process group, and
/// so stop with it (Ctrl-Z); the supervisor is in a group of its own.
///
/// # Descriptors
///
/// Supervisor and workers close every descriptor that the caller had open, except for the standard streams and
/// those of segments. So a pipe ends when the caller closes it, and a port is free. Standard input is empty
/// (`/dev/null`). A copy of a file or a socket that a task finds in a static fails with `EBADF`. The number of
/// a closed descriptor is not used again, so that such a copy never reaches another file. To share a file with
/// the tasks, open it in the task, or keep its descriptor ([`PoolBuilder::keep`]). Handles to segments, of
/// statics too, work as in every forked child.
///
/// # Where a pool can be made
///
/// A pool can be made by the main thread of a process without other threads. A fork copies the calling thread
/// alone, but with it the locks that other threads hold, which nobody would release. So make the pool first,
/// and start threads then. (The supervisor never has other threads, so it can replace dead workers later.)
/// There are two other ways: vouch that no task needs what other threads use
/// ([`with_workers_unchecked`](Self::with_workers_unchecked)), or start another program, which makes the pool
/// and opens by name what you share.
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
/// Any number of threads may *use* a pool. A forked child can't use the copy that it inherits: all tasks are
/// refused with [`TaskError::Closed`], and dropping the copy does nothing.
///
/// Supervisor and workers hold every segment that the caller had open when the pool was made, until the pool
/// ends. So the name of such a segment stays at least that long. (If they are the last holders and are
/// killed, the next create, open or [`sweep`](crate::sweep) removes the name.)
///
/// Arguments and results need no descriptors, however many and long they are. Results come through a queue of
/// 1 MiB; results of more than 64 KiB lie beside the queue, in memory. (If the system refuses that memory, or
/// limits the size of files, they come through the queue too, and their workers wait for space in it.) Any
/// thread that waits for a task or asks [`Task::is_ready`] moves the results that have come, also of other
/// tasks, to the caller's own memory. They lie there until their [`Task`]s have returned them or are dropped.
///
/// # The end
///
/// Dropping the pool is the same as [`terminate`](Self::terminate): running tasks are killed, and all tasks
/// that have not ended end with [`TaskError::Closed`]. To finish them, call [`join`](Self::join). Either way,
/// no process, zombie, descriptor or segment is left. (A [`Task`] that you keep keeps the pool's memory.)
pub struct Pool {
    caller: Arc<Caller>,
    workers: usize,
}

impl Pool {
    /// Returns how many workers the pool has. The number stays the same, since dead workers are replaced.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
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

    /// Lets a worker run `f`, and returns without waiting for the result. This waits only while 16,384 tasks
    /// are under way, or while the queue of tasks is full.
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
    /// - [`TaskError::Encode`] if the argument can't be encoded or carried.
    /// - [`TaskError::Closed`] if the pool is closed.
    /// - [`TaskError::SupervisorDied`] if the supervisor has died, and that or [`TaskError::WorkerDied`] if the
    ///   pool has given up.
    pub fn apply_async<A, R>(
        &self,
        f: fn(A) -> R,
        arg: A,
    ) -> std::result::Result<Task<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Task::start(&self.caller, f, arg)
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
    /// The first failing task's [`TaskError`], in the order of the arguments. All tasks have ended by then.
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

    /// Lets the workers run `f` for each argument, and returns an iterator over the outcomes, in the order of
    /// the arguments. A task that fails yields an error, and the iteration goes on. The iterator is lazy:
    /// each `next` starts more tasks, until 32 are under way, or four for each worker if these are more.
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
        Imap::new(&self.caller, f, args.into_iter())
    }

    /// Returns an iterator over the outcomes as [`imap`](Self::imap) does, but in the order in which the
    /// tasks end.
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
        ImapUnordered::new(&self.caller, f, args.into_iter())
    }

    /// Closes the pool for new tasks. The workers finish the tasks under way, and then end.
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
        self.caller.close();
    }

    /// Ends the workers. They have 50 ms to let go of their handles; a worker that still runs a task then is
    /// killed. All tasks that have not ended end with [`TaskError::Closed`].
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
    /// A worker that somebody *stops* (`SIGSTOP`) in the middle of a take has the queue locked. Until this
    /// worker goes on, no other worker takes a task, and no other worker's death is reported. This call ends
    /// the stopped worker too, within 2 s.
    pub fn terminate(self) {
        drop(self);
    }

    /// Closes the pool, and waits until all tasks and all processes have ended. The [`Task`]s still return
    /// their results afterwards.
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
    /// [`Error::Os`](crate::Error::Os) if this process is a fork of the process that made the pool, or if other
    /// code has waited for the supervisor (`waitpid(-1, ..)`).
    pub fn join(self) -> Result<()> {
        if !self.caller.is_forked_copy() {
            self.caller.close();
            self.caller.wait_for_all();
        }
        let joined = self.caller.supervisor.join();
        self.caller.reap_adopted_workers();
        joined.map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.caller.terminate();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("workers", &self.workers)
            .field("supervisor", &self.caller.supervisor)
            .finish_non_exhaustive()
    }
}
