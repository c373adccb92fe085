//! Several processes share one name, one value, one array, one queue: races, order, exact counts, and the
//! same while members are killed or stopped at random instants.
//!
//! The processes are this test binary again, each in a role. The tests run one at a time, so that no test
//! slows down another one's calls.

#[path = "../support/mod.rs"]
mod support;

mod arrays;
mod board;
mod counting;
mod deliveries;
mod fairness;
mod kills;
#[cfg(feature = "serde")]
mod letters;
mod messages;
mod namespaces;
mod naming;
mod pinned;
#[cfg(feature = "shared_memory")]
mod shmem;
mod sleeping;
mod stopping;

use shmkit::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::{Name, Watchdog};

/// Each child of these tests plays one of these roles.
#[test]
fn role() {
    support::play(|role, args| match (role, args) {
        ("meet", [name, barrier, sights, who]) => naming::meet(name, barrier, sights, who),
        ("churn", [name, board, slot, most]) => naming::churn(name, board, slot, most),
        ("count", [value, gate]) => counting::count(value, gate),
        ("produce", [queue, gate, who]) => counting::produce(queue, gate, who),
        ("consume", [queue, gate, file]) => counting::consume(queue, gate, file),
        ("write", [value, stage, board, who]) => counting::write(value, stage, board, who),
        ("read", [value, stage, board, who]) => counting::read(value, stage, board, who),
        ("put", [queue, board, slot, acknowledged, number, sides]) => {
            kills::put(queue, board, slot, acknowledged, number, sides);
        }
        ("take", [queue, board, slot, log, in_place, sides]) => {
            kills::take(queue, board, slot, log, in_place, sides);
        }
        ("add", [value, board, slot]) => kills::add(value, board, slot),
        ("scribble", [array, board, slot, number]) => {
            arrays::scribble(array, board, slot, number);
        }
        ("hold-array", [what, name, stage]) => arrays::hold_array(what, name, stage),
        ("hold", [what, name, stage]) => stopping::hold(what, name, stage),
        ("set", [name, stage]) => stopping::set(name, stage),
        ("hog", [what, name, stage]) => fairness::hog(what, name, stage),
        ("echo", [there, back, cpu]) => pinned::echo(there, back, cpu),
        ("sleep", [what, name, stage, cpu]) => sleeping::sleep(what, name, stage, cpu),
        ("send", [queue, gate, who]) => messages::send(queue, gate, who),
        ("receive", [queue, gate, file]) => messages::receive(queue, gate, file),
        ("post", [queue, stage, len]) => messages::post(queue, stage, len),
        ("chatter", [queue, go, paused]) => messages::chatter(queue, go, paused),
        ("declaim", [queue, stage]) => messages::declaim(queue, stage),
        #[cfg(feature = "serde")]
        ("letters", [what, name]) => letters::write(what, name),
        ("enter", [what, name, stage]) => namespaces::enter(what, name, stage),
        #[cfg(feature = "shared_memory")]
        ("add-up", [way, jobs, sum]) => shmem::add_up(way, jobs, sum),
        #[cfg(feature = "shared_memory")]
        ("hold-update", [way, name, stage]) => shmem::hold_update(way, name, stage),
        #[cfg(feature = "shared_memory")]
        ("lay-out", [name, stage]) => shmem::lay_out(name, stage),
        #[cfg(feature = "shared_memory")]
        ("race", [me, name, arrived, won]) => shmem::race(me, name, arrived, won),
        other => panic!("no such role: {other:?}"),
    });
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

/// A number by which processes tell each other how far they have come.
struct Stage(Value<u64>, #[allow(dead_code)] Option<Name>);

impl Stage {
    fn new() -> Self {
        let name = Name::new("stage");
        let value = Value::create(&*name, 0).expect("create a stage");
        Self(value, Some(name))
    }

    fn open(name: &str) -> Self {
        Self(Value::open(name).expect("open a stage"), None)
    }

    fn name(&self) -> &str {
        self.0.name().expect("a stage has a name")
    }

    fn now(&self) -> u64 {
        self.0.get()
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

    /// Tells that the caller has come in, by stage 1, and keeps it there until stage 2, if that ever comes.
    fn stay(&self) {
        self.reach(1);
        self.wait(2);
    }

    /// Whether a stage is not reached for that time. Only time can show that something does not happen.
    fn stays_below(&self, stage: u64, time: Duration) -> bool {
        let reached = self.0.wait_until_timeout(time, |now| *now >= stage);
        reached.is_none()
    }
}
