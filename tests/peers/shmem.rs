//! Segments that processes reach in two ways: through mappings of the crate `shared_memory`, and by name.

use crate::support::{Kid, Name, poll, start, until};
use crate::{Stage, turn};
use shmkit::memory::Memory;
use shmkit::shared_memory::{Shmem, ShmemConf};
use shmkit::{Error, GetError, Queue, ShmemMemory, Value, inspect, sweep};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CAPACITY: usize = 64;
/// Enough for the queue, and no multiple of a page, so that rounding would show.
const BYTES: usize = 5000;
const ITEMS: u64 = 10_000;

fn held(shmem: Shmem) -> Arc<dyn Memory> {
    // SAFETY: all bytes of these tests are zeros or segments, and written by this crate alone.
    Arc::new(unsafe { ShmemMemory::new(shmem) }.expect("hold the memory"))
}

fn created(name: &str) -> Arc<dyn Memory> {
    let shmem = ShmemConf::new().os_id(name).size(BYTES).create();
    held(shmem.expect("create the shmem"))
}

fn opened(name: &str) -> Arc<dyn Memory> {
    held(ShmemConf::new().os_id(name).open().expect("open the shmem"))
}

/// The way in which a process reaches a segment.
#[derive(Clone, Copy, Debug)]
enum Way {
    Name,
    Shmem,
}

impl Way {
    const ALL: [Self; 2] = [Self::Name, Self::Shmem];

    fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Shmem => "shmem",
        }
    }

    fn parse(word: &str) -> Self {
        let way = Self::ALL.into_iter().find(|way| way.word() == word);
        way.expect("a way")
    }

    fn create_value(self, name: &str) -> Value<u64> {
        match self {
            Self::Name => Value::create(name, 0),
            Self::Shmem => Value::create_in(created(name), 0),
        }
        .expect("create the value")
    }

    fn open_value(self, name: &str) -> Value<u64> {
        match self {
            Self::Name => Value::open(name),
            Self::Shmem => Value::open_in(opened(name)),
        }
        .expect("open the value")
    }

    fn create_queue(self, name: &str) -> Queue<u64> {
        match self {
            Self::Name => Queue::create(name, CAPACITY),
            Self::Shmem => Queue::create_in(created(name), CAPACITY),
        }
        .expect("create the queue")
    }

    fn open_queue(self, name: &str) -> Queue<u64> {
        match self {
            Self::Name => Queue::open(name),
            Self::Shmem => Queue::open_in(opened(name)),
        }
        .expect("open the queue")
    }
}

/// Role: adds up the jobs until the queue is closed.
pub(crate) fn add_up(way: &str, jobs: &str, sum: &str) {
    let (jobs, sum) = (
        Way::parse(way).open_queue(jobs),
        Way::parse(way).open_value(sum),
    );
    assert!(!jobs.was_created());
    let mut last = 0;
    loop {
        let job = match jobs.get_timeout(Duration::from_secs(30)) {
            Ok(job) => job,
            Err(end) => break assert_eq!(end, GetError::Closed),
        };
        assert_eq!(job, last + 1, "in order, none lost");
        last = job;
        sum.update(|sum| *sum += job);
    }
}

#[test]
fn what_one_side_creates_the_other_opens() {
    let _turn = turn("shmem, both directions");
    for (creator, opener) in [
        (Way::Shmem, Way::Name),
        (Way::Name, Way::Shmem),
        (Way::Shmem, Way::Shmem),
    ] {
        let (jobs_name, sum_name) = (Name::new("jobs"), Name::new("sum"));
        let jobs = creator.create_queue(&jobs_name);
        let sum = creator.create_value(&sum_name);
        assert_eq!(jobs.name(), Some(&*jobs_name));
        let child = start("add-up", &[opener.word(), &jobs_name, &sum_name]);
        for job in 1..=ITEMS {
            jobs.put(job).expect("put");
        }
        jobs.close();
        child.finish();
        assert_eq!(
            sum.get(),
            ITEMS * (ITEMS + 1) / 2,
            "{creator:?}, {opener:?}"
        );
        let info = inspect(&*jobs_name).expect("inspect");
        assert_eq!((info.holders, info.element.as_str()), (1, "u64"));
        if let Way::Shmem = creator {
            assert_eq!(info.size, BYTES as u64, "the file's length to the byte");
        }
        // Opening compares the types in both ways.
        assert!(matches!(
            Value::<f64>::open_in(opened(&sum_name)),
            Err(Error::Mismatch { what: "type", .. })
        ));
        drop((jobs, sum));
        assert!(!jobs_name.exists() && !sum_name.exists());
    }
}

/// Role: stays inside `update` until it is killed.
pub(crate) fn hold_update(way: &str, name: &str, stage: &str) {
    let stage = Stage::open(stage);
    Way::parse(way).open_value(name).update(|n| {
        *n = 1000;
        stage.stay();
    });
}

#[test]
fn a_holder_killed_in_update_stops_no_survivor_of_either_side() {
    let _turn = turn("shmem, a killed updater");
    for victim in Way::ALL {
        for survivor in Way::ALL {
            let (name, at) = (Name::new("updater"), Stage::new());
            let value = Way::Shmem.create_value(&name);
            let updater = start("hold-update", &[victim.word(), &name, at.name()]);
            at.wait(1);
            let other = survivor.open_value(&name);
            assert_eq!(other.try_update(|_| ()), None, "the updater lives");
            updater.kill_and_reap();
            let began = Instant::now();
            assert_eq!(other.update(|n| std::mem::replace(n, 7)), 0);
            let took = began.elapsed();
            assert!(took < Duration::from_secs(2), "{took:?}");
            assert_eq!(value.get(), 7);
            println!("{victim:?} killed, {survivor:?} went on after {took:?}");
        }
    }
}

/// Role: lays a value out, and holds it until it is killed.
pub(crate) fn lay_out(name: &str, stage: &str) {
    let value = Way::Shmem.create_value(name);
    value.set(5);
    Stage::open(stage).stay();
}

fn start_holder(name: &str) -> Kid {
    let at = Stage::new();
    let holder = start("lay-out", &[name, at.name()]);
    at.wait(1);
    holder
}

#[test]
fn a_segment_that_a_shmem_alone_holds_is_no_orphan_until_it_dies() {
    let _turn = turn("shmem, a hold");
    let name = Name::new("held");
    let holder = start_holder(&name);
    let swept = sweep().expect("sweep");
    assert!(swept.iter().all(|info| info.name != *name));
    assert_eq!(name.holders(), 1);
    let taken = Value::create(&*name, 0u64).expect_err("it is in use");
    assert!(matches!(
        taken,
        Error::AlreadyExists {
            by: "a segment in use",
            ..
        }
    ));
    // This handle is not the last one out.
    assert_eq!(Value::<u64>::open(&*name).expect("open").get(), 5);
    assert!(name.exists());
    holder.kill_and_reap();

    assert!(inspect(&*name).map_or(true, |info| info.is_orphan()));
    // The dead process's `Shmem` did not remove the name. The next open of the name does, or a sweep.
    let gone = Value::<u64>::open(&*name).expect_err("everybody is dead");
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    assert!(!name.exists());
}

#[test]
fn the_last_one_out_removes_the_name_where_no_owner_lives() {
    let _turn = turn("shmem, the last one out");
    let name = Name::new("last");
    let holder = start_holder(&name);
    let (one, other) = (Way::Shmem.open_value(&name), Way::Shmem.open_value(&name));
    holder.kill_and_reap();
    drop(one);
    assert!(name.exists(), "another has it open");
    assert_eq!(other.get(), 5);
    drop(other);
    assert!(!name.exists());
}

#[test]
fn an_owner_takes_its_name_with_it_and_users_go_on() {
    let _turn = turn("shmem, an owner");
    let name = Name::new("owner");
    let owner = Way::Shmem.create_value(&name);
    let user = Way::Name.open_value(&name);
    drop(owner);
    assert!(!name.exists());
    user.set(6);
    // A successor may have the name by now: neither owner nor user may remove it.
    let owner = Way::Shmem.create_value(&name);
    shmkit::unlink(&*name).expect("unlink");
    let successor = Way::Name.create_value(&name);
    drop((owner, user));
    assert!(name.exists());
    assert_eq!(Way::Shmem.open_value(&name).get(), successor.get());
}

/// The racers meet in so many memories, one after another.
const MEETINGS: usize = 200;

fn meeting(name: &str, i: usize) -> String {
    format!("{name}-{i}")
}

/// Role: tries to be the first to lay a value out in each memory, as soon as both racers have come there.
pub(crate) fn race(me: &str, name: &str, arrived: &str, won: &str) {
    let me: u64 = me.parse().expect("a number");
    let (arrived, won) = (Value::<u64>::open(arrived), Value::<u64>::open(won));
    let (arrived, won) = (arrived.expect("open"), won.expect("open"));
    for i in 0..MEETINGS {
        let memory = opened(&meeting(name, i));
        arrived.update(|n| *n += 1);
        let met = || arrived.get() >= 2 * (i as u64 + 1);
        // Mostly, both come without a nap, and so start at the same moment.
        if !(0..10_000).any(|_| met()) {
            until("the other racer", met);
        }
        let value =
            match Value::create_in(memory.clone(), me) {
                Ok(value) => {
                    won.update(|n| *n += 1);
                    value
                }
                Err(Error::AlreadyExists { .. }) => poll("the winner", || {
                    match Value::<u64>::open_in(memory.clone()) {
                        Ok(value) => Some(value),
                        Err(Error::NotFound { .. }) => None,
                        Err(error) => panic!("{error}"),
                    }
                }),
                Err(error) => panic!("{error}"),
            };
        value.update(|n| *n += 10);
    }
}

#[test]
fn of_two_processes_that_race_one_lays_out() {
    let _turn = turn("shmem, a race");
    let name = Name::new("race");
    let (arrived_name, won_name) = (Name::new("arrived"), Name::new("won"));
    let (_arrived, won) = (
        Value::create(&*arrived_name, 0u64).expect("create"),
        Value::create(&*won_name, 0u64).expect("create"),
    );
    let memories: Vec<_> = (0..MEETINGS).map(|i| created(&meeting(&name, i))).collect();
    let racers = ["1", "2"].map(|me| start("race", &[me, &name, &arrived_name, &won_name]));
    racers.into_iter().for_each(Kid::finish);
    assert_eq!(won.get(), MEETINGS as u64);
    let mut counts = [0, 0];
    for memory in memories {
        let value = Value::<u64>::open_in(memory)
            .expect("one laid it out")
            .get();
        assert!(
            value == 21 || value == 22,
            "{value}: both were in the same value"
        );
        counts[usize::from(value == 22)] += 1;
    }
    println!("won by the first and the second: {counts:?}");
}
