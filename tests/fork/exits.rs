//! Forks at odd moments, and normal exits: neither hangs, aborts, or leaves a name.

use crate::descriptors::close_segments;
use crate::fork::{Child, Line, Name, end_after, exit, raw_fork, soon};
use shmkit::{Place, Queue, Value};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Forks a child that uses what it inherited, and waits for it. For handlers that can't have an argument.
fn fork_and_wait() {
    let pid = raw_fork();
    if pid == 0 {
        exit(0);
    }
    assert_eq!(Child::of(pid).wait(), 0);
}

extern "C" fn fork_at_exit() {
    fork_and_wait();
}

/// A child of this test, whose normal end runs the exit handlers.
fn child_that_exits(f: impl FnOnce()) -> Child {
    let pid = raw_fork();
    if pid == 0 {
        f();
        std::process::exit(0);
    }
    Child::of(pid)
}

pub(crate) fn a_fork_in_an_exit_handler_or_a_destructor_works() {
    let name = Name::new("late");
    let child = child_that_exits(|| {
        // SAFETY: the handler is a plain function. It is registered first, and so called last.
        assert_eq!(unsafe { libc::atexit(fork_at_exit) }, 0);
        std::mem::forget(Value::create(&name.0, 1u64).expect("create"));
        // SAFETY: as above, and called first.
        assert_eq!(unsafe { libc::atexit(fork_at_exit) }, 0);
    });
    assert_eq!(soon("forks in exit handlers", || child.wait()), 0);
    assert!(!name.exists());

    struct ForksAtTheEnd;
    impl Drop for ForksAtTheEnd {
        fn drop(&mut self) {
            fork_and_wait();
        }
    }
    thread_local! {
        static LATE: RefCell<Option<ForksAtTheEnd>> = const { RefCell::new(None) };
    }
    let child = Child::fork(|| {
        let name = name.0.clone();
        std::thread::spawn(move || {
            LATE.set(Some(ForksAtTheEnd)); // before the crate's own, and so dropped after them
            let value = Value::create(&name, 1u64).expect("create");
            fork_and_wait();
            drop(value);
        })
        .join()
        .expect("join");
    });
    assert_eq!(soon("a fork in a destructor", || child.wait()), 0);
}

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn fork_in_handler(_: libc::c_int) {
    fork_and_wait();
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The signal comes in the middle of creates, opens and drops.
pub(crate) fn a_fork_in_a_signal_handler_does_not_hang() {
    let name = Name::new("handler");
    let handler: extern "C" fn(libc::c_int) = fork_in_handler;
    // SAFETY: the fields are numbers and addresses, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is alive, and the old one is not asked for.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let target = std::process::id().cast_signed();
    let sender = Child::fork(|| {
        loop {
            // SAFETY: the process is this one's parent, which waits for it.
            if unsafe { libc::kill(target, libc::SIGUSR1) } != 0 {
                return;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    let mut rounds = 0;
    while FORKS.load(Ordering::Relaxed) < 300 {
        let value = Value::open_or_create(&name.0, 0u64).expect("open or create");
        value.update(|n| *n += 1);
        drop(value);
        rounds += 1;
    }
    sender.kill();
    println!("  300 forks in a handler, in {rounds} rounds");
    assert!(!name.exists());
}

static KEPT: OnceLock<Value<u64>> = OnceLock::new();

pub(crate) fn a_normal_exit_leaves_no_name() {
    let (name, waiting) = (Name::new("static"), Name::new("waiting"));
    let child = child_that_exits(|| {
        KEPT.set(Value::create(&name.0, 1u64).expect("create"))
            .expect("set once");
        let queue = Queue::<u64>::create(&waiting.0, 4).expect("create");
        let ready = Line::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                ready.tell();
                queue.get() // for ever: main returns meanwhile
            });
            ready.hear();
            std::process::exit(0);
        });
    });
    assert_eq!(child.wait(), 0);
    assert!(!name.exists() && !waiting.exists());
}

pub(crate) fn an_exit_leaves_the_names_of_others() {
    let (held, persistent) = (Name::new("held"), Name::new("persistent"));
    let value = Value::create(&held.0, 1u64).expect("create");
    let child = child_that_exits(|| {
        std::mem::forget(Value::<u64>::open(&held.0).expect("open"));
        let place = Place::named(&persistent.0).persistent(true);
        std::mem::forget(Value::create(place, 1u64).expect("create"));
    });
    assert_eq!(child.wait(), 0);
    assert!(held.exists() && persistent.exists());
    assert_eq!(held.holders(), 1);
    drop(value);
    assert!(!held.exists());
}

/// Has several processes exit at once, in rounds; each first calls `prepare`.
fn exit_together(what: &str, prepare: fn()) {
    for round in 0..100 {
        let name = Name::new(&format!("{what}-{round}"));
        let value = Value::create(&name.0, 1u64).expect("create");
        let go = Line::new();
        let children: Vec<_> = (0..3)
            .map(|_| {
                child_that_exits(|| {
                    end_after(Duration::from_secs(30));
                    std::mem::forget(value.clone());
                    prepare();
                    go.hear();
                })
            })
            .collect();
        // This process's own hold ends without the name's going.
        drop(value);
        for _ in &children {
            go.tell();
        }
        for child in children {
            assert_eq!(child.wait(), 0);
        }
        assert!(!name.exists(), "round {round}");
    }
}

/// Each of several that exit at once sees the others until they have departed.
pub(crate) fn of_several_that_exit_at_once_one_takes_the_name() {
    exit_together("together", || ());
}

pub(crate) fn of_several_without_descriptors_that_exit_at_once_one_takes_the_name() {
    exit_together("bare", || assert!(!close_segments().is_empty()));
}

/// A copy that no fork handler has seen shares its parent's descriptors, and with them the holds.
pub(crate) fn a_copied_process_that_exits_departs_from_nothing() {
    let name = Name::new("copied");
    let value = Value::create(&name.0, 1u64).expect("create");
    let (flags, none) = (libc::SIGCHLD, 0);
    // SAFETY: this process has a single thread, so its copy is whole; the copy only exits.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if pid == 0 {
        // SAFETY: no other thread exists.
        unsafe { libc::exit(0) };
    }
    let pid = pid.try_into().expect("a pid");
    assert_eq!(soon("the copy's end", || Child::of(pid).wait()), 0);
    assert!(name.exists() && value.is_reachable());
    assert_eq!(name.holders(), 1);
}

/// The lines of [`linger`].
static LINGERS: OnceLock<(Line, Line)> = OnceLock::new();

extern "C" fn linger() {
    let (departed, go) = LINGERS.get().expect("set before the exit");
    departed.tell();
    go.hear();
}

/// A thread that still runs while the process exits is no dead holder: nobody takes its lock over.
pub(crate) fn a_departing_holder_is_alive_for_locks() {
    let name = Name::new("departing");
    assert!(LINGERS.set((Line::new(), Line::new())).is_ok());
    let (departed, go) = LINGERS.get().expect("set");
    // SAFETY: a plain function. It is registered before the crate's handler, and so called after it.
    assert_eq!(unsafe { libc::atexit(linger) }, 0);
    let value = Value::create(&name.0, 0u64).expect("create");
    let exiting = child_that_exits(|| {
        let locked = Line::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                value.update(|_| {
                    locked.tell();
                    loop {
                        std::thread::park();
                    }
                })
            });
            locked.hear();
            std::process::exit(0);
        });
    });
    departed.hear();
    assert_eq!(name.holders(), 1, "whoever departs counts no more");
    let next = Child::fork(|| value.update(|n| *n += 1));
    std::thread::sleep(Duration::from_millis(200)); // ten naps of a waiter
    assert_eq!(value.get(), 0, "the lock of a living thread was taken over");
    go.tell();
    assert_eq!(exiting.wait(), 0);
    soon("a take-over", || next.finish());
    assert_eq!(value.get(), 1);
}
