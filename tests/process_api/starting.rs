//! The reasons for which a start is refused.

use crate::fork::{
    Child, LIMIT, Line, Name, Witness, descriptors, end_after, exit, has_children, lead,
    limit_descriptors, panic_of, root_becomes_nobody, set_limit,
};
use crate::{join, spawn};
use shmkit::{Array, ByteQueue, Error, Process, Queue, Value};
use std::cell::Cell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Counts its drops, which happen in this process.
struct Noted<'a>(&'a Cell<u32>);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

pub(crate) fn a_process_with_threads_is_refused() {
    let (ready, go) = (Line::new(), Line::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                ready.tell();
                go.hear();
            });
            ready.hear();
        }
        let drops = Cell::new(0);
        let noted = Noted(&drops);
        let error = Process::spawn(move || drop(noted)).expect_err("there are threads");
        let Error::MultiThreaded { process, threads } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((process.as_str(), *threads), ("Process-1", 4));
        assert_eq!(drops.get(), 1);
        assert!(error.to_string().contains("`spawn_unchecked`"), "{error}");
        for _ in 0..3 {
            go.tell();
        }
    });
    assert!(!has_children());
    let child = Process::spawn(|| ()).expect("the threads are gone");
    assert_eq!(child.name(), "Process-2");
    assert_eq!(join(&child), Some(0));
}

/// A thread drops this at its very end, when its scope no longer waits for it.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        // This sleep is the length of the thread's end: the start must wait for it, and nothing else does.
        thread::sleep(Duration::from_millis(5));
    }
}

thread_local! {
    static LAST: Last = const { Last };
}

/// A thread may exist for some moments after a join.
pub(crate) fn a_process_whose_threads_have_finished_is_not() {
    for _ in 0..10 {
        thread::scope(|scope| {
            scope.spawn(|| LAST.with(|_| ()));
        });
        assert_eq!(join(&spawn(|| ())), Some(0));
    }
    for _ in 0..100 {
        thread::spawn(|| ()).join().expect("join a thread");
        assert_eq!(join(&spawn(|| ())), Some(0));
    }
}

/// At a fork, other threads may have standard output's lock and this crate's locks. The child inherits none
/// of them locked.
pub(crate) fn an_unchecked_start_beside_threads_that_print_never_hangs() {
    let stop = AtomicBool::new(false);
    let silence = std::fs::File::create("/dev/null").expect("open");
    lead(1, silence.as_raw_fd());
    let value = Value::new(0u64).expect("create");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut out = std::io::stdout().lock();
                    write!(out, "{}", shmkit::process::current_name()).expect("write");
                    value.update(|n| *n += 1);
                }
            });
        }
        for _ in 0..200 {
            // SAFETY: the other threads lock standard output and this crate's locks alone.
            let child = unsafe {
                Process::spawn_unchecked(|| {
                    end_after(LIMIT);
                    print!("{}", shmkit::process::current_name());
                    value.update(|n| *n += 1);
                })
            };
            assert_eq!(join(&child.expect("spawn")), Some(0));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(shmkit::process::current_name(), "main");
}

pub(crate) fn a_start_inside_a_closure_under_a_lock_is_refused() {
    let value = Value::new(1u64).expect("create");
    let other = Value::new(1u64).expect("create");
    let queue = Queue::<u64>::new(4).expect("create");
    queue.put(1).expect("put");
    let refused = |expected: usize| {
        let error = Process::spawn(|| ()).expect_err("a guard is held");
        let Error::GuardsHeld { process, guards } = &error else {
            panic!("{error:?}");
        };
        assert!(process.starts_with("Process-"), "{process}");
        assert_eq!(*guards, expected);
        // SAFETY: there are no other threads.
        let error = unsafe { Process::spawn_unchecked(|| ()) }.expect_err("a guard is held");
        assert!(matches!(error, Error::GuardsHeld { .. }), "{error:?}");
    };
    value.update(|_| refused(1));
    value.try_update(|_| refused(1)).expect("nobody else");
    queue.get_with(|_| refused(1)).expect("an item");
    value.update(|_| other.update(|_| refused(2)));
    let array = Array::new(&[1u64, 2]).expect("create");
    let guard = array.lock().expect("not poisoned");
    refused(1);
    value.update(|_| refused(2));
    drop(guard);
    let bytes = ByteQueue::new(64).expect("create");
    let room = bytes.reserve(8).expect("reserve");
    refused(1);
    value.update(|_| refused(2));
    room.commit(8).expect("commit");
    bytes.get_with(|_| refused(1)).expect("a message");
    let tail = queue.producer().expect("nobody else's");
    refused(1);
    let head = queue.consumer().expect("nobody else's");
    refused(2);
    drop((tail, head));
    assert!(!has_children());
    // A panic lets go of its guard.
    panic_of(|| value.update(|_| panic!("on purpose")));
    let child = Process::spawn(|| value.update(|n| *n += 1)).expect("none is held");
    child.join().expect("join");
    assert_eq!(value.get(), 2);
    // A child is not refused for its copy of the parent's guard.
    value.update(|_| {
        let child = Child::fork(|| {
            let own = Process::spawn(|| 7).expect("none is held here");
            exit(join(&own).unwrap_or(1));
        });
        assert_eq!(child.wait(), 7);
    });
}

/// A leaked guard counts as long as its handle exists. Afterwards any process may take over the lock, as the
/// started child does here.
pub(crate) fn a_leaked_guard_is_held_until_its_handle_goes() {
    let name = Name::new("leaked");
    let array = Array::create(&name.0, &[1u64, 2]).expect("create");
    let other = Array::<u64>::open(&name.0).expect("open");
    let mut guard = array.lock().expect("not poisoned");
    guard[0] = 10;
    std::mem::forget(guard);
    let error = Process::spawn(|| ()).expect_err("a guard is held");
    assert!(
        matches!(error, Error::GuardsHeld { guards: 1, .. }),
        "{error:?}"
    );
    drop(array);
    let child = Process::spawn(|| {
        end_after(LIMIT);
        let poisoned = other.lock().expect_err("left in the middle");
        let mut both = poisoned.into_inner();
        assert_eq!(*both, [10, 2]);
        both[1] = 20;
        drop(both);
        other.clear_poison();
    });
    let child = child.expect("the guard is gone with its handle");
    assert_eq!(join(&child), Some(0));
    assert_eq!(*other.lock().expect("cleared"), [10, 20]);
}

static RAN: OnceLock<Line> = OnceLock::new();
static FORKED: AtomicBool = AtomicBool::new(false);

/// Runs in the parent, inside `fork`.
extern "C" fn until_it_ran() {
    FORKED.store(true, Ordering::Relaxed);
    RAN.get().expect("made before").hear();
}

pub(crate) fn a_start_without_descriptors_is_refused() {
    let drops = Cell::new(0);
    RAN.get_or_init(Line::new);
    // If the start made a child, this would wait until the closure has run.
    // SAFETY: a plain function.
    unsafe { libc::pthread_atfork(None, Some(until_it_ran), None) };
    let before = limit_descriptors(3);
    let noted = Noted(&drops);
    let result = Process::spawn(move || {
        let _moved_in = &noted;
        RAN.get_or_init(Line::new).tell();
    });
    limit_descriptors(before);
    let error = result.expect_err("no descriptor is left");
    let Error::Os { place, op, source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(place, "process Process-1");
    assert_eq!(*op, "open a descriptor for it");
    assert_eq!(source.raw_os_error(), Some(libc::EMFILE));
    assert!(!FORKED.load(Ordering::Relaxed), "the closure ran");
    assert_eq!(drops.get(), 1);
    assert!(!has_children());
}

/// A child needs a descriptor for each handle, and the parent opens these before the fork.
pub(crate) fn a_start_without_a_descriptor_for_each_handle_is_refused() {
    let all: Vec<Value<u64>> = (0..50).map(|n| Value::new(n).expect("create")).collect();
    let ran = Witness::new();
    let before_all = descriptors();
    let next = std::fs::File::open("/dev/null").expect("open").as_raw_fd();
    let next = u64::try_from(next).expect("not negative");
    let drops = Cell::new(0);
    for room in [1, 20, 49] {
        let before = limit_descriptors(next + room);
        let noted = Noted(&drops);
        let result = Process::builder().daemon(room == 20).spawn(|| {
            let _moved_in = noted;
            ran.say("ran");
        });
        limit_descriptors(before);
        let error = result.expect_err("too few descriptors are left");
        let Error::Os { place, op, source } = &error else {
            panic!("{error:?}");
        };
        assert!(place.starts_with("process Process-"), "{place}");
        assert_eq!(*op, "open the segments of this process for it");
        assert_eq!(source.raw_os_error(), Some(libc::EMFILE));
        assert!(!has_children());
    }
    assert_eq!(drops.get(), 3);
    assert_eq!(descriptors(), before_all);
    let child = spawn(|| assert_eq!(all.iter().map(Value::get).sum::<u64>(), 49 * 50 / 2));
    assert_eq!(join(&child), Some(0));
    drop(child);
    assert_eq!(ran.outlive(), "");
}

pub(crate) fn a_start_that_fails_runs_nothing() {
    root_becomes_nobody();
    let drops = Cell::new(0);
    let before = set_limit(0, libc::RLIMIT_NPROC, 0);
    let noted = Noted(&drops);
    let result = Process::spawn(move || drop(noted));
    set_limit(0, libc::RLIMIT_NPROC, before);
    let error = result.expect_err("no process is left");
    assert!(
        matches!(&error, Error::Os { op: "fork", source, .. } if source.raw_os_error() == Some(libc::EAGAIN)),
        "{error:?}"
    );
    assert_eq!(drops.get(), 1);
    // The start has undone its preparations for the child.
    assert_eq!(shmkit::process::current_name(), "main");
    let child = Process::spawn(|| ()).expect("spawn");
    assert_eq!(child.name(), "Process-2");
    child.join().expect("join");
}

pub(crate) fn a_start_is_refused_where_children_are_forgotten() {
    let refused = || {
        let error = Process::spawn(|| ()).expect_err("its end would be forgotten");
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains("SIGCHLD"), "{error}");
    };
    // SAFETY: one of the system's own actions.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    refused();
    // SAFETY: integers, a pointer and a function's address that may be 0.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_flags = libc::SA_NOCLDWAIT;
    // SAFETY: an action to read, which is the default one.
    unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
    refused();
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    assert_eq!(join(&spawn(|| ())), Some(0));
}

pub(crate) fn a_daemon_is_refused_to_a_thread_that_may_end_before() {
    let result = thread::scope(|scope| {
        let other = scope.spawn(|| {
            // SAFETY: the other thread waits for this one.
            unsafe { Process::builder().daemon(true).spawn_unchecked(|| ()) }
        });
        other.join().expect("join a thread")
    });
    let error = result.expect_err("the kernel would end it with its thread");
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("main thread"), "{error}");
}
