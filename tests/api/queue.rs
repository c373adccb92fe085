//! `Queue`: closing, time limits, empty batches, the smallest ring, iterators, waiting between
//! threads.

use crate::support::Name;
use crate::support::checks::{deadlocks, fails};
use crate::{LONG, all_return, waits, watchdog};
use shmkit::{Error, GetError, PutAllError, PutError, Queue};
use std::error::Error as _;
use std::io;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

#[test]
fn put_all_tells_how_many_were_put_before_the_close() {
    let _watchdog = watchdog("put_all");
    let queue = Queue::<u64>::new(4).unwrap();
    thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put_all(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        // Once 2 have been taken and 4 are there, 6 were put; nobody makes more room.
        assert_eq!((queue.get(), queue.get()), (Ok(0), Ok(1)));
        while !queue.is_full() {
            thread::yield_now();
        }
        queue.close();
        let error = putter.join().unwrap().unwrap_err();
        let source = PutError::Closed;
        assert_eq!(error.source().unwrap().to_string(), source.to_string());
        let text = "the queue is closed (after 6 items were put)";
        assert_eq!(error.to_string(), text);
        assert_eq!(error, PutAllError { put: 6, source });
    });
    assert_eq!(queue.iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn put_all_goes_on_while_others_take() {
    let _watchdog = watchdog("put_all");
    let items: Vec<u64> = (0..10_000).collect();
    let queue = Queue::<u64>::new(7).unwrap();
    let taken: Vec<u64> = thread::scope(|scope| {
        scope.spawn(|| {
            queue.put_all(&items).unwrap();
            queue.close();
        });
        queue.iter().collect()
    });
    assert_eq!(taken, items);
}

#[test]
fn a_closed_queue_drains_and_then_says_so() {
    let _watchdog = watchdog("closed");
    let queue = Queue::<u8>::new(4).unwrap();
    assert!(!queue.is_closed());
    queue.put_all(&[1, 2, 3]).unwrap();
    queue.close();
    queue.close();
    assert!(queue.is_closed() && queue.clone().is_closed());
    assert_eq!(queue.put(4), Err(PutError::Closed));
    assert_eq!(queue.try_put(4), Err(PutError::Closed));
    assert_eq!(queue.put_timeout(4, Duration::MAX), Err(PutError::Closed));
    assert_eq!(queue.put_many(&[4]), Err(PutError::Closed));
    assert_eq!(queue.len(), 3);
    assert_eq!(queue.get_with(|item| *item), Ok(1));
    assert_eq!(queue.get(), Ok(2));
    assert_eq!(queue.get_timeout(Duration::ZERO), Ok(3));
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
    assert_eq!(queue.get_timeout(Duration::MAX), Err(GetError::Closed));
    assert_eq!(queue.get_many(&mut [0; 2]), Err(GetError::Closed));
    assert_eq!(queue.get_with(|item| *item), Err(GetError::Closed));
    assert_eq!(queue.try_get_with(|item| *item), Err(GetError::Closed));
    let waited = queue.get_with_timeout(Duration::MAX, |item| *item);
    assert_eq!(waited, Err(GetError::Closed));
    assert_eq!((queue.iter().count(), queue.try_iter().count()), (0, 0));
}

#[test]
fn close_wakes_all_who_wait() {
    let _watchdog = watchdog("close wakes");
    let (full, empty) = (Queue::<u8>::new(1).unwrap(), Queue::<u8>::new(1).unwrap());
    full.put(1).unwrap();
    thread::scope(|scope| {
        let putters = [(); 3].map(|()| scope.spawn(|| full.put(2)));
        let getters = [(); 3].map(|()| scope.spawn(|| empty.get()));
        let iterator = scope.spawn(|| empty.iter().count());
        full.close();
        empty.close();
        all_return(putters, &Err(PutError::Closed));
        all_return(getters, &Err(GetError::Closed));
        assert_eq!(iterator.join().unwrap(), 0);
    });
    assert_eq!(full.get(), Ok(1));
}

#[test]
fn iterators_end_where_they_say() {
    let _watchdog = watchdog("iterators");
    let queue = Queue::<u32>::new(8).unwrap();
    queue.put_all(&[1, 2, 3]).unwrap();
    assert_eq!(queue.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queue.try_iter().next(), None, "empty, not closed");
    let taken: Vec<u32> = thread::scope(|scope| {
        scope.spawn(|| {
            (0..1000).for_each(|n| queue.put(n).unwrap());
            queue.close();
        });
        let mut taken = Vec::new();
        for item in &queue {
            taken.push(item);
        }
        taken
    });
    assert!(taken.iter().copied().eq(0..1000));
}

#[test]
fn empty_batches_do_nothing_and_never_wait() {
    let _watchdog = watchdog("empty batches");
    let queue = Queue::<u8>::new(1).unwrap();
    assert_eq!(queue.get_many(&mut []), Ok(0), "of an empty queue");
    queue.put(1).unwrap();
    assert_eq!(queue.put_many(&[]), Ok(0), "into a full queue");
    assert_eq!(queue.put_all(&[]), Ok(()));
    queue.close();
    assert_eq!(queue.put_many(&[]), Ok(0));
    assert_eq!(queue.put_all(&[]), Ok(()));
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.get_many(&mut []), Ok(0));
}

#[test]
fn a_queue_of_one_passes_everything_on() {
    let _watchdog = watchdog("capacity 1");
    let queue = Queue::<[u8; 5]>::new(1).unwrap();
    assert_eq!(queue.put_many(&[[1; 5], [2; 5]]), Ok(1));
    assert!(queue.is_full() && !queue.is_empty());
    assert_eq!(queue.try_put([2; 5]), Err(PutError::Full));
    let mut out = [[0; 5]; 3];
    assert_eq!(queue.get_many(&mut out), Ok(1));
    assert_eq!(out, [[1; 5], [0; 5], [0; 5]]);
    thread::scope(|scope| {
        scope.spawn(|| (0..=255).for_each(|n| queue.put([n; 5]).unwrap()));
        for n in 0..=255 {
            assert_eq!(queue.get(), Ok([n; 5]));
        }
    });
}

#[test]
fn waits_end_by_their_timeouts() {
    let _watchdog = watchdog("timeouts");
    let queue = Queue::<u8>::new(1).unwrap();
    let (none, some) = (Duration::ZERO, Duration::from_millis(30));
    assert_eq!(queue.get_timeout(none), Err(GetError::TimedOut));
    assert_eq!(queue.put_timeout(1, none), Ok(()));
    assert_eq!(queue.put_timeout(2, none), Err(PutError::TimedOut));
    let late = waits(some, || queue.put_timeout(2, some));
    assert_eq!(late, Err(PutError::TimedOut));
    assert_eq!(queue.get_timeout(Duration::MAX), Ok(1));
    let late = waits(some, || queue.get_timeout(some));
    assert_eq!(late, Err(GetError::TimedOut));
    // A wait with a limit beyond any clock goes on until it is woken.
    thread::scope(|scope| {
        let getter = scope.spawn(|| queue.get_timeout(Duration::MAX));
        assert_eq!(queue.put_timeout(3, Duration::MAX), Ok(()));
        assert_eq!(getter.join().unwrap(), Ok(3));
    });
}

#[test]
fn a_side_that_is_held_is_busy_for_tries_and_times_out_for_waits() {
    let _watchdog = watchdog("busy");
    let queue = Queue::<u8>::new(2).unwrap();
    queue.put(1).unwrap();
    queue
        .get_with(|_| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    assert_eq!(queue.try_get(), Err(GetError::Busy));
                    assert_eq!(queue.try_iter().next(), None);
                    let unseen = queue.try_get_with(|_| unreachable!("nobody's item"));
                    assert_eq!(unseen, Err::<(), _>(GetError::Busy));
                    let soon = Duration::from_millis(5);
                    assert_eq!(queue.get_timeout(soon), Err(GetError::Busy));
                    let unseen = queue.get_with_timeout(soon, |_| unreachable!("nobody's item"));
                    assert_eq!(unseen, Err::<(), _>(GetError::Busy));
                    // The other side is free, and so is looking.
                    assert_eq!(queue.try_put(2), Ok(()));
                    assert_eq!(queue.try_put(3), Err(PutError::Full));
                    assert_eq!(queue.len(), 2);
                });
            });
        })
        .unwrap();
    assert_eq!(queue.try_get(), Ok(2));
}

#[test]
fn a_get_from_inside_get_with_panics_rather_than_waits_for_itself() {
    let _watchdog = watchdog("get in get_with");
    let queue = Queue::<u8>::new(2).unwrap();
    queue.put(1).unwrap();
    deadlocks(|| queue.get_with(|_| queue.get_timeout(LONG)));
    assert_eq!(queue.try_get(), Ok(1), "the panic left the item");
}

#[test]
fn sleepers_on_either_side_are_woken() {
    const ROUNDS: u64 = 300;
    let _watchdog = watchdog("ping-pong");
    let name = Name::new("pingpong");
    let there = Queue::<u64>::create(&*name, 1).unwrap();
    let here = Queue::<u64>::open(&*name).unwrap();
    let back = Queue::<u64>::new(1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for item in &here {
                back.put(item + 1).unwrap();
            }
            back.close();
        });
        for round in 0..ROUNDS {
            there.put(round).unwrap();
            assert_eq!(back.get_timeout(LONG), Ok(round + 1));
        }
        there.close();
        assert_eq!(back.get(), Err(GetError::Closed));
    });
}

#[test]
fn one_put_many_serves_several_getters() {
    let _watchdog = watchdog("put_many wakes");
    let queue = Queue::<u64>::new(8).unwrap();
    let (takes, taken) = channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let takes = takes.clone();
            let queue = &queue;
            scope.spawn(move || takes.send(queue.get()).unwrap());
        }
        assert_eq!(queue.put_many(&[1, 2, 3, 4]), Ok(4));
        let mut got: Vec<u64> = (0..4)
            .map(|_| taken.recv_timeout(LONG).unwrap().unwrap())
            .collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3, 4]);
    });
}

#[test]
fn a_refused_capacity_is_an_error() {
    for capacity in [0, usize::MAX, 1 << 61] {
        fails!(Error::InvalidSize { .. }, Queue::<u64>::new(capacity));
    }
}

#[test]
fn outcomes_become_errors_of_the_crate_and_of_io() {
    fn work(queue: &Queue<u8>) -> shmkit::Result<u8> {
        queue.try_put(1)?;
        queue.try_get()?;
        Ok(queue.try_get()?)
    }
    let queue = Queue::<u8>::new(1).unwrap();
    let error = work(&queue).unwrap_err();
    assert_eq!(error.to_string(), "get: the queue is empty");
    let source = GetError::Empty;
    assert!(matches!(&error, Error::Get { source: s } if *s == source));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::WouldBlock);
    queue.close();
    let error = work(&queue).unwrap_err();
    let source = PutError::Closed;
    assert!(matches!(&error, Error::Put { source: s } if *s == source));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::BrokenPipe);
}
