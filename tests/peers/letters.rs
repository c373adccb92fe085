//! Items that serde makes, between programs: strings, enums, bytes that can't be decoded, and a taker that
//! dies of decoding.

use crate::support::{Kid, Name, kill_me, start};
use crate::turn;
use serde::{Deserialize, Deserializer, Serialize};
use shmkit::{GetError, MessageQueue, Place};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Letter {
    Note(String),
    Parcel { weight: f32, contents: Vec<String> },
    Nothing,
}

fn letters() -> [Letter; 3] {
    [
        Letter::Note("mind the gap".repeat(20)),
        Letter::Parcel {
            weight: 0.5,
            contents: vec!["ink".into(), "päper".into()],
        },
        Letter::Nothing,
    ]
}

const ROUNDS: usize = 1000;

fn of_schema(name: &str) -> Place {
    Place::named(name).schema("letter")
}

/// Role: another program, which writes or takes letters.
pub(crate) fn write(what: &str, name: &str) {
    match what {
        "letters" => {
            let queue = MessageQueue::<Letter>::open(of_schema(name)).expect("open the queue");
            for letter in (0..ROUNDS).flat_map(|_| letters()) {
                queue.put(&letter).expect("put");
            }
        }
        "strings" => {
            let queue = MessageQueue::<String>::open(name).expect("open the queue");
            for n in 0..ROUNDS {
                queue.put(n.to_string().as_str()).expect("put");
            }
        }
        // An older version of the program, which knows no letters.
        "another type" => {
            let queue = MessageQueue::<u64>::open(of_schema(name)).expect("open the queue");
            queue.put(&99).expect("put");
            queue.put(&2).expect("put"); // the bytes of `Letter::Nothing`
        }
        "dies of decoding" => {
            let queue = MessageQueue::<Deadly>::open(of_schema(name)).expect("open the queue");
            let _ = queue.get();
            unreachable!("it dies of it");
        }
        other => panic!("no such writer: {other}"),
    }
}

/// An item that kills the process that decodes it.
struct Deadly;

impl<'de> Deserialize<'de> for Deadly {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        kill_me()
    }
}

#[test]
fn strings_and_enums_pass_between_programs() {
    let _turn = turn("letters");
    let (name, lines) = (Name::new("letters"), Name::new("strings"));
    let queue = MessageQueue::<Letter>::create(of_schema(&name), 4096).expect("create");
    let strings = MessageQueue::<String>::create(&*lines, 256).expect("create");
    let writers = [
        start("letters", &["letters", &name]),
        start("letters", &["strings", &lines]),
    ];
    for n in 0..ROUNDS {
        for letter in letters() {
            assert_eq!(queue.get_timeout(SOON), Ok(letter));
        }
        assert_eq!(strings.get_timeout(SOON), Ok(n.to_string()));
    }
    writers.into_iter().for_each(Kid::finish);
    assert!(queue.is_empty() && strings.is_empty());
}

#[test]
fn what_another_program_wrote_wrong_is_that_messages_error_alone() {
    let _turn = turn("undecodable letters");
    let name = Name::new("letters");
    let queue = MessageQueue::<Letter>::create(of_schema(&name), 4096).expect("create");
    start("letters", &["another type", &name]).finish();
    queue.put(&Letter::Note("after".into())).expect("put");
    let first = queue.try_get();
    assert!(matches!(first, Err(GetError::Decode(_))), "{first:?}");
    assert_eq!(queue.try_get(), Ok(Letter::Nothing));
    assert_eq!(queue.try_get(), Ok(Letter::Note("after".into())));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
}

#[test]
fn what_kills_its_taker_does_not_come_back_for_the_next() {
    let _turn = turn("deadly letters");
    let name = Name::new("letters");
    let queue = MessageQueue::<Letter>::create(of_schema(&name), 4096).expect("create");
    queue.put(&Letter::Nothing).expect("put");
    queue.put(&Letter::Note("the next".into())).expect("put");
    let mut taker = start("letters", &["dies of decoding", &name]);
    let status = taker.wait().expect("wait for the taker");
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert_eq!(queue.get_timeout(SOON), Ok(Letter::Note("the next".into())));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
}
