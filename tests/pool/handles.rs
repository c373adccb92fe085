//! Handles as arguments.

use crate::fork::{Name, until};
use crate::tasks::pool;
use shmkit::{Array, ByteQueue, MessageQueue, Place, Queue, TaskError, Value};

type All = (
    Value<u64>,
    Array<u32>,
    Queue<u64>,
    ByteQueue,
    MessageQueue<String>,
);

fn use_all((value, array, queue, bytes, messages): All) -> u64 {
    value.update(|n| *n += 1);
    array.set(1, 9).expect("within");
    queue.put(7).expect("put");
    bytes.put(b"eight").expect("put");
    messages.put("nine").expect("put");
    value.get()
}

fn bump(value: Value<u64>) -> u64 {
    value.update(|n| {
        *n += 1;
        *n
    })
}

pub(crate) fn handles_are_arguments() {
    let names = ["a", "b", "c", "d", "e", "f"].map(Name::new);
    let pool = pool(2); // before the segments, so that its workers inherit none
    let all: All = (
        Value::create(&names[0].0, 0).expect("create"),
        Array::create(&names[1].0, &[1, 2, 3]).expect("create"),
        Queue::create(&names[2].0, 8).expect("create"),
        ByteQueue::create(&names[3].0, 64).expect("create"),
        MessageQueue::create(&names[4].0, 64).expect("create"),
    );
    assert_eq!(pool.apply(use_all, all.clone()), Ok(1));
    assert_eq!(all.0.get(), 1);
    assert_eq!(all.1.to_vec(), [1, 9, 3]);
    assert_eq!(all.2.try_get(), Ok(7));
    assert_eq!(all.3.try_get(), Ok(b"eight".to_vec()));
    assert_eq!(all.4.try_get(), Ok("nine".to_owned()));
    drop(all);

    // A handle of a relative path with a schema, as an argument and as a result.
    let folder = tempfile::tempdir().expect("a folder");
    std::env::set_current_dir(folder.path()).expect("go there");
    let place = Place::file("here").schema("counter/v2");
    let value = Value::create(&place, 5u64).expect("create");
    assert_eq!(pool.apply(bump, value.clone()), Ok(6));
    let back = pool
        .apply(|value: Value<u64>| value, value.clone())
        .expect("apply");
    back.set(8);
    assert_eq!(value.get(), 8);
    drop((back, value));
    std::env::set_current_dir("/").expect("leave");

    // The worker checks the segment to which a handle leads, and here the name is gone.
    let value = Value::create(&names[5].0, 1u64).expect("create");
    shmkit::unlink(&names[5].0).expect("unlink");
    let error = pool.apply(bump, value).expect_err("no way to it");
    let expected = format!("{}: the name no longer leads to the segment", names[5].0);
    assert_eq!(error, TaskError::Encode(expected));
    drop(folder);
    pool.join().expect("join");
    assert!(names.iter().all(|name| !name.exists()));
}

fn holders(name: String) -> usize {
    shmkit::inspect(name).expect("inspect").holders
}

pub(crate) fn handles_are_kept_open_while_busy_and_no_longer() {
    let name = Name::new("kept");
    let pool = pool(1);
    let value = Value::create(&name.0, 0u64).expect("create");
    // The tasks come in one go, so that the worker does not become idle: the second finds the segment open.
    let first = pool.apply_async(bump, value.clone()).expect("apply");
    let between = pool.apply_async(holders, name.0.clone()).expect("apply");
    let second = pool.apply_async(bump, value.clone()).expect("apply");
    let after = pool.apply_async(holders, name.0.clone()).expect("apply");
    assert_eq!((first.get(), second.get()), (Ok(1), Ok(2)));
    assert_eq!(between.get().expect("open there"), 2);
    assert_eq!(after.get().expect("once"), 2);
    until("an idle worker that lets go", || name.holders() == 1);

    // A busy worker lets go of a segment that many tasks have not used.
    pool.apply(bump, value.clone()).expect("apply");
    let last = pool.map(holders, vec![name.0.clone(); 300]).expect("map");
    assert_eq!(last.last(), Some(&1));

    // The name leads to another segment by the time of the next task.
    let task = pool.apply_async(bump, value.clone()).expect("apply");
    shmkit::unlink(&name.0).expect("unlink");
    let successor = Value::create(&name.0, 100u64).expect("create");
    let next = pool.apply_async(bump, successor.clone()).expect("apply");
    drop(task); // which may have found either segment
    assert!(matches!(next.get(), Ok(101 | 102)));
    drop((value, successor));

    // A worker is the last one out.
    let name = Name::new("last");
    let value = Value::create(&name.0, 0u64).expect("create");
    pool.apply(bump, value.clone()).expect("apply");
    drop(value);
    until("a worker that removes the name", || !name.exists());
    let value = Value::create(&name.0, 0u64).expect("create");
    pool.apply(bump, value.clone()).expect("apply");
    drop(value);
    drop(pool); // at once
    assert!(!name.exists());
}

pub(crate) fn a_handle_without_a_name_cannot_be_sent() {
    let pool = pool(1);
    let value = Value::new(1u64).expect("create");
    let error = pool.apply(bump, value).expect_err("nameless");
    let expected = "a handle without a name can't be sent: it has none to be opened by";
    assert_eq!(error, TaskError::Encode(expected.to_owned()));
    let error = pool
        .apply(|()| Value::new(1u64).expect("create"), ())
        .expect_err("nameless");
    assert_eq!(error, TaskError::Encode(expected.to_owned()));
    pool.join().expect("join");
}
