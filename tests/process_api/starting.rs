//! What a start is refused for.

use crate::fork::{LIMIT, Line, Name, end_after, exit, has_children, raw_fork};
use shmkit::{Array, ByteQueue, Error, Process, Queue, Value};
use std::cell::Cell;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Counts its drops in this process.
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
    child.join().expect("join");
}

/// What a thread drops at its very end, after its scope is left: that takes a moment.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(5));
    }
}

thread_local! {
    static LAST: Last = const { Last };
}

/// A thread whose end was waited for may be there for some moments more.
pub(crate) fn a_process_whose_threads_have_finished_is_not() {
    for _ in 0..10 {
        thread::scope(|scope| {
            scope.spawn(|| LAST.with(|_| ()));
        });
        let child = Process::spawn(|| ()).expect("spawn");
        assert_eq!(child.join().expect("join").code(), Some(0));
    }
    for _ in 0..100 {
        thread::spawn(|| ()).join().expect("join a thread");
        let child = Process::spawn(|| ()).expect("spawn");
        assert_eq!(child.join().expect("join").code(), Some(0));
    }
}

/// What another thread has of standard output's buffer and of this crate's at the moment of a fork is
/// not left to the child.
pub(crate) fn an_unchecked_start_beside_threads_that_print_never_hangs() {
    let stop = AtomicBool::new(false);
    let silence = std::fs::File::create("/dev/null").expect("open");
    // SAFETY: both are open.
    let led = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&silence), 1) };
    assert_eq!(led, 1, "lead the stream");
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
            // SAFETY: the other thread has standard output and what is this crate's, no more.
            let child = unsafe {
                Process::spawn_unchecked(|| {
                    end_after(LIMIT);
                    print!("{}", shmkit::process::current_name());
                    value.update(|n| *n += 1);
                })
            };
            let child = child.expect("spawn");
            child.join().expect("join");
            assert_eq!(child.exit_code(), Some(0));
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
    // One that a panic ended is held no more.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        value.update(|_| panic!("on purpose"));
    }));
    std::panic::set_hook(hook);
    panicked.expect_err("on purpose");
    let child = Process::spawn(|| value.update(|n| *n += 1)).expect("none is held");
    child.join().expect("join");
    assert_eq!(value.get(), 2);
    // What a fork copied is not the child's to be refused for.
    value.update(|_| {
        if raw_fork() == 0 {
            let child = Process::spawn(|| 7).expect("none is held here");
            child.join().expect("join");
            exit(child.exit_code().unwrap_or(1));
        }
        let mut status = 0;
        // SAFETY: room for the status.
        unsafe { libc::wait(&raw mut status) };
        assert_eq!(libc::WEXITSTATUS(status), 7);
    });
}

/// A guard that was leaked speaks against a start as long as the handle it came from is there, and no
/// longer: then its lock is anybody's to take over, the child's for one.
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
    child.join().expect("join");
    assert_eq!(child.exit_code(), Some(0));
    assert_eq!(*other.lock().expect("cleared"), [10, 20]);
}

/// Sets the soft limit of a resource; what it was.
fn set_limit(resource: libc::__rlimit_resource_t, most: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the limit.
    let failed = unsafe { libc::getrlimit(resource, &raw mut limit) };
    assert_eq!(failed, 0, "read the limit");
    let before = std::mem::replace(&mut limit.rlim_cur, most);
    // SAFETY: a limit to read.
    let failed = unsafe { libc::setrlimit(resource, &raw const limit) };
    assert_eq!(failed, 0, "set the limit");
    before
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
    // If there were a child, it would have all the time it needs before anything else is looked at.
    // SAFETY: a plain function.
    unsafe { libc::pthread_atfork(None, Some(until_it_ran), None) };
    let before = set_limit(libc::RLIMIT_NOFILE, 3);
    let noted = Noted(&drops);
    let result = Process::spawn(move || {
        let _moved_in = &noted;
        RAN.get_or_init(Line::new).tell();
    });
    set_limit(libc::RLIMIT_NOFILE, before);
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

pub(crate) fn a_start_that_fails_runs_nothing() {
    // SAFETY: it has no conditions.
    if unsafe { libc::geteuid() } == 0 {
        // The limit does not hold for root: as nobody, which has more processes than none.
        // SAFETY: it takes a number.
        assert_eq!(unsafe { libc::setuid(65534) }, 0, "become nobody");
    }
    let drops = Cell::new(0);
    let before = set_limit(libc::RLIMIT_NPROC, 0);
    let noted = Noted(&drops);
    let result = Process::spawn(move || drop(noted));
    set_limit(libc::RLIMIT_NPROC, before);
    let error = result.expect_err("no process is left");
    assert!(
        matches!(&error, Error::Os { op: "fork", source, .. } if source.raw_os_error() == Some(libc::EAGAIN)),
        "{error:?}"
    );
    assert_eq!(drops.get(), 1);
    // What was prepared for the child is undone.
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
    // SAFETY: an action of the system's own.
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
    Process::spawn(|| ()).expect("spawn").join().expect("join");
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
