//! Items through a queue's endpoints, between processes, and through `rtrb`, between threads.

use crate::Setup;
use crate::support::pin;
use crate::support::process::{finish, fork};
use shmkit::{Queue, Value};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const BATCH: usize = 64;

pub(crate) fn one_by_one(setup: Setup) -> f64 {
    rate(setup, stream(setup, put_each, get_each))
}

pub(crate) fn in_chunks(setup: Setup) -> f64 {
    rate(setup, stream(setup, put_chunks, get_chunks))
}

pub(crate) fn rtrb_one_by_one(setup: Setup) -> f64 {
    rate(setup, rtrb_stream(setup, push_each, pop_each))
}

pub(crate) fn rtrb_in_chunks(setup: Setup) -> f64 {
    rate(setup, rtrb_stream(setup, push_chunks, pop_chunks))
}

/// Millions of items per second.
fn rate(setup: Setup, took: Duration) -> f64 {
    setup.items as f64 / took.as_secs_f64() / 1e6
}

/// Checks each item that a consumer takes, by its number.
struct Check(u64);

impl Check {
    fn take(&mut self, item: u64) {
        assert_eq!(item, self.0, "out of order");
        self.0 += 1;
    }
}

type Ours = fn(&Queue<u64>, u64);

fn put_each(queue: &Queue<u64>, items: u64) {
    let mut producer = queue.producer().expect("nobody else's");
    (0..items).for_each(|item| producer.put(item).expect("open"));
}

fn get_each(queue: &Queue<u64>, items: u64) {
    let mut consumer = queue.consumer().expect("nobody else's");
    let mut check = Check(0);
    (0..items).for_each(|_| check.take(consumer.get().expect("open")));
}

fn put_chunks(queue: &Queue<u64>, items: u64) {
    let mut producer = queue.producer().expect("nobody else's");
    let mut next = 0;
    while next < items {
        let most = BATCH.min((items - next) as usize);
        let mut chunk = producer.chunk(most).expect("open");
        for slot in chunk.iter_mut() {
            *slot = next;
            next += 1;
        }
        chunk.commit_all().expect("open");
    }
}

fn get_chunks(queue: &Queue<u64>, items: u64) {
    let mut consumer = queue.consumer().expect("nobody else's");
    let mut check = Check(0);
    while check.0 < items {
        let chunk = consumer.chunk(BATCH).expect("open");
        chunk.iter().for_each(|item| check.take(*item));
        chunk.release_all();
    }
}

/// Returns the time that the consumer's process measured.
fn stream(setup: Setup, put: Ours, get: Ours) -> Duration {
    let queue = Queue::<u64>::new(setup.capacity).expect("an anonymous queue");
    let met = Value::new(0).expect("an anonymous value");
    let time = Value::new(0u64).expect("an anonymous value");
    let meet = || {
        met.update(|n| *n += 1);
        while met.get() < 2 {
            thread::yield_now();
        }
    };
    let producer = fork(
        || {
            pin(setup.cpus[0]);
            meet();
            put(&queue, setup.items);
        },
        || queue.close(),
    );
    let consumer = fork(
        || {
            pin(setup.cpus[1]);
            meet();
            let start = Instant::now();
            get(&queue, setup.items);
            time.set(start.elapsed().as_nanos() as u64);
        },
        || queue.close(),
    );
    finish(producer);
    finish(consumer);
    Duration::from_nanos(time.get())
}

type Push = fn(&mut rtrb::Producer<u64>, u64);
type Pop = fn(&mut rtrb::Consumer<u64>, u64);

fn push_each(producer: &mut rtrb::Producer<u64>, items: u64) {
    for item in 0..items {
        while producer.push(item).is_err() {
            std::hint::spin_loop();
        }
    }
}

fn pop_each(consumer: &mut rtrb::Consumer<u64>, items: u64) {
    let mut check = Check(0);
    while check.0 < items {
        match consumer.pop() {
            Ok(item) => check.take(item),
            Err(_) => std::hint::spin_loop(),
        }
    }
}

fn push_chunks(producer: &mut rtrb::Producer<u64>, items: u64) {
    let mut next = 0;
    while next < items {
        let most = BATCH.min((items - next) as usize);
        let Ok(mut chunk) = producer.write_chunk(most) else {
            std::hint::spin_loop();
            continue;
        };
        let (first, second) = chunk.as_mut_slices();
        for slot in first.iter_mut().chain(second) {
            *slot = next;
            next += 1;
        }
        chunk.commit_all();
    }
}

fn pop_chunks(consumer: &mut rtrb::Consumer<u64>, items: u64) {
    let mut check = Check(0);
    while check.0 < items {
        let most = BATCH.min((items - check.0) as usize);
        let Ok(chunk) = consumer.read_chunk(most) else {
            std::hint::spin_loop();
            continue;
        };
        let (first, second) = chunk.as_slices();
        first
            .iter()
            .chain(second)
            .for_each(|item| check.take(*item));
        chunk.commit_all();
    }
}

fn rtrb_stream(setup: Setup, push: Push, pop: Pop) -> Duration {
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(setup.capacity);
    let meet = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(setup.cpus[0]);
            meet.wait();
            push(&mut producer, setup.items);
        });
        let consumer = scope.spawn(|| {
            pin(setup.cpus[1]);
            meet.wait();
            let start = Instant::now();
            pop(&mut consumer, setup.items);
            start.elapsed()
        });
        consumer.join().expect("a consumer")
    })
}
