//! Two containers, as far as pids go: both sides are pid 1, each of a pid namespace of its own, and
//! share a queue and a value.

use crate::kills::kill_adders;
use crate::support::{Kid, Name, command};
use crate::{Stage, turn};
use shmkit::{Queue, Value};
use std::io;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

/// Several times the longest nap, so that whoever may come in would have come.
const A_WHILE: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(2);

/// Between fork and exec: becomes pid 1 of a new pid namespace. What stays outside waits for that
/// process, ends as it ends, and takes it along when it is killed.
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
            // Among them the one through which the exec's success is told, and copies of holds.
            // SAFETY: nothing is used from here on that has a descriptor.
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

/// Whether namespaces can be had; says why not, and fails then if everything is to be run.
fn can_unshare() -> bool {
    match try_start_inside("enter", &["nothing", "-", "-"]) {
        Ok(kid) => {
            kid.finish();
            true
        }
        Err(error) => {
            println!("not run: no pid namespace of our own: {error}");
            let required = std::env::var_os("SHMKIT_REQUIRE_ALL").is_some();
            assert!(!required, "SHMKIT_REQUIRE_ALL is set");
            false
        }
    }
}

/// Role: comes in where another is, or is that other. The stage tells how far it has come: 1 is
/// inside (the holder) or about to go in (the next), 2 lets the holder out, 3 is done.
pub(crate) fn enter(args: &[&str]) {
    let [what, name, stage] = args else {
        panic!("wrong arguments")
    };
    assert_eq!(std::process::id(), 1, "in a namespace of its own");
    if *what == "nothing" {
        return;
    }
    let stage = Stage::open(stage);
    let stay = || {
        stage.reach(1);
        stage.wait(2);
    };
    match *what {
        "hold value" => Value::<u64>::open(*name)
            .expect("open the value")
            .update(|n| {
                stay();
                *n += 10;
            }),
        "next value" => {
            let value = Value::<u64>::open(*name).expect("open the value");
            stage.reach(1);
            value.update(|n| *n *= 3);
        }
        "hold queue" => Queue::<u64>::open(*name)
            .expect("open the queue")
            .get_with(|_| stay())
            .expect("take"),
        "next queue" => {
            let queue = Queue::<u64>::open(*name).expect("open the queue");
            stage.reach(1);
            let item = queue.get().expect("take");
            stage.0.set(100 + item);
            return;
        }
        other => panic!("no such thing to do: {other}"),
    }
    stage.reach(3);
}

/// A holder inside, and the next one waiting for it, each in its namespace.
struct Pair {
    holder: Kid,
    next: Kid,
    held: Stage,
    waiting: Stage,
    _names: [Name; 2],
}

fn pair(hold: &str, next: &str, name: &str) -> Pair {
    let names = [Name::new("held"), Name::new("waiting")];
    let (held, waiting) = (Stage::create(&names[0]), Stage::create(&names[1]));
    let holder = start_inside("enter", &[hold, name, &names[0]]);
    held.wait(1);
    let next = start_inside("enter", &[next, name, &names[1]]);
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
        _names: names,
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
    assert_eq!(both.waiting.0.get(), 108, "7 was the holder's");
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
    assert_eq!(both.waiting.0.get(), 107, "the dead one took nothing");
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
