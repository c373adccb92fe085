//! `take_with`: an item goes only if the closure accepts it. `tests/model` compares the three forms with a
//! deque, `tests/crash_sweep` kills inside the closure, and `tests/loom` has the wake-up that a refusal passes on.

use crate::watchdog;
use shmkit::{ByteQueue, GetError, Queue};
use std::panic::{catch_unwind, resume_unwind};

/// A closure that panics without a message.
fn panics<T>(_item: T) -> Result<(), ()> {
    resume_unwind(Box::new(()))
}

#[test]
fn a_refused_item_stays_the_next_one() {
    let _watchdog = watchdog("take_with");
    let queue = Queue::<u32>::new(2).unwrap();
    queue.put_all(&[1, 2]).unwrap();
    for _ in 0..3 {
        assert_eq!(queue.take_with(|item| Err::<(), _>(item * 10)), Ok(Err(10)));
        assert!(queue.is_full());
    }
    let panicked = catch_unwind(|| queue.take_with(|item| panics(item)));
    assert!(panicked.is_err());
    assert_eq!(queue.take_with(|item| Ok::<_, ()>(item * 10)), Ok(Ok(10)));
    assert_eq!(queue.get(), Ok(2));
    queue.close();
    let closed = queue.take_with(|_| -> Result<(), ()> { unreachable!("there is no item") });
    assert_eq!(closed, Err(GetError::Closed));
}

#[test]
fn a_refused_message_stays_the_next_one() {
    let _watchdog = watchdog("take_with of bytes");
    let queue = ByteQueue::new(64).unwrap();
    queue.put(b"one").unwrap();
    queue.put(b"two").unwrap();
    for _ in 0..3 {
        let refused = queue.take_with(|message| Err::<(), _>(message.to_vec()));
        assert_eq!(refused, Ok(Err(b"one".to_vec())));
    }
    let panicked = catch_unwind(|| queue.take_with(|message| panics(message)));
    assert!(panicked.is_err());
    let taken = queue.take_with(|message| Ok::<_, ()>(message.to_vec()));
    assert_eq!(taken, Ok(Ok(b"one".to_vec())));
    assert_eq!(queue.get().unwrap(), b"two");
}

/// An item that is refused lies in its slot all the time, and is whole.
#[test]
fn a_refused_item_is_read_in_place() {
    let _watchdog = watchdog("take_with in place");
    let queue = Queue::<[u64; 2]>::new(1).unwrap();
    queue.put([7; 2]).unwrap();
    let address = || {
        let at = |item: &[u64; 2]| Err::<(), _>((std::ptr::from_ref(item).addr(), *item));
        queue.take_with(at).unwrap().unwrap_err()
    };
    assert_eq!(address(), address());
    assert_eq!(address().1, [7; 2]);
}

#[cfg(feature = "serde")]
mod messages {
    use super::{GetError, catch_unwind, panics, watchdog};
    use shmkit::{MessageQueue, Place};
    use std::panic::AssertUnwindSafe;

    #[test]
    fn a_refused_item_stays_the_next_one() {
        let _watchdog = watchdog("take_with of messages");
        let queue = MessageQueue::<String>::new(64).unwrap();
        queue.put("one").unwrap();
        queue.put("two").unwrap();
        for _ in 0..3 {
            assert_eq!(queue.take_with(Err::<(), _>), Ok(Err("one".to_owned())));
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| queue.take_with(panics)));
        assert!(panicked.is_err());
        assert_eq!(queue.take_with(Ok::<_, ()>), Ok(Ok("one".to_owned())));
        assert_eq!(queue.get().unwrap(), "two");
    }

    /// If an undecodable message stayed, it would be the next one for ever.
    #[test]
    fn an_undecodable_message_is_taken() {
        let _watchdog = watchdog("take_with of no item");
        let name = crate::support::Name::new("take-with");
        let place = || Place::named(&*name).schema("text or flag");
        let texts = MessageQueue::<String>::create(place(), 64).unwrap();
        let flags = MessageQueue::<bool>::open(place()).unwrap();
        texts.put("x").unwrap();
        flags.put(&true).unwrap();
        let taken = flags.take_with(|_| -> Result<(), ()> { unreachable!("it is no flag") });
        assert!(matches!(taken, Err(GetError::Decode(_))), "{taken:?}");
        assert_eq!(flags.take_with(Ok::<_, ()>), Ok(Ok(true)));
    }

    #[test]
    fn a_get_from_inside_the_closure_panics_rather_than_waits_for_itself() {
        let _watchdog = watchdog("take_with in itself");
        let queue = MessageQueue::<u8>::new(64).unwrap();
        queue.put(&1).unwrap();
        let nested = catch_unwind(AssertUnwindSafe(|| queue.take_with(|_| queue.get())));
        assert!(nested.is_err());
        assert_eq!(queue.get(), Ok(1));
    }
}
