//! A caller that handles signals.

use crate::crew::{children_of, crew_of, supervisor};
use crate::fork::{reap_by_handler, soon};
use crate::tasks::{die, killed, pool, works};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

pub(crate) fn a_callers_handler_waits_for_no_worker() {
    reap_by_handler();
    let pool = pool(1);
    for _ in 0..3 {
        works(&pool);
        let dead = killed(pool.apply(die, ()));
        assert!(!children_of(supervisor()).contains(&dead), "it was reaped");
    }
    works(&pool);
    drop(pool);
}

fn send(pid: i32, signal: i32) {
    // SAFETY: it takes numbers. The pids are of this test's own processes, or stand for their group.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// A terminal signals a group of processes, and a manager of services signals each process. Here the caller
/// goes on.
pub(crate) fn a_signal_that_the_caller_handles_leaves_its_pool_working() {
    extern "C" fn nothing(_: i32) {}
    let requests = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    // SAFETY: it takes numbers. This test's processes become a group of their own.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
    for signal in requests {
        // SAFETY: a function that lives as long as the program.
        unsafe { libc::signal(signal, nothing as *const () as usize) };
    }
    let pool = pool(2);
    works(&pool);
    let boss = supervisor();
    let crew = crew_of(boss, 2);
    for signal in requests {
        send(0, signal);
        works(&pool);
        for pid in crew.iter().chain([&boss]) {
            send(pid.cast_signed(), signal);
        }
        works(&pool);
    }
    // A program that a task starts is ended as usual.
    let ended = pool.apply(
        |()| {
            let status = Command::new("sh").args(["-c", "kill -TERM $$"]).status();
            status.expect("run a shell").signal()
        },
        (),
    );
    assert_eq!(ended, Ok(Some(libc::SIGTERM)));
    assert_eq!((supervisor(), children_of(boss)), (boss, crew));
    soon("the termination", || pool.terminate());
}
