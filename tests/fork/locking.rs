//! Locks and guards across forks.

use crate::fork::{Child, Line, Name, exit, for_ever, panic_of, panic_of_child, raw_fork, soon};
use shmkit::internals::{Holder, Lock, LockError, LockId, LockWord, Wait};
use shmkit::memory::{HeapMemory, Memory};
use shmkit::{Array, ByteQueue, Consumer, GetError, Producer, PutError, Queue, Value};
use std::sync::TryLockError;

/// A fork in the middle of an update: the parent's update commits, the child's copy does not.
pub(crate) fn an_update_forked_in_its_closure_commits_once() {
    let value = Value::new(1u64).expect("create");
    let report = Value::new(0u64).expect("create");
    let mut child = None;
    let mut in_child = false;
    let update = || {
        value.update(|n| {
            *n = 2;
            match raw_fork() {
                0 => {
                    in_child = true;
                    *n = 99;
                }
                pid => {
                    child = Some(Child::of(pid));
                    // The parent commits after the end of the child's copy.
                    report.wait_until(|stage| *stage == 1);
                }
            }
        });
    };
    let text = panic_of_child(update);
    if let Some(text) = text {
        assert!(text.contains("the update is its parent's"), "{text}");
        assert!(in_child);
        assert_eq!(value.get(), 1, "the copy committed");
        assert_eq!(value.try_update(|_| ()), None, "the copy unlocked");
        report.set(1);
        value.update(|n| *n += 10); // waits for the parent's commit
        exit(0);
    }
    child.expect("forked").finish();
    assert_eq!(value.get(), 12);
}

pub(crate) fn a_get_forked_in_its_closure_takes_once() {
    let queue = Queue::<u64>::new(4).expect("create");
    let report = Value::new(0u64).expect("create");
    queue.put_all(&[7, 8]).expect("put");
    let mut child = None;
    let text = panic_of_child(|| {
        let taken = queue.get_with(|item| {
            let pid = raw_fork();
            if pid != 0 {
                child = Some(Child::of(pid));
                report.wait_until(|stage| *stage == 1);
            }
            *item
        });
        assert_eq!(taken, Ok(7));
    });
    if let Some(text) = text {
        assert!(text.contains("the item is its parent's"), "{text}");
        assert_eq!(queue.len(), 2, "the copy took");
        assert_eq!(queue.try_get(), Err(GetError::Busy), "the copy unlocked");
        report.set(1);
        assert_eq!(queue.get(), Ok(8)); // after the parent's take
        exit(0);
    }
    child.expect("forked").finish();
    assert!(queue.is_empty());
}

/// A fork while the array is locked. The child can neither read nor write by its copy of the guard; the copy
/// neither unlocks nor poisons. The parent's guard works as ever.
pub(crate) fn a_guard_forked_in_hand_is_its_parents() {
    let array = Array::new(&[1u64, 2]).expect("create");
    let is_locked = || matches!(array.try_lock(), Err(TryLockError::WouldBlock));
    for way in ["drop", "panic", "forget"] {
        let (looked, unlocked) = (Line::new(), Line::new());
        let mut guard = array.lock().expect("not poisoned");
        guard[0] += 1;
        let (child, mut guard) = Child::fork_with(guard, |mut guard| {
            for text in [
                panic_of(|| guard[0]),
                panic_of(|| guard[0] = 99),
                panic_of(|| guard.len()),
            ] {
                assert!(text.contains("the guard is its parent's"), "{text}");
            }
            assert_eq!(format!("{guard:?}"), "ArrayGuard(a fork's copy)");
            match way {
                "drop" => drop(guard),
                "forget" => std::mem::forget(guard),
                _ => {
                    let text = panic_of(move || {
                        let _copy = guard;
                        panic!("with a copy in hand");
                    });
                    assert!(text.contains("with a copy"), "{text}");
                }
            }
            assert!(is_locked(), "the copy unlocked: {way}");
            assert!(!array.is_poisoned(), "the copy poisoned: {way}");
            looked.tell();
            unlocked.hear();
            // The child locks for itself, by the handle that it inherited.
            array.lock().expect("not poisoned")[1] += 10;
        });
        looked.hear();
        assert!(is_locked(), "the copy unlocked: {way}");
        guard[0] += 1;
        drop(guard);
        unlocked.tell();
        child.finish();
    }
    assert_eq!(*array.lock().expect("not poisoned"), [7, 32]);

    // The parent has its guard even after the copy is gone, so that the parent's death poisons.
    let name = Name::new("guard");
    let array = Array::create(&name.0, &[1u64, 2]).expect("create");
    let (inside, over) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let mut guard = array.lock().expect("not poisoned");
        guard[0] = 10;
        let _both = Child::fork_with(guard, |guard| {
            drop(guard);
            inside.tell();
            over.hear();
        });
        for_ever();
    });
    inside.hear();
    assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
    parent.kill();
    let locked = soon("lock after a parent's death", || array.lock());
    assert_eq!(*locked.expect_err("poisoned").into_inner(), [10, 2]);
    over.tell();
}

/// A fork beside a reservation: the child can't write or commit its copy, and the copy's drop unlocks
/// nothing. The parent's reservation works as ever.
pub(crate) fn a_reservation_copied_by_a_fork_does_nothing() {
    let queue = ByteQueue::new(64).expect("create");
    let (looked, over) = (Line::new(), Line::new());
    let mut room = queue.reserve(5).expect("reserve");
    room.copy_from_slice(b"right");
    let (first, room) = Child::fork_with(room, |mut room| {
        for text in [
            panic_of(|| room[0]),
            panic_of(|| room.copy_from_slice(b"wrong")),
        ] {
            assert!(text.contains("the space is its parent's"), "{text}");
        }
        assert!(format!("{room:?}").contains("stale: true"), "{room:?}");
        drop(room);
        assert_eq!(queue.try_put(b""), Err(PutError::Busy), "the copy unlocked");
        looked.tell();
        over.hear();
        // As a holder of its own, the child reserves like any other.
        let own = queue.reserve(1).expect("reserve");
        own.commit(1).expect("commit");
    });
    let (second, room) = Child::fork_with(room, |room| {
        let text = panic_of(|| room.commit(5));
        assert!(text.contains("the space is its parent's"), "{text}");
        assert!(queue.is_empty(), "the copy committed");
        looked.tell();
    });
    looked.hear();
    looked.hear();
    room.commit(5).expect("commit");
    over.tell();
    first.finish();
    second.finish();
    assert_eq!(queue.try_get().expect("a message"), b"right");
    assert_eq!(queue.try_get().expect("a message").len(), 1);
}

/// A fork beside endpoints and chunks: the child can't use its copies, which change nothing. The parent's
/// endpoints and chunks work as ever.
pub(crate) fn a_childs_copies_of_endpoints_are_of_no_use() {
    let queue = Queue::<u64>::new(4).expect("create");
    queue.put_all(&[1, 2]).expect("put");
    let tail = queue.producer().expect("nobody else's");
    let head = queue.consumer().expect("nobody else's");
    type Call = fn(&mut Producer<u64>, &mut Consumer<u64>);
    let calls: [Call; 8] = [
        |tail, _| _ = tail.put(9),
        |tail, _| _ = tail.try_put(9),
        |tail, _| _ = tail.put_many(&[9]),
        |tail, _| _ = tail.try_chunk(1),
        |_, head| _ = head.get(),
        |_, head| _ = head.try_get(),
        |_, head| _ = head.try_peek(),
        |_, head| _ = head.try_chunk(1),
    ];
    let (child, both) = Child::fork_with((tail, head), |(mut tail, mut head)| {
        for call in calls {
            let text = panic_of(|| call(&mut tail, &mut head));
            assert!(text.contains("the endpoint is its parent's"), "{text}");
        }
        drop((tail, head));
        assert_eq!(queue.len(), 2, "a copy put or took");
        assert_eq!(queue.try_put(9), Err(PutError::Busy), "a copy let go");
        assert_eq!(queue.try_get(), Err(GetError::Busy), "a copy let go");
    });
    child.finish();

    let (mut tail, mut head) = both;
    let mut written = tail.chunk(2).expect("room");
    written.iter_mut().for_each(|slot| *slot = 3);
    let read = head.chunk(2).expect("items");
    let (child, (written, read)) = Child::fork_with((written, read), |(mut written, read)| {
        for text in [
            panic_of(|| written.as_mut_slices().0.len()),
            panic_of(|| read.as_slices().0.len()),
            panic_of(|| written.commit(1)),
            panic_of(|| read.release(1)),
        ] {
            assert!(text.contains("the endpoint is its parent's"), "{text}");
        }
        assert_eq!(queue.len(), 2, "a copy put or took");
    });
    child.finish();
    written.commit(2).expect("the parent's own");
    read.release(2);
    assert_eq!((head.get(), head.get()), (Ok(3), Ok(3)));

    // A child that wants a side waits for it like any other process, and is told of no deadlock.
    let line = Line::new();
    let child = Child::fork(|| {
        line.tell();
        assert_eq!(queue.get(), Ok(4));
        assert_eq!(queue.producer().expect("free").put(5), Ok(()));
    });
    line.hear();
    tail.put(4).expect("the parent's own");
    drop((tail, head));
    child.finish();
    assert_eq!(queue.get(), Ok(5));
}

/// The handle through which a parent locks.
#[derive(Clone, Copy)]
enum Through {
    /// The parent inherited the handle from a parent of its own.
    Inherited,
    /// The parent opened the handle itself.
    Opened,
}

impl Through {
    fn handle(self, name: &Name, inherited: &Value<u64>) -> Value<u64> {
        match self {
            Self::Inherited => inherited.clone(),
            Self::Opened => Value::open(&name.0).expect("open"),
        }
    }
}

/// A parent is killed while it has the locks. Its child, forked before, takes them over, and the test takes
/// the next item.
pub(crate) fn a_dead_parents_lock_is_taken_over_by_its_child() {
    for through in [Through::Inherited, Through::Opened] {
        let name = Name::new("dead");
        let value = Value::create(&name.0, 1u64).expect("create");
        let queue = Queue::<u64>::new(4).expect("create");
        queue.put_all(&[7, 8]).expect("put");
        let (inside, dead, done) = (Line::new(), Line::new(), Line::new());
        let parent = Child::fork(|| {
            let value = through.handle(&name, &value);
            let _child = Child::fork(|| {
                inside.tell();
                dead.hear();
                soon("take over a parent's lock", || value.update(|n| *n += 1));
                let item = soon("take over a parent's side", || queue.get());
                assert_eq!(item, Ok(7));
                done.tell();
            });
            value
                .update(|n| {
                    *n = 50;
                    queue.get_with(|_| {
                        inside.tell();
                        for_ever()
                    })
                })
                .expect("killed inside");
        });
        inside.hear();
        inside.hear();
        assert_eq!(value.try_update(|_| ()), None, "the parent lives");
        parent.kill();
        dead.tell();
        done.hear();
        assert_eq!(value.get(), 2);
        assert_eq!(queue.try_get(), Ok(8));
    }
}

/// A parent is killed while it has the lock. Its child, forked inside the closure, has a copy of the guard
/// and lives on.
pub(crate) fn a_dead_parents_lock_is_free_though_a_child_copied_it() {
    for through in [Through::Inherited, Through::Opened] {
        let name = Name::new("copied");
        let value = Value::create(&name.0, 1u64).expect("create");
        let (inside, over) = (Line::new(), Line::new());
        let parent = Child::fork(|| {
            through.handle(&name, &value).update(|n| {
                *n = 50;
                let _child = Child::fork(|| {
                    // The child stays in its copy of the closure until the test is done.
                    inside.tell();
                    over.hear();
                });
                for_ever();
            });
        });
        inside.hear();
        assert_eq!(value.try_update(|_| ()), None, "the parent lives");
        parent.kill();
        soon("take over beside a living copy", || {
            value.update(|n| *n += 1);
        });
        assert_eq!(value.get(), 2);
        over.tell();
    }
}

/// Children and grandchildren count and pass items on, with inherited handles.
pub(crate) fn processes_of_one_fork_tree_share_work() {
    const EACH: u64 = 10_000;
    let value = Value::new(0u64).expect("create");
    let queue = Queue::<u64>::new(8).expect("create");
    let work = || {
        for _ in 0..EACH {
            value.update(|n| *n += 1);
            queue.put(1).expect("put");
        }
    };
    let children: Vec<Child> = (0..2)
        .map(|_| {
            Child::fork(|| {
                let grandchild = Child::fork(work);
                work();
                grandchild.finish();
            })
        })
        .collect();
    let sum: u64 = (0..4 * EACH).map(|_| queue.get().expect("get")).sum();
    assert_eq!(sum, 4 * EACH);
    children.into_iter().for_each(Child::finish);
    assert_eq!(value.get(), 4 * EACH);
    assert!(queue.is_empty());
    // A thread that locks its own lock again is told so, in a child too.
    let relock = || {
        let text = panic_of(|| value.update(|_| value.set(0)));
        assert!(text.contains("deadlock"), "{text}");
    };
    relock();
    Child::fork(relock).finish();
}

/// A stray write may leave a lock word that names a living holder. If that is the waiter itself, and it has no
/// other thread, nobody would ever release the lock.
pub(crate) fn a_word_that_names_its_only_thread_is_corrupt() {
    Child::fork(|| {
        let (memory, word) = (HeapMemory::new(4096), LockWord::default());
        let holder = Holder {
            number: memory.number(),
            others: &memory,
        };
        let lock = Lock::new(&word, holder, LockId(0));
        // To the lock, a guard that is gone is one that never was.
        std::mem::forget(lock.lock(Wait::FOREVER).expect("free"));
        let waited = soon("a lock that nobody has", || {
            lock.lock(Wait::FOREVER).map(drop)
        });
        assert_eq!(waited, Err(LockError::Corrupt));
    })
    .finish();
}
