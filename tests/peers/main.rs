//! What several processes do to one name, one value, one array, one queue: races, order, exact counts,
//! and the same while members are killed or stopped at random instants.
//!
//! The processes are this test binary again, each in a role. Every test takes its turn alone, so that
//! the times it prints are its own.

#[path = "../support/mod.rs"]
mod support;

mod arrays;
mod board;
mod counting;
mod kills;
#[cfg(feature = "serde")]
mod letters;
mod messages;
mod namespaces;
mod naming;
#[cfg(feature = "shared_memory")]
mod shmem;
mod sleeping;
mod stopping;

use shmkit::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::Watchdog;

/// What a child does that was started for a role; nothing in the test run itself.
#[test]
fn role() {
    let Some((role, args)) = support::my_role() else {
        return;
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match role.as_str() {
        "meet" => naming::meet(&args),
        "churn" => naming::churn(&args),
        "count" => counting::count(&args),
        "produce" => counting::produce(&args),
        "consume" => counting::consume(&args),
        "write" => counting::write(&args),
        "read" => counting::read(&args),
        "put" => kills::put(&args),
        "take" => kills::take(&args),
        "add" => kills::add(&args),
        "scribble" => arrays::scribble(&args),
        "hold-array" => arrays::hold_array(&args),
        "hold" => stopping::hold(&args),
        "set" => stopping::set(&args),
        "sleep" => sleeping::sleep(&args),
        "send" => messages::send(&args),
        "receive" => messages::receive(&args),
        "post" => messages::post(&args),
        "chatter" => messages::chatter(&args),
        "declaim" => messages::declaim(&args),
        #[cfg(feature = "serde")]
        "letters" => letters::write(&args),
        "enter" => namespaces::enter(&args),
        #[cfg(feature = "shared_memory")]
        "add-up" => shmem::add_up(&args),
        #[cfg(feature = "shared_memory")]
        "hold-update" => shmem::hold_update(&args),
        #[cfg(feature = "shared_memory")]
        "lay-out" => shmem::lay_out(&args),
        #[cfg(feature = "shared_memory")]
        "race" => shmem::race(&args),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// A test's turn, and its time limit.
struct Turn(
    #[allow(dead_code)] Watchdog,
    #[allow(dead_code)] MutexGuard<'static, ()>,
);

fn turn(what: &'static str) -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Turn(Watchdog::new(what, Duration::from_secs(120)), guard)
}

/// How far things have come, told from one process to another.
struct Stage(Value<u64>);

impl Stage {
    fn create(name: &str) -> Self {
        Self(Value::create(name, 0).expect("create a stage"))
    }

    fn open(name: &str) -> Self {
        Self(Value::open(name).expect("open a stage"))
    }

    fn reach(&self, stage: u64) {
        self.0.set(stage);
    }

    fn add(&self) {
        self.0.update(|stage| *stage += 1);
    }

    fn wait(&self, stage: u64) {
        let reached = self
            .0
            .wait_until_timeout(Duration::from_secs(30), |now| *now >= stage);
        assert!(reached.is_some(), "stage {stage} was not reached in 30 s");
    }

    /// Whether it is still not reached after a while.
    fn stays_below(&self, stage: u64, time: Duration) -> bool {
        self.0
            .wait_until_timeout(time, |now| *now >= stage)
            .is_none()
    }
}
