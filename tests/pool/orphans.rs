//! A pool's processes end with their parents, also if the kernel forgets to end them.

use crate::crew::{crew_of, kill_child, supervisor};
use crate::fork::{
    Child, LIMIT, Line, Witness, await_end, end_after, exit, has_children, not_run, soon, state_of,
    until,
};
use crate::tasks::{self, builder, nap, works};
use shmkit::{Pool, Value};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// A task that makes the kernel forget to end the worker with its parent, as a change of credentials does.
fn forget_the_parent(_: ()) -> u32 {
    // SAFETY: this option takes a number.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }, 0);
    // SAFETY: it has no conditions.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: it takes a number.
        assert_eq!(unsafe { libc::setegid(65_534) }, 0, "change the group");
    }
    std::process::id()
}

fn let_all_forget(pool: &Pool) {
    let mut forgot = BTreeSet::new();
    until("all workers ran the task", || {
        forgot.extend(pool.map(forget_the_parent, [(); 8]).expect("map"));
        forgot.len() == pool.workers()
    });
}

/// One worker waits for a task, and one has a task.
pub(crate) fn workers_that_the_kernel_forgot_end_with_the_supervisor() {
    let pool = builder().workers(2).start().expect("a pool");
    let_all_forget(&pool);
    let _busy = pool.apply_async(nap, 60_000).expect("apply");
    let boss = supervisor();
    let crew = crew_of(boss, 2);
    assert!(kill_child(std::process::id(), boss));
    soon("the workers' end", || {
        until("the workers' end", || {
            let mut states = crew.iter().map(|worker| state_of(*worker));
            states.all(|state| state.is_none_or(|state| state == 'Z'))
        });
    });
    drop(pool);
}

pub(crate) fn workers_that_the_kernel_forgot_end_with_the_caller() {
    let (ready, witness) = (Line::new(), Witness::new());
    let child = Child::fork(|| {
        let pool = builder().keep(witness.end()).workers(2).start();
        let pool = pool.expect("a pool");
        let_all_forget(&pool);
        let busy = pool.apply_async(nap, 60_000).expect("apply");
        ready.tell();
        busy.get().expect("the caller is killed before");
    });
    ready.hear();
    child.kill();
    let said = soon("the end of all processes", || witness.outlive());
    assert_eq!(said, "");
}

/// The kernel may not signal the processes of another user. A brother of the pool inherits the pipe whose end
/// tells the supervisor of the caller's.
pub(crate) fn a_pool_ends_with_a_caller_that_dropped_its_privileges() {
    // SAFETY: it has no conditions.
    if unsafe { libc::geteuid() } != 0 {
        not_run("the caller is not root, and so can't become another user");
        return;
    }
    let (ready, go, witness) = (Line::new(), Line::new(), Witness::new());
    let child = Child::fork(|| {
        let pool = builder().keep(witness.end()).workers(2).start();
        let pool = pool.expect("a pool");
        works(&pool);
        // SAFETY: it takes a number.
        assert_eq!(unsafe { libc::setuid(65_534) }, 0, "become nobody");
        let _brother = Child::fork(|| {
            let witnesses = [witness.end().as_raw_fd(), tasks::witness().as_raw_fd()];
            // SAFETY: no handle of this process uses the descriptors any more.
            let closed = witnesses.map(|fd| unsafe { libc::close(fd) });
            assert_eq!(closed, [0; 2]);
            go.hear();
            exit(0);
        });
        let busy = pool.apply_async(nap, 60_000).expect("apply");
        ready.tell();
        busy.get().expect("the caller is killed before");
    });
    ready.hear();
    child.kill();
    let said = soon("the end of the pool's processes", || witness.outlive());
    assert_eq!(said, "");
    go.tell();
}

/// 0: a forked child goes on. 1: it says 2, and waits for 3.
static STAGE: OnceLock<Value<u64>> = OnceLock::new();

extern "C" fn wait_for_the_stage() {
    let stage = STAGE.get().expect("set before");
    if stage.compare_exchange(1, 2).is_ok() {
        end_after(LIMIT);
        stage.wait_until(|stage| *stage == 3);
    }
}

/// The supervisor is killed before a new worker could write down its pid. The caller adopts the worker, and
/// `clean` looks for its zombie.
pub(crate) fn a_subreaper_reaps_a_worker_that_never_wrote_its_pid() {
    let stage = STAGE.get_or_init(|| Value::new(0).expect("create"));
    // SAFETY: this option takes a number.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    // SAFETY: a function that lives as long as the program.
    let registered = unsafe { libc::pthread_atfork(None, None, Some(wait_for_the_stage)) };
    assert_eq!(registered, 0);
    for end in [drop, |pool: Pool| pool.join().expect("join")] {
        stage.set(0);
        let pool = builder().workers(2).start().expect("a pool");
        works(&pool);
        let boss = supervisor();
        let crew = crew_of(boss, 2);
        // SAFETY: it has no conditions.
        let own = unsafe { libc::getpgrp() };
        until("both workers in the caller's group", || {
            // SAFETY: they take numbers.
            let mut groups = crew
                .iter()
                .map(|pid| unsafe { libc::getpgid(pid.cast_signed()) });
            groups.all(|group| group == own)
        });
        stage.set(1);
        assert!(kill_child(boss, crew[0]));
        stage.wait_until(|stage| *stage == 2);
        assert!(kill_child(std::process::id(), boss));
        await_end(boss);
        stage.set(3);
        end(pool);
        assert!(!has_children(), "a zombie is left");
    }
}
