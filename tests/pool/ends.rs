//! Deaths of the supervisor and of the caller, forked copies, and workers that can't start.

use crate::crew::{children_of, kill_child, supervisor, until};
use crate::deaths::{be_busy, die, killed, nap, pool, works};
use crate::fork::{Child, Line, Witness};
use crate::{double, pid_of};
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
    until("all are there", || children_of(supervisor).len() == 2);
    let crew = children_of(supervisor);
    assert!(kill_child(std::process::id(), supervisor));
    for task in tasks {
        assert_eq!(killed(task.get()), supervisor);
    }
    assert_eq!(killed(pool.apply(double, 1)), supervisor);
    until("the workers end", || {
        crew.iter().all(|worker| {
            let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
            stat.rsplit_once(')')
                .is_none_or(|(_, rest)| rest.starts_with(" Z"))
        })
    });
    stop(pool);
}

pub(crate) fn a_killed_supervisor_ends_workers_and_tasks() {
    supervisor_killed(drop);
    supervisor_killed(|pool| pool.join().expect("join"));
}

/// As the first process of a container is, or a service manager: the workers' next parent is this
/// process, and `clean` looks for its zombies.
pub(crate) fn a_killed_supervisor_leaves_a_subreaper_no_zombies() {
    // SAFETY: this option takes a number.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    a_killed_supervisor_ends_workers_and_tasks();
}

pub(crate) fn a_stopped_supervisor_delays_the_end_only() {
    let pool = pool(2);
    works(&pool);
    let pid = supervisor();
    // SAFETY: a child of ours that nobody has waited for.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), libc::SIGSTOP) }, 0);
    works(&pool); // it is not needed for that
    drop(pool);
}

pub(crate) fn a_killed_caller_leaves_nothing() {
    let name = crate::fork::Name::new("busy");
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
    // That everybody has ended is what `clean` waits for; and nobody holds the segment but this
    // process.
    until("everybody lets go", || name.holders() == 1);
    drop(busy);
    assert!(!name.exists());
}

/// A caller that becomes another program, which knows nothing of a pool.
pub(crate) fn a_caller_that_becomes_another_program_ends_its_pool() {
    let witness = Witness::new();
    let (end, go) = std::io::pipe().expect("a pipe");
    let pid = crate::fork::raw_fork();
    if pid == 0 {
        let go = go; // not the program's: closed by the exec
        let pool = pool(2);
        works(&pool);
        let failed = Command::new("cat").stdin(end).stdout(Stdio::null()).exec();
        panic!("{failed} {go:?}");
    }
    drop(end);
    // The pool's processes end while the program is there.
    assert_eq!(witness.outlive(), "");
    drop(go);
    Child::of(pid).finish();
}

/// The pool's processes hold what the caller has let go of.
pub(crate) fn a_pool_that_is_the_last_holder_removes_the_name() {
    let ends: [fn(Pool); 2] = [drop, |pool| pool.join().expect("join")];
    for end in ends {
        let name = crate::fork::Name::new("held");
        let value = Value::create(&name.0, 0u64).expect("create");
        let pool = pool(2);
        works(&pool);
        drop(value);
        assert!(name.exists());
        end(pool);
        assert!(!name.exists());
    }
}

pub(crate) fn a_forked_copy_terminates_nothing() {
    let pool = pool(2);
    let task = pool.apply_async(double, 21).expect("apply");
    let supervisor = supervisor();
    until("all are there", || children_of(supervisor).len() == 2);
    let crew = children_of(supervisor);
    let here = std::process::id();
    // Each of the ways to end it.
    let ways: [fn(Pool, shmkit::Task<u64>); 4] = [
        |pool, task| {
            assert_eq!(pool.apply(double, 1), Err(TaskError::Closed));
            assert_eq!(pool.map(double, [1]), Err(TaskError::Closed));
            assert_eq!(
                pool.imap(double, [1]).collect::<Vec<_>>(),
                [Err(TaskError::Closed)]
            );
            let unordered: Vec<_> = pool.imap_unordered(double, [1]).collect();
            assert_eq!(unordered, [Err(TaskError::Closed)]);
            assert!(task.is_ready());
            assert_eq!(task.get(), Err(TaskError::Closed));
        },
        |pool, _| pool.terminate(),
        |pool, _| pool.close(),
        |pool, _| assert!(pool.join().is_err()),
    ];
    let mut mine = Some((pool, task));
    for way in ways {
        let pid = crate::fork::raw_fork();
        if pid == 0 {
            let (pool, task) = mine.take().expect("in each child");
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                way(pool, task);
            }));
            crate::fork::exit(i32::from(panicked.is_err()));
        }
        Child::of(pid).finish();
    }
    let (pool, task) = mine.expect("in the parent");
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
        crate::fork::exit(9);
    }
}

/// Has every fork die from here on, while the value says so.
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
    // At work, not only there: the curse is on those who start.
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
