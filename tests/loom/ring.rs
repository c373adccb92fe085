//! `Ring`: what was put is got, once, whole and in order; closing loses nothing and wakes everybody.

use crate::support::{FOREVER, Holders, bounded, exhaustive};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use shmkit::internals::{Refusal, Ring, RingWords, Span};

/// A ring with its slots, in loom's cells: it reports a slot that is read while it is written, or
/// whose writing the reader need not have seen.
pub(crate) struct Queue {
    words: RingWords,
    slots: Vec<UnsafeCell<u64>>,
    holders: Holders,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Self::held_by(Holders::immortal(), capacity)
    }

    pub(crate) fn held_by(holders: Holders, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            words: RingWords::default(),
            slots: (0..capacity).map(|_| UnsafeCell::new(0)).collect(),
            holders,
        })
    }

    pub(crate) fn ring(&self, number: u64) -> Ring<'_> {
        Ring::new(
            &self.words,
            self.slots.len() as u64,
            self.holders.holder(number),
        )
    }

    fn slot(&self, position: u64) -> &UnsafeCell<u64> {
        &self.slots[position as usize % self.slots.len()]
    }

    pub(crate) fn write(&self, span: Span, items: &[u64]) {
        for (position, item) in (span.start..span.start + span.len).zip(items) {
            // SAFETY: the slot is this side's; where it is not, loom panics before this.
            self.slot(position)
                .with_mut(|slot| unsafe { *slot = *item });
        }
    }

    pub(crate) fn read(&self, span: Span) -> Vec<u64> {
        (span.start..span.start + span.len)
            // SAFETY: the slot is this side's; where it is not, loom panics before this.
            .map(|position| self.slot(position).with(|slot| unsafe { *slot }))
            .collect()
    }

    pub(crate) fn put(&self, number: u64, item: u64) -> Result<(), Refusal> {
        let put = self
            .ring(number)
            .put(1, FOREVER, |span| self.write(span, &[item]));
        put.map(|count| assert_eq!(count, 1))
    }

    pub(crate) fn get(&self, number: u64) -> Result<u64, Refusal> {
        let got = self.ring(number).get(1, FOREVER, |span| self.read(span));
        got.map(|items| items[0])
    }

    /// The kernel lets go of what that holder had.
    pub(crate) fn die(&self, number: u64) {
        self.holders.die(number);
    }

    /// Gets until closed and drained.
    pub(crate) fn drain(&self, number: u64) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            match self.get(number) {
                Ok(item) => all.push(item),
                Err(Refusal::Closed) => return all,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

/// Capacity 1 and two items: the producer sleeps on the full ring, the consumer on the empty one,
/// and the slot is used again.
#[test]
fn two_items_through_one_slot() {
    bounded(8, || {
        let queue = Queue::new(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || [1, 2].map(|item| queue.put(2, item)))
        };
        let got = [queue.get(1), queue.get(1)];
        assert_eq!(got, [Ok(1), Ok(2)]);
        assert_eq!(producer.join().unwrap(), [Ok(()); 2]);
    });
}

/// A put, then close: who sees "closed" sees the put as well.
///
/// The consumer is the thread that is started: the other way round loom does not come to the schedule
/// of a put and a close between two of the consumer's loads (see `main.rs`).
#[test]
fn closing_after_a_put() {
    bounded(8, || {
        let queue = Queue::new(1);
        let consumer = {
            let queue = queue.clone();
            thread::spawn(move || queue.drain(1))
        };
        let put = queue.put(2, 1);
        queue.ring(2).close();
        assert_eq!(put, Ok(()));
        assert_eq!(consumer.join().unwrap(), [1]);
    });
}

/// A put against a close by a third party: it is Ok and the item comes out, or it is refused and
/// nothing does.
#[test]
fn closing_against_a_put() {
    bounded(4, || {
        let queue = Queue::new(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || queue.put(2, 1))
        };
        let closer = {
            let queue = queue.clone();
            thread::spawn(move || queue.ring(3).close())
        };
        let got = queue.drain(1);
        closer.join().unwrap();
        match producer.join().unwrap() {
            Ok(()) => assert_eq!(got, [1]),
            Err(refusal) => assert_eq!((refusal, got), (Refusal::Closed, vec![])),
        }
    });
}

#[test]
fn closing_wakes_two_consumers() {
    bounded(4, || {
        let queue = Queue::new(1);
        let consumers = [2, 3].map(|number| {
            let queue = queue.clone();
            thread::spawn(move || queue.get(number))
        });
        queue.ring(1).close();
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), Err(Refusal::Closed));
        }
    });
}

#[test]
fn closing_wakes_the_producer_of_a_full_ring() {
    exhaustive(|| {
        let queue = Queue::new(1);
        queue.put(1, 1).unwrap();
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || queue.put(2, 2))
        };
        queue.ring(1).close();
        assert_eq!(producer.join().unwrap(), Err(Refusal::Closed));
        assert_eq!(queue.drain(1), [1]);
    });
}

#[test]
fn two_producers_one_consumer() {
    bounded(4, || {
        let queue = Queue::new(1);
        let producers = [2, 3].map(|number| {
            let queue = queue.clone();
            thread::spawn(move || queue.put(number, number))
        });
        let mut got = [queue.get(1), queue.get(1)].map(Result::unwrap);
        got.sort_unstable();
        assert_eq!(got, [2, 3]);
        for producer in producers {
            assert_eq!(producer.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn one_producer_two_consumers() {
    bounded(4, || {
        let queue = Queue::new(2);
        let consumers = [2, 3].map(|number| {
            let queue = queue.clone();
            thread::spawn(move || queue.get(number).unwrap())
        });
        for item in [1, 2] {
            queue.put(1, item).unwrap();
        }
        let mut got = consumers.map(|consumer| consumer.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

/// One commit and one call for both sleepers.
#[test]
fn a_batch_of_two_for_two_consumers() {
    bounded(4, || {
        let queue = Queue::new(2);
        let consumers = [2, 3].map(|number| {
            let queue = queue.clone();
            thread::spawn(move || queue.get(number).unwrap())
        });
        let put = queue
            .ring(1)
            .put(2, FOREVER, |span| queue.write(span, &[1, 2]));
        assert_eq!(put, Ok(2));
        let mut got = consumers.map(|consumer| consumer.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}
