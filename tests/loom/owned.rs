//! Owned sides: every item comes out once, whole and in order. An owner is refused after a close, wakes
//! sleepers and is woken, and frees its side when it lets go or dies.

use crate::ring::{Queue, close_against, close_wakes, get_two, put_two, two_items};
use crate::support::{FOREVER, Holders, bounded, spawn};
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

    fn own_and_put(&self, number: u64, item: u64) -> Result<(), Refusal> {
        let mut tail = self.ring(number).own_tail(FOREVER)?;
        self.put_by(number, &mut tail, item)
    }

    fn get_by(&self, number: u64, head: &mut OwnedHead) -> Result<u64, Refusal> {
        let span = head.claim(self.ring(number), 1, FOREVER)?;
        let items = self.read(span);
        head.commit(self.ring(number), Commit::items(1));
        Ok(items[0])
    }
}

fn own_and_put_two(queue: &Queue) -> [Result<(), Refusal>; 2] {
    let mut tail = queue.own_tail(2);
    [1, 2].map(|item| queue.put_by(2, &mut tail, item))
}

fn own_and_get_two(queue: &Queue) -> [Result<u64, Refusal>; 2] {
    let mut head = queue.own_head(1);
    [(); 2].map(|()| queue.get_by(1, &mut head))
}

#[test]
fn two_items_between_owners() {
    bounded(5, || two_items(own_and_put_two, own_and_get_two));
}

#[test]
fn an_owning_producer_and_a_plain_consumer() {
    bounded(5, || two_items(own_and_put_two, get_two));
}

#[test]
fn a_plain_producer_and_an_owning_consumer() {
    bounded(5, || two_items(put_two, own_and_get_two));
}

#[test]
fn closing_against_an_owners_put() {
    bounded(3, || close_against(Queue::own_and_put));
}

/// The owner sleeps with its side, and hears of the close all the same.
#[test]
fn closing_wakes_an_owning_producer() {
    bounded(3, || close_wakes(Queue::own_and_put));
}

#[test]
fn closing_wakes_an_owning_consumer() {
    bounded(3, || {
        let queue = Queue::new(1);
        let consumer = spawn(&queue, |queue| {
            let mut head = queue.ring(2).own_head(FOREVER)?;
            queue.get_by(2, &mut head)
        });
        queue.ring(1).close();
        assert_eq!(consumer.join().unwrap(), Err(Refusal::Closed));
    });
}

/// An owner lets go of its side. The next owner gets the side with all the writes and the count of the first.
#[test]
fn letting_go_hands_the_side_over() {
    bounded(3, || {
        let queue = Queue::new(2);
        let mut tail = queue.own_tail(1);
        let next = spawn(&queue, |queue| queue.own_and_put(2, 2));
        queue.put_by(1, &mut tail, 1).unwrap();
        tail.release(queue.ring(1));
        assert_eq!(next.join().unwrap(), Ok(()));
        assert_eq!([queue.get(3), queue.get(3)], [Ok(1), Ok(2)]);
    });
}

/// An owner commits one slot, writes another and dies. The next producer takes the side over, and its item
/// follows the committed one.
#[test]
fn a_dead_owner_is_followed() {
    bounded(3, || {
        let queue = Queue::held_by(Holders::mortal(), 2);
        let owner = spawn(&queue, |queue| {
            let mut tail = queue.own_tail(2);
            queue.put_by(2, &mut tail, 1).unwrap();
            let span = tail.claim(queue.ring(2), 1, FOREVER).unwrap();
            queue.write(span, &[9]);
            std::mem::forget(tail);
            queue.die(2);
        });
        let got = queue.get(1);
        assert_eq!(got, Ok(1));
        owner.join().unwrap(); // only the end of a nap tells a sleeper of a death, and naps have no end here
        queue.put(3, 2).unwrap();
        assert_eq!(queue.get(1), Ok(2));
    });
}

/// An owner and a plain getter sleep for the same item. A wake-up of the getter is passed on, because the getter
/// can't take the item while the side is owned. The holder that gets the item puts one for the other holder.
#[test]
fn a_wake_up_in_an_owners_place_is_passed_on() {
    bounded(3, || {
        let queue = Queue::new(2);
        let owner = spawn(&queue, |queue| {
            let mut head = queue.own_head(2);
            let got = queue.get_by(2, &mut head).unwrap();
            head.release(queue.ring(2));
            if got == 1 {
                queue.put(2, 2).unwrap();
            }
        });
        let putter = spawn(&queue, |queue| queue.put(3, 1).unwrap());
        if queue.get(1) == Ok(1) {
            queue.put(1, 2).unwrap();
        }
        owner.join().unwrap();
        putter.join().unwrap();
    });
}
