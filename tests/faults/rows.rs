//! The operations, and what each must have done if it succeeds.

use crate::tracer::mark;
use crate::world::FOLDER;
use shmkit::{Place, Process, Queue, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The result of a row: `Err` is the text of a refusal.
pub(crate) type Told = Result<(), String>;

pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Prepares the operation, makes it between two marks, and checks a success.
    pub(crate) run: fn() -> Told,
    /// Whether the filesystem has no unnamed files.
    pub(crate) no_unnamed: bool,
    /// Whether this is the row of a pool: its calls are many, and few differ from other rows'.
    pub(crate) is_pool: bool,
}

const fn row(name: &'static str, run: fn() -> Told) -> Row {
    Row {
        name,
        run,
        no_unnamed: false,
        is_pool: false,
    }
}

pub(crate) const ROWS: &[Row] = &[
    row("create anonymous", create_anonymous),
    row("create by name", create_named),
    row("create by path", create_path),
    Row {
        no_unnamed: true,
        ..row("create by a hidden name", create_named)
    },
    row("create persistent", create_persistent),
    row("create over an orphan", create_over_orphan),
    row("create a taken name", create_taken),
    row("open by name", open_named),
    row("open by descriptor", open_fd),
    row("open an orphan", open_orphan),
    row("open or create: open", open_or_create_open),
    row("open or create: create", open_or_create_create),
    row("drop the last", drop_last),
    row("drop the last, by descriptor", drop_last_fd),
    row("drop beside another", drop_beside),
    row("unlink", unlink),
    row("sweep", sweep),
    row("list", list),
    row("inspect", inspect),
    row("copy a descriptor", try_clone_fd),
    row("fork", fork),
    row("spawn and join", spawn_join),
    row("spawn and kill", spawn_kill),
    row("wait for a lock", wait_for_lock),
    row("wait for an item", wait_for_item),
    #[cfg(feature = "serde")]
    Row {
        is_pool: true,
        ..row("a pool", crate::pool_row::pool)
    },
];

pub(crate) const NAME: &str = "segment";

pub(crate) fn path() -> String {
    format!("{FOLDER}/segment")
}

/// Makes the operation that may fail, between two marks.
pub(crate) fn between_marks<R>(operate: impl FnOnce() -> R) -> R {
    mark();
    let result = catch_unwind(AssertUnwindSafe(operate));
    mark();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The text of an error and of its causes.
pub(crate) fn told<T, E: std::error::Error>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    })
}

fn works(value: &Value<u64>) {
    value.set(5);
    value.update(|n| *n += 1);
    assert_eq!(value.get(), 6);
}

fn exists(name: &str) -> bool {
    std::fs::exists(format!("/dev/shm/{name}")).expect("look")
}

/// Makes what a crash of all holders leaves.
fn leave_orphan(name: &str) {
    // SAFETY: this process has a single thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        std::mem::forget(Value::create(name, 1u64).expect("create"));
        // SAFETY: the call ends this process, without a handler.
        unsafe { libc::_exit(0) };
    }
    reap(child);
    assert!(shmkit::inspect(name).expect("inspect").is_orphan());
}

/// Waits for a child's end, and returns its exit code.
fn reap(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: a child of our own, and room for its status.
    let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(reaped, child);
    assert!(libc::WIFEXITED(status), "wait status {status:#x}");
    libc::WEXITSTATUS(status)
}

fn create_anonymous() -> Told {
    let value = told(between_marks(|| Value::new(1u64)))?;
    works(&value);
    Ok(())
}

fn create(place: impl Into<Place>, info: impl Into<Place>) -> Told {
    let value = told(between_marks(|| Value::create(place, 1u64)))?;
    assert_eq!(value.get(), 1);
    works(&value);
    assert_eq!(shmkit::inspect(info).expect("inspect").holders, 1);
    Ok(())
}

fn create_named() -> Told {
    create(NAME, NAME)
}

fn create_path() -> Told {
    let place = || Place::file(path());
    create(place().persistent(false).mode(0o640), place())
}

fn create_persistent() -> Told {
    create(Place::named(NAME).persistent(true), NAME)?;
    shmkit::unlink(NAME).expect("it is persistent");
    Ok(())
}

fn create_over_orphan() -> Told {
    leave_orphan(NAME);
    let told = create_named();
    assert_is_orphan_or_gone(NAME);
    told
}

/// Checks that a leftover is still one, or is gone; removes it.
fn assert_is_orphan_or_gone(name: &str) {
    if exists(name) {
        let info = shmkit::inspect(name).expect("inspect");
        assert_eq!(info.holders, 0, "{info:?}");
        shmkit::sweep().expect("sweep");
        assert!(!exists(name));
    }
}

fn create_taken() -> Told {
    let first = Value::create(NAME, 1u64).expect("create");
    let second = between_marks(|| Value::create(NAME, 2u64));
    works(&first);
    assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 1);
    match second {
        Ok(_) => panic!("two segments of one name"),
        Err(shmkit::Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => told(Err(error)),
    }
}

fn open(place: impl Into<Place>) -> Told {
    let opened = told(between_marks(|| Value::<u64>::open(place)))?;
    assert_eq!(opened.get(), 7);
    works(&opened);
    assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 2);
    Ok(())
}

fn open_named() -> Told {
    let first = Value::create(NAME, 7u64).expect("create");
    let told = open(NAME);
    assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 1);
    works(&first);
    told
}

fn open_fd() -> Told {
    let first = Value::create(NAME, 7u64).expect("create");
    let told = open(Place::fd(first.try_clone_fd().expect("copy")));
    assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 1);
    works(&first);
    told
}

fn open_orphan() -> Told {
    leave_orphan(NAME);
    let opened = between_marks(|| Value::<u64>::open(NAME));
    let was_removed = !exists(NAME);
    assert_is_orphan_or_gone(NAME);
    match opened {
        Ok(_) => panic!("an orphan was opened"),
        Err(shmkit::Error::NotFound { .. }) if was_removed => Ok(()),
        Err(error) => told(Err(error)),
    }
}

fn open_or_create_open() -> Told {
    let first = Value::create(NAME, 7u64).expect("create");
    let opened = told(between_marks(|| Value::open_or_create(NAME, 8u64)))?;
    assert_eq!(opened.get(), 7);
    works(&first);
    Ok(())
}

fn open_or_create_create() -> Told {
    let made = told(between_marks(|| Value::open_or_create(NAME, 8u64)))?;
    assert_eq!(made.get(), 8);
    works(&made);
    Ok(())
}

fn drop_last() -> Told {
    let value = Value::create(NAME, 7u64).expect("create");
    between_marks(|| drop(value));
    Ok(())
}

fn drop_last_fd() -> Told {
    let first = Value::create(NAME, 7u64).expect("create");
    let fd = first.try_clone_fd().expect("copy");
    let value = Value::<u64>::open(Place::fd(fd)).expect("open");
    drop(first);
    between_marks(|| drop(value));
    Ok(())
}

fn drop_beside() -> Told {
    let first = Value::create(NAME, 7u64).expect("create");
    let value = Value::<u64>::open(NAME).expect("open");
    between_marks(|| drop(value));
    assert!(exists(NAME));
    assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 1);
    works(&first);
    Ok(())
}

fn unlink() -> Told {
    let value = Value::create(NAME, 7u64).expect("create");
    let unlinked = told(between_marks(|| shmkit::unlink(NAME)));
    works(&value);
    unlinked?;
    assert!(!exists(NAME));
    Ok(())
}

fn sweep() -> Told {
    leave_orphan("one");
    leave_orphan("two");
    let kept = Value::create(NAME, 7u64).expect("create");
    let swept = told(between_marks(shmkit::sweep));
    works(&kept);
    assert!(exists(NAME));
    // A segment that can't be removed stays, and is not among those that were.
    for info in swept.iter().flatten() {
        assert!(!exists(&info.name), "{}", info.name);
    }
    assert_is_orphan_or_gone("one");
    assert_is_orphan_or_gone("two");
    swept.map(drop)
}

fn list() -> Told {
    let _one = Value::create("one", 7u64).expect("create");
    let _two = Value::create("two", 7u64).expect("create");
    told(between_marks(shmkit::list)).map(drop)
}

fn inspect() -> Told {
    let _value = Value::create(NAME, 7u64).expect("create");
    let info = told(between_marks(|| shmkit::inspect(NAME)))?;
    assert_eq!((info.holders, info.size % 8), (1, 0));
    Ok(())
}

fn try_clone_fd() -> Told {
    let value = Value::create(NAME, 7u64).expect("create");
    let fd = told(between_marks(|| value.try_clone_fd()))?;
    let opened = Value::<u64>::open(Place::fd(fd)).expect("open");
    assert_eq!(opened.get(), 7);
    Ok(())
}

/// The exit code of a child that was told that it holds nothing.
const HOLDS_NOTHING: i32 = 55;

/// Uses a handle in a child; returns the child's exit code.
fn use_in_child(value: &Value<u64>) -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    match catch_unwind(AssertUnwindSafe(|| works(value))) {
        Ok(()) => 0,
        Err(panic) => {
            let told =
                crate::verdict::text_of(&*panic).contains("could not open the segment for itself");
            if told { HOLDS_NOTHING } else { 101 }
        }
    }
}

fn judge_child(code: i32) {
    assert!(code == 0 || code == HOLDS_NOTHING, "exit code {code}");
}

fn fork() -> Told {
    let value = Value::create(NAME, 7u64).expect("create");
    // SAFETY: this process has a single thread.
    let child = between_marks(|| unsafe { libc::fork() });
    if child == 0 {
        let code = use_in_child(&value);
        // SAFETY: the call ends this process.
        unsafe { libc::_exit(code) };
    }
    if child > 0 {
        judge_child(reap(child));
    }
    works(&value);
    assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 1);
    Ok(())
}

fn spawn_join() -> Told {
    let value = Value::create(NAME, 7u64).expect("create");
    let status = between_marks(|| {
        let child = told(Process::spawn(|| use_in_child(&value)))?;
        let looked = told(child.join_timeout(Duration::from_secs(9)));
        let joined = told(child.join());
        // A look that failed takes nothing from the next.
        let joined = joined.or_else(|why| told(child.join()).map_err(|_| why));
        looked?;
        joined.map(Some)
    });
    works(&value);
    if let Ok(Some(status)) = status {
        judge_child(status.code().expect("no signal ended it"));
        assert_eq!(shmkit::inspect(NAME).expect("inspect").holders, 1);
    }
    reap_all();
    status.map(drop)
}

fn spawn_kill() -> Told {
    let ended = between_marks(|| {
        let daemon = Process::builder().daemon(true);
        let daemon = told(daemon.spawn(|| {
            loop {
                std::thread::park();
            }
        }))?;
        let killed = told(daemon.kill());
        let _ = daemon.kill();
        told(daemon.join()).and(killed)
    });
    reap_all();
    ended
}

/// Waits for children whose `join` was made to fail.
fn reap_all() {
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

/// Runs `f` while a child does `other`, which begins before this returns and goes on for a while.
fn beside(other: impl FnOnce(&dyn Fn()), f: impl FnOnce()) {
    use std::io::{Read, Write};
    let (mut ready, tell) = std::io::pipe().expect("a pipe");
    // SAFETY: this process has a single thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            other(&|| (&tell).write_all(b".").expect("tell"));
        }));
        // SAFETY: the call ends this process.
        unsafe { libc::_exit(i32::from(worked.is_err())) };
    }
    drop(tell);
    ready.read_exact(&mut [0]).expect("hear");
    f();
    assert_eq!(reap(child), 0);
}

const A_WHILE: Duration = Duration::from_millis(15);

fn wait_for_lock() -> Told {
    let value = Value::create(NAME, 0u64).expect("create");
    beside(
        |ready| {
            value.update(|n| {
                ready();
                std::thread::sleep(A_WHILE);
                *n += 1;
            });
        },
        || {
            between_marks(|| value.update(|n| *n += 1));
        },
    );
    assert_eq!(value.get(), 2);
    Ok(())
}

fn wait_for_item() -> Told {
    let queue = Queue::<u64>::create(NAME, 1).expect("create");
    let answers = Queue::<u64>::new(1).expect("create");
    beside(
        |ready| {
            ready();
            std::thread::sleep(A_WHILE);
            queue.put(7).expect("put");
            assert_eq!(answers.get(), Ok(8));
        },
        || {
            between_marks(|| {
                assert_eq!(queue.get(), Ok(7));
                answers.put(8).expect("put");
            });
        },
    );
    Ok(())
}
