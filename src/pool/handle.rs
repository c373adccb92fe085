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
/// A task is a function (`fn(A) -> R`: no closure that captures) and its argument. Argument and
/// result are of any types that serde can write and read; they are carried whole, whatever their
/// size. Handles with a name are such types: [`Value`](crate::Value), [`Array`](crate::Array),
/// [`Queue`](crate::Queue), [`ByteQueue`](crate::ByteQueue) and
/// [`MessageQueue`](crate::MessageQueue) travel by name, and the worker opens them, and keeps them open
/// while it is busy, for the next task with the same handle. The function is one of the program or of a
/// library, as they were when the pool was made: one of a library that was loaded later, or that the
/// program made for itself, is [`TaskError::Decode`]. (Unload none whose functions you send: another at its
/// address is not told from it.) A task sees the caller's memory as it was
/// when the pool was made, and what it changes there the caller never sees.
///
/// Each task is run once, by one worker, in no particular order. At most 16,384 can be under way; the
/// next waits for one of them to end.
///
/// # Deaths
///
/// - A worker that is **killed** while it has a task, or exits in it: that task, and no other, is
///   [`TaskError::WorkerDied`], and another worker takes its place. The task may have done anything or
///   nothing; whether it is to be tried again is for you to say.
/// - A worker that is killed while it has none: nobody notices.
/// - A task that **panics** is [`TaskError::Panicked`], with the panic's text; the worker lives on. (With
///   `panic = "abort"` it is a death.)
/// - The **caller** is killed, or becomes another program (`exec`): everything else ends too, and nothing
///   is left (but for the second case's zombie, which is that program's to wait for).
/// - The **supervisor** (a process without any work of its own, the workers' parent) is killed: the
///   workers end, and every task that had not ended, or is given later, is `WorkerDied` with the
///   supervisor's pid.
/// - Workers that die **before they get to work**, more than three times as many in a row as the pool
///   has: the pool gives up, and the same holds with the last one's pid. A worker that can't even be
///   forked counts while there is no other; else it is tried again.
///
/// # Where a pool can be made
///
/// In a process with a single thread, by its main thread: a fork copies the calling thread alone, and
/// with it the locks that others hold. So make the pool first, and start threads then; workers that die
/// later are replaced nevertheless, by a fork of the supervisor, which stays single-threaded. Or say
/// that the others' locks are not needed ([`with_workers_unchecked`](Self::with_workers_unchecked)); or
/// start another program, which makes the pool and opens what you share by name.
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
/// Any number of threads may *use* a pool. In a forked child, the copy that it inherited is of no use:
/// tasks are [`TaskError::Closed`], and dropping it does nothing.
///
/// Supervisor and workers have `SIGCHLD` at its default; a handler that the caller has for it, which may
/// wait for any child, sees the supervisor alone, and then [`join`](Self::join) is an error.
///
/// Supervisor and workers are holders of every segment that the caller had open when the pool was made,
/// until the pool ends, and the name of one that is to go with its last holder goes with them at the
/// latest (a name that they leave by being killed waits for the next create, open or
/// [`sweep`](crate::sweep)).
///
/// A result of more than 64 KiB has a descriptor of its own in the caller, from its coming until it is
/// asked for or its `Task` is dropped: a process that is forked meanwhile has that, and the memory, too.
///
/// # The end
///
/// Dropping the pool is [`terminate`](Self::terminate): running tasks are killed, and pending ones are
/// [`Closed`](TaskError::Closed). To have them done, [`join`](Self::join). Either way no process, zombie,
/// descriptor or segment is left (a [`Task`] that is kept keeps the pool's memory until it is dropped).
pub struct Pool {
    core: Arc<Core>,
    workers: usize,
}

/// The most workers of a pool.
const MOST_WORKERS: usize = 4096;

impl Pool {
    /// As many workers as this process has CPUs.
    ///
    /// # Errors
    /// As for [`with_workers`](Self::with_workers).
    pub fn new() -> Result<Self> {
        Self::with_workers(os::cpus())
    }

    /// So many workers.
    ///
    /// # Errors
    /// [`Error::InvalidSize`] for 0, or more than 4096. [`MultiThreaded`](Error::MultiThreaded),
    /// [`GuardsHeld`](Error::GuardsHeld), [`Unsupported`](Error::Unsupported) as for
    /// [`Process::spawn`] of a daemon. [`NoSpace`](Error::NoSpace), [`Os`](Error::Os), also where there
    /// are descriptors for this process, and not for the supervisor.
    pub fn with_workers(workers: usize) -> Result<Self> {
        Self::made_by(workers, |builder, run| builder.spawn(run))
    }

    /// As [`with_workers`](Self::with_workers), in a process of any number of threads, by its main one.
    ///
    /// # Safety
    /// As for [`Process::spawn_unchecked`], of everything that any task will do: nothing of it may need
    /// what another thread had in its hands when this was called.
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
            // Its copy, which its workers would inherit: so that a caller that runs another program, and
            // has everything closed then, is heard.
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

    /// How many workers there are; one that has died is replaced.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    fn is_copy(&self) -> bool {
        self.core.is_copy()
    }

    /// Has a worker run `f`, and waits for the result.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn apply<A, R>(&self, f: fn(A) -> R, arg: A) -> std::result::Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.apply_async(f, arg)?.get()
    }

    /// Has a worker run `f`. Waits only where 16,384 tasks are under way, or their queue is full.
    ///
    /// # Errors
    /// [`TaskError::Encode`] for the argument; [`TaskError::Closed`]; [`TaskError::WorkerDied`] where
    /// the pool has given up.
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

    /// Has the workers run `f` for each argument, and waits for all the results, which come in order.
    ///
    /// # Errors
    /// The first error, in the arguments' order, once all tasks have ended.
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

    /// [`map`](Self::map), with whatever came of each.
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

    /// The results for the arguments, in order, each as soon as it is there: a failing one is delivered
    /// in its place, and the iteration goes on. Lazy: arguments are asked for as results are, at most
    /// four for each worker ahead, or 32.
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, args: I) -> Imap<'_, A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        Imap::new(&self.core, f, args.into_iter())
    }

    /// [`imap`](Self::imap), in the order in which they come.
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

    /// No more tasks: those under way are finished, and then the workers end.
    pub fn close(&self) {
        self.core.close();
    }

    /// UnlinkOnLast the workers at once (idle ones, and those that are about to take the next task, have a
    /// moment; running tasks are killed within 50 ms). What is pending is [`TaskError::Closed`].
    ///
    /// A worker that somebody has *stopped* (`SIGSTOP`) in the middle of a take has the queue locked. Until
    /// it goes on no other takes a task, and what ends by another worker's death is not reported; but this
    /// ends it, too, within 2 s.
    pub fn terminate(self) {
        drop(self);
    }

    /// Closes the pool, waits until all tasks have ended and all processes with them. Results that
    /// have not been asked for can be had from their [`Task`]s afterwards.
    ///
    /// # Errors
    /// [`Error::Os`] where this process is a fork of the one that made the pool, or somebody else has
    /// waited for its child.
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
