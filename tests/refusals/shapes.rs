//! Sound segments of another shape than the caller asked for; sizes and places that can't be.

use crate::LIMIT;
use crate::support::checks::{fails, refused};
use crate::support::{Name, Watchdog};
use shmkit::bytemuck::{Pod, Zeroable};
use shmkit::memory::HeapMemory;
use shmkit::{Array, Error, Place, Queue, Value, inspect, unlink};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A `Job` in a module of its own, as another program may have compiled one under the same name.
macro_rules! job {
    ($module:ident, $($fields:tt)*) => {
        mod $module {
            use super::{Pod, Zeroable};
            #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
            #[repr(C)]
            pub struct Job { $($fields)* }
        }
    };
}
job!(one_program, pub id: u64, pub size: u64);
job!(same_in_another, pub id: u64, pub size: u64);
job!(grown_in_another, pub id: u64, pub size: u64, pub priority: u64);
job!(swapped_in_another, pub size: u64, pub id: u64);
job!(packed_in_another, pub id: [u8; 8], pub size: [u8; 8]);

#[test]
fn another_type_or_kind_is_a_mismatch() {
    let _watchdog = Watchdog::new("other types", LIMIT);
    let name = Name::new("f64");
    let value = Value::create(&*name, 2.5f64).unwrap();
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected u64, found f64"),
        Value::<u64>::open(&*name),
        Value::open_or_create(&*name, 0u64),
    );
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected [f64; 1], found f64"),
        Value::<[f64; 1]>::open(&*name),
    );
    refused!(
        Error::Mismatch { what: "kind", .. },
        format!("{name}: other kind: expected Queue, found Value"),
        Queue::<f64>::open(&*name),
        Queue::<f64>::open_or_create(&*name, 1),
    );
    refused!(
        Error::Mismatch { what: "kind", .. },
        format!("{name}: other kind: expected Array, found Value"),
        Array::<f64>::open(&*name),
    );
    assert_eq!(value.get(), 2.5);

    let name = Name::new("array");
    let array = Array::create(&*name, &[2.5f64]).unwrap();
    refused!(
        Error::Mismatch { what: "kind", .. },
        format!("{name}: other kind: expected Value, found Array"),
        Value::<f64>::open(&*name),
    );
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected u64, found f64"),
        Array::<u64>::open(&*name),
    );
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected [u8; 8], found f64"),
        Array::<[u8; 8]>::open_or_create(&*name, &[[0; 8]]),
    );
    assert_eq!(array.to_vec(), [2.5]);

    let name = Name::new("queue");
    let _queue = Queue::<f64>::create(&*name, 1).unwrap();
    refused!(
        Error::Mismatch { what: "kind", .. },
        format!("{name}: other kind: expected Value, found Queue"),
        Value::<f64>::open(&*name),
    );
}

#[test]
fn a_refused_opener_leaves_no_hold() {
    let _watchdog = Watchdog::new("a refused opener", LIMIT);
    let name = Name::new("refused");
    let value = Value::create(&*name, 1u64).unwrap();
    for _ in 0..3 {
        assert!(Value::<f64>::open(&*name).is_err());
    }
    assert_eq!(inspect(&*name).unwrap().holders, 1);
    drop(value);
    fails!(Error::NotFound { .. }, inspect(&*name));
}

#[test]
fn the_same_struct_of_another_program_matches() {
    let _watchdog = Watchdog::new("the same struct", LIMIT);
    let name = Name::new("job");
    let queue = Queue::create(&*name, 4).unwrap();
    queue.put(one_program::Job { id: 1, size: 2 }).unwrap();
    let same = Queue::<same_in_another::Job>::open(&*name).unwrap();
    assert_eq!(same.get().unwrap(), same_in_another::Job { id: 1, size: 2 });
}

#[test]
fn the_same_tag_with_another_size_or_alignment_is_a_mismatch() {
    let _watchdog = Watchdog::new("another size", LIMIT);
    let name = Name::new("job-size");
    let job = one_program::Job { id: 1, size: 2 };
    let value = Value::create(&*name, job).unwrap();
    refused!(
        Error::Mismatch { what: "size", .. },
        format!("{name}: other size: expected 24, found 16"),
        Value::<grown_in_another::Job>::open(&*name),
    );
    refused!(
        Error::Mismatch {
            what: "alignment",
            ..
        },
        format!("{name}: other alignment: expected 1, found 8"),
        Value::<packed_in_another::Job>::open(&*name),
    );
    assert_eq!(value.get(), job);
}

#[test]
fn a_schema_replaces_the_name_and_nothing_else() {
    let _watchdog = Watchdog::new("schemas", LIMIT);
    let name = Name::new("schema");
    let v2 = || Place::named(&*name).schema("job/v2");
    let value = Value::create(v2(), 7u64).unwrap();
    assert_eq!(Value::<u64>::open(v2()).unwrap().get(), 7);
    // The caller vouches for the meaning of the bits.
    assert_eq!(Value::<i64>::open(v2()).unwrap().get(), 7);
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected u64, found job/v2"),
        Value::<u64>::open(&*name),
    );
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected job/v3, found job/v2"),
        Value::<u64>::open(Place::named(&*name).schema("job/v3")),
    );
    refused!(
        Error::Mismatch { what: "size", .. },
        format!("{name}: other size: expected 4, found 8"),
        Value::<u32>::open(v2()),
    );
    drop(value);
}

#[test]
fn a_capacity_is_at_least_one_and_fits_an_address_space() {
    let _watchdog = Watchdog::new("capacities", LIMIT);
    let name = Name::new("capacity");
    for (capacity, found) in [
        (0, "0 elements of 8 bytes"),
        (1 << 61, "2305843009213693952 elements of 8 bytes"),
        (usize::MAX, "18446744073709551615 elements of 8 bytes"),
    ] {
        let because = "expected at least 1 element, and less than 2^63 bytes in all";
        let text = |place: &str| format!("{place}: invalid size: {because}, found {found}");
        refused!(
            Error::InvalidSize { .. },
            text(&name),
            Queue::<u64>::create(&*name, capacity),
            Queue::<u64>::open_or_create(&*name, capacity),
            Array::<u64>::zeroed(&*name, capacity),
        );
        let anonymous = Queue::<u64>::new(capacity);
        refused!(Error::InvalidSize { .. }, text("(anonymous)"), anonymous);
        let in_memory = Queue::<u64>::create_in(Arc::new(HeapMemory::new(4096)), capacity);
        refused!(Error::InvalidSize { .. }, text("(memory)"), in_memory);
    }
    fails!(
        Error::InvalidSize { .. },
        Array::<u64>::new(&[]),
        Array::<u64>::create(&*name, &[]),
        Array::<u64>::open_or_create(&*name, &[]),
        Array::<u64>::create_in(Arc::new(HeapMemory::new(4096)), &[]),
    );
    let text = format!("{name}: no such segment");
    refused!(Error::NotFound { .. }, text, Queue::<u64>::open(&*name));
}

#[test]
fn open_or_create_with_another_capacity_is_a_mismatch() {
    let _watchdog = Watchdog::new("another capacity", LIMIT);
    let name = Name::new("capacity");
    let queue = Queue::<u64>::open_or_create(&*name, 3).unwrap();
    assert!(queue.was_created());
    refused!(
        Error::Mismatch {
            what: "capacity",
            ..
        },
        format!("{name}: other capacity: expected 4, found 3"),
        Queue::<u64>::open_or_create(&*name, 4),
    );
    let same = Queue::<u64>::open_or_create(&*name, 3).unwrap();
    assert!(!same.was_created());
    assert_eq!(Queue::<u64>::open(&*name).unwrap().capacity(), 3);

    let name = Name::new("length");
    let array = Array::open_or_create(&*name, &[1u64, 2, 3]).unwrap();
    for other in [&[1u64, 2][..], &[1, 2, 3, 4]] {
        let expected = other.len();
        refused!(
            Error::Mismatch {
                what: "capacity",
                ..
            },
            format!("{name}: other capacity: expected {expected}, found 3"),
            Array::open_or_create(&*name, other),
        );
    }
    assert_eq!(array.to_vec(), [1, 2, 3]);
}

#[test]
fn a_place_that_cannot_do_it_says_what_can() {
    let _watchdog = Watchdog::new("unsupported places", LIMIT);
    let value = Value::new(7u64).unwrap();
    let fd = value.try_clone_fd().unwrap();
    let (label, place) = fd_place(fd);
    refused!(
        Error::Unsupported { .. },
        format!("{label}: unsupported: a descriptor leads to a segment that exists; open it"),
        Value::create(&place, 1u64),
        Queue::<u64>::create(&place, 1),
    );
    let text = format!("{label}: unsupported: it has no name to remove");
    refused!(Error::Unsupported { .. }, text, unlink(&place));
    assert_eq!(Value::<u64>::open(&place).unwrap().get(), 7);

    let anonymous = Place::anonymous;
    refused!(
        Error::Unsupported { .. },
        "(anonymous): unsupported: an anonymous segment has no name to open it by; \
         pass on its descriptor",
        Value::<u64>::open(anonymous()),
    );
    // There is nothing to open, so it is created.
    assert_eq!(Value::open_or_create(anonymous(), 1u64).unwrap().get(), 1);
    refused!(
        Error::Unsupported { .. },
        "(anonymous): unsupported: an anonymous segment has no name to find it by; \
         inspect its descriptor",
        inspect(anonymous()),
    );
    let text = "(anonymous): unsupported: it has no name to remove";
    refused!(Error::Unsupported { .. }, text, unlink(anonymous()));

    let in_memory = Value::create_in(Arc::new(HeapMemory::new(4096)), 1u64).unwrap();
    refused!(
        Error::Unsupported { .. },
        "(memory): unsupported: there is no file behind this memory",
        in_memory.try_clone_fd(),
    );
}

#[test]
fn memory_that_is_too_small_or_no_segment_says_so() {
    let _watchdog = Watchdog::new("heap memory", LIMIT);
    let memory = Arc::new(HeapMemory::new(1000));
    refused!(
        Error::NoSpace {
            needed: 9024,
            available: Some(1000),
            ..
        },
        "(memory): no space: the segment needs 9024 bytes, 1000 are free",
        Queue::<u64>::create_in(memory.clone(), 1000),
    );
    // An array's elements, and a slot as large as one.
    refused!(
        Error::NoSpace {
            needed: 1448,
            available: Some(1000),
            ..
        },
        "(memory): no space: the segment needs 1448 bytes, 1000 are free",
        Array::create_in(memory.clone(), &[0u64; 100]),
    );
    refused!(
        Error::NotFound { .. },
        "(memory): no such segment",
        Value::<u64>::open_in(memory.clone()),
    );
    refused!(
        Error::Foreign { .. },
        "(memory): expected a shmkit segment, found a file of 511 bytes",
        Value::<u64>::open_in(Arc::new(HeapMemory::new(511))),
    );
    let value = Value::create_in(memory.clone(), 1u64).unwrap();
    refused!(
        Error::AlreadyExists { .. },
        "(memory): is taken by a primitive that was laid out before",
        Value::create_in(memory.clone(), 2u64),
        Value::create_in(Arc::new(memory.attach()), 2.0f64),
    );
    assert_eq!(value.get(), 1, "no byte of it was touched");
    refused!(
        Error::Mismatch { what: "type", .. },
        "(memory): other type: expected f64, found u64",
        Value::<f64>::open_in(memory),
    );
}

/// The label of a descriptor in errors, and its place.
pub(crate) fn fd_place(fd: OwnedFd) -> (String, Place) {
    let place = Place::fd(fd);
    (place.to_string(), place)
}

/// The docs say both: without a schema nobody notices, and with one the opener is told.
#[test]
fn only_a_schema_tells_structs_of_one_name_and_size_apart() {
    let _watchdog = Watchdog::new("structs of one name", LIMIT);
    let name = Name::new("struct");
    let job = one_program::Job { id: 1, size: 2 };
    let created = Value::create(&*name, job).unwrap();
    let opened = Value::<swapped_in_another::Job>::open(&*name).unwrap();
    assert_eq!(opened.get(), swapped_in_another::Job { size: 1, id: 2 });
    drop((created, opened));

    let place = |version: &str| Place::named(&*name).schema(format!("job/{version}"));
    let _created = Value::create(place("v1"), job).unwrap();
    refused!(
        Error::Mismatch { what: "type", .. },
        format!("{name}: other type: expected job/v2, found job/v1"),
        Value::<swapped_in_another::Job>::open(place("v2")),
    );
    let same = Value::<same_in_another::Job>::open(place("v1")).unwrap();
    assert_eq!(same.get().size, 2);
}
