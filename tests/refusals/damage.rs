//! Headers with one flipped byte, and headers that are whole and contradict themselves.

use crate::LIMIT;
use crate::foreign::{refuse_ours, segment_bytes};
use crate::life::sweep_alone;
use crate::snapshot::Snapshot;
use crate::support::checks::{fails, refused, shm};
use crate::support::{Name, Watchdog};
use shmkit::{Error, Kind, Place, Queue, Value, inspect, unlink};
use std::fs;
use std::ops::Range;

/// The fields of layout 1, by their bytes.
const FIELDS: [(&str, Range<usize>); 13] = [
    ("magic", 0..8),
    ("layout", 8..12),
    ("kind", 12..16),
    ("total_len", 16..24),
    ("elem_size", 24..32),
    ("elem_align", 32..40),
    ("capacity", 40..48),
    ("flags", 48..56),
    ("creator_pid", 56..60),
    ("reserved", 60..64),
    ("created", 64..72),
    ("tag", 72..136),
    ("checksum", 136..144),
];
/// And the one that changes: the next holder's number.
const NEXT_HOLDER: Range<usize> = 256..264;

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn number(bytes: &[u8], field: Range<usize>) -> u64 {
    let mut number = [0; 8];
    number[..field.len()].copy_from_slice(&bytes[field]);
    u64::from_le_bytes(number)
}

#[test]
fn the_table_of_fields_is_the_whole_sealed_header() {
    let mut end = 0;
    for (field, bytes) in FIELDS {
        assert_eq!(bytes.start, end, "{field}");
        end = bytes.end;
    }
    assert_eq!(end, 144);
    let sound = segment_bytes();
    assert_eq!(number(&sound, 136..144), fnv1a(&sound[..136]));
    assert_eq!(number(&sound, 16..24), sound.len() as u64);
}

#[test]
fn one_flipped_byte_in_any_field_is_refused_and_left() {
    let _watchdog = Watchdog::new("flipped bytes", LIMIT);
    let sound = segment_bytes();
    for (field, bytes) in FIELDS {
        // Every byte of a short field; of the tag the first, one within and the last.
        let offsets: Vec<usize> = match field {
            "tag" => vec![bytes.start, bytes.start + 3, bytes.end - 1],
            _ => bytes.collect(),
        };
        for (offset, mask) in offsets
            .into_iter()
            .zip([0x01, 0xff, 0x80].into_iter().cycle())
        {
            let mut flipped = sound.clone();
            flipped[offset] ^= mask;
            let name = Name::new("flip");
            fs::write(shm(&name), &flipped).unwrap();
            refuse_flipped(&name, field, &flipped);
        }
    }
}

fn refuse_flipped(name: &str, field: &str, flipped: &[u8]) {
    match field {
        "magic" => {
            let begin = flipped[..8].escape_ascii();
            let text =
                format!(r#"expected a shmkit segment, found a file that begins with "{begin}""#);
            refuse_ours(name, &text, "a file that is not a segment", |error| {
                matches!(error, Error::Foreign { .. })
            });
        }
        "layout" => {
            let text = format!("other layout: expected 1, found {}", number(flipped, 8..12));
            refuse_ours(name, &text, "a segment of another layout", |error| {
                matches!(error, Error::Mismatch { what: "layout", .. })
            });
        }
        _ => {
            let (sum, stored) = (fnv1a(&flipped[..136]), number(flipped, 136..144));
            let text = format!("corrupt header: expected checksum {sum:016x}, found {stored:016x}");
            refuse_ours(name, &text, "a damaged segment", |error| {
                matches!(error, Error::Corrupt { what: "header", .. })
            });
        }
    }
}

/// The text of a refusal for a damaged counter of holders.
pub fn counter_text(name: &str) -> String {
    let expected = "expected a number never drawn before, and its check";
    format!("{name}: corrupt holder counter: {expected}, found another word")
}

/// An opener draws a number before anything else, so a damaged counter lets nobody in. The segment is
/// sound otherwise, and can be listed and unlinked.
#[test]
fn one_flipped_byte_in_the_holder_counter_is_refused_and_left() {
    let _watchdog = Watchdog::new("a flipped counter", LIMIT);
    let sound = segment_bytes();
    for offset in NEXT_HOLDER {
        for mask in [0x01, 0x80, 0xff] {
            let name = Name::new("counter");
            let mut flipped = sound.clone();
            flipped[offset] ^= mask;
            fs::write(shm(&name), &flipped).unwrap();
            let before = Snapshot::of(shm(&name));
            refused!(
                Error::Corrupt {
                    what: "holder counter",
                    ..
                },
                counter_text(&name),
                Value::<u64>::open(&*name),
                Value::open_or_create(&*name, 1u64),
            );
            refused!(
                Error::AlreadyExists { .. },
                format!("{name}: name is taken by a persistent segment"),
                Value::create(&*name, 1u64),
            );
            let info = inspect(&*name).unwrap();
            let seen = (info.kind, info.holders, info.persistent);
            assert_eq!(seen, (Kind::Value, 0, true));
            sweep_alone();
            let after = Snapshot::of(shm(&name));
            assert_eq!(after, before, "byte {offset} ^ {mask:#x}");
            unlink(&*name).unwrap();
        }
    }
}

/// A counter set back to a number that somebody holds must not make two holders one.
#[test]
fn a_holder_counter_that_was_set_back_is_refused() {
    let _watchdog = Watchdog::new("a counter set back", LIMIT);
    let name = Name::new("set-back");
    let value = Value::create(&*name, 7u64).unwrap();
    let mut bytes = fs::read(shm(&name)).unwrap();
    // In a new segment, the word has the next number, which is 1, and the number's check above it.
    let first = (1u64 ^ 0x5a5a) << 48 | 1;
    let drawn = number(&bytes, NEXT_HOLDER);
    assert_ne!(drawn, first, "the creator drew number 1");
    bytes[NEXT_HOLDER].copy_from_slice(&first.to_le_bytes());
    fs::write(shm(&name), &bytes).unwrap(); // same inode, same length
    fails!(
        Error::Corrupt {
            what: "holder counter",
            ..
        },
        Value::<u64>::open(&*name),
    );
    assert_eq!(value.get(), 7);
}

/// Changes a field of a sound segment and makes the checksum right again, as a stray tool or a future
/// version with a mistake might.
fn forged(field: &str, to: u64) -> Name {
    let mut bytes = segment_bytes();
    let (_, range) = FIELDS
        .into_iter()
        .find(|(name, _)| *name == field)
        .expect("a field of the table");
    let width = range.len();
    bytes[range].copy_from_slice(&to.to_le_bytes()[..width]);
    let sum = fnv1a(&bytes[..136]);
    bytes[136..144].copy_from_slice(&sum.to_le_bytes());
    let name = Name::new("forged");
    fs::write(shm(&name), &bytes).unwrap();
    name
}

/// The refusal of a capacity that does not fill a segment of `len` bytes, without the segment's name.
fn capacity_text(len: usize, found: u64) -> String {
    let expected = format!("expected what fills {len} bytes");
    format!("corrupt capacity: {expected}, found {found} elements of 8 bytes")
}

#[test]
fn a_header_that_contradicts_itself_is_refused_and_left() {
    let _watchdog = Watchdog::new("forged headers", LIMIT);
    let len = segment_bytes().len();
    let capacity = |found| capacity_text(len, found);
    let flags =
        |unknown, found| format!("corrupt flags: expected no bit of {unknown}, found {found}");
    let reserved = "corrupt reserved field: expected no bit of 0x5, found 0x5".into();
    let length = format!("corrupt length: expected 1099511627776 bytes, found {len} bytes");
    for (field, to, text) in [
        ("kind", 9, "other kind: expected Value, found kind 9".into()),
        ("elem_size", 0, "other size: expected 8, found 0".into()),
        (
            "elem_align",
            0,
            "other alignment: expected 8, found 0".into(),
        ),
        ("capacity", 0, capacity(0)),
        ("capacity", 2, capacity(2)), // a sound capacity, of a longer segment
        ("capacity", 1 << 60, capacity(1 << 60)),
        ("capacity", u64::MAX, capacity(u64::MAX)),
        ("flags", 0b1001, flags("0x8", "0x9")), // persistent, and a flag of a later version
        (
            "flags",
            1 << 63,
            flags("0x8000000000000000", "0x8000000000000000"),
        ),
        ("reserved", 5, reserved),
        ("total_len", 1 << 40, length),
    ] {
        let name = forged(field, to);
        let before = Snapshot::of(shm(&name));
        refused!(
            Error::Mismatch { .. } | Error::Corrupt { .. },
            format!("{name}: {text}"),
            Value::<u64>::open(&*name),
        );
        assert!(Value::create(&*name, 1u64).is_err());
        assert!(Queue::<u64>::open(&*name).is_err());
        sweep_alone();
        assert_eq!(Snapshot::of(shm(&name)), before, "{field}");
    }
    // Without a change, a segment that was made in the same way opens: the field was refused.
    let name = forged("capacity", 1);
    assert_eq!(Value::<u64>::open(Place::named(&*name)).unwrap().get(), 7);
}

/// A file is exactly as long as its capacity says: a capacity is refused too if its elements leave room before
/// the end.
#[test]
fn a_capacity_that_leaves_room_is_refused_and_left() {
    let _watchdog = Watchdog::new("capacities that leave room", LIMIT);
    let name = Name::new("short");
    let held = Queue::<u64>::create(&*name, 8).unwrap();
    let mut bytes = fs::read(shm(&name)).unwrap();
    let len = bytes.len();
    for (capacity, flags, is_sound) in [(8, 0, true), (7, 0, false), (1, 1, false), (9, 0, false)] {
        bytes[40..48].copy_from_slice(&u64::to_le_bytes(capacity));
        bytes[48..56].copy_from_slice(&u64::to_le_bytes(flags));
        let sum = fnv1a(&bytes[..136]);
        bytes[136..144].copy_from_slice(&sum.to_le_bytes());
        fs::write(shm(&name), &bytes).unwrap(); // the same file, which `held` keeps from being an orphan
        let before = Snapshot::of(shm(&name));
        let opened = Queue::<u64>::open(&*name).map(drop);
        if is_sound {
            opened.unwrap();
            continue;
        }
        let text = format!("{name}: {}", capacity_text(len, capacity));
        refused!(Error::Corrupt { .. }, text, opened);
        assert_eq!(Snapshot::of(shm(&name)), before);
    }
    drop(held);
}
