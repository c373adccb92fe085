//! `ByteQueue`: lengths at the edges, reservations, time limits, closing, waiting between threads.

use crate::support::Name;
use crate::support::checks::{deadlocks, fails};
use crate::{LONG, all_return, waits, watchdog};
use shmkit::{ByteQueue, Error, GetError, Kind, Place, PutError, inspect};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_capacity_is_rounded_up_and_compared_as_that() {
    let name = Name::new("bytes");
    let queue = ByteQueue::open_or_create(&*name, 100).unwrap();
    assert_eq!((queue.capacity(), queue.max_message_len()), (104, 96));
    assert!(queue.was_created());
    for same in [97, 104] {
        let same = ByteQueue::open_or_create(&*name, same).unwrap();
        assert!(!same.was_created());
    }
    for other in [96, 105] {
        let error = ByteQueue::open_or_create(&*name, other).unwrap_err();
        let rounded = other.next_multiple_of(8);
        let text = format!("{name}: other capacity: expected {rounded}, found 104");
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(ByteQueue::open(&*name).unwrap().capacity(), 104);
    let info = inspect(&*name).unwrap();
    let seen = (info.kind, &*info.element, info.element_size, info.capacity);
    assert_eq!(seen, (Kind::ByteQueue, "bytes", 1, 104));
    // The control words, the units, and the spill area.
    assert_eq!(info.size, 1024 + 8 * (13 + 12));
    for refused in [0, usize::MAX, usize::MAX / 2] {
        fails!(Error::InvalidSize { .. }, ByteQueue::new(refused));
    }
}

#[test]
fn messages_of_no_bytes_of_the_most_and_of_one_more() {
    let _watchdog = watchdog("lengths");
    for capacity in [8, 16, 24, 64, 4096] {
        let queue = ByteQueue::new(capacity).unwrap();
        let max = queue.max_message_len();
        assert_eq!(max, capacity - 8);
        let longest: Vec<u8> = (0..=255).cycle().take(max).collect();
        // Each round's message begins a unit further on.
        for _ in 0..2 * capacity / 8 {
            queue.put(b"").unwrap();
            assert_eq!(queue.get_with(<[u8]>::len), Ok(0));
            queue.put(&longest).unwrap();
            assert_eq!(queue.used(), capacity);
            assert_eq!(queue.try_put(b""), Err(PutError::Full));
            assert_eq!(queue.get().unwrap(), longest);
        }
        let too_long = vec![0; max + 1];
        let refused = PutError::TooLong { len: max + 1, max };
        // The refusal comes at once, in every form, and even from a full or closed queue.
        queue.put(&longest).unwrap();
        for _ in 0..2 {
            assert_eq!(queue.put(&too_long), Err(refused.clone()));
            assert_eq!(queue.try_put(&too_long), Err(refused.clone()));
            assert_eq!(queue.put_timeout(&too_long, LONG), Err(refused.clone()));
            assert_eq!(queue.reserve(max + 1).unwrap_err(), refused);
            queue.close();
        }
        let len = usize::MAX;
        let refused = queue.reserve(len).unwrap_err();
        assert_eq!(refused, PutError::TooLong { len, max });
    }
}

#[test]
fn a_reservation_is_seen_when_it_is_committed_and_not_before() {
    let _watchdog = watchdog("reservations");
    let queue = ByteQueue::new(64).unwrap();
    let mut room = queue.reserve(50).unwrap();
    assert_eq!(room.len(), 50);
    room.fill(1);
    assert!(queue.is_empty());
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    let text = format!("{room:?}");
    assert_eq!(text, "Reservation { len: 50, stale: false }");
    drop(room);
    assert!(queue.is_empty(), "dropped, it left a trace");

    // A commit takes from the capacity only the bytes that it commits.
    let mut room = queue.reserve(56).unwrap();
    room[..3].copy_from_slice(b"abc");
    room.commit(3).unwrap();
    assert_eq!(queue.used(), 16);
    queue.reserve(0).unwrap().commit(0).unwrap();
    assert_eq!(queue.used(), 24);

    let room = queue.reserve(5).unwrap();
    assert_eq!(room.commit(6), Err(PutError::TooLong { len: 6, max: 5 }));
    assert_eq!(queue.try_reserve(33).unwrap_err(), PutError::Full);
    let late = queue.reserve_timeout(33, Duration::ZERO).unwrap_err();
    assert_eq!(late, PutError::TimedOut);
    let room = queue.try_reserve(32).unwrap();
    queue.close();
    assert_eq!(room.commit(32), Err(PutError::Closed));
    assert_eq!(queue.iter().collect::<Vec<_>>(), [b"abc".to_vec(), vec![]]);
}

#[test]
fn a_reservation_holds_the_producers_side() {
    let _watchdog = watchdog("a held side");
    let queue = ByteQueue::new(64).unwrap();
    queue.put(b"first").unwrap();
    let mut room = queue.reserve(6).unwrap();
    // In this thread, a wait panics, and leaves the reservation as it is.
    deadlocks(|| queue.put_timeout(b"x", LONG));
    deadlocks(|| queue.reserve_timeout(1, LONG).map(drop));
    assert_eq!(queue.try_put(b"x"), Err(PutError::Busy));
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(queue.try_put(b"x"), Err(PutError::Busy));
            assert_eq!(queue.try_reserve(1).unwrap_err(), PutError::Busy);
            let soon = Duration::from_millis(2);
            assert_eq!(queue.put_timeout(b"x", soon), Err(PutError::Busy));
            // The other side is free.
            assert_eq!(queue.try_get().unwrap(), b"first");
        });
    });
    room.copy_from_slice(b"second");
    room.commit(6).unwrap();
    assert_eq!(queue.try_get().unwrap(), b"second");
}

#[test]
fn a_get_from_inside_get_with_panics_rather_than_waits_for_itself() {
    let _watchdog = watchdog("get in get_with");
    let queue = ByteQueue::new(64).unwrap();
    queue.put(b"a").unwrap();
    deadlocks(|| queue.get_with(|_| queue.get_timeout(LONG)));
    assert_eq!(queue.try_get().unwrap(), b"a", "the panic left the message");
}

#[test]
fn get_into_replaces_what_is_in_the_buffer() {
    let _watchdog = watchdog("get_into");
    let queue = ByteQueue::new(64).unwrap();
    let mut buffer = b"old".to_vec();
    assert_eq!(queue.try_get_into(&mut buffer), Err(GetError::Empty));
    let late = queue.get_into_timeout(&mut buffer, Duration::ZERO);
    assert_eq!(late, Err(GetError::TimedOut));
    assert_eq!(buffer, b"old");
    queue.put(b"longer than before").unwrap();
    queue.put(b"").unwrap();
    assert_eq!(queue.get_into(&mut buffer), Ok(18));
    assert_eq!(buffer, b"longer than before");
    assert_eq!(queue.get_into(&mut buffer), Ok(0));
    assert_eq!(buffer, b"");
    queue.close();
    assert_eq!(queue.get_into(&mut buffer), Err(GetError::Closed));
}

#[test]
fn a_closed_queue_drains_and_then_says_so() {
    let _watchdog = watchdog("closed");
    let queue = ByteQueue::new(64).unwrap();
    for message in ["a", "b", "c"] {
        queue.put(message.as_bytes()).unwrap();
    }
    queue.close();
    queue.close();
    assert!(queue.is_closed() && queue.clone().is_closed());
    assert_eq!(queue.put(b"d"), Err(PutError::Closed));
    assert_eq!(queue.try_put(b"d"), Err(PutError::Closed));
    assert_eq!(queue.reserve(1).unwrap_err(), PutError::Closed);
    assert_eq!(queue.get_with(<[u8]>::to_vec).unwrap(), b"a");
    assert_eq!(queue.get_timeout(Duration::ZERO).unwrap(), b"b");
    let rest: Vec<_> = (&queue).into_iter().collect();
    assert_eq!(rest, [b"c"]);
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
    assert_eq!(queue.get_with(|_| ()), Err(GetError::Closed));
    assert_eq!(queue.try_iter().count(), 0);
}

#[test]
fn close_wakes_all_who_wait() {
    let _watchdog = watchdog("close wakes");
    let [full, empty] = &[(); 2].map(|()| ByteQueue::new(64).unwrap());
    full.put(&[1; 30]).unwrap();
    thread::scope(|scope| {
        let messages = [&[2; 25][..], &[2; 40], &[2; 56]];
        let putters = messages.map(|message| scope.spawn(|| full.put(message)));
        let getters = [(); 2].map(|()| scope.spawn(|| empty.get()));
        full.close();
        empty.close();
        all_return(putters, &Err(PutError::Closed));
        all_return(getters, &Err(GetError::Closed));
    });
    assert_eq!(full.get().unwrap(), [1; 30]);
}

#[test]
fn waits_end_by_their_timeouts() {
    let _watchdog = watchdog("timeouts");
    let queue = ByteQueue::new(64).unwrap();
    let timeout = Duration::from_millis(30);
    let late = waits(timeout, || queue.get_timeout(timeout));
    assert_eq!(late, Err(GetError::TimedOut));
    let late = waits(timeout, || queue.get_with_timeout(timeout, |_| ()));
    assert_eq!(late, Err(GetError::TimedOut));
    queue.put_timeout(&[1; 40], Duration::ZERO).unwrap();
    // There is room, but not for 9 bytes.
    let late = waits(timeout, || queue.put_timeout(&[2; 9], timeout));
    assert_eq!(late, Err(PutError::TimedOut));
    assert_eq!(queue.put_timeout(&[2; 8], Duration::MAX), Ok(()));
}

/// The room of one long message is enough for several short ones, and the other way round.
#[test]
fn whoever_may_fit_now_is_woken() {
    const ROUNDS: usize = 200;
    let _watchdog = watchdog("unequal needs");
    let queue = ByteQueue::new(256).unwrap();
    let together = Barrier::new(5);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    together.wait();
                    queue.put(&[2; 56]).unwrap();
                }
            });
        }
        for _ in 0..ROUNDS {
            queue.put(&[1; 248]).unwrap();
            together.wait(); // all four find it full
            assert_eq!(queue.get_timeout(LONG).unwrap(), [1; 248]);
            // All four fit now, and nothing more has to be taken.
            let start = Instant::now();
            while queue.used() < 256 {
                assert!(start.elapsed() < LONG, "somebody sleeps on");
                thread::yield_now();
            }
            // And now one long message has to wait for all four.
            thread::scope(|scope| {
                let long = scope.spawn(|| queue.put(&[3; 248]));
                for _ in 0..4 {
                    assert_eq!(queue.get_timeout(LONG).unwrap(), [2; 56]);
                }
                assert_eq!(long.join().unwrap(), Ok(()));
            });
            assert_eq!(queue.get_timeout(LONG).unwrap(), [3; 248]);
        }
    });
}

#[test]
fn messages_of_all_lengths_pass_between_threads() {
    let _watchdog = watchdog("between threads");
    let queue = ByteQueue::new(1000).unwrap();
    let message = |n: usize| vec![u8::try_from(n % 251).unwrap(); n * 7 % 990];
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..20_000).for_each(|n| queue.put(&message(n)).unwrap());
            queue.close();
        });
        assert!(queue.iter().eq((0..20_000).map(message)));
    });
}

#[test]
fn a_queue_is_found_by_name_by_file_and_by_descriptor() {
    let _watchdog = watchdog("places");
    let name = Name::new("bytes");
    let queue = ByteQueue::create(&*name, 64).unwrap();
    assert_eq!(queue.name(), Some(&*name));
    let opened = ByteQueue::open(&*name).unwrap();
    queue.put(b"by name").unwrap();
    assert_eq!(opened.get().unwrap(), b"by name");
    let passed = ByteQueue::open(Place::fd(queue.try_clone_fd().unwrap())).unwrap();
    queue.put(b"by descriptor").unwrap();
    assert_eq!(passed.get().unwrap(), b"by descriptor");
    fails!(Error::AlreadyExists { .. }, ByteQueue::create(&*name, 64));
    let text = format!("{queue:?}");
    for part in [
        "ByteQueue",
        &name,
        "used: 0",
        "capacity: 64",
        "closed: false",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
