//! Owned sides: what was put is got, once, whole and in order; an owner is refused after a close, is
//! woken and wakes, and frees its side when it lets go or dies.

use crate::ring::Queue;
use crate::support::{FOREVER, Holders, bounded};
use loom::thread;
use shmkit::internals::{Commit, OwnedHead, OwnedTail, Refusal};

impl Queue {
    fn own_tail(&self, number: u64) -> OwnedTail {
        self.ring(number).own_tail(FOREVER).unwrap()
    }

    fn own_head(&self, number: u64) -> OwnedHead {
        self.ring(number).own_head(FOREVER).unwrap()
    }

    fn put_by(&self, number: u64, tail: &mut OwnedTail, item: u64) -> Result<(), Refusal> {
        let span = tail.claim(self.ring(number), 1, FOREVER)?;
        self.write(span, &[item]);
        tail.commit(self.ring(number), Commit::items(1))
    }

    fn get_by(&self, number: u64, head: &mut OwnedHead) -> Result<u64, Refusal> {
        let span = head.claim(self.ring(number), 1, FOREVER)?;
        let items = self.read(span);
        head.commit(self.ring(number), Commit::items(1));
        Ok(items[0])
    }
}

/// Both sides owned, and both sleep: the ring is full after each put and empty after each get.
#[test]
fn two_items_between_owners() {
    bounded(5, || {
        let queue = Queue::new(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut tail = queue.own_tail(2);
                [1, 2].map(|item| queue.put_by(2, &mut tail, item))
            })
        };
        let mut head = queue.own_head(1);
        let got = [1, 2].map(|_| queue.get_by(1, &mut head));
        assert_eq!(got, [Ok(1), Ok(2)]);
        assert_eq!(producer.join().unwrap(), [Ok(()); 2]);
    });
}

#[test]
fn an_owning_producer_and_a_plain_consumer() {
    bounded(5, || {
        let queue = Queue::new(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut tail = queue.own_tail(2);
                [1, 2].map(|item| queue.put_by(2, &mut tail, item))
            })
        };
        let got = [queue.get(1), queue.get(1)];
        assert_eq!(got, [Ok(1), Ok(2)]);
        assert_eq!(producer.join().unwrap(), [Ok(()); 2]);
    });
}

#[test]
fn a_plain_producer_and_an_owning_consumer() {
    bounded(5, || {
        let queue = Queue::new(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || [1, 2].map(|item| queue.put(2, item)))
        };
        let mut head = queue.own_head(1);
        let got = [1, 2].map(|_| queue.get_by(1, &mut head));
        assert_eq!(got, [Ok(1), Ok(2)]);
        assert_eq!(producer.join().unwrap(), [Ok(()); 2]);
    });
}

/// An owner's put against a close by a third party: it is Ok and the item comes out, or it is refused
/// and nothing does.
#[test]
fn closing_against_an_owners_put() {
    bounded(3, || {
        let queue = Queue::new(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut tail = queue.ring(2).own_tail(FOREVER)?;
                queue.put_by(2, &mut tail, 1)
            })
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

/// Whoever owns its side sleeps with it, and hears of the close all the same.
#[test]
fn closing_wakes_an_owning_producer() {
    bounded(3, || {
        let queue = Queue::new(1);
        queue.put(1, 7).unwrap();
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut tail = queue.ring(2).own_tail(FOREVER)?;
                queue.put_by(2, &mut tail, 8)
            })
        };
        queue.ring(1).close();
        assert_eq!(producer.join().unwrap(), Err(Refusal::Closed));
        assert_eq!(queue.drain(1), [7]);
    });
}

#[test]
fn closing_wakes_an_owning_consumer() {
    bounded(3, || {
        let queue = Queue::new(1);
        let consumer = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut head = queue.ring(2).own_head(FOREVER)?;
                queue.get_by(2, &mut head)
            })
        };
        queue.ring(1).close();
        assert_eq!(consumer.join().unwrap(), Err(Refusal::Closed));
    });
}

/// An owner that lets go lets in who waits for the side, and what it wrote and the count that it
/// reached go over with it.
#[test]
fn letting_go_hands_the_side_over() {
    bounded(3, || {
        let queue = Queue::new(2);
        let mut tail = queue.own_tail(1);
        let next = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut tail = queue.own_tail(2);
                queue.put_by(2, &mut tail, 2)
            })
        };
        queue.put_by(1, &mut tail, 1).unwrap();
        tail.release(queue.ring(1));
        assert_eq!(next.join().unwrap(), Ok(()));
        assert_eq!([queue.get(3), queue.get(3)], [Ok(1), Ok(2)]);
    });
}

/// An owner dies with a slot written and not committed, after one that was: the next takes the side
/// over, and its item comes behind the committed one.
#[test]
fn a_dead_owner_is_followed() {
    bounded(3, || {
        let queue = Queue::held_by(Holders::mortal(), 2);
        let owner = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut tail = queue.own_tail(2);
                queue.put_by(2, &mut tail, 1).unwrap();
                let span = tail.claim(queue.ring(2), 1, FOREVER).unwrap();
                queue.write(span, &[9]);
                std::mem::forget(tail);
                queue.die(2);
            })
        };
        let got = queue.get(1);
        assert_eq!(got, Ok(1));
        owner.join().unwrap(); // who slept while it lived would need a nap's end to find it dead
        queue.put(3, 2).unwrap();
        assert_eq!(queue.get(1), Ok(2));
    });
}

/// An owner and a plain getter sleep for the same item, and the wake-up comes to the getter, who can't
/// get at it: it is passed on. (A model's sleeps have no end of their own.) Whoever gets that item puts
/// one for the other.
#[test]
fn a_wake_up_in_an_owners_place_is_passed_on() {
    bounded(3, || {
        let queue = Queue::new(2);
        let owner = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut head = queue.own_head(2);
                let got = queue.get_by(2, &mut head).unwrap();
                head.release(queue.ring(2));
                if got == 1 {
                    queue.put(2, 2).unwrap();
                }
            })
        };
        let putter = {
            let queue = queue.clone();
            thread::spawn(move || queue.put(3, 1).unwrap())
        };
        if queue.get(1) == Ok(1) {
            queue.put(1, 2).unwrap();
        }
        owner.join().unwrap();
        putter.join().unwrap();
    });
}
