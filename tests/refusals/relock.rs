//! A thread that waits for a lock it holds: a panic that says so, instead of a hang.

use crate::LIMIT;
use crate::support::checks::panic_of;
use crate::support::{Name, Watchdog};
use shmkit::{Array, ByteQueue, GetError, PutError, Queue, Value};
use std::sync::Barrier;

const SAYS: &str = "deadlock: this thread holds the lock it waits for \
                    (a call on a handle from inside a closure that runs under its lock, \
                    or beside an endpoint that this thread has?)";

#[test]
fn a_write_inside_an_update_says_deadlock() {
    let _watchdog = Watchdog::new("relocking a value", LIMIT);
    let name = Name::new("relock");
    let value = Value::create(&*name, 1u64).unwrap();
    let clone = value.clone();
    let opened = Value::<u64>::open(&*name).unwrap();
    for handle in [&value, &clone, &opened] {
        let inside: [(&str, &dyn Fn()); 4] = [
            ("update", &|| handle.update(|v| *v = 9)),
            ("set", &|| handle.set(9)),
            ("swap", &|| _ = handle.swap(9)),
            ("compare_exchange", &|| _ = handle.compare_exchange(1, 9)),
        ];
        for (verb, call) in inside {
            let said = panic_of(|| {
                value.update(|v| {
                    *v = 2;
                    call();
                });
            });
            assert_eq!(said, SAYS, "{verb}");
            // The panic went through the outer update as well: nothing of that update shows, and its
            // lock is free for this thread and for others.
            assert_eq!(opened.get(), 1);
        }
    }
    assert_eq!(opened.update(|v| std::mem::replace(v, 3)), 1);
    assert_eq!(value.get(), 3);
}

#[test]
fn a_call_beside_a_guard_says_deadlock() {
    let _watchdog = Watchdog::new("relocking an array", LIMIT);
    let name = Name::new("relock");
    let array = Array::create(&*name, &[1u64, 2]).unwrap();
    let clone = array.clone();
    let opened = Array::<u64>::open(&*name).unwrap();
    for handle in [&array, &clone, &opened] {
        let beside: [(&str, &dyn Fn()); 6] = [
            ("get", &|| _ = handle.get(0)),
            ("set", &|| handle.set(0, 9).unwrap()),
            ("read_at", &|| handle.read_at(0, &mut [0; 2]).unwrap()),
            ("write_at", &|| handle.write_at(0, &[9, 9]).unwrap()),
            ("to_vec", &|| _ = handle.to_vec()),
            ("lock", &|| drop(handle.lock())),
        ];
        for (verb, call) in beside {
            let guard = array.lock().unwrap();
            assert_eq!(panic_of(call), SAYS, "{verb}");
            assert_eq!(*guard, [1, 2], "{verb}");
            drop(guard);
            let poisoned = opened.is_poisoned();
            assert!(!poisoned, "the panic was caught beside the guard");
        }
    }
    // A call that reads and writes no element is fine, and so is another array.
    let other = Array::new(&[5u64]).unwrap();
    let guard = array.lock().unwrap();
    other.set(0, 6).unwrap();
    let seen = (array.len(), array.get(2), other.get(0));
    assert_eq!(seen, (2, None, Some(6)));
    assert_eq!(*other.lock().unwrap(), [6]);
    array.clear_poison();
    drop(guard);
    assert_eq!(opened.to_vec(), [1, 2]);
}

#[test]
fn a_try_from_inside_is_told_that_it_is_held() {
    let _watchdog = Watchdog::new("trying from inside", LIMIT);
    let value = Value::new(1u64).unwrap();
    let inner = value.update(|v| {
        *v = 2;
        value.try_update(|v| *v = 9)
    });
    assert_eq!((inner, value.get()), (None, 2));

    let queue = Queue::<u64>::new(2).unwrap();
    queue.put(7).unwrap();
    assert_eq!(queue.get_with(|_| queue.try_get()), Ok(Err(GetError::Busy)));
    assert!(queue.is_empty());
}

#[test]
fn reading_inside_an_update_is_fine() {
    let _watchdog = Watchdog::new("reading inside an update", LIMIT);
    let value = Value::new(1u64).unwrap();
    let other = Value::new(10u64).unwrap();
    // Readers take no lock, and another value's lock is another lock.
    let seen = value.update(|v| {
        *v = 2;
        other.update(|w| *w += 1);
        value.get()
    });
    assert_eq!((seen, value.get(), other.get()), (1, 2, 11));
}

#[test]
fn another_thread_waits_instead() {
    let _watchdog = Watchdog::new("another thread", LIMIT);
    let value = Value::new(0u64).unwrap();
    let (entered, looked) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            entered.wait();
            // The other thread is in its update: no form of the call panics.
            assert_eq!(value.try_update(|v| *v += 10), None);
            assert_eq!(value.get(), 0);
            looked.wait();
            value.update(|v| *v += 100);
        });
        value.update(|v| {
            *v += 1;
            entered.wait();
            looked.wait();
        });
    });
    assert_eq!(value.get(), 101);
}

#[test]
fn a_get_inside_get_with_says_deadlock() {
    let _watchdog = Watchdog::new("relocking a queue", LIMIT);
    let name = Name::new("reenter");
    let queue = Queue::create(&*name, 4).unwrap();
    let clone = queue.clone();
    let opened = Queue::<u64>::open(&*name).unwrap();
    queue.put_all(&[1, 2, 3]).unwrap();
    for handle in [&queue, &clone, &opened] {
        let inside: [(&str, &dyn Fn()); 3] = [
            ("get", &|| _ = handle.get()),
            ("get_with", &|| _ = handle.get_with(|_| ())),
            ("get_many", &|| _ = handle.get_many(&mut [0; 2])),
        ];
        for (verb, call) in inside {
            let said = panic_of(|| queue.get_with(|_| call()));
            assert_eq!(said, SAYS, "{verb}");
            assert_eq!(opened.len(), 3, "the item stays for the next");
        }
    }
    assert_eq!(opened.get_with(|item| *item), Ok(1));
}

#[test]
fn putting_inside_get_with_is_fine() {
    let _watchdog = Watchdog::new("putting inside get_with", LIMIT);
    let queue = Queue::new(2).unwrap();
    queue.put_all(&[1u64, 2]).unwrap();
    // The producers' side has a lock of its own; but the slot is free only after the closure.
    let refusal = queue.get_with(|_| queue.try_put(3)).unwrap();
    assert_eq!(refusal, Err(PutError::Full));
    let put = queue.get_with(|item| queue.try_put(*item + 10));
    put.unwrap().unwrap();
    assert_eq!(queue.try_iter().collect::<Vec<_>>(), [12]);
}

/// A thread that has one side of a queue, and waits for what only that side could do.
#[test]
fn a_wait_for_ones_own_other_side_says_deadlock() {
    const SAYS: &str = "deadlock: this thread holds the other side of the queue that it waits for \
                        (a put beside a consumer's side that it has, or a get beside a producer's?)";
    let _watchdog = Watchdog::new("waiting for one's own side", LIMIT);
    let queue = Queue::<u64>::new(1).unwrap();
    queue.put(1).unwrap();
    let bytes = ByteQueue::new(16).unwrap();
    bytes.put(b"12345678").unwrap();
    let requeued = panic_of(|| queue.get_with(|item| queue.put(*item)));
    assert_eq!(requeued, SAYS);
    assert_eq!(panic_of(|| bytes.get_with(|m| bytes.put(m))), SAYS);
    let consumer = queue.consumer().unwrap();
    assert_eq!(panic_of(|| queue.put(2)), SAYS);
    assert_eq!(panic_of(|| queue.producer().unwrap().put(2)), SAYS);
    // With a deadline it is no hang.
    let put = queue.put_timeout(2, std::time::Duration::from_millis(1));
    assert_eq!(put, Err(PutError::TimedOut));
    drop(consumer);
    let left = (queue.get(), bytes.get());
    assert_eq!(left, (Ok(1), Ok(b"12345678".to_vec())));

    let producer = queue.producer().unwrap();
    assert_eq!(panic_of(|| queue.get()), SAYS);
    let room = bytes.reserve(1).unwrap();
    assert_eq!(panic_of(|| bytes.get()), SAYS);
    drop((producer, room));
    assert_eq!((queue.put(3), queue.get()), (Ok(()), Ok(3)));
}
