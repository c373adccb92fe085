//! A pool where descriptors, and with them forks, are scarce.

use crate::carrying::Lump;
use crate::crew::{children_of, crew_of, kill_child, supervisor};
use crate::fork::{Child, Name, Witness, limit_descriptors, root_becomes_nobody, set_limit, until};
use crate::tasks::{await_turn, die, double, killed, pool, supervisor_died, works};
use shmkit::{Pool, Queue, Task, TaskError, Value};
use std::os::fd::AsRawFd;

fn limit_descriptors_of(pid: u32, most: u64) {
    set_limit(pid, libc::RLIMIT_NOFILE, most);
}

/// A long argument that the limit on files forbids is that task's error. No signal ends the caller.
pub(crate) fn a_long_argument_beyond_the_limit_of_files_is_that_tasks_error() {
    let pool = pool(1);
    let len = |all: Vec<u8>| all.len();
    let before = set_limit(0, libc::RLIMIT_FSIZE, 6 << 20);
    let refused = pool.apply(len, vec![1; 8 << 20]);
    let told = matches!(&refused, Err(TaskError::Encode(why)) if why.contains("8388") && why.contains("file too large"));
    assert!(told, "{refused:?}");
    assert_eq!(pool.apply(len, vec![1; 4 << 20]), Ok(4 << 20));
    set_limit(0, libc::RLIMIT_FSIZE, before);
    assert_eq!(pool.apply(len, vec![1; 8 << 20]), Ok(8 << 20));
    pool.join().expect("join");
}

const LONG: usize = 70_000;

fn long(n: usize) -> Lump {
    Lump(vec![n.to_le_bytes()[0]; LONG])
}

/// All results but the first are filed before the first one comes.
pub(crate) fn results_outnumber_the_callers_descriptors() {
    let name = Name::new("outnumber");
    let turn = Queue::<u64>::create(&name.0, 8).expect("create");
    let before = limit_descriptors(256);
    let pool = pool(2);
    let first = pool.apply_async(await_turn, name.0.clone()).expect("apply");
    let others: Vec<_> = (0..1050)
        .map(|n| pool.apply_async(long, n).expect("apply"))
        .collect();
    until("all others", || others.iter().all(Task::is_ready));
    assert!(!first.is_ready());
    turn.put(7).expect("put");
    assert_eq!(first.get(), Ok(7));
    for (n, other) in others.into_iter().enumerate() {
        assert!(other.get().expect("get") == long(n), "{n}");
    }
    pool.join().expect("join");
    limit_descriptors(before);
}

/// Descriptors in the sockets of all of a user's processes count together, unless the user is root.
pub(crate) fn results_of_several_pools_outnumber_a_users_descriptors() {
    Child::fork(|| {
        root_becomes_nobody();
        limit_descriptors(100);
        let pools = [(); 5].map(|()| pool(1));
        let start = |pool: &Pool| -> Vec<_> {
            let task = |n| pool.apply_async(long, n).expect("apply");
            (0..200).map(task).collect()
        };
        let tasks = pools.each_ref().map(start);
        // The results of the first pools wait while those of the last are collected.
        for tasks in tasks.into_iter().rev() {
            for (n, task) in tasks.into_iter().enumerate() {
                let found = task.get().unwrap_or_else(|error| panic!("{n}: {error}"));
                assert!(found == long(n), "{n}");
            }
        }
        for pool in pools {
            pool.join().expect("join");
        }
    })
    .finish();
}

/// The lowest free descriptor of this process.
fn next_descriptor() -> u64 {
    let next = std::fs::File::open("/dev/null").expect("open");
    next.as_raw_fd().try_into().expect("not negative")
}

/// Makes a pool where so many more descriptors may be open. If there is a pool, all its tasks end. Returns
/// whether there is one.
fn made_within(room: u64) -> bool {
    let before = limit_descriptors(next_descriptor() + room);
    let made = Pool::with_workers(2);
    limit_descriptors(before);
    let Ok(pool) = made else {
        let left = children_of(std::process::id());
        assert!(left.is_empty(), "a supervisor is left");
        return false;
    };
    let supervisor = supervisor();
    let mut done = 0;
    for n in 0..50 {
        match pool.apply(double, n) {
            Ok(twice) => done += usize::from(twice == 2 * n),
            // No worker had room, and the supervisor gave the pool up.
            Err(TaskError::SupervisorDied { exit_code: 1, .. }) => {
                crew_of(supervisor, 0);
            }
            Err(error) => panic!("{room}: {error}"),
        }
    }
    assert!(done == 0 || done == 50, "{done} at {room}");
    pool.join().expect("join");
    true
}

/// The room grows from none to ample, in steps of one descriptor.
pub(crate) fn a_pool_with_few_descriptors_is_refused_or_works_or_is_given_up() {
    let mut made = Vec::new();
    for room in 0..24 {
        let witness = Witness::new();
        let child = Child::fork(|| {
            if made_within(room) {
                witness.say("made");
            }
        });
        child.finish();
        made.push(witness.outlive() == "made");
    }
    assert!(!made[0] && made[23], "{made:?}");
    println!("  room for {:?}", made.iter().position(|made| *made));
    assert!(made.is_sorted(), "{made:?}");
}

/// Workers that could be forked, but not use the queues, are not started.
pub(crate) fn workers_that_cannot_use_the_queues_are_given_up() {
    // These come first, so that a worker's first descriptors are not those of the queues.
    let users = [(); 2].map(|()| Value::new(0u64).expect("create"));
    let pool = pool(1);
    works(&pool);
    let supervisor = supervisor();
    let worker = crew_of(supervisor, 1)[0];
    let listing = std::fs::read_dir(format!("/proc/{supervisor}/fd")).expect("list");
    let open: Vec<u64> = listing
        .map(|fd| fd.expect("list").file_name().into_string().expect("text"))
        .map(|fd| fd.parse().expect("a number"))
        .collect();
    let free = (0..).find(|fd| !open.contains(fd)).expect("one");
    // The one free descriptor is for the supervisor's wait for the next worker.
    limit_descriptors_of(supervisor, free + 1);
    assert!(kill_child(supervisor, worker));
    let given_up = pool.apply(double, 4);
    assert_eq!(supervisor_died(given_up), (supervisor, 1));
    drop(pool);
    drop(users);
}

/// The supervisor can't fork for longer than its patience with an empty crew, but one worker still works.
pub(crate) fn forks_that_fail_for_a_moment_end_no_pool_that_works() {
    let name = Name::new("moment");
    let turn = Queue::<u64>::create(&name.0, 8).expect("create");
    let pool = pool(2);
    works(&pool);
    let supervisor = supervisor();
    crew_of(supervisor, 2);
    let long = pool.apply_async(await_turn, name.0.clone()).expect("apply");
    limit_descriptors_of(supervisor, 3);
    // The other worker dies, since one of the two waits.
    killed(pool.apply(die, ()));
    // The supervisor sleeps between its tries. These are more tries than for an empty crew, and slower ones.
    let asleep = switches(supervisor);
    until("many tries", || switches(supervisor) >= asleep + 14);
    assert_eq!(children_of(supervisor).len(), 1);
    limit_descriptors_of(supervisor, 1024);
    crew_of(supervisor, 2);
    turn.put(7).expect("put");
    assert_eq!(long.get(), Ok(7));
    works(&pool);
    pool.join().expect("join");
}

/// The process has gone to sleep so often.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let found = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let found = found.expect("a count").trim();
    found.parse().expect("a number")
}
