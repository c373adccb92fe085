//! Processes.

use crate::fork::{Child, LIMIT, Line, Witness, captured, end_after, exit, for_ever, has_children};
use crate::{at_once, within};
use shmkit::process::current_name;
use shmkit::{Process, Queue, Value};
use std::io::Write;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

pub(crate) fn current() {
    assert_eq!(current_name(), "main");
    let pid = Value::new(0u32).expect("create");
    let (told, go) = (Line::new(), Line::new());
    let child = Process::spawn(|| {
        pid.set(std::process::id());
        assert_eq!(current_name(), "Process-1");
        told.tell();
        go.hear();
    });
    let child = child.expect("spawn");
    told.hear();
    assert!(child.is_alive());
    assert_eq!(child.exit_code(), None);
    assert_eq!(child.pid(), pid.get());
    assert_ne!(child.pid(), std::process::id());
    go.tell();
    assert!(child.join().expect("join").success());
    assert_eq!(current_name(), "main");
}

/// Starts a child of a parent that ends by `end`. Returns the child's words before its own end, which must
/// come by itself.
fn child_of_ending(daemon: bool, end: fn()) -> String {
    let witness = Witness::new();
    let (started, parent_gone) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let child = Process::builder().daemon(daemon).spawn(|| {
            end_after(LIMIT);
            started.tell();
            parent_gone.hear();
            witness.say("outlived its parent");
        });
        child.expect("spawn");
        started.hear(); // the child is a daemon by now, or not
        end();
    });
    parent.wait();
    if !daemon {
        parent_gone.tell();
    }
    witness.outlive()
}

pub(crate) fn daemon() {
    let killed: fn() = || {
        // SAFETY: it takes a number.
        unsafe { libc::raise(libc::SIGKILL) };
    };
    for end in [killed, || exit(0), || std::process::exit(3), || ()] {
        assert_eq!(child_of_ending(true, end), "");
        assert_eq!(child_of_ending(false, end), "outlived its parent");
    }
}

pub(crate) fn lifecycle() {
    let (told, go) = (Line::new(), Line::new());
    let child = Process::builder().name("worker").spawn(|| {
        assert_eq!(current_name(), "worker");
        told.tell();
        go.hear();
    });
    let child = child.expect("spawn");
    assert_eq!(child.name(), "worker");
    told.hear();
    assert!(child.is_alive());
    assert_eq!(child.exit_code(), None);
    go.tell();
    assert_eq!(child.join().expect("join").code(), Some(0));
    assert!(!child.is_alive());
    assert_eq!(child.exit_code(), Some(0));
    assert!(!has_children());
    // A process with a name of its own is counted too.
    let next = Process::spawn(|| ()).expect("spawn");
    assert_eq!(next.name(), "Process-2");
    next.join().expect("join");
}

pub(crate) fn terminate_and_kill() {
    type Way = fn(&Process) -> shmkit::Result<()>;
    for (end, code) in [(Process::terminate as Way, -15), (Process::kill, -9)] {
        let child = Process::spawn(|| for_ever()).expect("spawn");
        assert!(child.is_alive());
        let joined = at_once(|| child.join_timeout(Duration::ZERO));
        assert_eq!(joined.expect("join"), None);
        let some = Duration::from_millis(50);
        let joined = within(some, |timeout| child.join_timeout(timeout));
        assert_eq!(joined.expect("join"), None);
        assert!(child.is_alive());
        assert_eq!(child.exit_code(), None);
        end(&child).expect("signal");
        let status = at_once(|| child.join_timeout(LONG)).expect("join");
        assert!(status.is_some_and(|status| status.code().is_none()));
        assert!(!child.is_alive());
        assert_eq!(child.exit_code(), Some(code));
    }
    assert!(!has_children());
}

type Name = [u8; 16];

fn tell_names(names: &Queue<Name>, depth: u32) {
    let mut name = [0; 16];
    let current = current_name();
    name[..current.len()].copy_from_slice(current.as_bytes());
    names.put(name).expect("put");
    if depth > 0 {
        for _ in 0..2 {
            let child = Process::spawn(|| tell_names(names, depth - 1)).expect("spawn");
            assert_eq!(child.join().expect("join").code(), Some(0));
        }
    }
}

pub(crate) fn recursion() {
    let names = Queue::<Name>::new(16).expect("create");
    tell_names(&names, 2);
    let told: Vec<String> = names
        .try_iter()
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("text");
            name.trim_end_matches('\0').to_owned()
        })
        .collect();
    let expected = [
        "main",
        "Process-1",
        "Process-1:1",
        "Process-1:2",
        "Process-2",
        "Process-2:1",
        "Process-2:2",
    ];
    assert_eq!(told, expected);
}

pub(crate) fn many_processes() {
    let children: Vec<Process> = (0..100)
        .map(|_| Process::spawn(|| for_ever()).expect("spawn"))
        .collect();
    for child in &children {
        child.terminate().expect("terminate");
    }
    for child in &children {
        child.join().expect("join");
        assert_eq!(child.exit_code(), Some(-15));
    }
    assert!(!has_children());
}

/// Returns the exit code of a process, and its words on standard error.
fn ends_with(start: impl FnOnce() -> shmkit::Result<Process>) -> (Option<i32>, String) {
    let mut code = None;
    let said = captured(libc::STDERR_FILENO, || {
        let child = start().expect("spawn");
        let status = child.join().expect("join");
        code = child.exit_code();
        assert_eq!(status.code(), code.filter(|code| *code >= 0));
    });
    (code, said)
}

fn silent(code: i32) -> (Option<i32>, String) {
    (Some(code), String::new())
}

pub(crate) fn exit_codes() {
    assert_eq!(ends_with(|| Process::spawn(|| ())), silent(0));
    for code in [0, 1, 7, 255] {
        assert_eq!(ends_with(|| Process::spawn(|| code)), silent(code));
        let exits = || Process::spawn(|| std::process::exit(code));
        assert_eq!(ends_with(exits), silent(code));
    }
    assert_eq!(ends_with(|| Process::spawn(|| -1)), silent(255));
    let well = || Process::spawn(|| Ok::<(), String>(()));
    assert_eq!(ends_with(well), silent(0));
    let named = || Process::builder().name("worker");
    let badly = || named().spawn(|| Err::<(), _>("no such \"job\""));
    let text = "worker: error: \"no such \\\"job\\\"\"\n";
    assert_eq!(ends_with(badly), (Some(1), text.to_owned()));
    let (code, said) = ends_with(|| Process::spawn(|| panic!("the {} text", "panic's")));
    assert_eq!(code, Some(101));
    assert!(said.contains("the panic's text"), "{said}");
    for signal in [libc::SIGUSR1, libc::SIGKILL, libc::SIGSEGV] {
        let ended = ends_with(|| {
            Process::spawn(|| {
                no_core_dump();
                // SAFETY: it takes a number.
                unsafe { libc::raise(signal) };
                unreachable!("the signal's default is the end");
            })
        });
        assert_eq!(ended, silent(-signal));
    }
}

fn no_core_dump() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a limit to read.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    // Rust's own handler is for stack overflows, and passes this one on by returning to it.
    // SAFETY: the default action is none of ours.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
}

/// Notes which process dropped it.
struct Noted<'a>(&'a Queue<u32>);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.put(std::process::id()).expect("put");
    }
}

pub(crate) fn captures_dropped_in_the_parent_and_in_the_child() {
    let drops = Queue::<u32>::new(8).expect("create");
    let me = std::process::id();
    let go = Line::new();
    for panics in [false, true] {
        let noted = Noted(&drops);
        let go = &go;
        let child = Process::spawn(move || {
            go.hear();
            let _moved_in = &noted;
            if panics {
                std::panic::set_hook(Box::new(|_| ()));
                panic!("on purpose");
            }
        });
        let child = child.expect("spawn");
        assert_eq!(drops.try_get(), Ok(me), "dropped once it is started");
        assert!(drops.is_empty());
        go.tell();
        child.join().expect("join");
        assert_eq!(child.exit_code(), Some(if panics { 101 } else { 0 }));
        assert_eq!(drops.try_get(), Ok(child.pid()));
        assert!(drops.is_empty());
    }
    // A process that is not started takes its captures with it.
    let held = Value::new(0u8).expect("create");
    let noted = Noted(&drops);
    let refused = held.update(|_| Process::spawn(move || drop(noted)));
    refused.expect_err("a guard is held");
    assert_eq!(drops.try_get(), Ok(me));
    assert!(drops.is_empty());
    // The child drops the value that it returns.
    let mut pid = 0;
    captured(libc::STDERR_FILENO, || {
        let child = Process::spawn(|| Err::<(), _>(Said(Noted(&drops)))).expect("spawn");
        pid = child.pid();
        child.join().expect("join");
    });
    assert_eq!(drops.try_get(), Ok(pid));
    assert!(drops.is_empty());
}

struct Said<'a>(#[allow(dead_code)] Noted<'a>);

impl std::fmt::Debug for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("on purpose")
    }
}

fn spawn_and_join(f: impl FnOnce()) {
    let child = Process::spawn(f).expect("spawn");
    child.join().expect("join");
}

pub(crate) fn stdout_of_the_child_flushed_once_never_twice() {
    let said = captured(libc::STDOUT_FILENO, || {
        print!("before "); // without the end of a line, the text stays in the buffer
        spawn_and_join(|| {
            print!("child ");
            spawn_and_join(|| print!("grandchild "));
            print!("goes on ");
        });
        print!("between ");
        // A child's text comes out however the child ends, short of a signal.
        spawn_and_join(|| {
            print!("exits ");
            std::process::exit(0);
        });
        spawn_and_join(|| {
            std::panic::set_hook(Box::new(|_| ()));
            print!("panics ");
            panic!("on purpose");
        });
        // A child may start in the middle of the parent's own writing.
        let mut out = std::io::stdout().lock();
        write!(out, "locked ").expect("write");
        spawn_and_join(|| print!("child of locked "));
        write!(out, "after").expect("write");
        out.flush().expect("flush");
    });
    assert_eq!(
        said,
        "before child grandchild goes on between exits panics locked child of locked after"
    );
}
