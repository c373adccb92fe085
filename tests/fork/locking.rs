//! Locks and guards across forks.

use crate::fork::{Child, Line, Name, exit, panic_of, panic_of_child, raw_fork, soon};
use shmkit::{Array, ByteQueue, Consumer, GetError, Producer, PutError, Queue, Value};
use std::sync::TryLockError;

/// A fork in the middle of an update: the child's copy of it commits nothing, its parent's does.
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
                    // The child is done with its copy before the parent commits.
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
            match raw_fork() {
                0 => {}
                pid => {
                    child = Some(Child::of(pid));
                    report.wait_until(|stage| *stage == 1);
                }
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

/// A fork while the array is locked: the child's copy of the guard is neither read nor written, neither
/// unlocks nor poisons nor ends what its parent has in hand; its parent's does all that it would.
pub(crate) fn a_guard_forked_in_hand_is_its_parents() {
    let array = Array::new(&[1u64, 2]).expect("create");
    let is_locked = || matches!(array.try_lock(), Err(TryLockError::WouldBlock));
    for way in ["drop", "panic", "forget"] {
        let (looked, unlocked) = (Line::new(), Line::new());
        let mut guard = array.lock().expect("not poisoned");
        guard[0] += 1;
        match raw_fork() {
            0 => {
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
                // It locks for itself, by the handle it inherited.
                let mut own = array.lock().expect("not poisoned");
                own[1] += 10;
                drop(own);
                exit(0);
            }
            pid => {
                looked.hear();
                assert!(is_locked(), "the copy unlocked: {way}");
                guard[0] += 1;
                drop(guard);
                unlocked.tell();
                Child::of(pid).finish();
            }
        }
    }
    assert_eq!(*array.lock().expect("not poisoned"), [7, 32]);

    // What the parent has in hand is still so after its copy is gone: its death poisons.
    let name = Name::new("guard");
    let array = Array::create(&name.0, &[1u64, 2]).expect("create");
    let (inside, over) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let mut guard = array.lock().expect("not poisoned");
        guard[0] = 10;
        if raw_fork() == 0 {
            drop(guard);
            inside.tell();
            over.hear();
            exit(0);
        }
        Line::new().hear(); // for ever
    });
    inside.hear();
    assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
    parent.kill();
    let locked = soon("lock after a parent's death", || array.lock());
    assert_eq!(*locked.expect_err("poisoned").into_inner(), [10, 2]);
    over.tell();
}

/// A fork beside a reservation: the child's copy can't be written, commits nothing, and its drop
/// lets go of nothing; its parent's can.
pub(crate) fn a_reservation_copied_by_a_fork_does_nothing() {
    let queue = ByteQueue::new(64).expect("create");
    let (looked, over) = (Line::new(), Line::new());
    let mut room = queue.reserve(5).expect("reserve");
    room.copy_from_slice(b"right");
    let pid = raw_fork();
    if pid == 0 {
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
        // As a holder of its own the child reserves like any other.
        queue
            .reserve(1)
            .expect("reserve")
            .commit(1)
            .expect("commit");
        exit(0);
    }
    let second = raw_fork();
    if second == 0 {
        let text = panic_of(|| room.commit(5));
        assert!(text.contains("the space is its parent's"), "{text}");
        assert!(queue.is_empty(), "the copy committed");
        looked.tell();
        exit(0);
    }
    looked.hear();
    looked.hear();
    room.commit(5).expect("commit");
    over.tell();
    Child::of(pid).finish();
    Child::of(second).finish();
    assert_eq!(queue.try_get().expect("a message"), b"right");
    assert_eq!(queue.try_get().expect("a message").len(), 1);
}

/// A fork beside endpoints and chunks: the child's copies of them are of no use and change nothing,
/// its parent's go on.
pub(crate) fn a_childs_copies_of_endpoints_are_of_no_use() {
    let queue = Queue::<u64>::new(4).expect("create");
    queue.put_all(&[1, 2]).expect("put");
    let mut tail = queue.producer().expect("nobody else's");
    let mut head = queue.consumer().expect("nobody else's");
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
    let status = match raw_fork() {
        0 => {
            for call in calls {
                let text = panic_of(|| call(&mut tail, &mut head));
                assert!(text.contains("the endpoint is its parent's"), "{text}");
            }
            drop((tail, head));
            assert_eq!(queue.len(), 2, "a copy put or took");
            assert_eq!(queue.try_put(9), Err(PutError::Busy), "a copy let go");
            assert_eq!(queue.try_get(), Err(GetError::Busy), "a copy let go");
            exit(0)
        }
        pid => Child::of(pid).wait(),
    };
    assert_eq!(status, 0, "a child failed");

    let mut written = tail.chunk(2).expect("room");
    written.iter_mut().for_each(|slot| *slot = 3);
    let read = head.chunk(2).expect("items");
    let status = match raw_fork() {
        0 => {
            for text in [
                panic_of(|| written.as_mut_slices().0.len()),
                panic_of(|| read.as_slices().0.len()),
                panic_of(|| written.commit(1)),
                panic_of(|| read.release(1)),
            ] {
                assert!(text.contains("the endpoint is its parent's"), "{text}");
            }
            assert_eq!(queue.len(), 2, "a copy put or took");
            exit(0)
        }
        pid => Child::of(pid).wait(),
    };
    assert_eq!(status, 0, "a child failed");
    written.commit(2).expect("the parent's own");
    read.release(2);
    assert_eq!((head.get(), head.get()), (Ok(3), Ok(3)));

    // A child that wants a side waits for it like anybody, and is no deadlock of its own.
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

/// Which handle a parent locks through: what it has in common with its forked child differs.
#[derive(Clone, Copy)]
enum Through {
    /// One that it inherited from a parent of its own.
    Inherited,
    /// One that it opened itself.
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

/// A parent is killed while it holds the lock; its child, forked before, takes over, and so does
/// anybody else.
pub(crate) fn a_dead_parents_lock_is_taken_over_by_its_child() {
    for through in [Through::Inherited, Through::Opened] {
        let name = Name::new("dead");
        let value = Value::create(&name.0, 1u64).expect("create");
        let queue = Queue::<u64>::new(4).expect("create");
        queue.put_all(&[7, 8]).expect("put");
        let (inside, dead, done) = (Line::new(), Line::new(), Line::new());
        let parent = Child::fork(|| {
            let value = through.handle(&name, &value);
            if raw_fork() == 0 {
                inside.tell();
                dead.hear();
                soon("take over a parent's lock", || value.update(|n| *n += 1));
                let item = soon("take over a parent's side", || queue.get());
                assert_eq!(item, Ok(7));
                done.tell();
                exit(0);
            }
            value
                .update(|n| {
                    *n = 50;
                    queue.get_with(|_| {
                        inside.tell();
                        Line::new().hear(); // for ever
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

/// The same, with the child forked inside the closure: it has a copy of the guard, and lives.
pub(crate) fn a_dead_parents_lock_is_free_though_a_child_copied_it() {
    for through in [Through::Inherited, Through::Opened] {
        let name = Name::new("copied");
        let value = Value::create(&name.0, 1u64).expect("create");
        let (inside, over) = (Line::new(), Line::new());
        let parent = Child::fork(|| {
            through.handle(&name, &value).update(|n| {
                *n = 50;
                if raw_fork() == 0 {
                    // It sits in its copy of the closure until the others are done.
                    inside.tell();
                    over.hear();
                    exit(0);
                }
                Line::new().hear(); // for ever
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
    for child in children {
        child.finish();
    }
    assert_eq!(value.get(), 4 * EACH);
    assert!(queue.is_empty());
    // A thread that comes back for its own lock is told so in a child, too.
    let text = panic_of(|| value.update(|_| value.set(0)));
    assert!(text.contains("deadlock"), "{text}");
    Child::fork(|| {
        let text = panic_of(|| value.update(|_| value.set(0)));
        assert!(text.contains("deadlock"), "{text}");
    })
    .finish();
}
