//! A process is killed, or stopped, inside a closure that runs under a lock.

use crate::support::{Kid, Name, start, threads_are, until};
use crate::{Stage, turn};
use shmkit::{AccessError, Array, GetError, PutAllError, PutError, Queue, TimedOut, Value};
use std::sync::TryLockError;
use std::time::{Duration, Instant};

/// Far more than the longest nap, so that a process that may come in would have come.
const A_WHILE: Duration = Duration::from_millis(300);
/// Far more than the promised 100 ms plus scheduling.
const LONGEST: Duration = Duration::from_secs(2);

/// Role: stays inside `update`, or `get_with`, until the stage is 2.
pub(crate) fn hold(what: &str, name: &str, stage: &str) {
    let stage = Stage::open(stage);
    match what {
        "update" => {
            let value = Value::<u64>::open(name).expect("open the value");
            value.update(|n| {
                *n = 10;
                stage.stay();
            });
        }
        "get_with" => {
            let queue = Queue::<u64>::open(name).expect("open the queue");
            let taken = queue.get_with(|item| {
                stage.stay();
                *item
            });
            assert_eq!(taken, Ok(7));
        }
        other => panic!("no such way to hold: {other}"),
    }
    stage.reach(3);
}

/// Role: adds one to a value, and says so.
pub(crate) fn set(name: &str, stage: &str) {
    let value = Value::<u64>::open(name).expect("open the value");
    let stage = Stage::open(stage);
    stage.reach(1);
    value.update(|n| *n += 1);
    stage.reach(2);
}

fn signal(kid: &Kid, signal: i32) {
    let pid = i32::try_from(kid.id()).expect("a pid");
    // SAFETY: it takes numbers, and the pid is a child's that is not reaped yet.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Runs `f`, which must end when [`A_WHILE`] is over: neither much earlier nor much later.
fn takes_a_while<R>(what: &str, f: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = f();
    let waited = began.elapsed();
    assert!(
        (A_WHILE..A_WHILE + LONGEST).contains(&waited),
        "{what}: {waited:?}"
    );
    result
}

/// Stops a process, and waits until all its threads are.
fn stop(kid: &Kid) {
    signal(kid, libc::SIGSTOP);
    until("a process that stops", || threads_are('T', kid.id()));
}

#[test]
fn a_taker_killed_in_its_closure_leaves_the_item_for_the_next() {
    let _turn = turn("a killed taker");
    let name = Name::new("taker");
    let queue = Queue::<u64>::create(&*name, 4).expect("create the queue");
    queue.put(7).expect("put");
    queue.put(8).expect("put");
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let at = Stage::new();
        let taker = start("hold", &["get_with", &name, at.name()]);
        at.wait(1);
        assert_eq!(queue.try_get(), Err(GetError::Busy), "the taker lives");
        taker.kill_and_reap();
        let began = Instant::now();
        assert_eq!(queue.get_with(|item| *item), Ok(7));
        longest = longest.max(began.elapsed());
        // 7 comes to the front again, for the next taker.
        assert_eq!(queue.get(), Ok(8));
        queue.put_all(&[7, 8]).expect("put");
    }
    println!("longest take after a taker's death: {longest:?}");
    assert!(longest < LONGEST);
}

#[test]
fn an_updater_killed_in_its_closure_leaves_the_old_value() {
    let _turn = turn("a killed updater");
    let name = Name::new("updater");
    let value = Value::create(&*name, 0u64).expect("create the value");
    for round in 0..5 {
        let at = Stage::new();
        let updater = start("hold", &["update", &name, at.name()]);
        at.wait(1);
        assert_eq!(value.try_update(|_| ()), None, "the updater lives");
        updater.kill_and_reap();
        let began = Instant::now();
        assert_eq!(value.update(|n| (*n, *n += 1).0), round);
        assert!(began.elapsed() < LONGEST);
    }
}

#[test]
fn a_process_stopped_in_update_blocks_writers_but_no_reader() {
    let _turn = turn("a stopped updater");
    let (name, at, set) = (Name::new("halt"), Stage::new(), Stage::new());
    let value = Value::create(&*name, 0u64).expect("create the value");
    let updater = start("hold", &["update", &name, at.name()]);
    at.wait(1);
    stop(&updater);
    let setter = start("set", &[&name, set.name()]);
    set.wait(1);

    assert!(set.stays_below(2, A_WHILE), "a writer went past a live one");
    let began = Instant::now();
    for _ in 0..100_000 {
        assert_eq!(value.get(), 0);
    }
    let reads = began.elapsed();
    assert!(reads < LONGEST, "100000 gets took {reads:?}");
    let began = Instant::now();
    assert_eq!(value.try_update(|_| ()), None);
    assert!(began.elapsed() < LONGEST);
    let short = Duration::from_millis(50);
    assert_eq!(value.wait_until_timeout(short, |n| *n != 0), None);

    signal(&updater, libc::SIGCONT);
    at.reach(2);
    set.wait(2);
    updater.finish();
    setter.finish();
    assert_eq!(
        value.get(),
        11,
        "first the stopped one's update, then the other"
    );
    println!("100000 gets beside a stopped updater: {reads:?}");
}

#[test]
fn every_timed_write_of_a_value_gives_up_beside_a_stopped_updater() {
    let _turn = turn("timed writes beside a stopped updater");
    let (name, at) = (Name::new("halt"), Stage::new());
    let value = Value::create(&*name, 0u64).expect("create the value");
    let updater = start("hold", &["update", &name, at.name()]);
    at.wait(1);
    stop(&updater);

    let set = takes_a_while("set", || value.set_timeout(1, A_WHILE));
    assert_eq!(set, Err(TimedOut));
    let swapped = takes_a_while("swap", || value.swap_timeout(1, A_WHILE));
    assert_eq!(swapped, Err(TimedOut));
    let updated = takes_a_while("update", || {
        value.update_timeout(A_WHILE, |_| panic!("called without the lock"))
    });
    assert_eq!(updated, Err::<(), _>(TimedOut));
    let exchanged = takes_a_while("compare_exchange", || {
        value.compare_exchange_timeout(0, 1, A_WHILE)
    });
    assert_eq!(exchanged, Err(TimedOut));
    let began = Instant::now();
    assert_eq!(value.set_timeout(1, Duration::ZERO), Err(TimedOut));
    assert!(began.elapsed() < A_WHILE);
    assert_eq!(value.get(), 0, "nothing was written");

    signal(&updater, libc::SIGCONT);
    at.reach(2);
    updater.finish();
    assert_eq!(value.swap_timeout(11, LONGEST), Ok(10));
    assert_eq!(value.update_timeout(LONGEST, |n| (*n, *n += 1).0), Ok(11));
    let exchanged = value.compare_exchange_timeout(0, 1, LONGEST);
    assert_eq!(exchanged, Ok(Err(12)));
}

#[test]
fn every_timed_access_to_an_array_gives_up_beside_a_stopped_guard() {
    let _turn = turn("timed accesses beside a stopped guard");
    let (name, at) = (Name::new("halt"), Stage::new());
    let array = Array::create(&*name, &[0u64, 1, 2]).expect("create the array");
    let holder = start("hold-array", &["inside", &name, at.name()]);
    at.wait(1);
    stop(&holder);

    let locked = takes_a_while("lock", || array.lock_timeout(A_WHILE).map(drop));
    assert!(matches!(locked, Err(TryLockError::WouldBlock)));
    let got = takes_a_while("get", || array.get_timeout(0, A_WHILE));
    assert_eq!(got, Err(TimedOut));
    let set = takes_a_while("set", || array.set_timeout(0, 7, A_WHILE));
    assert_eq!(set, Err(AccessError::TimedOut));
    let mut out = [8; 2];
    let read = takes_a_while("read_at", || array.read_at_timeout(0, &mut out, A_WHILE));
    assert_eq!((read, out), (Err(AccessError::TimedOut), [8; 2]));
    let written = takes_a_while("write_at", || array.write_at_timeout(0, &[7; 2], A_WHILE));
    assert_eq!(written, Err(AccessError::TimedOut));
    let all = takes_a_while("to_vec", || array.to_vec_timeout(A_WHILE));
    assert_eq!(all, Err(TimedOut));
    let began = Instant::now();
    assert_eq!(array.get_timeout(0, Duration::ZERO), Err(TimedOut));
    assert_eq!(array.get_timeout(3, A_WHILE), Ok(None), "no need of a lock");
    assert!(began.elapsed() < A_WHILE);

    // A timed verb takes a dead holder's lock over, as the plain ones do.
    holder.kill_and_reap();
    assert_eq!(array.to_vec_timeout(LONGEST), Ok(vec![10, 1, 2]));
    assert!(matches!(
        array.lock_timeout(LONGEST),
        Err(TryLockError::Poisoned(_))
    ));
    array.clear_poison();
    assert_eq!(array.set_timeout(0, 7, LONGEST), Ok(()));
    assert_eq!(array.write_at_timeout(1, &[8, 9], LONGEST), Ok(()));
    assert_eq!(*array.lock_timeout(LONGEST).expect("sound"), [7, 8, 9]);
}

#[test]
fn a_process_stopped_in_get_with_blocks_takers_within_their_timeouts() {
    let _turn = turn("a stopped taker");
    let (name, at) = (Name::new("halt"), Stage::new());
    let queue = Queue::<u64>::create(&*name, 4).expect("create the queue");
    queue.put(7).expect("put");
    let taker = start("hold", &["get_with", &name, at.name()]);
    at.wait(1);
    stop(&taker);

    let began = Instant::now();
    queue.put(8).expect("producers go on");
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.try_get(), Err(GetError::Busy));
    assert!(began.elapsed() < LONGEST);
    let began = Instant::now();
    assert_eq!(queue.get_timeout(A_WHILE), Err(GetError::Busy));
    let waited = began.elapsed();
    assert!((A_WHILE..A_WHILE + LONGEST).contains(&waited), "{waited:?}");

    let mut out = [0; 2];
    let got = takes_a_while("get_many", || queue.get_many_timeout(&mut out, A_WHILE));
    assert_eq!((got, out), (Err(GetError::Busy), [0; 2]));
    // Producers go on, until the queue is full.
    let put = takes_a_while("put_all", || queue.put_all_timeout(&[9, 10, 11], A_WHILE));
    let late = PutError::TimedOut;
    assert_eq!(
        put,
        Err(PutAllError {
            put: 2,
            source: late.clone()
        })
    );
    let put = takes_a_while("put_many", || queue.put_many_timeout(&[11], A_WHILE));
    assert_eq!(put, Err(late));

    signal(&taker, libc::SIGCONT);
    at.reach(2);
    taker.finish();
    assert_eq!(queue.get(), Ok(8), "7 was the stopped one's");
    assert_eq!(queue.get_many_timeout(&mut out, LONGEST), Ok(2));
    assert_eq!(out, [9, 10]);
    println!("get_timeout({A_WHILE:?}) beside a stopped taker: {waited:?}");
}
