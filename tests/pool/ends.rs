//! Deaths of the supervisor and of the caller, forked copies, and workers that can't start.

use crate::crew::{children_of, crew_of, kill_child, supervisor};
use crate::fork::{Child, Line, Name, Witness, exit, state_of, until};
use crate::tasks::{be_busy, die, double, killed, nap, pid_of, pool, supervisor_died, works};
use shmkit::{Pool, TaskError, Value};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(crate) fn supervisor_killed(stop: fn(Pool)) {
    let pool = pool(2);
    works(&pool);
    let tasks: Vec<_> = (0..5)
        .map(|_| pool.apply_async(nap, 60_000).expect("apply"))
        .collect();
    let supervisor = supervisor();
    let crew = crew_of(supervisor, 2);
    assert!(kill_child(std::process::id(), supervisor));
    for task in tasks {
        assert_eq!(supervisor_died(task.get()), (supervisor, -9));
    }
    let later = pool.apply(double, 1);
    assert_eq!(supervisor_died(later), (supervisor, -9));
    until("the workers' end", || {
        let mut states = crew.iter().map(|worker| state_of(*worker));
        states.all(|state| state.is_none_or(|state| state == 'Z'))
    });
    stop(pool);
}

pub(crate) fn a_killed_supervisor_ends_workers_and_tasks() {
    supervisor_killed(drop);
    supervisor_killed(|pool| pool.join().expect("join"));
}

/// This process becomes the next parent of the workers, like the first process of a container, or a service
/// manager. `clean` looks for its zombies.
pub(crate) fn a_killed_supervisor_leaves_a_subreaper_no_zombies() {
    // SAFETY: this option takes a number.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    a_killed_supervisor_ends_workers_and_tasks();
}

pub(crate) fn a_stopped_supervisor_delays_the_end_only() {
    let pool = pool(2);
    works(&pool);
    let pid = supervisor();
    // SAFETY: it takes numbers, and the pid is a child's that is not reaped yet.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), libc::SIGSTOP) }, 0);
    works(&pool); // tasks need no supervisor
    drop(pool);
}

pub(crate) fn a_killed_caller_leaves_nothing() {
    let name = Name::new("busy");
    let busy = Value::create(&name.0, 0u64).expect("create");
    let ready = Line::new();
    let child = Child::fork(|| {
        let pool = pool(3);
        let big: Vec<u8> = vec![1; 3 << 20];
        let _big = pool.apply_async(|all: Vec<u8>| all, big).expect("apply");
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let task = pool.apply_async(be_busy, busy.clone());
                task.expect("apply")
            })
            .collect();
        busy.wait_until(|n| *n == 3);
        ready.tell();
        drop(tasks.into_iter().next().map(shmkit::Task::get));
    });
    ready.hear();
    child.kill();
    // `clean` waits for the ends of all processes. They let go of the segment, too.
    until("this process as the only holder", || name.holders() == 1);
    drop(busy);
    assert!(!name.exists());
}

/// A caller becomes another program, which knows nothing of a pool.
pub(crate) fn a_caller_that_becomes_another_program_ends_its_pool() {
    let witness = Witness::new();
    let (end, go) = std::io::pipe().expect("a pipe");
    let (child, (end, go)) = Child::fork_with((end, go), |(end, go)| {
        let pool = pool(2);
        works(&pool);
        // The exec closes `go`, and the program gets `end`.
        let failed = Command::new("cat").stdin(end).stdout(Stdio::null()).exec();
        panic!("{failed} {go:?}");
    });
    drop(end);
    // The pool's processes end before the program.
    assert_eq!(witness.outlive(), "");
    drop(go);
    child.finish();
}

/// The pool's processes hold a segment of which the caller has let go.
pub(crate) fn a_pool_that_is_the_last_holder_removes_the_name() {
    let ends: [fn(Pool); 2] = [drop, |pool| pool.join().expect("join")];
    for end in ends {
        let name = Name::new("held");
        let value = Value::create(&name.0, 0u64).expect("create");
        let pool = pool(2);
        works(&pool);
        drop(value);
        assert!(name.exists());
        end(pool);
        assert!(!name.exists());
    }
}

/// Nobody drops a pool that lives when its caller exits. Its processes would be the last holders.
pub(crate) fn an_exit_ends_a_pool_before_the_names_go() {
    for round in 0..10 {
        let name = Name::new(&format!("exit-{round}"));
        let child = Child::fork(|| {
            let _value = Value::create(&name.0, 0u64).expect("create");
            let pool = pool(2);
            works(&pool);
            std::process::exit(0);
        });
        child.finish();
        assert!(!name.exists(), "round {round}");
    }
}

pub(crate) fn a_forked_copy_terminates_nothing() {
    let pool = pool(2);
    let task = pool.apply_async(double, 21).expect("apply");
    let supervisor = supervisor();
    let crew = crew_of(supervisor, 2);
    let here = std::process::id();
    // All ways to use or end a pool.
    let ways: [fn(Pool, shmkit::Task<u64>); 4] = [
        |pool, task| {
            assert_eq!(pool.apply(double, 1), Err(TaskError::Closed));
            assert_eq!(pool.map(double, [1]), Err(TaskError::Closed));
            let ordered: Vec<_> = pool.imap(double, [1]).collect();
            assert_eq!(ordered, [Err(TaskError::Closed)]);
            let unordered: Vec<_> = pool.imap_unordered(double, [1]).collect();
            assert_eq!(unordered, [Err(TaskError::Closed)]);
            assert!(task.is_ready());
            assert_eq!(task.get(), Err(TaskError::Closed));
        },
        |pool, _| pool.terminate(),
        |pool, _| pool.close(),
        |pool, _| assert!(pool.join().is_err()),
    ];
    let mut mine = (pool, task);
    for way in ways {
        let child;
        (child, mine) = Child::fork_with(mine, |(pool, task)| way(pool, task));
        child.finish();
    }
    let (pool, task) = mine;
    assert_eq!(std::process::id(), here);
    assert_eq!(children_of(supervisor), crew);
    assert_eq!(task.get(), Ok(42));
    works(&pool);
    pool.join().expect("join");
}

static CURSE: OnceLock<Value<u64>> = OnceLock::new();

extern "C" fn die_if_cursed() {
    let curse = CURSE.get().expect("set before");
    if curse.get() == 1 {
        exit(9);
    }
}

/// From here on, every forked child dies at once while the value is 1.
fn prepare_curse() {
    CURSE.get_or_init(|| Value::new(0).expect("create"));
    // SAFETY: a function that lives as long as the program.
    let registered = unsafe { libc::pthread_atfork(None, None, Some(die_if_cursed)) };
    assert_eq!(registered, 0);
}

pub(crate) fn workers_that_die_at_their_start_are_given_up() {
    prepare_curse();
    crate::clean(cursed_workers_are_given_up);
}

fn cursed_workers_are_given_up() {
    let curse = CURSE.get().expect("prepared");
    let pool = pool(2);
    works(&pool);
    let supervisor = supervisor();
    // Both workers are at work: the curse hits those that start later.
    let mut at_work = BTreeSet::new();
    until("both are at work", || {
        at_work.extend(pool.map(pid_of, [(); 8]).expect("map"));
        at_work.len() == 2
    });
    curse.set(1);
    // One worker is busy, one dies, and none can take its place.
    let busy = pool.apply_async(nap, 60_000).expect("apply");
    let dead = killed(pool.apply(die, ()));
    let given_up = |outcome: Result<u64, TaskError>| {
        let Err(TaskError::WorkerDied { pid, exit_code: 9 }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_ne!(pid, dead);
    };
    given_up(busy.get().map(|()| 0));
    given_up(pool.apply(double, 1));
    for outcome in pool.map_results(double, 0..10) {
        given_up(outcome);
    }
    pool.join().expect("join");
    assert!(!std::fs::exists(format!("/proc/{supervisor}")).expect("look"));
    curse.set(0);
}
