//! `Ring`: every item comes out once, whole and in order. A close loses nothing and wakes everybody.

use crate::support::{FOREVER, Holders, bounded, exhaustive, spawn};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use shmkit::internals::{Refusal, Ring, RingWords, Seen, Span, Wait};

/// A ring with its slots in loom's cells. Loom reports a read of a slot during a write, and a read that
/// need not see the write.
pub(crate) struct Queue {
    words: RingWords,
    /// What each holder's handle has seen.
    seen: [Seen; 4],
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
            seen: [(); 4].map(|()| Seen::new(capacity as u64)),
            slots: (0..capacity).map(|_| UnsafeCell::new(0)).collect(),
            holders,
        })
    }

    pub(crate) fn ring(&self, number: u64) -> Ring<'_> {
        Ring::new(
            &self.words,
            &self.seen[number as usize - 1],
            self.holders.holder(number),
        )
    }

    fn slot(&self, position: u64) -> &UnsafeCell<u64> {
        &self.slots[position as usize % self.slots.len()]
    }

    pub(crate) fn write(&self, span: Span, items: &[u64]) {
        for (position, item) in (span.start..span.start + span.len).zip(items) {
            // SAFETY: the slot belongs to this side. If another thread used it, loom would panic first.
            self.slot(position)
                .with_mut(|slot| unsafe { *slot = *item });
        }
    }

    pub(crate) fn read(&self, span: Span) -> Vec<u64> {
        (span.start..span.start + span.len)
            // SAFETY: the slot belongs to this side. If another thread used it, loom would panic first.
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

    /// The kernel releases the holder's hold.
    pub(crate) fn die(&self, number: u64) {
        self.holders.die(number);
    }

    /// Gets until the ring is closed and empty.
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

/// Two items pass through one slot: the ring is full after each put, and empty after each get, so both
/// sides sleep. Holder 2 puts the items, and holder 1 gets them.
pub(crate) fn two_items(
    put: fn(&Queue) -> [Result<(), Refusal>; 2],
    get: fn(&Queue) -> [Result<u64, Refusal>; 2],
) {
    let queue = Queue::new(1);
    let producer = spawn(&queue, put);
    assert_eq!(get(&queue), [Ok(1), Ok(2)]);
    assert_eq!(producer.join().unwrap(), [Ok(()); 2]);
}

pub(crate) fn put_two(queue: &Queue) -> [Result<(), Refusal>; 2] {
    [1, 2].map(|item| queue.put(2, item))
}

pub(crate) fn get_two(queue: &Queue) -> [Result<u64, Refusal>; 2] {
    [(); 2].map(|()| queue.get(1))
}

#[test]
fn two_items_through_one_slot() {
    bounded(8, || two_items(put_two, get_two));
}

/// A put, then a close. A consumer that sees the close sees the item as well.
///
/// The consumer is the thread that is started. The other way round, loom does not come to the schedule of a
/// put and a close between two of the consumer's loads (see `main.rs`).
#[test]
fn closing_after_a_put() {
    bounded(8, || {
        let queue = Queue::new(1);
        let consumer = spawn(&queue, |queue| queue.drain(1));
        let put = queue.put(2, 1);
        queue.ring(2).close();
        assert_eq!(put, Ok(()));
        assert_eq!(consumer.join().unwrap(), [1]);
    });
}

/// Holder 2 puts an item, and holder 3 closes. Either the put succeeds and the item comes out, or the put is
/// refused and nothing comes out.
pub(crate) fn close_against(put: fn(&Queue, u64, u64) -> Result<(), Refusal>) {
    let queue = Queue::new(1);
    let producer = spawn(&queue, move |queue| put(queue, 2, 1));
    let closer = spawn(&queue, |queue| queue.ring(3).close());
    let got = queue.drain(1);
    closer.join().unwrap();
    match producer.join().unwrap() {
        Ok(()) => assert_eq!(got, [1]),
        Err(refusal) => assert_eq!((refusal, got), (Refusal::Closed, vec![])),
    }
}

#[test]
fn closing_against_a_put() {
    bounded(4, || close_against(Queue::put));
}

#[test]
fn closing_wakes_two_consumers() {
    bounded(4, || {
        let queue = Queue::new(1);
        let consumers = [2, 3].map(|number| spawn(&queue, move |queue| queue.get(number)));
        queue.ring(1).close();
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), Err(Refusal::Closed));
        }
    });
}

/// Holder 2 waits for room in a full ring, and holder 1 closes.
pub(crate) fn close_wakes(put: fn(&Queue, u64, u64) -> Result<(), Refusal>) {
    let queue = Queue::new(1);
    queue.put(1, 1).unwrap();
    let producer = spawn(&queue, move |queue| put(queue, 2, 2));
    queue.ring(1).close();
    assert_eq!(producer.join().unwrap(), Err(Refusal::Closed));
    assert_eq!(queue.drain(1), [1]);
}

#[test]
fn closing_wakes_the_producer_of_a_full_ring() {
    exhaustive(|| close_wakes(Queue::put));
}

#[test]
fn two_producers_one_consumer() {
    bounded(4, || {
        let queue = Queue::new(1);
        let producers = [2, 3].map(|number| spawn(&queue, move |queue| queue.put(number, number)));
        let mut got = get_two(&queue).map(Result::unwrap);
        got.sort_unstable();
        assert_eq!(got, [2, 3]);
        for producer in producers {
            assert_eq!(producer.join().unwrap(), Ok(()));
        }
    });
}

/// Two consumers get one item each.
fn two_consumers(put: impl FnOnce(&Queue)) {
    let queue = Queue::new(2);
    let consumers = [2, 3].map(|number| spawn(&queue, move |queue| queue.get(number).unwrap()));
    put(&queue);
    let mut got = consumers.map(|consumer| consumer.join().unwrap());
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}

/// Two threads of holder 2 share a handle. One may see that the slot is free and let it go; then the other fills
/// the slot without a look of its own.
#[test]
fn a_thread_goes_on_from_what_another_has_seen() {
    bounded(4, || {
        let queue = Queue::new(1);
        queue.put(2, 1).unwrap();
        let looker = spawn(&queue, |queue| {
            drop(queue.ring(2).claim_write(1, 1, Wait::Try))
        });
        let consumer = spawn(&queue, |queue| queue.get(1));
        assert_eq!(queue.put(2, 2), Ok(()));
        assert_eq!(consumer.join().unwrap(), Ok(1));
        looker.join().unwrap();
        assert_eq!(queue.get(1), Ok(2));
    });
}

#[test]
fn one_producer_two_consumers() {
    bounded(4, || {
        two_consumers(|queue| [1, 2].iter().for_each(|item| queue.put(1, *item).unwrap()));
    });
}

/// Two consumers look at one item, and leave it. The put wakes one of them, which wakes the other.
#[test]
fn an_item_that_is_left_wakes_another_consumer() {
    bounded(4, || {
        let queue = Queue::new(1);
        let consumers = [2, 3].map(|number| {
            spawn(&queue, move |queue| {
                let claim = queue.ring(number).claim_read(1, FOREVER).unwrap();
                let seen = queue.read(claim.span());
                claim.leave();
                seen
            })
        });
        queue.put(1, 7).unwrap();
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), [7]);
        }
        assert_eq!(queue.get(1), Ok(7));
    });
}

/// One commit and one call wake both sleepers.
#[test]
fn a_batch_of_two_for_two_consumers() {
    bounded(4, || {
        two_consumers(|queue| {
            let write = |span| queue.write(span, &[1, 2]);
            assert_eq!(queue.ring(1).put(2, FOREVER, write), Ok(2));
        });
    });
}

/// Holder 1 drops its claim on the only item, and waits for the end. Holder 3 takes the item, although holder
/// 1 may have had its wake-up.
#[test]
fn a_dropped_claim_passes_its_wake_up_on() {
    bounded(3, || {
        let queue = Queue::new(1);
        let fickle = spawn(&queue, |queue| {
            drop(queue.ring(1).claim_read(1, FOREVER));
        });
        let taker = spawn(&queue, |queue| {
            let got = queue.get(3);
            queue.ring(3).close();
            got
        });
        assert_eq!(queue.put(2, 7), Ok(()));
        assert_eq!(taker.join().unwrap(), Ok(7));
        fickle.join().unwrap();
    });
}
