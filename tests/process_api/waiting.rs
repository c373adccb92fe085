//! Waiting and signalling.

use crate::fork::{
    Child, LIMIT, Line, Witness, await_any_end, await_end, end_after, exit, for_ever, has_children,
    not_run, reap_by_handler, until,
};
use crate::{join, spawn};
use shmkit::{Error, Process};
use std::mem::{size_of, zeroed};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

pub(crate) fn threads_that_join_at_once_agree() {
    for round in 0..50 {
        let go = Line::new();
        let child = spawn(|| {
            go.hear();
            7
        });
        thread::scope(|scope| {
            let joins = [0; 3].map(|_| scope.spawn(|| child.join().expect("join")));
            let timed = scope.spawn(|| child.join_timeout(LONG).expect("join"));
            let spinning = scope.spawn(|| {
                while child.is_alive() {
                    thread::yield_now();
                }
                child.exit_code()
            });
            go.tell();
            for join in joins {
                assert_eq!(join.join().expect("a thread").code(), Some(7), "{round}");
            }
            let timed = timed.join().expect("a thread");
            assert_eq!(timed.and_then(|status| status.code()), Some(7));
            assert_eq!(spinning.join().expect("a thread"), Some(7));
        });
    }
}

pub(crate) fn a_status_is_kept() {
    let child = spawn(|| 3);
    for _ in 0..2 {
        assert_eq!(child.join().expect("join").code(), Some(3));
        let status = child.join_timeout(Duration::ZERO).expect("join");
        assert_eq!(status.and_then(|status| status.code()), Some(3));
        assert_eq!(child.exit_code(), Some(3));
        assert!(!child.is_alive());
        // No process is left to signal, and this is no error.
        child.terminate().expect("gone");
        child.kill().expect("gone");
    }
    // A child has ended, and nobody has waited for it.
    let child = Process::spawn(for_ever).expect("spawn");
    child.kill().expect("kill");
    until("the killed child's end", || !child.is_alive());
    child.terminate().expect("ended");
    assert_eq!(child.exit_code(), Some(-9));
}

/// This thread has gone to sleep so often.
fn sleeps() -> i64 {
    // SAFETY: integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: room for what it tells.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(failed, 0, "getrusage");
    usage.ru_nvcsw
}

pub(crate) fn a_wait_does_not_poll() {
    let child = Process::builder()
        .daemon(true)
        .spawn(for_ever)
        .expect("spawn");
    let (before, began) = (sleeps(), Instant::now());
    let timeout = Duration::from_millis(300);
    assert_eq!(child.join_timeout(timeout).expect("join"), None);
    assert!(began.elapsed() >= timeout);
    let slept = sleeps() - before;
    assert!(slept <= 3, "slept {slept} times for one wait");
    child.kill().expect("kill");
    child.join().expect("join");
}

pub(crate) fn a_wait_ends_with_the_process() {
    for timeout in [LONG, Duration::MAX] {
        let go = Line::new();
        let child = spawn(|| go.hear());
        let began = Instant::now();
        thread::scope(|scope| {
            let join = scope.spawn(|| child.join_timeout(timeout).expect("join"));
            go.tell();
            assert!(join.join().expect("a thread").is_some());
        });
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    }
}

/// Forks a child with that pid, which must be free. This process must be root in its namespace.
fn fork_with_pid(pid: libc::pid_t) -> libc::c_long {
    let wanted = [pid];
    // SAFETY: integers, for which zeros are valid.
    let mut args: libc::clone_args = unsafe { zeroed() };
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    args.set_tid = wanted.as_ptr().addr() as u64;
    args.set_tid_size = 1;
    // SAFETY: a fork of a process with one thread and no segment, and its arguments are alive.
    unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    }
}

pub(crate) fn a_signal_never_hits_a_pid_that_is_used_again() {
    // SAFETY: it takes a number.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } == -1 {
        let error = std::io::Error::last_os_error();
        return not_run(&format!("a pid namespace of one's own: {error}"));
    }
    // The first process of the namespace, which may choose pids.
    Child::fork(|| {
        assert_eq!(std::process::id(), 1);
        let ended = spawn(|| 3);
        ended.join().expect("join");
        let (pid, go) = (ended.pid().cast_signed(), Line::new());
        let other = fork_with_pid(pid);
        assert!(other >= 0, "{}", std::io::Error::last_os_error());
        if other == 0 {
            end_after(LIMIT);
            go.hear();
            exit(42);
        }
        assert_eq!(other, pid.into(), "the pid is used again");
        ended.kill().expect("gone");
        ended.terminate().expect("gone");
        assert!(!ended.is_alive());
        assert_eq!(ended.join().expect("join").code(), Some(3));
        assert_eq!(ended.exit_code(), Some(3));
        go.tell();
        assert_eq!(Child::of(pid).wait(), 42, "the other process was hit");
    })
    .finish();
}

fn is_no_child(error: &Error) -> bool {
    let text = "as its parent";
    assert!(error.to_string().contains(text), "{error}");
    matches!(error, Error::Os { source, .. } if source.raw_os_error() == Some(libc::ECHILD))
}

/// A forked child uses its handles to its siblings.
fn look_at_siblings(alive: &Process, known: &Process, unknown: &Process) {
    assert!(alive.is_alive());
    assert_eq!(alive.exit_code(), None);
    assert!(is_no_child(&alive.join().expect_err("no child")));
    let error = alive.join_timeout(LONG).expect_err("no child");
    assert!(is_no_child(&error));
    // The child knows what its parent knew before the fork.
    assert!(!known.is_alive());
    assert_eq!(known.exit_code(), Some(5));
    assert_eq!(known.join().expect("known").code(), Some(5));
    // The child can't learn what its parent did not know by then.
    assert!(!unknown.is_alive());
    assert_eq!(unknown.exit_code(), None);
    assert!(is_no_child(&unknown.join().expect_err("no child")));
    unknown.kill().expect("ended");
    alive.terminate().expect("terminate");
    until("the sibling's end", || !alive.is_alive());
}

pub(crate) fn a_forked_child_is_no_parent_of_its_siblings() {
    for by_crate in [false, true] {
        let ended = Line::new();
        let alive = Process::spawn(for_ever).expect("spawn");
        let known = spawn(|| 5);
        let mut unknown = Some(spawn(|| ended.tell()));
        known.join().expect("join");
        ended.hear();
        await_end(unknown.as_ref().expect("a handle").pid());
        let mut look = || {
            let handle = unknown.take().expect("inherited");
            look_at_siblings(&alive, &known, &handle);
            drop(handle); // takes nothing from the parent
            assert_eq!(join(&spawn(|| 9)), Some(9));
        };
        if by_crate {
            assert_eq!(join(&spawn(&mut look)), Some(0));
        } else {
            Child::fork(&mut look).finish();
        }
        assert_eq!(join(&alive), Some(-15));
        let unknown = unknown.expect("the child took its own copy");
        assert_eq!(unknown.exit_code(), Some(0));
    }
}

pub(crate) fn a_status_that_somebody_else_took_is_an_error() {
    let child = spawn(|| 4);
    let mut status = 0;
    // SAFETY: room for the status.
    let taken = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    assert_eq!(taken, child.pid().cast_signed());
    assert!(!child.is_alive());
    assert_eq!(child.exit_code(), None);
    assert!(is_no_child(&child.join().expect_err("taken")));
    let error = child.join_timeout(LONG).expect_err("taken");
    assert!(is_no_child(&error));
    child.kill().expect("gone");
    drop(child);
    assert_eq!(join(&spawn(|| ())), Some(0));
}

/// Runs in the parent, inside `fork`: the child ends, and perhaps the handler reaps it.
extern "C" fn until_it_has_ended() {
    await_any_end();
}

fn is_sigchld_blocked() -> bool {
    // SAFETY: integers, for which zeros are valid.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: no new set, and room for the present one.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    // SAFETY: a set that is alive.
    unsafe { libc::sigismember(&raw const set, libc::SIGCHLD) == 1 }
}

pub(crate) fn a_child_whose_status_a_handler_takes_at_once_is_started() {
    reap_by_handler();
    // SAFETY: a plain function.
    unsafe { libc::pthread_atfork(None, Some(until_it_has_ended), None) };
    for _ in 0..10 {
        let witness = Witness::new();
        let child = Process::spawn(|| {
            assert!(!is_sigchld_blocked());
            witness.say("ran");
        });
        let child = child.expect("it ran");
        assert!(!is_sigchld_blocked());
        assert_eq!(witness.outlive(), "ran");
        // The handler has taken the status.
        assert!(!has_children() && !child.is_alive());
        assert!(child.join().is_err());
        child.kill().expect("nothing to do");
    }
}
