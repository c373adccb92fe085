//! Two processes as in two containers: each is pid 1 of a pid namespace of its own, and they share a queue
//! and a value.

use crate::kills::kill_adders;
use crate::support::{Kid, Name, command, not_run};
use crate::{Stage, turn};
use shmkit::{Queue, Value};
use std::io;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

/// Several times the longest nap, so that a process that may come in would have come.
const A_WHILE: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(2);

/// Between fork and exec: forks once more, and the child becomes pid 1 of a new pid namespace. The parent
/// stays outside, waits for the child, and ends as the child ends. If the parent is killed, so is the child.
fn become_pid_1() -> io::Result<()> {
    // SAFETY: it takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    let user = if root { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: it takes flags; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWPID | user) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: it takes numbers.
            let failed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            if failed == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        }
        pid => {
            // One of these descriptors tells the test that the exec succeeded; others are copies of holds.
            // SAFETY: nothing from here on uses a descriptor.
            unsafe { libc::close_range(0, libc::c_uint::MAX, 0) };
            let mut status = 0;
            // SAFETY: a child of our own, and room for its status.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!well)) }
        }
    }
}

fn try_start_inside(role: &str, args: &[&str]) -> io::Result<Kid> {
    let mut command = command(role, args);
    // SAFETY: it makes system calls, and allocates nothing.
    unsafe { command.pre_exec(become_pid_1) };
    command.spawn().map(Kid)
}

fn start_inside(role: &str, args: &[&str]) -> Kid {
    try_start_inside(role, args).expect("start a process in a namespace")
}

/// Whether this system lets the test make namespaces; if not, says why.
fn can_unshare() -> bool {
    match try_start_inside("enter", &["nothing", "-", "-"]) {
        Ok(kid) => {
            kid.finish();
            true
        }
        Err(error) => {
            not_run(&format!("no pid namespace of our own: {error}"));
            false
        }
    }
}

/// Role: goes into a closure under a lock, as the holder or as the next one. At stage 1 the holder is inside,
/// or the next one is about to go in; stage 2 lets the holder out; at stage 3 the role is done.
pub(crate) fn enter(what: &str, name: &str, stage: &str) {
    assert_eq!(std::process::id(), 1, "in a namespace of its own");
    if what == "nothing" {
        return;
    }
    let stage = Stage::open(stage);
    match what {
        "hold value" => Value::<u64>::open(name)
            .expect("open the value")
            .update(|n| {
                stage.stay();
                *n += 10;
            }),
        "next value" => {
            let value = Value::<u64>::open(name).expect("open the value");
            stage.reach(1);
            value.update(|n| *n *= 3);
        }
        "hold queue" => Queue::<u64>::open(name)
            .expect("open the queue")
            .get_with(|_| stage.stay())
            .expect("take"),
        "next queue" => {
            let queue = Queue::<u64>::open(name).expect("open the queue");
            stage.reach(1);
            let item = queue.get().expect("take");
            stage.reach(100 + item);
            return;
        }
        other => panic!("no such thing to do: {other}"),
    }
    stage.reach(3);
}

/// A holder inside a closure under a lock, and the next process, which waits for the lock, each in a
/// namespace of its own.
struct Pair {
    holder: Kid,
    next: Kid,
    held: Stage,
    waiting: Stage,
}

fn pair(hold: &str, next: &str, name: &str) -> Pair {
    let (held, waiting) = (Stage::new(), Stage::new());
    let holder = start_inside("enter", &[hold, name, held.name()]);
    held.wait(1);
    let next = start_inside("enter", &[next, name, waiting.name()]);
    waiting.wait(1);
    assert!(
        waiting.stays_below(2, A_WHILE),
        "a live holder in another namespace was taken for dead"
    );
    Pair {
        holder,
        next,
        held,
        waiting,
    }
}

#[test]
fn a_live_holder_in_another_pid_namespace_is_waited_for() {
    let _turn = turn("live holders in namespaces");
    if !can_unshare() {
        return;
    }
    let (value, queue) = (Name::new("value"), Name::new("queue"));
    let shared = Value::create(&*value, 1u64).expect("create the value");
    let both = pair("hold value", "next value", &value);
    both.held.reach(2);
    both.holder.finish();
    both.next.finish();
    assert_eq!(shared.get(), 33, "one after the other");

    let shared = Queue::<u64>::create(&*queue, 4).expect("create the queue");
    shared.put_all(&[7, 8]).expect("put");
    let both = pair("hold queue", "next queue", &queue);
    both.held.reach(2);
    both.holder.finish();
    both.next.finish();
    assert_eq!(both.waiting.now(), 108, "7 was the holder's");
    println!("two processes, both pid 1: a live holder was waited for, {A_WHILE:?} and more");
}

#[test]
fn a_holder_killed_in_another_pid_namespace_is_taken_over() {
    let _turn = turn("dead holders in namespaces");
    if !can_unshare() {
        return;
    }
    let (value, queue) = (Name::new("value"), Name::new("queue"));
    let shared = Value::create(&*value, 1u64).expect("create the value");
    let both = pair("hold value", "next value", &value);
    let began = Instant::now();
    both.holder.kill_and_reap();
    both.waiting.wait(3);
    let value_took = began.elapsed();
    both.next.finish();
    assert_eq!(shared.get(), 3, "nothing of the dead one's update");

    let shared = Queue::<u64>::create(&*queue, 4).expect("create the queue");
    shared.put_all(&[7, 8]).expect("put");
    let both = pair("hold queue", "next queue", &queue);
    let began = Instant::now();
    both.holder.kill_and_reap();
    both.waiting.wait(100);
    let queue_took = began.elapsed();
    both.next.finish();
    assert_eq!(both.waiting.now(), 107, "the dead one took nothing");
    println!(
        "taken over from another pid namespace: value after {value_took:?}, queue after {queue_took:?}"
    );
    assert!(value_took < LONGEST && queue_took < LONGEST);
}

#[test]
fn kills_in_pid_namespaces_lose_no_acknowledged_update() {
    let _turn = turn("kills in namespaces");
    if can_unshare() {
        kill_adders(3, 60, start_inside);
    }
}
