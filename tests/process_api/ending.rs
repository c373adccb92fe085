//! What is left of a process: nothing.

use crate::fork::{
    Child, LIMIT, Line, Name, Witness, descriptors, end_after, exit, for_ever, has_children,
};
use shmkit::{Place, Process, Queue, Value};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Whether there is a process of that pid, as a zombie or alive.
fn exists(pid: u32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).expect("look at /proc")
}

pub(crate) fn a_dropped_handle_neither_ends_nor_waits_and_the_next_start_reaps() {
    let before = descriptors();
    let (go, witness) = (Line::new(), Witness::new());
    let mut pids = Vec::new();
    for _ in 0..5 {
        let child = Process::spawn(|| {
            end_after(LIMIT);
            go.hear();
            witness.say("done ");
        });
        pids.push(child.expect("spawn").pid());
    }
    for _ in 0..5 {
        go.tell(); // they were neither ended nor waited for
    }
    assert_eq!(witness.outlive(), "done done done done done ");
    // Their ends are near: the kernel closes what they have open first.
    for pid in &pids {
        // SAFETY: integers and pointers, for which zeros are valid.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: room for what it tells.
        let failed = unsafe { libc::waitid(libc::P_PID, *pid, &raw mut info, options) };
        assert_eq!(failed, 0, "it was reaped by nobody");
    }
    let next = Process::spawn(|| ()).expect("spawn");
    assert!(!pids.iter().any(|pid| exists(*pid)), "zombies");
    next.join().expect("join");
    drop((next, go));
    assert!(!has_children());
    assert_eq!(descriptors(), before);
    // One that has ended is reaped by the drop itself.
    let child = Process::spawn(|| ()).expect("spawn");
    let pid = child.pid();
    while child.join_timeout(Duration::ZERO).expect("join").is_none() {}
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
            child.join().expect("join");
            let code = if number % 2 == 0 { -15 } else { 0 };
            assert_eq!(child.exit_code(), Some(code));
        }
        assert_eq!(sum.get(), 99 * 100 / 2);
        assert_eq!(name.holders(), 1, "the parent");
        assert!(!children.iter().any(|child| exists(child.pid())));
    }
    assert!(!has_children(), "zombies");
    assert_eq!(descriptors(), before);
    assert!(!name.exists());
}

/// Where the handler below is to wait for its parent's death; 0 for nowhere.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// Runs in the child, inside `fork`.
extern "C" fn until_the_parent_is_gone() {
    let parent = PARENT.load(Ordering::Relaxed);
    // SAFETY: it has no conditions.
    while parent != 0 && unsafe { libc::getppid() } == parent {
        std::thread::yield_now();
    }
}

/// The kernel's signal is missed by a child whose parent is dead before it asks for that.
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

pub(crate) fn a_child_outlives_its_parent_and_keeps_the_name() {
    let name = Name::new("kept");
    let (go, done) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let value = Value::create(&name.0, 1u64).expect("create");
        let child = Process::spawn(|| {
            end_after(LIMIT);
            go.hear();
            value.update(|n| *n += 1);
            done.tell();
            go.hear();
            let value = value; // its own copy of the handle
            drop(value);
            done.tell();
        });
        drop(child.expect("spawn"));
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

/// A child whose closure borrows the handle, or panics, or knows nothing of it: nobody drops its copy.
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
            let children = [0; 3].map(|_| {
                Process::spawn(|| {
                    end_after(LIMIT);
                    go.hear();
                    end(&value);
                })
            });
            for child in children {
                child.expect("spawn");
            }
        });
        parent.finish();
        assert_eq!(name.holders(), 3);
        for _ in 0..3 {
            go.tell(); // to all at once: they leave beside each other
        }
        assert_eq!(witness.outlive(), "");
        assert!(!name.exists());
        assert!(kept.exists(), "persistent");
    }
}

static REPORT: AtomicI32 = AtomicI32::new(-1);

extern "C" fn at_exit() {
    let fd: RawFd = REPORT.load(Ordering::Relaxed);
    // SAFETY: the byte is alive; the descriptor is the pipe's in every process of this test.
    unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
}

/// What was registered in the parent is the parent's to run, once.
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
