//! A process leaves nothing behind.

use crate::fork::{
    Child, Line, Name, Witness, await_end, descriptors, exit, for_ever, has_children, lead, soon,
    until,
};
use crate::{join, spawn};
use shmkit::{Place, Process, Queue, Value};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Whether a process has that pid, alive or as a zombie.
fn exists(pid: u32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).expect("look at /proc")
}

pub(crate) fn a_dropped_handle_neither_ends_nor_waits_and_the_next_start_reaps() {
    let before = descriptors();
    let (go, witness) = (Line::new(), Witness::new());
    let mut pids = Vec::new();
    for _ in 0..5 {
        let child = spawn(|| {
            go.hear();
            witness.say("done ");
        });
        pids.push(child.pid());
    }
    for _ in 0..5 {
        go.tell(); // the drops of the handles neither ended the children nor waited for them
    }
    assert_eq!(witness.outlive(), "done done done done done ");
    // The kernel closes a process's files before the process ends.
    pids.iter().for_each(|pid| await_end(*pid));
    let next = spawn(|| ());
    assert!(!pids.iter().any(|pid| exists(*pid)), "zombies");
    next.join().expect("join");
    drop((next, go));
    assert!(!has_children());
    assert_eq!(descriptors(), before);
    // The drop of a handle reaps a child that has ended.
    let child = spawn(|| ());
    let pid = child.pid();
    until("the child's end", || {
        child.join_timeout(Duration::ZERO).expect("join").is_some()
    });
    drop(child);
    assert!(!exists(pid));
}

pub(crate) fn a_hundred_processes_leave_nothing() {
    let before = descriptors();
    let name = Name::new("hundred");
    {
        let named = Queue::<u64>::create(&name.0, 128).expect("create");
        let sum = Value::new(0u64).expect("create");
        let children: Vec<Process> = (0..100u64)
            .map(|number| {
                let child = Process::builder().daemon(number % 3 == 0).spawn(|| {
                    sum.update(|sum| *sum += number);
                    let opened = Queue::<u64>::open(&name.0).expect("open");
                    opened.put(number).expect("put");
                    if number % 2 == 0 {
                        for_ever();
                    }
                });
                child.expect("spawn")
            })
            .collect();
        let mut told: Vec<u64> = (0..100).map(|_| named.get().expect("get")).collect();
        told.sort_unstable();
        assert!(told.into_iter().eq(0..100));
        for (number, child) in children.iter().enumerate() {
            if number % 2 == 0 {
                child.terminate().expect("terminate");
            }
            let code = if number % 2 == 0 { -15 } else { 0 };
            assert_eq!(join(child), Some(code));
        }
        assert_eq!(sum.get(), 99 * 100 / 2);
        assert_eq!(name.holders(), 1, "the parent");
        assert!(!children.iter().any(|child| exists(child.pid())));
    }
    assert!(!has_children(), "zombies");
    assert_eq!(descriptors(), before);
    assert!(!name.exists());
}

/// The process whose children wait for its death at their start; 0 for none.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// Runs in the child, inside `fork`.
extern "C" fn until_the_parent_is_gone() {
    let parent = PARENT.load(Ordering::Relaxed);
    // A child learns of its parent's death by asking alone.
    // SAFETY: it has no conditions.
    while parent != 0 && unsafe { libc::getppid() } == parent {
        std::thread::yield_now();
    }
}

/// The kernel signals the parent's death to a daemon that has asked for the signal before. Here the parent
/// dies first.
pub(crate) fn a_daemon_whose_parent_died_at_once_never_runs() {
    for daemon in [false, true] {
        let witness = Witness::new();
        let parent = Child::fork(|| {
            // SAFETY: a plain function.
            unsafe { libc::pthread_atfork(None, None, Some(until_the_parent_is_gone)) };
            PARENT.store(std::process::id().cast_signed(), Ordering::Relaxed);
            let child = Process::builder()
                .daemon(daemon)
                .spawn(|| witness.say("ran"));
            child.expect("spawn");
            exit(0);
        });
        parent.finish();
        assert_eq!(witness.outlive(), if daemon { "" } else { "ran" });
    }
}

/// A change of credentials makes the kernel forget to end a daemon with its parent.
pub(crate) fn a_daemon_that_the_kernel_forgot_ends_while_it_waits() {
    let never = Queue::<u64>::new(1).expect("create");
    let value = Value::new(0u64).expect("create");
    let waits: [&dyn Fn(); 2] = [&|| drop(never.get()), &|| {
        assert_eq!(value.wait_until(|n| *n == 1), 1);
    }];
    for wait in waits {
        let (ready, witness) = (Line::new(), Witness::new());
        let parent = Child::fork(|| {
            let daemon = Process::builder().daemon(true).spawn(|| {
                // SAFETY: this option takes a number.
                assert_eq!(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }, 0);
                ready.tell();
                wait();
            });
            daemon.expect("spawn");
            ready.hear();
            exit(0);
        });
        parent.finish();
        assert_eq!(soon("the daemon's end", || witness.outlive()), "");
    }
    // The forked child of a daemon is no daemon.
    let witness = Witness::new();
    let daemon = Process::builder().daemon(true).spawn(|| {
        let child = Child::fork(|| {
            let timeout = Duration::from_millis(300); // several naps
            assert!(never.get_timeout(timeout).is_err());
            witness.say("went on");
        });
        child.finish();
    });
    assert_eq!(join(&daemon.expect("spawn")), Some(0));
    assert_eq!(witness.outlive(), "went on");
}

pub(crate) fn a_daemon_has_an_empty_standard_input() {
    let (from, mut to) = std::io::pipe().expect("a pipe");
    to.write_all(b"12").expect("write");
    lead(libc::STDIN_FILENO, from.as_raw_fd());
    drop((from, to));
    for (daemon, found) in [(true, 0), (false, 1)] {
        let child = Process::builder().daemon(daemon).spawn(|| {
            let mut byte = [0];
            // SAFETY: there is room for the byte.
            let read = unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) };
            i32::try_from(read).expect("0 or 1")
        });
        assert_eq!(join(&child.expect("spawn")), Some(found));
    }
}

/// A daemon that the kernel ends after its parent's exit handlers would be the last holder.
pub(crate) fn an_exit_ends_daemons_before_the_names_go() {
    let ends: [fn(); 2] = [|| std::process::exit(0), || ()];
    for (round, end) in ends.into_iter().cycle().take(20).enumerate() {
        let name = Name::new(&format!("daemons-{round}"));
        let parent = spawn(|| {
            let queue = Queue::<u64>::create(&name.0, 4).expect("create");
            let daemon = Process::builder().daemon(true).spawn(|| {
                let _ = queue.get();
            });
            std::mem::forget((daemon.expect("spawn"), queue.clone()));
            end();
        });
        assert_eq!(join(&parent), Some(0));
        assert!(!name.exists(), "round {round}");
    }
}

pub(crate) fn a_child_outlives_its_parent_and_keeps_the_name() {
    let name = Name::new("kept");
    let (go, done) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let value = Value::create(&name.0, 1u64).expect("create");
        drop(spawn(|| {
            go.hear();
            value.update(|n| *n += 1);
            done.tell();
            go.hear();
            let value = value; // the child's own copy of the handle
            drop(value);
            done.tell();
        }));
    });
    parent.finish();
    assert_eq!(name.holders(), 1, "the child");
    go.tell();
    done.hear();
    assert_eq!(Value::<u64>::open(&name.0).expect("open").get(), 2);
    go.tell();
    done.hear();
    assert!(!name.exists(), "the child was the last one out");
}

/// A child's closure borrows the handle, or panics, or does not use the handle: the child's copy is not
/// dropped.
pub(crate) fn a_child_that_is_the_last_one_out_removes_the_name() {
    let ends: [fn(&Value<u64>); 3] = [
        |value| value.set(2),
        |_| (),
        |_| {
            std::panic::set_hook(Box::new(|_| ()));
            panic!("on purpose");
        },
    ];
    for end in ends {
        let (name, kept) = (Name::new("last"), Name::new("last-kept"));
        let (go, witness) = (Line::new(), Witness::new());
        let parent = Child::fork(|| {
            let value = Value::create(&name.0, 1u64).expect("create");
            let persistent = Place::named(&kept.0).persistent(true);
            let _persistent = Value::create(persistent, 1u64).expect("create");
            let start = || {
                spawn(|| {
                    go.hear();
                    end(&value);
                })
            };
            drop([(); 3].map(|()| start()));
        });
        parent.finish();
        assert_eq!(name.holders(), 3);
        for _ in 0..3 {
            go.tell(); // all of them leave at the same time
        }
        assert_eq!(witness.outlive(), "");
        assert!(!name.exists());
        assert!(kept.exists(), "persistent");
    }
}

static REPORT: AtomicI32 = AtomicI32::new(-1);

extern "C" fn at_exit() {
    let fd: RawFd = REPORT.load(Ordering::Relaxed);
    // SAFETY: the byte is alive; in every process of this test, the descriptor is the pipe's.
    unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
}

/// The parent alone runs the handler that it registered, and once.
pub(crate) fn a_child_runs_no_exit_handlers() {
    let (mut from, to) = std::io::pipe().expect("a pipe");
    REPORT.store(to.as_raw_fd(), Ordering::Relaxed);
    let parent = Child::fork(|| {
        // SAFETY: a plain function.
        assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
        let hook: fn() -> i32 = || 0;
        for end in [hook, || panic!("on purpose")] {
            let child = Process::spawn(|| {
                std::panic::set_hook(Box::new(|_| ()));
                end()
            });
            child.expect("spawn").join().expect("join");
        }
        (&to).write_all(b"parent").expect("write");
        std::process::exit(0);
    });
    parent.finish();
    drop(to);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut from, &mut said).expect("text");
    assert_eq!(said, "parentx");
}
