//! Nobody who sleeps for a lock is overtaken again and again by somebody who takes it in a loop.

use crate::support::{Name, start};
use crate::{Stage, turn};
use shmkit::{GetError, Queue, Value};
use std::time::{Duration, Instant};

/// How long each turn of the loop has the lock.
const HELD: Duration = Duration::from_millis(1);

/// The longest wait for a lock that is free every millisecond. Unfair, it took seconds.
const LONGEST: Duration = Duration::from_millis(500);

const ROUNDS: u64 = 30;

/// So many that they last for the whole test.
const ITEMS: usize = 1 << 16;

/// One turn of the loop of updates, in a value that counts both sides.
const TURN: u64 = 1 << 32;

/// Role: takes the lock in a loop, and holds it for a millisecond each time, until the test is done.
pub(crate) fn hog(what: &str, name: &str, stage: &str) {
    let stage = Stage::open(stage);
    stage.reach(1);
    match what {
        "get_with" | "try_get_with" => {
            let queue = Queue::<u64>::open(name).expect("open the queue");
            while stage.now() < 2 {
                let got = if what == "get_with" {
                    queue.get_with(|_| busy(HELD))
                } else {
                    queue.try_get_with(|_| busy(HELD))
                };
                assert!(matches!(got, Ok(()) | Err(GetError::Busy)), "{got:?}");
            }
        }
        "update" => {
            let value = Value::<u64>::open(name).expect("open the value");
            while stage.now() < 2 {
                value.update(|n| {
                    busy(HELD);
                    *n += TURN;
                });
            }
        }
        other => panic!("no such loop: {other}"),
    }
}

/// Works, so that the lock is free only between two turns of the loop.
fn busy(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The longest time that the operation takes, each time at a moment when the loop has the lock.
fn longest(mut await_loop: impl FnMut(), mut operation: impl FnMut()) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..ROUNDS {
        await_loop();
        let began = Instant::now();
        operation();
        longest = longest.max(began.elapsed());
    }
    longest
}

fn get_beside(what: &str, timeout: Duration) {
    let _turn = turn("a get beside a loop");
    let (name, at) = (Name::new("fair"), Stage::new());
    let queue = Queue::<u64>::create(&*name, ITEMS).expect("create the queue");
    queue.put_all(&[0; ITEMS]).expect("it fits");
    let hog = start("hog", &[what, &name, at.name()]);
    at.wait(1);
    let mut busy = 0;
    let await_loop = || {
        while queue.try_consumer().err() != Some(GetError::Busy) {}
    };
    let longest = longest(await_loop, || {
        while let Err(error) = queue.get_timeout(timeout) {
            assert_eq!(error, GetError::Busy, "there are items");
            busy += 1;
        }
    });
    at.reach(2);
    hog.finish();
    println!("get_timeout({timeout:?}) beside {what}: {longest:?} at most, {busy} times busy");
    assert!(longest < LONGEST, "{longest:?}");
}

#[test]
fn a_get_has_its_turn_beside_a_loop_of_get_with() {
    get_beside("get_with", LONGEST);
}

#[test]
fn a_get_has_its_turn_beside_a_loop_of_try_get_with() {
    get_beside("try_get_with", LONGEST);
}

/// A caller whose time-outs are shorter than the patience of a waiter has its turn too.
#[test]
fn a_get_with_short_timeouts_has_its_turn() {
    get_beside("get_with", HELD * 3 / 2);
}

#[test]
fn an_update_has_its_turn_beside_a_loop_of_updates() {
    let _turn = turn("an update beside a loop");
    let (name, at) = (Name::new("fair"), Stage::new());
    let value = Value::create(&*name, 0u64).expect("create the value");
    let hog = start("hog", &["update", &name, at.name()]);
    at.wait(1);
    let await_loop = || {
        let now = value.get() / TURN;
        while value.get() / TURN == now {
            std::thread::yield_now();
        }
        busy(HELD / 4); // the value shows an update some instructions before the lock is free
    };
    let longest = longest(await_loop, || value.update(|n| *n += 1));
    at.reach(2);
    hog.finish();
    assert_eq!(value.get() % TURN, ROUNDS);
    println!("update beside a loop of updates: {longest:?} at most");
    assert!(longest < LONGEST, "{longest:?}");
}
