//! Deaths of workers at chosen points, and the ends of pools with work pending.

use crate::crew::{children_of, crew_of, kill_child, new_crew_of, supervisor};
use crate::fork::{Name, kill_me, set_limit, soon, state_of, until};
use crate::tasks::{await_turn, be_busy, blocks, die, killed, nap, pid_of, pool, works};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shmkit::{Queue, TaskError, Value};
use std::time::Duration;

pub(crate) fn a_worker_killed_while_idle_is_nobodys_loss() {
    let pool = pool(2);
    works(&pool);
    let supervisor = supervisor();
    for _ in 0..20 {
        let crew = children_of(supervisor);
        for worker in &crew {
            kill_child(supervisor, *worker);
        }
        // The caller gives tasks at once, and again when others have taken the workers' places.
        works(&pool);
        new_crew_of(supervisor, 2, &crew);
    }
    works(&pool);
    pool.join().expect("join");
}

pub(crate) fn a_worker_killed_in_a_task_ends_that_one() {
    let name = Name::new("turn");
    let turn = Queue::<u64>::create(&name.0, 8).expect("create");
    let pool = pool(2);
    let before = pool.apply(pid_of, ()).expect("apply");
    let supervisor = supervisor();
    assert!(children_of(supervisor).contains(&before));

    let mut beside = pool.apply_async(await_turn, name.0.clone()).expect("apply");
    let dead = killed(pool.apply(die, ()));
    assert!(!children_of(supervisor).contains(&dead), "it was reaped");
    works(&pool);
    assert_eq!(beside.get_timeout(Duration::ZERO), Ok(None));
    turn.put(7).expect("put");
    assert_eq!(beside.get(), Ok(7));
    crew_of(supervisor, 2);
    pool.join().expect("join");
}

/// An argument that kills a process that decodes it, except the process of that pid.
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

/// A result of `len` bytes, which kills its worker after the first `deadly` of them are encoded.
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

/// Another worker has filled the queue, so that this worker sleeps when its result lies beside the queue.
pub(crate) fn a_worker_killed_before_the_message_of_a_big_result_leaves_no_memory() {
    fn in_turn((worker, name): (Value<u32>, String)) -> Vec<u8> {
        worker.set(std::process::id());
        await_turn(name);
        large(BIG)
    }
    let names = [Name::new("worker"), Name::new("turn")];
    let worker = Value::create(&names[0].0, 0).expect("create");
    let turn = Queue::<u64>::create(&names[1].0, 8).expect("create");
    let pool = pool(2);
    let supervisor = supervisor();
    let crew = crew_of(supervisor, 2);
    let before = blocks();
    let big = pool.apply_async(in_turn, (worker.clone(), names[1].0.clone()));
    worker.wait_until(|pid| *pid != 0);
    let worker = worker.get();
    let other = crew.into_iter().find(|pid| *pid != worker).expect("two");
    // The short results leave no room for even the message of the big one.
    let lens = [60_000; 17].into_iter().chain([0; 2000]);
    let fill: Vec<_> = lens
        .map(|len| pool.apply_async(large, len).expect("apply"))
        .collect();
    until("the queue is full", || state_of(other) == Some('S'));
    turn.put(0).expect("put");
    until("the result is in memory", || {
        blocks() - before >= BIG as u64 / 512
    });
    assert!(kill_child(supervisor, worker));
    for task in fill {
        task.get().expect("get");
    }
    assert_eq!(killed(big.expect("apply").get()), worker);
    assert_eq!(blocks(), before);
    works(&pool);
    pool.join().expect("join");
}

/// The caller takes no results, so that the worker puts as many pieces as fit into the queue, and sleeps. A limit
/// on files has the result travel in pieces.
pub(crate) fn a_worker_killed_between_the_pieces_of_a_result_ends_that_task() {
    fn announced((begun, len): (Value<u64>, usize)) -> Vec<u8> {
        begun.update(|count| *count += 1);
        large(len)
    }
    let name = Name::new("pieces");
    let begun = Value::create(&name.0, 0u64).expect("create");
    let pool = pool(1);
    let supervisor = supervisor();
    for count in 1..=3 {
        let worker = crew_of(supervisor, 1)[0];
        set_limit(worker, libc::RLIMIT_FSIZE, 0);
        let task = pool.apply_async(announced, (begun.clone(), BIG));
        let task = task.expect("apply");
        begun.wait_until(|found| *found == count);
        until("the queue is full", || state_of(worker) == Some('S'));
        assert!(kill_child(supervisor, worker));
        assert_eq!(killed(task.get()), worker);
        // The slot's next task begins without the dead worker's pieces.
        assert_eq!(pool.apply(large, 3), Ok(large(3)));
        new_crew_of(supervisor, 1, &[worker]);
    }
    pool.join().expect("join");
}

/// The worker dies before the caller takes its result.
pub(crate) fn a_big_result_outlives_its_worker() {
    let pool = pool(1);
    let first = pool.apply(pid_of, ()).expect("apply");
    let big = pool.apply_async(large, BIG).expect("apply");
    let second = pool.apply_async(die, ()).expect("apply");
    let supervisor = supervisor();
    new_crew_of(supervisor, 1, &[first]);
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

pub(crate) fn a_shutdown_with_work_pending_ends() {
    // A join waits for all tasks.
    let joined = pool(2);
    let tasks: Vec<_> = (0..50)
        .map(|_| joined.apply_async(nap, 1).expect("apply"))
        .collect();
    joined.join().expect("join");
    for task in tasks {
        assert!(task.is_ready());
        assert_eq!(task.get(), Ok(()));
    }
    // A drop waits for none.
    let name = Name::new("shutdown");
    let busy = Value::create(&name.0, 0u64).expect("create");
    let dropped = pool(2);
    let tasks: Vec<_> = (0..50)
        .map(|_| dropped.apply_async(be_busy, busy.clone()).expect("apply"))
        .collect();
    busy.wait_until(|n| *n == 2);
    soon("the drop of a busy pool", || drop(dropped));
    for task in tasks {
        assert!(task.is_ready());
        assert_eq!(task.get(), Err(TaskError::Closed));
    }
}

pub(crate) fn a_shutdown_whose_workers_die_ends() {
    let pool = pool(2);
    let tasks: Vec<_> = (0..20)
        .map(|n| match n % 2 {
            0 => pool.apply_async(die, ()),
            _ => pool.apply_async(nap, 1),
        })
        .collect();
    pool.join().expect("join");
    for (n, task) in tasks.into_iter().enumerate() {
        let outcome = task.expect("apply").get();
        if n % 2 == 0 {
            killed(outcome);
        } else {
            assert_eq!(outcome, Ok(()));
        }
    }
}
