//! The end of a pool, as the caller brings it about.

use super::Caller;
use crate::os::{self, AsFd, Ask};
use crate::pool::error::TaskError;
use crate::pool::wire::{EXIT_DONE, EXIT_FAILED};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};
use std::time::Duration;

/// A supervisor that is told to end has this long before it is killed.
const SUPERVISOR_GRACE: Duration = Duration::from_secs(2);

/// The pools of this process.
static POOLS: Mutex<Vec<Weak<Caller>>> = Mutex::new(Vec::new());

/// The exit handler. It was registered after those that end daemons and decide about names, and so runs before them:
/// a pool's processes would otherwise be the last holders of their segments.
extern "C" fn at_exit() {
    let pools = match POOLS.try_lock() {
        Ok(pools) => pools,
        Err(TryLockError::Poisoned(pools)) => pools.into_inner(),
        Err(TryLockError::WouldBlock) => return, // a signal handler exits in the middle of a start
    };
    // In a forked child, the pools are its parent's, and `terminate` leaves them alone.
    for pool in pools.iter().filter_map(Weak::upgrade) {
        pool.terminate();
    }
}

impl Caller {
    /// Ends the pool when the process exits, as a drop does, if nobody has dropped it by then.
    pub(crate) fn end_at_exit(self: &Arc<Self>) {
        static WATCHING: OnceLock<()> = OnceLock::new();
        WATCHING.get_or_init(|| {
            os::on_exit(at_exit).expect("registering an exit handler needs a few bytes of memory");
        });
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(self));
    }

    /// Accepts no more tasks.
    pub(crate) fn close(&self) {
        if !self.is_forked_copy() {
            self.lock().closed = true;
            self.shared.tasks.close();
        }
    }

    /// Waits until all tasks that were put have ended.
    pub(crate) fn wait_for_all(&self) {
        self.wait(None, |state| {
            let all_ended = state.free_slots.len() == state.slots.len();
            (all_ended || state.pool_error.is_some()).then_some(())
        });
    }

    /// Ends the processes, and all pending tasks.
    pub(crate) fn terminate(&self) {
        if self.is_forked_copy() {
            return;
        }
        let mut state = self.lock();
        state.closed = true;
        state.pool_error.get_or_insert(TaskError::Closed);
        self.wake(&state);
        drop(state);
        self.shared.words.stop().store(1, Ordering::Relaxed);
        self.shared.tasks.close();
        self.shared.results.close();
        let _ = (&self.stop_tx).write_all(b".");
        if let Ok(None) = self.supervisor.join_timeout(SUPERVISOR_GRACE) {
            // Somebody has stopped the supervisor (`SIGSTOP`). The kernel kills the workers with it.
            let _ = self.supervisor.kill();
            let _ = self.supervisor.join();
        }
        self.reap_adopted_workers();
    }

    /// If the supervisor was killed and this process adopts orphaned processes, reaps the workers, which end
    /// with their supervisor. A worker is in its supervisor's process group until it has written its pid.
    pub(crate) fn reap_adopted_workers(&self) {
        // A supervisor that ended by itself has reaped the workers.
        let supervisor_exited = matches!(
            self.supervisor.exit_code(),
            None | Some(EXIT_DONE | EXIT_FAILED)
        );
        if self.is_forked_copy() || supervisor_exited || !os::adopts_orphans() {
            return;
        }
        let words = &self.shared.words;
        for index in 0..words.workers() {
            // Relaxed: a worker writes this word before it works, and the kernel told this process of the
            // supervisor's end.
            let pid = u32::try_from(words.pid(index).swap(0, Ordering::Relaxed));
            let Some(pid) = pid.ok().filter(|pid| *pid != 0) else {
                continue;
            };
            // The wait has a limit, because the pid may be another process's by now. `Reap` leaves such a
            // process alone.
            if let Ok(fd) = os::open_process(pid)
                && let Ok(true) = os::wait_for_end(fd.as_fd(), SUPERVISOR_GRACE)
            {
                let _ = os::child_status(fd.as_fd(), Ask::Reap);
            }
        }
        os::reap_group(self.supervisor.pid(), SUPERVISOR_GRACE);
    }
}
