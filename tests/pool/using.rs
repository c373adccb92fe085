//! Threads that make a pool or use it, full queues, many tasks, and the ends of tasks and pools.

use crate::crew::{crew_of, kill_child, new_crew_of, supervisor};
use crate::fork::{Line, Name, has_children, soon, state_of, until};
use crate::tasks::{double, pool};
use shmkit::{Error, Pool, Queue, TaskError};
use std::thread;
use std::time::Duration;

pub(crate) fn a_pool_with_threads_is_refused() {
    for workers in [0, 5000] {
        let error = Pool::with_workers(workers).expect_err("no such crew");
        let expected =
            format!("(pool): invalid size: expected 1 to 4096 workers, found {workers} workers");
        assert_eq!(error.to_string(), expected);
    }
    let (ready, go) = (Line::new(), Line::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            ready.tell();
            go.hear();
        });
        ready.hear();
        let error = Pool::new().expect_err("there are threads");
        assert!(
            matches!(error, Error::MultiThreaded { threads: 2, .. }),
            "{error:?}"
        );
        assert!(!has_children());
        // SAFETY: the other thread waits, and has no lock.
        let pool = unsafe { Pool::with_workers_unchecked(2) }.expect("vouched for");
        assert_eq!(pool.map(double, 0..4), Ok(vec![0, 2, 4, 6]));
        pool.join().expect("join");
        go.tell();
    });
    let pool = Pool::with_workers(1).expect("the thread is gone");
    assert_eq!(pool.apply(double, 4), Ok(8));
    pool.join().expect("join");
}

/// Threads that started after the pool was made. The supervisor replaces workers nevertheless.
pub(crate) fn threads_share_a_pool() {
    let pool = pool(2);
    let supervisor = supervisor();
    thread::scope(|scope| {
        for thread in 0..6u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..50 {
                    let n = thread * 1000 + round;
                    assert_eq!(retried(|| pool.apply(double, n)), 2 * n);
                    let all = retried(|| pool.map(double, n..n + 50));
                    assert!(all.into_iter().eq((n..n + 50).map(|n| 2 * n)));
                }
            });
        }
        let mut crew = crew_of(supervisor, 2);
        for _ in 0..10 {
            let dead = crew[0];
            kill_child(supervisor, dead);
            crew = new_crew_of(supervisor, 2, &[dead]);
        }
    });
    pool.join().expect("join");
}

/// Repeats a task whose worker is killed.
fn retried<R>(task: impl Fn() -> Result<R, TaskError>) -> R {
    loop {
        match task() {
            Ok(result) => return result,
            Err(TaskError::WorkerDied { exit_code: -9, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn more_tasks_than_slots() {
    const MANY: u64 = 50_000; // of which 16,384 fit
    let pool = pool(2);
    let tasks: Vec<_> = (0..MANY)
        .map(|n| pool.apply_async(double, n).expect("apply"))
        .collect();
    for (n, task) in tasks.into_iter().enumerate().rev() {
        assert_eq!(task.get(), Ok(2 * n as u64));
    }
    let unordered = pool.imap_unordered(double, 0..1000);
    let mut all: Vec<_> = unordered.map(|n| n.expect("a result")).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..1000).map(|n| 2 * n)));
    pool.join().expect("join");
}

fn echo(all: Vec<u8>) -> Vec<u8> {
    all
}

/// The queues of tasks and of results fill up, again and again.
pub(crate) fn a_full_queue_of_tasks_drains_results() {
    let pool = pool(2);
    let found = pool
        .map(echo, (0..600u32).map(|n| vec![(n % 251) as u8; 20_000]))
        .expect("map");
    for (n, all) in found.iter().enumerate() {
        assert_eq!(all.len(), 20_000);
        assert!(all.iter().all(|byte| usize::from(*byte) == n % 251));
    }
    pool.join().expect("join");
}

fn tell(name: String) {
    Queue::<u64>::open(name).expect("open").put(1).expect("put");
}

pub(crate) fn a_dropped_task_goes_on_and_is_forgotten() {
    let name = Name::new("told");
    let told = Queue::<u64>::create(&name.0, 8).expect("create");
    let pool = pool(1);
    let _ = pool.apply_async(tell, name.0.clone()).expect("apply");
    assert_eq!(told.get(), Ok(1));
    // Many more tasks than slots: each slot is free again after its task.
    for n in 0..40_000 {
        drop(pool.apply_async(double, n).expect("apply"));
    }
    let iterated = pool
        .imap(double, 0..)
        .take(100)
        .map(|n| n.expect("a result"));
    assert!(iterated.eq((0..100).map(|n| 2 * n)));
    assert_eq!(pool.apply(double, 4), Ok(8));
    pool.join().expect("join");
}

pub(crate) fn a_closed_pool_finishes_and_takes_no_more() {
    let pool = pool(2);
    let tasks: Vec<_> = (0..1000)
        .map(|n| pool.apply_async(double, n).expect("apply"))
        .collect();
    let big = pool.apply_async(echo, vec![1; 1 << 20]).expect("apply");
    pool.close();
    assert_eq!(pool.apply(double, 1), Err(TaskError::Closed));
    assert_eq!(pool.map(double, [1]), Err(TaskError::Closed));
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.get(), Ok(2 * n as u64));
    }
    pool.join().expect("join");
    assert_eq!(big.get().map(|all| all.len()), Ok(1 << 20));
}

/// The caller takes no results, and so the workers wait for room, and the supervisor, which reports deaths,
/// does too.
pub(crate) fn a_pool_that_nobody_drains_is_dropped_at_once() {
    let pool = pool(2);
    let supervisor = supervisor();
    // Results of 3 MiB in all: three times what the queue has room for.
    let tasks: Vec<_> = (0..15_000)
        .map(|n: u64| {
            pool.apply_async(|n| vec![n.to_le_bytes()[0]; 200], n)
                .expect("apply")
        })
        .collect();
    let crew = crew_of(supervisor, 2);
    // No event tells of a full queue. Workers that wait for room sleep at each of many looks.
    let mut still = 0;
    until("workers that wait for room", || {
        let sleep = crew.iter().all(|worker| state_of(*worker) == Some('S'));
        still = if sleep { still + 1 } else { 0 };
        still == 100
    });
    for worker in crew {
        kill_child(supervisor, worker);
    }
    soon("the drop of a pool that nobody drains", || drop(pool));
    let (mut done, mut closed) = (0, 0);
    for task in tasks {
        match task.get() {
            Ok(_) => done += 1,
            Err(TaskError::Closed) => closed += 1,
            Err(TaskError::WorkerDied { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(closed > 0, "{done} done, and all of them ended");
}

/// Threads wait for a while, give up, and drop their tasks. The thread that drains the results hands the
/// draining over whatever becomes of its own task, and each thread gets its own results.
pub(crate) fn who_drains_hands_that_over_to_another() {
    let pool = pool(2);
    let long = |(n, len): (u64, usize)| (n + 1, vec![1u8; len]);
    thread::scope(|scope| {
        for thread in 0..6u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300u64 {
                    let len = if n % 50 == 0 { 100_000 } else { 10 };
                    let mut task = pool.apply_async(long, (n, len)).expect("apply");
                    let found = match (n + thread) % 4 {
                        0 => continue, // dropped
                        1 => {
                            let patience = Duration::from_micros(37 * (n % 8));
                            task.get_timeout(patience).expect("a result")
                        }
                        _ => Some(task.get().expect("a result")),
                    };
                    if let Some((next, all)) = found {
                        assert_eq!((next, all.len()), (n + 1, len));
                    }
                }
            });
        }
    });
    pool.join().expect("join");
}

pub(crate) fn a_result_is_given_out_once() {
    let pool = pool(1);
    let mut task = pool.apply_async(double, 4).expect("apply");
    assert_eq!(task.get_timeout(Duration::MAX), Ok(Some(8)));
    assert!(task.is_ready());
    assert_eq!(task.get_timeout(Duration::ZERO), Err(TaskError::Closed));
    assert_eq!(task.get(), Err(TaskError::Closed));
    pool.join().expect("join");
}
