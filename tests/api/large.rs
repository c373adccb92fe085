//! Elements that are larger than a thread's stack. If a method keeps one element too many on the stack, the
//! thread overflows, and its name tells which method that was.

use crate::watchdog;
use bytemuck::zeroed_box;
use shmkit::{Array, Place, Queue, Value};
use std::panic::resume_unwind;
use std::slice;
use std::thread::{self, Builder};
use std::time::Duration;

/// The stack that Rust gives a thread by default.
const DEFAULT_STACK: usize = 2 << 20;

fn on_a_stack_of<R: Send>(bytes: usize, method: &str, call: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = Builder::new().name(method.into()).stack_size(bytes);
        thread.spawn_scoped(scope, call).unwrap().join().unwrap()
    })
}

type Huge = [u8; 6 << 20];

fn huge(byte: u8) -> Box<Huge> {
    let mut huge: Box<Huge> = zeroed_box();
    huge.fill(byte);
    huge
}

/// Returns the byte of which all of `huge` consists.
fn byte_of(huge: &Huge) -> u8 {
    assert!(huge.iter().all(|byte| *byte == huge[0]), "a torn element");
    huge[0]
}

fn by_default<R: Send>(method: &str, call: impl FnOnce() -> R + Send) -> R {
    on_a_stack_of(DEFAULT_STACK, method, call)
}

#[test]
fn an_array_of_huge_elements_needs_no_stack_for_them() {
    let _watchdog = watchdog("huge elements");
    let array = by_default("Array::zeroed", || {
        Array::<Huge>::zeroed(Place::anonymous(), 2)
    });
    let array = array.unwrap();
    let mut out = huge(9);

    by_default("Array::write_at", || {
        array.write_at(1, slice::from_ref(&*huge(3))).unwrap();
    });
    by_default("Array::read_at", || {
        array.read_at(1, slice::from_mut(&mut *out)).unwrap();
    });
    assert_eq!(byte_of(&out), 3);
    by_default("Array::lock", || array.lock().unwrap()[1].fill(4));
    let all = by_default("Array::to_vec", || array.to_vec());
    assert_eq!(all.iter().map(byte_of).collect::<Vec<_>>(), [0, 4]);
    let again = by_default("Array::new", || Array::new(&all).map(|array| array.len()));
    assert_eq!(again.unwrap(), 2);
}

#[test]
fn a_huge_value_needs_no_stack_for_it() {
    let _watchdog = watchdog("a huge value");
    let value = by_default(
        "Value::zeroed",
        || Value::<Huge>::zeroed(Place::anonymous()),
    );
    let value = value.unwrap();
    let mut out = huge(9);

    by_default("Value::get_into", || value.get_into(&mut out));
    assert_eq!(byte_of(&out), 0);
    by_default("Value::set_from", || value.set_from(&huge(1)));
    let before = by_default("Value::update", || {
        value.update(|now| {
            let before = byte_of(now);
            now.fill(2);
            before
        })
    });
    assert_eq!(before, 1);
    let before = by_default("Value::try_update", || {
        value.try_update(|now| {
            let before = byte_of(now);
            now.fill(3);
            before
        })
    });
    assert_eq!(before, Some(2));
    let panicked = thread::scope(|scope| {
        let update = scope.spawn(|| {
            value.update(|now| {
                now.fill(4);
                resume_unwind(Box::new(()))
            })
        });
        update.join().is_err()
    });
    assert!(panicked);
    value.get_into(&mut out);
    assert_eq!(byte_of(&out), 3);
}

#[test]
fn a_queue_of_huge_items_needs_no_stack_for_them() {
    let _watchdog = watchdog("huge items");
    let queue = by_default("Queue::new", || Queue::<Huge>::new(4)).unwrap();
    let mut out = huge(9);

    by_default("Queue::put_many", || {
        assert_eq!(queue.put_many(slice::from_ref(&*huge(1))), Ok(1));
    });
    by_default("Queue::put_all", || {
        queue.put_all(slice::from_ref(&*huge(2))).unwrap();
    });
    by_default("Producer::put_many", || {
        let mut producer = queue.producer().unwrap();
        assert_eq!(producer.put_many(slice::from_ref(&*huge(3))), Ok(1));
    });
    by_default("Producer::chunk", || {
        let mut producer = queue.producer().unwrap();
        let mut chunk = producer.chunk(1).unwrap();
        chunk.iter_mut().for_each(|slot| slot.fill(4));
        chunk.commit_all().unwrap();
    });

    let seen = by_default("Queue::get_with", || queue.get_with(byte_of));
    assert_eq!(seen, Ok(1));
    by_default("Queue::get_many", || {
        assert_eq!(queue.get_many(slice::from_mut(&mut *out)), Ok(1));
    });
    assert_eq!(byte_of(&out), 2);
    by_default("Consumer::peek and get_many", || {
        let mut consumer = queue.consumer().unwrap();
        assert_eq!(byte_of(consumer.peek().unwrap()), 3);
        assert_eq!(consumer.get_many(slice::from_mut(&mut *out)), Ok(1));
    });
    assert_eq!(byte_of(&out), 3);
    by_default("Consumer::chunk", || {
        let mut consumer = queue.consumer().unwrap();
        let chunk = consumer.chunk(1).unwrap();
        assert_eq!(chunk.iter().map(byte_of).collect::<Vec<_>>(), [4]);
        chunk.release_all();
    });
    assert!(queue.is_empty());
}

/// `get_with` gives the slot itself: the next round of the ring finds the item at the same address.
#[test]
fn get_with_reads_in_place() {
    let _watchdog = watchdog("get_with in place");
    let queue = Queue::<u64>::new(1).unwrap();
    let address = || {
        queue.put(7).unwrap();
        queue.get_with(|item| (*item, std::ptr::from_ref(item).addr()))
    };
    let (first, second) = (address().unwrap(), address().unwrap());
    let consumer = queue.consumer();
    queue.put(8).unwrap();
    let slot = std::ptr::from_ref(consumer.unwrap().peek().unwrap()).addr();
    assert_eq!((first, second), ((7, slot), (7, slot)));
}

const LEN: usize = 1 << 20;
type Large = [u8; LEN];

/// Runs `call` on a stack for so many elements of type [`Large`].
fn with_copies(copies: usize, method: &str, call: impl FnOnce() + Send) {
    on_a_stack_of(copies * LEN + LEN / 2, method, call);
}

/// The methods that take or return an element by value. Beside the elements of the caller, which has to give
/// and to receive them, a method has no more than one on the stack, and none in a release build.
#[test]
fn an_element_by_value_is_on_the_stack_hardly_more_often_than_its_caller_wants() {
    let _watchdog = watchdog("large elements");
    let more = usize::from(cfg!(debug_assertions));
    let soon = Duration::from_secs(10);

    let queue = Queue::<Large>::new(3).unwrap();
    with_copies(1, "Queue::put", || queue.put([1; LEN]).unwrap());
    with_copies(1, "Queue::try_put", || queue.try_put([2; LEN]).unwrap());
    with_copies(1, "Producer::put", || {
        queue.producer().unwrap().put([3; LEN]).unwrap();
    });
    with_copies(1 + more, "Queue::get", || {
        let item = queue.get();
        assert!(matches!(&item, Ok(item) if item[LEN - 1] == 1));
    });
    with_copies(1 + more, "Queue::get_timeout", || {
        let item = queue.get_timeout(soon);
        assert!(matches!(&item, Ok(item) if item[LEN - 1] == 2));
    });
    with_copies(1 + more, "Consumer::get", || {
        let item = queue.consumer().unwrap().get();
        assert!(matches!(&item, Ok(item) if item[LEN - 1] == 3));
    });
    assert!(queue.is_empty());

    let array = Array::<Large>::zeroed(Place::anonymous(), 2).unwrap();
    with_copies(1, "Array::set", || array.set(1, [4; LEN]).unwrap());
    with_copies(1 + more, "Array::get", || {
        let element = array.get(1);
        assert!(matches!(&element, Some(element) if element[LEN - 1] == 4));
    });

    let value = Value::<Large>::zeroed(Place::anonymous()).unwrap();
    with_copies(1, "Value::set", || value.set([5; LEN]));
    with_copies(1, "Value::get", || {
        let now = value.get();
        assert_eq!(now[LEN - 1], 5);
    });
    with_copies(2, "Value::swap", || {
        let old = value.swap([6; LEN]);
        assert_eq!(old[LEN - 1], 5);
    });
    with_copies(3 + more, "Value::compare_exchange, equal", || {
        let old = value.compare_exchange([6; LEN], [7; LEN]);
        assert!(matches!(&old, Ok(old) if old[LEN - 1] == 6));
    });
    with_copies(3 + more, "Value::compare_exchange, different", || {
        let found = value.compare_exchange([6; LEN], [8; LEN]);
        assert!(matches!(&found, Err(found) if found[LEN - 1] == 7));
    });
    with_copies(1, "Value::wait_until", || {
        let now = value.wait_until(|now| now[LEN - 1] == 7);
        assert_eq!(now[0], 7);
    });
    with_copies(1 + more, "Value::wait_until_timeout", || {
        let now = value.wait_until_timeout(soon, |now| now[LEN - 1] == 7);
        assert!(matches!(&now, Some(now) if now[0] == 7));
    });
    with_copies(1 + more, "Value::new", || {
        let value = Value::new([1u8; LEN]);
        assert!(value.is_ok());
    });
    let text = on_a_stack_of(LEN / 2, "Value's Debug", || format!("{value:?}"));
    assert!(text.contains("[7, 7, 7"));
}
