//! `MessageQueue`: strings and enums; items that can't be encoded, and messages that can't be decoded;
//! user code in the middle.

use crate::support::Name;
use crate::support::checks::{deadlocks, fails, panic_of, refused};
use crate::{LONG, all_return, watchdog};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shmkit::{ByteQueue, Error, GetError, Kind, MessageQueue, Place, PutError, inspect};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Empty,
    Named { name: String, at: Option<f64> },
    Many(Vec<BTreeMap<String, i128>>),
    Nested(Box<Event>),
}

fn events() -> Vec<Event> {
    let map = BTreeMap::from([("a".to_owned(), -1), ("ü".to_owned(), i128::MAX)]);
    let named = |name, at| Event::Named { name, at };
    vec![
        Event::Empty,
        named(String::new(), None),
        named("löng".repeat(50), Some(0.5)),
        Event::Many(vec![map.clone(), BTreeMap::new(), map]),
        Event::Nested(Box::new(Event::Nested(Box::new(Event::Empty)))),
    ]
}

#[test]
fn what_was_put_is_what_is_taken() {
    let _watchdog = watchdog("events");
    let name = Name::new("events");
    let queue = MessageQueue::<Event>::create(&*name, 1000).unwrap();
    let reader = MessageQueue::<Event>::open(&*name).unwrap();
    for _ in 0..100 {
        for event in events() {
            queue.put(&event).unwrap();
        }
        let taken: Vec<_> = reader.try_iter().map(Result::unwrap).collect();
        assert_eq!(taken, events());
    }
    queue.put(&Event::Empty).unwrap();
    queue.close();
    assert_eq!(reader.get(), Ok(Event::Empty));
    assert_eq!(reader.get(), Err(GetError::Closed));
    assert_eq!(queue.put(&Event::Empty), Err(PutError::Closed));

    let info = inspect(&*name).unwrap();
    assert_eq!((info.kind, &*info.element), (Kind::MessageQueue, "Event"));
    let text = format!("{queue:?}");
    let told = text.starts_with("MessageQueue") && text.contains(&*name);
    assert!(told, "{text}");
}

#[test]
fn what_a_type_is_borrowed_as_can_be_put() {
    let strings = MessageQueue::<String>::new(100).unwrap();
    strings.put("a str").unwrap();
    strings.put(&"a String".to_owned()).unwrap();
    assert_eq!(strings.get().unwrap(), "a str");
    assert_eq!(strings.get().unwrap(), "a String");
    let vectors = MessageQueue::<Vec<u16>>::new(100).unwrap();
    vectors.put(&[1u16, 2][..]).unwrap();
    assert_eq!(vectors.get().unwrap(), [1, 2]);
    // A message of no bytes fits into the smallest queue there is.
    let signals = MessageQueue::<()>::new(1).unwrap();
    signals.put(&()).unwrap();
    assert_eq!(signals.try_put(&()), Err(PutError::Full));
    assert_eq!(signals.try_get(), Ok(()));
    assert_eq!(signals.try_get(), Err(GetError::Empty));
    assert_eq!(signals.get_timeout(Duration::ZERO), Err(GetError::TimedOut));
}

#[test]
fn a_text_that_never_fits_says_so_at_once() {
    let queue = MessageQueue::<String>::new(64).unwrap();
    let max = queue.max_message_len();
    assert_eq!((max, queue.capacity()), (56, 64));
    let longest = "x".repeat(55); // and a byte for its length
    queue.put(&longest).unwrap();
    let too_long = queue.put(&"x".repeat(56));
    assert_eq!(too_long, Err(PutError::TooLong { len: 57, max: 56 }));
    let full = queue.put_timeout("y", Duration::ZERO);
    assert_eq!(full, Err(PutError::TimedOut));
    assert_eq!(queue.get().unwrap(), longest);
}

/// Is encoded as the number that the closure returns for this turn.
struct By<F>(F);

impl<F: Fn(u32) -> Result<u32, &'static str>> Serialize for By<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let turn = TURN.get() + 1;
        TURN.set(turn);
        let number = (self.0)(turn).map_err(S::Error::custom)?;
        number.serialize(serializer)
    }
}

/// Panics in code of the user's, and prints nothing.
fn panic() -> ! {
    std::panic::resume_unwind(Box::new("the user's"))
}

thread_local! {
    /// How many times a `By` was encoded.
    static TURN: Cell<u32> = const { Cell::new(0) };
}

/// Puts a `By` through another handle of the queue: a `By` can't be decoded.
fn put_by<F: Fn(u32) -> Result<u32, &'static str>>(
    queue: &MessageQueue<u32>,
    encode: F,
) -> Result<(), PutError> {
    TURN.set(0);
    let fd = queue.try_clone_fd().unwrap();
    let same = MessageQueue::<By<F>>::open(Place::fd(fd).schema("number")).unwrap();
    same.put(&By(encode))
}

#[test]
fn an_item_that_cannot_be_encoded_takes_no_room() {
    let _watchdog = watchdog("not encoded");
    let name = Name::new("numbers");
    let place = || Place::named(&*name).schema("number");
    let queue = MessageQueue::<u32>::create(place(), 16).unwrap();
    let refused = |text: &str| Err(PutError::Encode(text.into()));
    // The encoding fails while the bytes are counted, so without room as well; or while they are written.
    queue.put(&7).unwrap();
    let put = put_by(&queue, |_| Err("no"));
    assert_eq!(put, refused("Serde Serialization Error"));
    assert_eq!(queue.get(), Ok(7));
    for bad in [2, 1] {
        let put = put_by(&queue, |turn| if turn == bad { Err("no") } else { Ok(1) });
        assert_eq!(put, refused("Serde Serialization Error"));
    }
    // The encoding is longer, or shorter, than when it was counted.
    let put = put_by(&queue, |turn| Ok(if turn == 1 { 1 } else { 1000 }));
    let text = "expected 1 bytes as when they were counted, found more";
    assert_eq!(put, refused(text));
    let put = put_by(&queue, |turn| Ok(if turn == 1 { 1000 } else { 1 }));
    let text = "expected 2 bytes as when they were counted, found fewer";
    assert_eq!(put, refused(text));
    // Either pass may panic.
    for bad in [1, 2] {
        let put = || put_by(&queue, |turn| if turn == bad { panic() } else { Ok(1) });
        assert_eq!(panic_of(put), "the user's");
    }
    assert!(queue.is_empty());
    // The lock is free, the room too.
    queue.put_timeout(&u32::MAX, LONG).unwrap();
    assert_eq!(queue.try_get(), Ok(u32::MAX));
}

#[test]
fn an_item_that_puts_while_it_is_encoded_panics_rather_than_waits_for_itself() {
    let _watchdog = watchdog("a put in a put");
    let name = Name::new("numbers");
    let queue = MessageQueue::<u32>::create(Place::named(&*name).schema("number"), 64).unwrap();
    let nested = |in_turn| {
        put_by(&queue, |turn| {
            if turn == in_turn {
                queue.put_timeout(&9, LONG).unwrap();
            }
            Ok(1)
        })
    };
    // While its bytes are counted nothing is held.
    nested(1).unwrap();
    assert_eq!((queue.try_get(), queue.try_get()), (Ok(9), Ok(1)));
    deadlocks(|| nested(2));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    queue.put_timeout(&2, LONG).unwrap();
    assert_eq!(queue.try_get(), Ok(2));
}

/// Decodes to itself, fails for 1, panics for 2.
#[derive(Debug, PartialEq, Serialize)]
struct Fussy(u32);

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            1 => Err(D::Error::custom("not 1")),
            2 => panic(),
            number => Ok(Self(number)),
        }
    }
}

#[test]
fn a_message_that_cannot_be_decoded_is_its_own_error_alone() {
    let _watchdog = watchdog("not decoded");
    let queue = MessageQueue::<Fussy>::new(1000).unwrap();
    for number in [0, 1, 2, 3, 1, 4] {
        queue.put(&Fussy(number)).unwrap();
    }
    let failed = || Err(GetError::Decode("Serde Deserialization Error".into()));
    assert_eq!(queue.get(), Ok(Fussy(0)));
    assert_eq!(queue.get(), failed());
    // A message is out before it is decoded: one that kills its taker does not come back for the next.
    assert_eq!(panic_of(|| queue.get()), "the user's");
    queue.close();
    let rest: Vec<_> = queue.iter().collect();
    assert_eq!(rest, [Ok(Fussy(3)), failed(), Ok(Fussy(4))]);
}

#[test]
fn bytes_of_another_type_are_an_error_and_never_more() {
    let _watchdog = watchdog("another type's bytes");
    let name = Name::new("bytes");
    let place = || Place::named(&*name).schema("anything");
    let writer = MessageQueue::<(u8, u8)>::create(place(), 4096).unwrap();
    let reader = MessageQueue::<String>::open(place()).unwrap();
    let decode = |pair: (u8, u8)| {
        writer.put(&pair).unwrap();
        reader.try_get()
    };
    assert_eq!(decode((1, b'x')).unwrap(), "x");
    let failed = |text: &str| Err(GetError::Decode(text.into()));
    let (shorter, longer, no_text) = ((2, b'x'), (0, 0), (1, 0xff));
    let text = "Hit the end of buffer, expected more data";
    assert_eq!(decode(shorter), failed(text));
    let text = "expected an item of 1 bytes, found 1 more";
    assert_eq!(decode(longer), failed(text));
    assert_eq!(decode(no_text), failed("Tried to parse invalid utf-8"));
    let events = MessageQueue::<Event>::open(place()).unwrap();
    for pair in 0..=u16::MAX {
        let [first, second] = pair.to_le_bytes();
        writer.put(&(first, second)).unwrap();
        match events.try_get() {
            Ok(_) | Err(GetError::Decode(_)) => {}
            Err(error) => panic!("{pair:#x}: {error}"),
        }
    }
}

#[test]
fn another_type_or_kind_is_a_mismatch() {
    let name = Name::new("messages");
    let _queue = MessageQueue::<String>::create(&*name, 100).unwrap();
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected Event, found String"),
        MessageQueue::<Event>::open(&*name),
    );
    refused!(
        Error::Mismatch { what: "kind", .. },
        format!("{name}: other kind: expected ByteQueue, found MessageQueue"),
        ByteQueue::open(&*name),
    );
    fails!(
        Error::Mismatch {
            what: "capacity",
            ..
        },
        MessageQueue::<String>::open_or_create(&*name, 200),
    );
}

#[test]
fn messages_pass_between_threads() {
    const EACH: usize = 5000;
    let _watchdog = watchdog("between threads");
    let queue = MessageQueue::<(usize, String)>::new(2000).unwrap();
    let text = |n: usize| "x".repeat(n * 13 % 300);
    thread::scope(|scope| {
        let put = |item| queue.put(&item).unwrap();
        let putters = [0, 1].map(|putter| {
            scope.spawn(move || (0..EACH).for_each(|n| put((2 * n + putter, text(n)))))
        });
        scope.spawn(|| {
            all_return(putters, &());
            queue.close();
        });
        let mut next = [0, 1];
        for item in &queue {
            let (n, found) = item.unwrap();
            assert_eq!(n, next[n % 2]);
            assert_eq!(found, text(n / 2));
            next[n % 2] += 2;
        }
        assert_eq!(next, [2 * EACH, 2 * EACH + 1]);
    });
}
