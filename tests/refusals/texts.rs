//! Every text, and the kind of [`io::Error`] that each error becomes.

use crate::LIMIT;
use crate::support::Watchdog;
use shmkit::{
    AccessError, Array, Error, GetError, OutOfBounds, PutAllError, PutError, Queue, TimedOut,
};
use std::error::Error as _;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

/// An error, its text, and its kind.
type Row<E> = (E, &'static str, ErrorKind);

macro_rules! rows {
    ($($error:expr => $text:expr, $kind:ident;)*) => { vec![$(($error, $text, ErrorKind::$kind)),*] };
}

fn place() -> String {
    "jobs".into()
}

/// One of each variant.
fn all() -> Vec<Row<Error>> {
    let (expected, found) = (|| "3".to_owned(), || "4".to_owned());
    rows! {
        Error::InvalidName { place: place(), reason: "a reason" }
            => r#"invalid name "jobs": a reason"#, InvalidInput;
        Error::InvalidSize { place: place(), found: found(), expected: "at least 5" }
            => "jobs: invalid size: expected at least 5, found 4", InvalidInput;
        Error::NotFound { place: place() } => "jobs: no such segment", NotFound;
        Error::AlreadyExists { place: place(), by: "a segment in use" }
            => "jobs: name is taken by a segment in use", AlreadyExists;
        Error::PermissionDenied { place: place(), op: "open", detail: None }
            => "jobs: no permission to open", PermissionDenied;
        Error::PermissionDenied {
            place: place(),
            op: "open",
            detail: Some("the file belongs to user 7".into()),
        } => "jobs: no permission to open: the file belongs to user 7", PermissionDenied;
        Error::NoSpace { place: place(), needed: 9024, available: Some(1000) }
            => "jobs: no space: the segment needs 9024 bytes, 1000 are free", StorageFull;
        Error::NoSpace { place: place(), needed: 9024, available: None }
            => "jobs: no space: the segment needs 9024 bytes", StorageFull;
        Error::Foreign { place: place(), found: "a directory".into() }
            => "jobs: expected a shmkit segment, found a directory", InvalidData;
        Error::Mismatch { place: place(), what: "capacity", expected: expected(), found: found() }
            => "jobs: other capacity: expected 3, found 4", InvalidData;
        Error::Corrupt { place: place(), what: "header", expected: expected(), found: found() }
            => "jobs: corrupt header: expected 3, found 4", InvalidData;
        Error::Stalled { place: place(), waited: Duration::from_secs(1) }
            => "jobs: stalled: no turn at its gate for 1000 ms (is a process that uses it stopped?)",
            TimedOut;
        Error::MultiThreaded { process: "Process-1".into(), threads: 4 }
            => "process Process-1: not started: expected a single thread, found 4 (a fork would copy \
                the locks that the others hold): use `spawn_unchecked` if the child needs none of \
                those, or start another program that opens by name", ResourceBusy;
        Error::GuardsHeld { process: "Process-1".into(), guards: 1 }
            => "process Process-1: not started: expected no guard and no closure under a lock in the \
                starting thread, found 1: drop or leave it first", ResourceBusy;
        Error::Unsupported { place: place(), what: "it has no name to remove" }
            => "jobs: unsupported: it has no name to remove", Unsupported;
        Error::Os {
            place: place(),
            op: "map the segment",
            source: io::Error::new(ErrorKind::OutOfMemory, "no memory"),
        } => "jobs: cannot map the segment: no memory", OutOfMemory;
        Error::from(PutError::Closed) => "put: the queue is closed", BrokenPipe;
        Error::from(GetError::Closed) => "get: the queue is closed and drained", UnexpectedEof;
        Error::from(OutOfBounds { offset: 8, count: 1, len: 8 })
            => "array: out of bounds: expected an index below 8, found 8", InvalidInput;
        Error::from(AccessError::from(OutOfBounds { offset: 8, count: 1, len: 8 }))
            => "array: out of bounds: expected an index below 8, found 8", InvalidInput;
        Error::from(AccessError::from(TimedOut))
            => "the lock was held by another until the deadline", TimedOut;
    }
}

fn puts() -> Vec<Row<PutError>> {
    rows! {
        PutError::Full => "the queue is full", WouldBlock;
        PutError::TimedOut => "no room in the queue before the deadline", TimedOut;
        PutError::Busy => "the producers' side is held by another", WouldBlock;
        PutError::Closed => "the queue is closed", BrokenPipe;
        PutError::TooLong { len: 9, max: 8 }
            => "the message is too long: expected at most 8 bytes, found 9", InvalidInput;
        PutError::Encode("why".into()) => "the item can't be encoded: why", InvalidInput;
        PutError::Corrupt => "the queue's indices are corrupt", InvalidData;
    }
}

fn gets() -> Vec<Row<GetError>> {
    rows! {
        GetError::Empty => "the queue is empty", WouldBlock;
        GetError::TimedOut => "no item in the queue before the deadline", TimedOut;
        GetError::Busy => "the consumers' side is held by another", WouldBlock;
        GetError::Closed => "the queue is closed and drained", UnexpectedEof;
        GetError::Decode("why".into()) => "the message can't be decoded: why", InvalidData;
        GetError::Corrupt => "the queue's indices are corrupt", InvalidData;
    }
}

#[test]
fn every_error_says_what_it_is() {
    for (error, text, kind) in all() {
        assert_eq!(error.to_string(), text);
        let debug = format!("{error:?}");
        let as_io = io::Error::from(error);
        assert_eq!(as_io.kind(), kind, "{text}");
        assert_eq!(as_io.to_string(), text);
        let inner = as_io
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        assert_eq!(format!("{:?}", inner.expect("the error itself")), debug);
    }
}

#[test]
fn texts_are_lower_case_and_without_a_full_stop() {
    fn said<E: Display>(rows: Vec<Row<E>>) -> impl Iterator<Item = (String, &'static str)> {
        let said = |(error, text, _): Row<E>| (error.to_string(), text);
        rows.into_iter().map(said)
    }
    for (said, text) in said(all()).chain(said(puts())).chain(said(gets())) {
        assert_eq!(said, text);
        assert!(!text.ends_with('.'), "{text}");
        assert!(!text.starts_with(char::is_uppercase), "{text}");
    }
}

#[test]
fn the_cause_is_kept_where_there_is_one() {
    for (error, text, _) in all() {
        let has_cause = matches!(
            error,
            Error::Os { .. }
                | Error::Put { .. }
                | Error::Get { .. }
                | Error::OutOfBounds { .. }
                | Error::TimedOut { .. }
        );
        assert_eq!(error.source().is_some(), has_cause, "{text}");
    }
    let denied = io::Error::from_raw_os_error(libc::EMFILE);
    let error = Error::Os {
        place: place(),
        op: "open",
        source: denied,
    };
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.and_then(io::Error::raw_os_error), Some(libc::EMFILE));
}

#[test]
fn the_outcomes_of_a_queue_are_errors_of_their_own() {
    for (error, text, kind) in puts() {
        assert_eq!(error.to_string(), text);
        assert_eq!(io::Error::from(Error::from(error.clone())).kind(), kind);
        assert_eq!(Error::from(error).to_string(), format!("put: {text}"));
    }
    for (error, text, kind) in gets() {
        assert_eq!(error.to_string(), text);
        assert_eq!(io::Error::from(Error::from(error.clone())).kind(), kind);
        assert_eq!(Error::from(error).to_string(), format!("get: {text}"));
    }
}

#[test]
fn a_queue_says_them() {
    let _watchdog = Watchdog::new("a queue's outcomes", LIMIT);
    let soon = Duration::from_millis(1);
    let queue = Queue::new(2).unwrap();
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    assert_eq!(queue.get_timeout(soon), Err(GetError::TimedOut));
    queue.put_all(&[1u64, 2]).unwrap();
    assert_eq!(queue.try_put(3), Err(PutError::Full));
    assert_eq!(queue.put_timeout(3, soon), Err(PutError::TimedOut));
    let beside = queue.get_with(|_| {
        thread::scope(|scope| {
            let other = scope.spawn(|| (queue.try_get(), queue.get_timeout(soon)));
            other.join().unwrap()
        })
    });
    let busy = (Err(GetError::Busy), Err(GetError::Busy));
    assert_eq!(beside, Ok(busy));
    queue.close();
    assert_eq!(queue.put(3), Err(PutError::Closed));
    let source = PutError::Closed;
    let none = Err(PutAllError { put: 0, source });
    assert_eq!(queue.put_all(&[3, 4]), none);
    assert_eq!(queue.get(), Ok(2));
    assert_eq!(queue.get(), Err(GetError::Closed));
}

#[test]
fn put_all_says_how_far_it_came() {
    let error = PutAllError {
        put: 7,
        source: PutError::Closed,
    };
    let text = "the queue is closed (after 7 items were put)";
    assert_eq!(error.to_string(), text);
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<PutError>());
    assert_eq!(cause, Some(&PutError::Closed));
}

#[test]
fn a_timed_access_says_the_same_as_its_cause() {
    let refused = OutOfBounds {
        offset: 8,
        count: 1,
        len: 8,
    };
    let text = "out of bounds: expected an index below 8, found 8";
    assert_eq!(AccessError::OutOfBounds(refused).to_string(), text);
    let text = "the lock was held by another until the deadline";
    assert_eq!(AccessError::TimedOut.to_string(), text);
    assert_eq!(TimedOut.to_string(), text);
}

#[test]
fn out_of_bounds_says_which_elements_and_how_many_there_are() {
    let array = Array::new(&[0u8; 8]).unwrap();
    for (refusal, text) in [
        (array.set(8, 1), "an index below 8, found 8"),
        (
            array.write_at(6, &[1; 3]),
            "a range within 0..8, found 6..9",
        ),
        (array.read_at(9, &mut []), "a range within 0..8, found 9..9"),
        (
            array.read_at(usize::MAX, &mut [0; 2]),
            "a range within 0..8, found 18446744073709551615..18446744073709551617",
        ),
    ] {
        let text = format!("out of bounds: expected {text}");
        assert_eq!(refusal.unwrap_err().to_string(), text);
    }
}
