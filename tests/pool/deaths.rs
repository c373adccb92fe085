//! Deaths of workers, of the supervisor, of the caller, at points that are chosen.

use crate::crew::{children_of, kill_child, kill_me, supervisor, until};
use crate::{double, pid_of};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shmkit::{Pool, Queue, TaskError, Value};
use std::time::Duration;

pub(crate) fn pool(workers: usize) -> Pool {
    Pool::with_workers(workers).expect("a pool")
}

/// How a task ended: killed by `SIGKILL`; the pid.
pub(crate) fn killed<R: std::fmt::Debug>(outcome: Result<R, TaskError>) -> u32 {
    match outcome {
        Err(TaskError::WorkerDied { pid, exit_code: -9 }) => pid,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn works(pool: &Pool) {
    assert_eq!(
        pool.map(double, 0..100).expect("map"),
        (0..100).map(|n| 2 * n).collect::<Vec<_>>()
    );
}

pub(crate) fn a_worker_killed_while_idle_is_nobodys_loss() {
    let pool = pool(2);
    works(&pool);
    let supervisor = supervisor();
    for _ in 0..20 {
        let crew = children_of(supervisor);
        for worker in &crew {
            kill_child(supervisor, *worker);
        }
        // Tasks that are given at once, and later, when others have taken their places.
        works(&pool);
        until("others take their places", || {
            let now = children_of(supervisor);
            now.len() == 2 && now.iter().all(|worker| !crew.contains(worker))
        });
    }
    works(&pool);
    pool.join().expect("join");
}

pub(crate) fn die(_: ()) {
    kill_me();
}

fn wait(name: String) -> u64 {
    let turn = Queue::<u64>::open(name).expect("open");
    turn.get().expect("get")
}

pub(crate) fn a_worker_killed_in_a_task_ends_that_one() {
    let name = crate::fork::Name::new("turn");
    let turn = Queue::<u64>::create(&name.0, 8).expect("create");
    let pool = pool(2);
    let before = pool.apply(pid_of, ()).expect("apply");
    let supervisor = supervisor();
    assert!(children_of(supervisor).contains(&before));

    let mut beside = pool.apply_async(wait, name.0.clone()).expect("apply");
    let dead = killed(pool.apply(die, ()));
    assert!(!children_of(supervisor).contains(&dead), "it was reaped");
    works(&pool);
    assert_eq!(beside.get_timeout(Duration::ZERO), Ok(None));
    turn.put(7).expect("put");
    assert_eq!(beside.get(), Ok(7));
    until("another takes its place", || {
        children_of(supervisor).len() == 2
    });
    pool.join().expect("join");
}

/// Kills whoever decodes it in a process that is not the one it is of.
#[derive(Debug)]
struct Poison(u32);

impl Serialize for Poison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Poison {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of = u32::deserialize(deserializer)?;
        if of == std::process::id() {
            return Err(D::Error::custom("it came back"));
        }
        kill_me()
    }
}

fn swallow(_: Poison) {}

pub(crate) fn a_worker_killed_decoding_a_task_ends_that_one() {
    let pool = pool(2);
    for _ in 0..5 {
        killed(pool.apply(swallow, Poison(std::process::id())));
        works(&pool);
    }
    pool.join().expect("join");
}

/// A result of so many bytes, of which that many can be encoded before it kills.
#[derive(Debug)]
struct Fatal {
    len: usize,
    deadly: usize,
}

impl Serialize for Fatal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let deadly = self.deadly;
        serializer.collect_seq((0..self.len).map(|at| {
            if at == deadly {
                kill_me();
            }
            1u8
        }))
    }
}

impl<'de> Deserialize<'de> for Fatal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let len = Vec::<u8>::deserialize(deserializer)?.len();
        Ok(Self { len, deadly: len })
    }
}

fn fatal((len, deadly): (usize, usize)) -> Fatal {
    Fatal { len, deadly }
}

pub(crate) fn a_worker_killed_encoding_a_result_ends_that_task() {
    let pool = pool(2);
    for _ in 0..5 {
        killed(pool.apply(fatal, (1, 0)));
        works(&pool);
    }
    assert_eq!(pool.apply(fatal, (3, 3)).expect("not deadly").len, 3);
    pool.join().expect("join");
}

const BIG: usize = 10 << 20;

pub(crate) fn a_worker_killed_half_way_through_a_big_result_ends_that_task() {
    let pool = pool(2);
    for _ in 0..2 {
        killed(pool.apply(fatal, (BIG, BIG / 2)));
        works(&pool);
    }
    assert_eq!(pool.apply(fatal, (BIG, BIG)).expect("not deadly").len, BIG);
    pool.join().expect("join");
}

fn large(len: usize) -> Vec<u8> {
    vec![7; len]
}

/// The result and its segment are on their way when their worker dies: nothing is lost.
pub(crate) fn a_big_result_outlives_its_worker() {
    let pool = pool(1);
    let first = pool.apply(pid_of, ()).expect("apply");
    let big = pool.apply_async(large, BIG).expect("apply");
    let second = pool.apply_async(die, ()).expect("apply");
    let supervisor = supervisor();
    until("another takes its place", || {
        let crew = children_of(supervisor);
        crew.len() == 1 && crew[0] != first
    });
    assert_eq!(big.get().map(|all| all == large(BIG)), Ok(true));
    assert_eq!(killed(second.get()), first);
    assert_eq!(pool.apply(large, BIG).map(|all| all.len()), Ok(BIG));
    pool.join().expect("join");
}

fn leave(code: i32) {
    std::process::exit(code);
}

pub(crate) fn a_task_that_exits_ends_with_its_code() {
    let pool = pool(1);
    for code in [0, 3] {
        let outcome = pool.apply(leave, code);
        assert!(
            matches!(outcome, Err(TaskError::WorkerDied { exit_code, .. }) if exit_code == code),
            "{outcome:?}"
        );
    }
    works(&pool);
    pool.join().expect("join");
}

pub(crate) fn a_pool_whose_workers_all_die_goes_on() {
    let pool = pool(3);
    let tasks: Vec<_> = (0..30)
        .map(|_| pool.apply_async(die, ()).expect("apply"))
        .collect();
    for task in tasks {
        killed(task.get());
    }
    works(&pool);
    pool.join().expect("join");
}

pub(crate) fn nap(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

pub(crate) fn a_shutdown_with_work_pending_ends() {
    // Joined: all of it is done.
    let joined = pool(2);
    let tasks: Vec<_> = (0..50)
        .map(|_| joined.apply_async(nap, 1).expect("apply"))
        .collect();
    joined.join().expect("join");
    for task in tasks {
        assert!(task.is_ready());
        assert_eq!(task.get(), Ok(()));
    }
    // Dropped: none of it is waited for.
    let name = crate::fork::Name::new("shutdown");
    let busy = Value::create(&name.0, 0u64).expect("create");
    let dropped = pool(2);
    let tasks: Vec<_> = (0..50)
        .map(|_| dropped.apply_async(be_busy, busy.clone()).expect("apply"))
        .collect();
    busy.wait_until(|n| *n == 2);
    crate::fork::soon("the drop of a busy pool", || drop(dropped));
    for task in tasks {
        assert!(task.is_ready());
        assert_eq!(task.get(), Err(TaskError::Closed));
    }
}

pub(crate) fn a_shutdown_whose_workers_die_ends() {
    let pool = pool(2);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let deadly = n % 2 == 0;
            (
                deadly,
                if deadly {
                    pool.apply_async(die, ())
                } else {
                    pool.apply_async(nap, 1)
                },
            )
        })
        .collect();
    pool.join().expect("join");
    for (deadly, task) in tasks {
        let outcome = task.expect("apply").get();
        if deadly {
            killed(outcome);
        } else {
            assert_eq!(outcome, Ok(()));
        }
    }
}

pub(crate) fn be_busy(busy: Value<u64>) {
    busy.update(|n| *n += 1);
    nap(60_000);
}
