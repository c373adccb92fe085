//! A pool where descriptors, and with them forks, are scarce.

use crate::crew::{children_of, kill_child, supervisor, until};
use crate::deaths::{die, killed, pool, works};
use crate::double;
use crate::fork::{Child, Name};
use shmkit::{Pool, Queue, TaskError, Value};
use std::os::fd::AsRawFd;

/// How many descriptors a process may have open: numbers below that.
fn limit(pid: u32, most: u64) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: 4096,
    };
    let none = std::ptr::null_mut();
    let pid = pid.cast_signed();
    // SAFETY: the limit is alive, and the one before is not asked for.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, none) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// How long this process's files may grow.
fn limit_files(most: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is alive.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A long argument that the limit on files forbids is that task's error, and no signal to its caller.
pub(crate) fn a_long_argument_beyond_the_limit_of_files_is_that_tasks_error() {
    let pool = Pool::with_workers(1).expect("a pool");
    let len = |all: Vec<u8>| all.len();
    limit_files(6 << 20);
    let refused = pool.apply(len, vec![1; 8 << 20]);
    let told = matches!(&refused, Err(TaskError::Encode(why)) if why.contains("8388") && why.contains("file too large"));
    assert!(told, "{refused:?}");
    assert_eq!(pool.apply(len, vec![1; 4 << 20]), Ok(4 << 20));
    limit_files(libc::RLIM_INFINITY);
    assert_eq!(pool.apply(len, vec![1; 8 << 20]), Ok(8 << 20));
    pool.join().expect("join");
}

/// The lowest descriptor that is free here.
fn next_descriptor() -> u64 {
    let next = std::fs::File::open("/dev/null").expect("open");
    next.as_raw_fd().try_into().expect("not negative")
}

/// Makes a pool where so many more descriptors may be open. Whether it was made; then its tasks end.
fn made_within(room: u64) -> bool {
    let me = std::process::id();
    limit(me, next_descriptor() + room);
    let made = Pool::with_workers(2);
    limit(me, 1024);
    let Ok(pool) = made else {
        assert!(children_of(me).is_empty(), "a supervisor is left");
        return false;
    };
    let supervisor = supervisor();
    let mut done = 0;
    for n in 0..50 {
        match pool.apply(double, n) {
            Ok(twice) => done += usize::from(twice == 2 * n),
            // No worker had room: given up.
            Err(TaskError::WorkerDied { exit_code: 1, .. }) => {
                until("all are gone", || children_of(supervisor).is_empty());
            }
            Err(error) => panic!("{room}: {error}"),
        }
    }
    assert!(done == 0 || done == 50, "{done} at {room}");
    pool.join().expect("join");
    true
}

/// From a room that is too small for anything to one that is ample, in steps of one.
pub(crate) fn a_pool_with_few_descriptors_is_refused_or_works_or_is_given_up() {
    let mut made = Vec::new();
    for room in 0..24 {
        let (verdict, told) = std::io::pipe().expect("a pipe");
        Child::fork(|| {
            if made_within(room) {
                std::io::Write::write_all(&mut &told, b".").expect("tell");
            }
        })
        .finish();
        drop(told);
        made.push(std::io::read_to_string(verdict).expect("hear") == ".");
    }
    assert!(!made[0] && made[23], "{made:?}");
    assert!(made.is_sorted(), "{made:?}");
}

/// Workers that can be forked, but not use the queues.
pub(crate) fn workers_that_cannot_use_the_queues_are_given_up() {
    // So that a worker's first descriptors are not those of the queues.
    let users = [(); 2].map(|()| Value::new(0u64).expect("create"));
    let pool = pool(1);
    works(&pool);
    let supervisor = supervisor();
    until("one is there", || children_of(supervisor).len() == 1);
    let worker = children_of(supervisor)[0];
    let listing = std::fs::read_dir(format!("/proc/{supervisor}/fd")).expect("list");
    let open: Vec<u64> = listing
        .map(|fd| fd.expect("list").file_name().into_string().expect("text"))
        .map(|fd| fd.parse().expect("a number"))
        .collect();
    let free = (0..).find(|fd| !open.contains(fd)).expect("one");
    // Room for one: what the next worker is waited for with.
    limit(supervisor, free + 1);
    assert!(kill_child(supervisor, worker));
    let given_up = pool.apply(double, 4);
    let Err(TaskError::WorkerDied { pid, exit_code: 1 }) = given_up else {
        panic!("{given_up:?}");
    };
    assert_ne!(pid, supervisor, "it could not fork");
    drop(pool);
    drop(users);
}

fn wait(name: String) -> u64 {
    let turn = Queue::<u64>::open(name).expect("open");
    turn.get().expect("get")
}

/// The supervisor can't fork for a moment that is longer than its patience with a crew of nobody,
/// while another works.
pub(crate) fn forks_that_fail_for_a_moment_end_no_pool_that_works() {
    let name = Name::new("moment");
    let turn = Queue::<u64>::create(&name.0, 8).expect("create");
    let pool = pool(2);
    works(&pool);
    let supervisor = supervisor();
    until("both are there", || children_of(supervisor).len() == 2);
    let long = pool.apply_async(wait, name.0.clone()).expect("apply");
    limit(supervisor, 3);
    // The other's, as one waits.
    killed(pool.apply(die, ()));
    // More tries than a crew of nobody has, and slower ones.
    let asleep = switches(supervisor);
    until("it has tried often", || switches(supervisor) >= asleep + 14);
    assert_eq!(children_of(supervisor).len(), 1);
    limit(supervisor, 1024);
    until("it succeeds", || children_of(supervisor).len() == 2);
    turn.put(7).expect("put");
    assert_eq!(long.get(), Ok(7));
    works(&pool);
    pool.join().expect("join");
}

/// How often a process has gone to sleep.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let found = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let found = found.expect("a count").trim();
    found.parse().expect("a number")
}
