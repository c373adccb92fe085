//! Pools; and the cases of `concurrent.futures` in which a worker is killed.

use crate::crew::{children_of, kill_child, supervisor};
use crate::fork::{Name, captured, descriptors, has_children, kill_me, soon, until};
use crate::{at_once, within};
use serde::{Deserialize, Serialize, Serializer};
use shmkit::{Array, Pool, TaskError, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WORKERS: usize = 4;

fn pool() -> Pool {
    Pool::with_workers(WORKERS).expect("a pool")
}

fn sqr(x: u64) -> u64 {
    x * x
}

fn sqr_after((x, wait): (u64, Duration)) -> u64 {
    std::thread::sleep(wait);
    x * x
}

fn squares(to: u64) -> Vec<u64> {
    (0..to).map(sqr).collect()
}

pub(crate) fn apply() {
    let pool = pool();
    assert_eq!(pool.apply(sqr, 5), Ok(25));
    assert_eq!(pool.apply(sqr, 3), Ok(9));
    pool.join().expect("join");
}

pub(crate) fn map() {
    let pool = pool();
    assert_eq!(pool.map(sqr, 0..10), Ok(squares(10)));
    assert_eq!(pool.map(sqr, 0..100), Ok(squares(100)));
    // Python's chunks have several items a task.
    let chunk = |xs: Vec<u64>| xs.into_iter().map(sqr).collect::<Vec<_>>();
    let chunks: Vec<Vec<u64>> = (0..5).map(|n| (20 * n..20 * n + 20).collect()).collect();
    let mapped = pool.map(chunk, chunks).expect("map");
    assert_eq!(mapped.concat(), squares(100));
    // The first error, once all have ended.
    let name = Name::new("ran");
    let ran = Value::create(&name.0, 0u64).expect("create");
    let (outcome, _) = captured_pool(WORKERS, |pool| {
        pool.map(
            |(n, ran): (u64, Value<u64>)| {
                ran.update(|ran| *ran += 1);
                assert!(n % 4 != 3, "{n}");
            },
            (0..20).map(|n| (n, ran.clone())),
        )
    });
    assert_eq!(outcome, Err(TaskError::Panicked("3".into())));
    assert_eq!(ran.get(), 20);
    pool.join().expect("join");
}

/// Runs `f` with a pool whose standard error is captured, so that no panic of a task is shown. Returns the
/// result, and the captured text.
fn captured_pool<R>(workers: usize, f: impl FnOnce(&Pool) -> R) -> (R, String) {
    let mut result = None;
    let printed = captured(libc::STDERR_FILENO, || {
        let pool = Pool::with_workers(workers).expect("a pool");
        result = Some(f(&pool));
        pool.join().expect("join");
    });
    (result.expect("it ran"), printed)
}

pub(crate) fn map_empty_input_does_not_stall() {
    let pool = pool();
    assert_eq!(at_once(|| pool.map(sqr, [])), Ok(vec![]));
    assert_eq!(at_once(|| pool.map_results(sqr, [])), vec![]);
    assert_eq!(at_once(|| pool.imap(sqr, []).next()), None);
    assert_eq!(at_once(|| pool.imap_unordered(sqr, []).next()), None);
    pool.join().expect("join");
}

pub(crate) fn map_10_000_items() {
    let pool = pool();
    assert_eq!(pool.map(sqr, 0..10_000), Ok(squares(10_000)));
    pool.join().expect("join");
}

pub(crate) fn apply_async() {
    let pool = pool();
    let wait = Duration::from_millis(100);
    let task = at_once(|| pool.apply_async(sqr_after, (7, wait))).expect("apply");
    assert_eq!(within(wait, |_| task.get()), Ok(49));
    pool.join().expect("join");
}

pub(crate) fn async_timeout() {
    let pool = pool();
    let mut task = pool
        .apply_async(sqr_after, (6, Duration::from_secs(60)))
        .expect("apply");
    let some = Duration::from_millis(200);
    assert_eq!(within(some, |timeout| task.get_timeout(timeout)), Ok(None));
    assert!(!task.is_ready());
    pool.terminate();
    assert_eq!(at_once(|| task.get_timeout(some)), Err(TaskError::Closed));
}

fn fails_at_3(n: u64) -> u64 {
    assert!(n != 3, "there is no 3");
    n * n
}

pub(crate) fn imap() {
    let pool = pool();
    let all: Result<Vec<_>, _> = pool.imap(sqr, 0..10).collect();
    assert_eq!(all, Ok(squares(10)));
    let mut many = pool.imap(sqr, 0..1000);
    for n in 0..1000 {
        assert_eq!(many.next(), Some(Ok(n * n)));
    }
    assert_eq!(many.next(), None);

    captured_pool(WORKERS, |pool| {
        let mut failing = pool.imap(fails_at_3, 0..6);
        for n in 0..3 {
            assert_eq!(failing.next(), Some(Ok(n * n)));
        }
        let error = TaskError::Panicked("there is no 3".into());
        assert_eq!(failing.next(), Some(Err(error)));
        assert_eq!(failing.next(), Some(Ok(16)));
        assert_eq!(failing.next(), Some(Ok(25)));
        assert_eq!(failing.next(), None);
    });

    // Of an endless iterator, the pool asks for few more items than it needs.
    let mut asked = 0;
    let endless = std::iter::repeat_with(|| {
        asked += 1;
        asked
    });
    assert_eq!(pool.imap(sqr, endless).take(3).count(), 3);
    assert!(asked < 100, "{asked}");
    pool.join().expect("join");
}

pub(crate) fn imap_unordered() {
    let pool = pool();
    let squared = pool.imap_unordered(sqr, 0..10);
    let mut all: Vec<_> = squared.map(|n| n.expect("a square")).collect();
    all.sort_unstable();
    assert_eq!(all, squares(10));

    // The slow one comes last.
    let waits = [500, 0, 0, 0, 0].map(Duration::from_millis);
    let args = (0..).zip(waits);
    let squared = pool.imap_unordered(sqr_after, args);
    let last = squared.map(|n| n.expect("a square")).last();
    assert_eq!(last, Some(0));

    let (outcomes, _) = captured_pool(WORKERS, |pool| {
        pool.imap_unordered(fails_at_3, 0..6).collect::<Vec<_>>()
    });
    assert_eq!(outcomes.len(), 6);
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed, [TaskError::Panicked("there is no 3".into())]);
    pool.join().expect("join");
}

pub(crate) fn terminate_with_10_000_pending() {
    let pool = pool();
    let wait = Duration::from_millis(300);
    let started = at_once(|| {
        (0..10_000)
            .map(|n| pool.apply_async(sqr_after, (n, wait)))
            .collect::<Vec<_>>()
    });
    soon("the end of a pool with 10,000 tasks pending", || {
        pool.terminate();
    });
    assert!(!has_children());
    for task in started {
        assert_eq!(task.expect("apply").get(), Err(TaskError::Closed));
    }
}

fn panics(text: String) -> u32 {
    match text.as_str() {
        "" => std::process::id(),
        "str" => panic!("a text that stands in the program"),
        "other" => std::panic::panic_any(7),
        text => panic!("{text}"),
    }
}

pub(crate) fn a_panicking_task_is_that_tasks_error_and_the_worker_lives_on() {
    let texts = [
        ("str", "a text that stands in the program"),
        ("made up", "made up"),
        ("other", "(not a text)"),
    ];
    let ((), printed) = captured_pool(1, |pool| {
        let pid = pool.apply(panics, String::new()).expect("no panic");
        for (text, expected) in texts {
            let outcome = pool.apply(panics, text.to_owned());
            assert_eq!(outcome, Err(TaskError::Panicked(expected.to_owned())));
            assert_eq!(pool.apply(panics, String::new()), Ok(pid));
        }
    });
    let both = printed.contains(texts[0].1) && printed.contains(texts[1].1);
    assert!(both, "{printed}");
}

static PLAIN: AtomicU64 = AtomicU64::new(1);

fn change((value, array): (Value<u64>, Array<u64>)) -> u64 {
    value.set(2);
    array.set(0, 2).expect("within");
    PLAIN.store(2, Ordering::Relaxed);
    PLAIN.load(Ordering::Relaxed)
}

pub(crate) fn a_plain_variable_stays_unchanged_and_a_named_value_and_array_change() {
    let (one, other) = (Name::new("value"), Name::new("array"));
    let value = Value::create(&one.0, 1u64).expect("create");
    let array = Array::create(&other.0, &[1u64]).expect("create");
    let pool = pool();
    assert_eq!(pool.apply(change, (value.clone(), array.clone())), Ok(2));
    assert_eq!(PLAIN.load(Ordering::Relaxed), 1);
    assert_eq!((value.get(), array.get(0)), (2, Some(2)));
    pool.join().expect("join");
}

/// Waits until all workers are there, and returns their ids.
fn whole_crew(supervisor: u32) -> Vec<u32> {
    until("all are there", || children_of(supervisor).len() == WORKERS);
    children_of(supervisor)
}

/// Waits until a new worker has the place of this one.
fn replaced(supervisor: u32, pid: u32) {
    until("a new worker takes its place", || {
        let now = children_of(supervisor);
        now.len() == WORKERS && !now.contains(&pid)
    });
}

pub(crate) fn drop_reaps_every_worker() {
    let before = descriptors();
    let pool = pool();
    assert_eq!(pool.map(sqr, 0..10), Ok(squares(10)));
    let supervisor = supervisor();
    let crew = whole_crew(supervisor);
    drop(pool);
    assert!(!has_children());
    for pid in crew.iter().chain([&supervisor]) {
        let is_there = std::fs::exists(format!("/proc/{pid}"));
        assert!(!is_there.expect("look at /proc"), "{pid}");
    }
    assert_eq!(descriptors(), before);
}

pub(crate) fn futures_a_worker_killed_while_idle() {
    let pool = pool();
    let supervisor = supervisor();
    let crew = whole_crew(supervisor);
    assert!(kill_child(supervisor, crew[0]));
    assert_eq!(pool.map(sqr, 0..100), Ok(squares(100)));
    replaced(supervisor, crew[0]);
    pool.join().expect("join");
}

/// Kills its worker when half of it is encoded.
#[derive(Debug, Deserialize)]
struct Deadly;

impl Serialize for Deadly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const LEN: usize = 10 << 20;
        serializer.collect_seq((0..LEN).map(|at| {
            if at == LEN / 2 {
                kill_me();
            }
            0u8
        }))
    }
}

pub(crate) fn futures_a_worker_killed_while_running_or_encoding_a_big_result() {
    let pool = pool();
    let supervisor = supervisor();
    type Deadly = fn(&Pool) -> Result<(), TaskError>;
    let deadly: [Deadly; 2] = [
        |pool| pool.apply(|()| kill_me(), ()),
        |pool| pool.apply(|()| Deadly, ()).map(drop),
    ];
    for deadly in deadly {
        let beside: Vec<_> = (0..100)
            .map(|n| pool.apply_async(sqr, n).expect("apply"))
            .collect();
        let Err(TaskError::WorkerDied { pid, exit_code: -9 }) = deadly(&pool) else {
            panic!("expected a death");
        };
        for (n, task) in (0..).zip(beside) {
            assert_eq!(task.get(), Ok(n * n));
        }
        replaced(supervisor, pid);
    }
    assert_eq!(pool.map(sqr, 0..100), Ok(squares(100)));
    pool.join().expect("join");
}

pub(crate) fn futures_shutting_down_with_work_pending_ends() {
    let wait = Duration::from_millis(1);
    let joined = pool();
    let tasks: Vec<_> = (0..100)
        .map(|n| joined.apply_async(sqr_after, (n, wait)).expect("apply"))
        .collect();
    joined.join().expect("join");
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.get(), Ok(n * n));
    }
    let dropped = pool();
    let task = dropped
        .apply_async(sqr_after, (5, Duration::from_secs(60)))
        .expect("apply");
    soon("the drop of a busy pool", || drop(dropped));
    assert_eq!(task.get(), Err(TaskError::Closed));
}
