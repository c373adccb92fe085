//! Queues that forked children inherit.

use crate::fork::Line;
use crate::{AT_ONCE, at_once, finish, spawn, timed, within};
use shmkit::{GetError, PutError, Queue};
use std::time::Duration;

const MOST: usize = 6;
const SOME: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);

fn queue() -> Queue<u64> {
    Queue::new(MOST).expect("create")
}

pub(crate) fn put_and_get() {
    let (queue, go, full) = (queue(), Line::new(), Line::new());
    let taker = spawn(|| {
        for first in [0, 6] {
            go.hear();
            let taken: Vec<u64> = (0..6).map(|_| queue.get().expect("get")).collect();
            assert!(taken.into_iter().eq(first..first + 6));
        }
        // Then the other way round.
        go.hear();
        for item in 0..6 {
            queue.put(item).expect("put");
        }
        full.tell();
    });
    // Room.
    at_once(|| queue.put(0)).expect("room");
    at_once(|| queue.put(1)).expect("room");
    at_once(|| queue.try_put(2)).expect("room");
    at_once(|| queue.try_put(3)).expect("room");
    at_once(|| queue.put_timeout(4, LONG)).expect("room");
    at_once(|| queue.put_timeout(5, Duration::ZERO)).expect("room");
    assert!(queue.is_full());
    // Full.
    assert_eq!(at_once(|| queue.try_put(9)), Err(PutError::Full));
    let waited = within(SOME, |timeout| queue.put_timeout(9, timeout));
    assert_eq!(waited, Err(PutError::TimedOut));
    let none = at_once(|| queue.put_timeout(9, Duration::ZERO));
    assert_eq!(none, Err(PutError::TimedOut));
    // Until another process makes room.
    go.tell();
    for item in 6..12 {
        queue.put(item).expect("room in the end");
    }
    go.tell();
    queue_is_drained(&queue);
    // Empty.
    assert_eq!(at_once(|| queue.try_get()), Err(GetError::Empty));
    let waited = within(SOME, |timeout| queue.get_timeout(timeout));
    assert_eq!(waited, Err(GetError::TimedOut));
    let none = at_once(|| queue.get_timeout(Duration::ZERO));
    assert_eq!(none, Err(GetError::TimedOut));
    // Until another process puts something.
    go.tell();
    assert_eq!(queue.get(), Ok(0));
    full.hear();
    assert_eq!(at_once(|| queue.get()), Ok(1));
    assert_eq!(at_once(|| queue.try_get()), Ok(2));
    assert_eq!(at_once(|| queue.try_get()), Ok(3));
    assert_eq!(at_once(|| queue.get_timeout(LONG)), Ok(4));
    assert_eq!(at_once(|| queue.get_timeout(Duration::ZERO)), Ok(5));
    assert!(queue.is_empty());
    finish(&taker);
}

fn queue_is_drained(queue: &Queue<u64>) {
    while !queue.is_empty() {
        std::thread::yield_now();
    }
}

pub(crate) fn fork() {
    let queue = Queue::<u64>::new(20).expect("create");
    for item in 0..10 {
        queue.put(item).expect("put");
    }
    let child = spawn(|| {
        for item in 10..20 {
            queue.put(item).expect("put");
        }
    });
    for item in 0..20 {
        assert_eq!(queue.get(), Ok(item));
    }
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    finish(&child);
}

pub(crate) fn len_is_empty_is_full() {
    let (queue, go, done) = (queue(), Line::new(), Line::new());
    let child = spawn(|| {
        for len in 1..=MOST {
            go.hear();
            queue.put(0).expect("put");
            assert_eq!(queue.len(), len);
            done.tell();
        }
        go.hear();
        queue.get().expect("get");
        done.tell();
    });
    assert_eq!((queue.len(), queue.capacity()), (0, MOST));
    for len in 1..=MOST {
        assert!(!queue.is_full());
        go.tell();
        done.hear();
        assert_eq!(queue.len(), len);
        assert!(!queue.is_empty());
    }
    assert!(queue.is_full());
    go.tell();
    done.hear();
    assert_eq!((queue.len(), queue.is_full()), (MOST - 1, false));
    finish(&child);
}

pub(crate) fn timeout() {
    let queue = queue();
    let look = || {
        for timeout in [Duration::from_millis(1), SOME, Duration::from_millis(200)] {
            let none = within(timeout, |timeout| queue.get_timeout(timeout));
            assert_eq!(none, Err(GetError::TimedOut));
        }
    };
    look();
    finish(&spawn(look));
    // An item that comes in time ends the wait long before its 30 s.
    let child = spawn(|| queue.put(7).expect("put"));
    let (item, took) = timed(|| queue.get_timeout(LONG));
    assert_eq!(item, Ok(7));
    assert!(took < LONG - AT_ONCE, "{took:?}");
    finish(&child);
}

pub(crate) fn close() {
    let (full, empty, ready) = (queue(), queue(), Line::new());
    for item in 0..6 {
        full.put(item).expect("put");
    }
    let putter = spawn(|| {
        ready.tell();
        assert_eq!(full.put(6), Err(PutError::Closed));
    });
    let getter = spawn(|| {
        ready.tell();
        assert_eq!(empty.get(), Err(GetError::Closed));
    });
    ready.hear();
    ready.hear();
    for _ in 0..2 {
        full.close();
        empty.close();
    }
    finish(&putter);
    finish(&getter);
    let drain = spawn(|| {
        assert!(full.is_closed());
        assert_eq!(full.try_put(6), Err(PutError::Closed));
        assert_eq!(full.put_timeout(6, LONG), Err(PutError::Closed));
        assert!(full.iter().eq(0..6));
        assert_eq!(full.try_get(), Err(GetError::Closed));
        assert_eq!(full.get_timeout(LONG), Err(GetError::Closed));
    });
    finish(&drain);
    assert_eq!(full.get(), Err(GetError::Closed));
}

/// In a queue with room for one message, a refused message leaves all of the room to the next.
#[cfg(feature = "serde")]
pub(crate) fn a_message_that_cannot_be_encoded_takes_no_space() {
    use serde::{Deserialize, Serialize, Serializer, ser::Error};
    use shmkit::MessageQueue;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Even(u64);

    impl Serialize for Even {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 % 2 == 1 {
                return Err(S::Error::custom("odd"));
            }
            self.0.serialize(serializer)
        }
    }

    let queue = MessageQueue::<Even>::new(16).expect("create");
    for number in [1, 2, 3] {
        let child = spawn(|| match queue.put_timeout(&Even(number), LONG) {
            Ok(()) => assert_eq!(number, 2),
            Err(error) => {
                assert!(matches!(error, PutError::Encode(_)), "{error}");
                assert_ne!(number, 2);
            }
        });
        finish(&child);
    }
    assert_eq!(queue.try_put(&Even(4)), Err(PutError::Full));
    assert_eq!(queue.try_get(), Ok(Even(2)));
    assert!(queue.is_empty());
}
