//! Segments that are sound, and not what was asked for; sizes and places that can't be.

use crate::support::{Name, Watchdog};
use crate::{LIMIT, refused};
use shmkit::bytemuck::{Pod, Zeroable};
use shmkit::memory::HeapMemory;
use shmkit::{Array, Error, Place, Queue, Value, inspect, unlink};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What another program may have compiled under the same name.
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
        Value::<u64>::open(&*name),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected u64, found f64", &*name)
    );
    refused!(
        Value::open_or_create(&*name, 0u64),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected u64, found f64", &*name)
    );
    refused!(
        Value::<[f64; 1]>::open(&*name),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected [f64; 1], found f64", &*name)
    );
    refused!(
        Queue::<f64>::open(&*name),
        Error::Mismatch { what: "kind", .. },
        format!("{}: other kind: expected Queue, found Value", &*name)
    );
    refused!(
        Queue::<f64>::open_or_create(&*name, 1),
        Error::Mismatch { what: "kind", .. },
        format!("{}: other kind: expected Queue, found Value", &*name)
    );
    refused!(
        Array::<f64>::open(&*name),
        Error::Mismatch { what: "kind", .. },
        format!("{}: other kind: expected Array, found Value", &*name)
    );
    assert_eq!(value.get(), 2.5);

    let name = Name::new("array");
    let array = Array::create(&*name, &[2.5f64]).unwrap();
    refused!(
        Value::<f64>::open(&*name),
        Error::Mismatch { what: "kind", .. },
        format!("{}: other kind: expected Value, found Array", &*name)
    );
    refused!(
        Array::<u64>::open(&*name),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected u64, found f64", &*name)
    );
    refused!(
        Array::<[u8; 8]>::open_or_create(&*name, &[[0; 8]]),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected [u8; 8], found f64", &*name)
    );
    assert_eq!(array.to_vec(), [2.5]);

    let name = Name::new("queue");
    let _queue = Queue::<f64>::create(&*name, 1).unwrap();
    refused!(
        Value::<f64>::open(&*name),
        Error::Mismatch { what: "kind", .. },
        format!("{}: other kind: expected Value, found Queue", &*name)
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
    assert!(matches!(inspect(&*name), Err(Error::NotFound { .. })));
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
        Value::<grown_in_another::Job>::open(&*name),
        Error::Mismatch { what: "size", .. },
        format!("{}: other size: expected 24, found 16", &*name)
    );
    refused!(
        Value::<packed_in_another::Job>::open(&*name),
        Error::Mismatch {
            what: "alignment",
            ..
        },
        format!("{}: other alignment: expected 1, found 8", &*name)
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
    // The caller vouches for what the bits mean.
    assert_eq!(Value::<i64>::open(v2()).unwrap().get(), 7);
    refused!(
        Value::<u64>::open(&*name),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected u64, found job/v2", &*name)
    );
    refused!(
        Value::<u64>::open(Place::named(&*name).schema("job/v3")),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected job/v3, found job/v2", &*name)
    );
    refused!(
        Value::<u32>::open(v2()),
        Error::Mismatch { what: "size", .. },
        format!("{}: other size: expected 4, found 8", &*name)
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
        let here = text(&name);
        refused!(
            Queue::<u64>::create(&*name, capacity),
            Error::InvalidSize { .. },
            here
        );
        refused!(
            Queue::<u64>::open_or_create(&*name, capacity),
            Error::InvalidSize { .. },
            here
        );
        refused!(
            Queue::<u64>::new(capacity),
            Error::InvalidSize { .. },
            text("(anonymous)")
        );
        refused!(
            Array::<u64>::zeroed(&*name, capacity),
            Error::InvalidSize { .. },
            here
        );
        let memory = Arc::new(HeapMemory::new(4096));
        refused!(
            Queue::<u64>::create_in(memory, capacity),
            Error::InvalidSize { .. },
            text("(memory)")
        );
    }
    type Create = fn(&str) -> shmkit::Result<Array<u64>>;
    let empty: [Create; 4] = [
        |_| Array::new(&[]),
        |name| Array::create(name, &[]),
        |name| Array::open_or_create(name, &[]),
        |_| Array::create_in(Arc::new(HeapMemory::new(4096)), &[]),
    ];
    for create in empty {
        let refusal = create(&name).expect_err("no elements");
        assert!(matches!(refusal, Error::InvalidSize { .. }), "{refusal:?}");
    }
    refused!(
        Queue::<u64>::open(&*name),
        Error::NotFound { .. },
        format!("{}: no such segment", &*name)
    );
}

#[test]
fn open_or_create_with_another_capacity_is_a_mismatch() {
    let _watchdog = Watchdog::new("another capacity", LIMIT);
    let name = Name::new("capacity");
    let queue = Queue::<u64>::open_or_create(&*name, 3).unwrap();
    assert!(queue.was_created());
    refused!(
        Queue::<u64>::open_or_create(&*name, 4),
        Error::Mismatch {
            what: "capacity",
            ..
        },
        format!("{}: other capacity: expected 4, found 3", &*name)
    );
    let same = Queue::<u64>::open_or_create(&*name, 3).unwrap();
    assert!(!same.was_created());
    assert_eq!(Queue::<u64>::open(&*name).unwrap().capacity(), 3);

    let name = Name::new("length");
    let array = Array::open_or_create(&*name, &[1u64, 2, 3]).unwrap();
    for other in [&[1u64, 2][..], &[1, 2, 3, 4]] {
        refused!(
            Array::open_or_create(&*name, other),
            Error::Mismatch {
                what: "capacity",
                ..
            },
            format!(
                "{}: other capacity: expected {}, found 3",
                &*name,
                other.len()
            )
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
    let text =
        format!("{label}: unsupported: a descriptor leads to a segment that exists; open it");
    refused!(Value::create(&place, 1u64), Error::Unsupported { .. }, text);
    refused!(
        Queue::<u64>::create(&place, 1),
        Error::Unsupported { .. },
        text
    );
    refused!(
        unlink(&place),
        Error::Unsupported { .. },
        format!("{label}: unsupported: it has no name to remove")
    );
    assert_eq!(Value::<u64>::open(&place).unwrap().get(), 7);

    let anonymous = Place::anonymous;
    let text = "(anonymous): unsupported: an anonymous segment has no name to open it by; \
                pass on its descriptor";
    refused!(
        Value::<u64>::open(anonymous()),
        Error::Unsupported { .. },
        text
    );
    // There is nothing to open, so it is created.
    assert_eq!(Value::open_or_create(anonymous(), 1u64).unwrap().get(), 1);
    refused!(
        inspect(anonymous()),
        Error::Unsupported { .. },
        "(anonymous): unsupported: an anonymous segment has no name to find it by; \
         inspect its descriptor"
    );
    refused!(
        unlink(anonymous()),
        Error::Unsupported { .. },
        "(anonymous): unsupported: it has no name to remove"
    );

    let in_memory = Value::create_in(Arc::new(HeapMemory::new(4096)), 1u64).unwrap();
    refused!(
        in_memory.try_clone_fd(),
        Error::Unsupported { .. },
        "(memory): unsupported: there is no file behind this memory"
    );
}

#[test]
fn memory_that_is_too_small_or_no_segment_says_so() {
    let _watchdog = Watchdog::new("heap memory", LIMIT);
    let memory = Arc::new(HeapMemory::new(1000));
    refused!(
        Queue::<u64>::create_in(memory.clone(), 1000),
        Error::NoSpace {
            needed: 9024,
            available: Some(1000),
            ..
        },
        "(memory): no space: the segment needs 9024 bytes, 1000 are free"
    );
    // An array's elements, and a slot as large as one.
    refused!(
        Array::create_in(memory.clone(), &[0u64; 100]),
        Error::NoSpace {
            needed: 1448,
            available: Some(1000),
            ..
        },
        "(memory): no space: the segment needs 1448 bytes, 1000 are free"
    );
    refused!(
        Value::<u64>::open_in(memory.clone()),
        Error::NotFound { .. },
        "(memory): no such segment"
    );
    refused!(
        Value::<u64>::open_in(Arc::new(HeapMemory::new(511))),
        Error::Foreign { .. },
        "(memory): expected a shmkit segment, found a file of 511 bytes"
    );
    let value = Value::create_in(memory.clone(), 1u64).unwrap();
    refused!(
        Value::create_in(memory.clone(), 2u64),
        Error::AlreadyExists { .. },
        "(memory): is taken by a primitive that was laid out before"
    );
    refused!(
        Value::create_in(Arc::new(memory.attach()), 2.0f64),
        Error::AlreadyExists { .. },
        "(memory): is taken by a primitive that was laid out before"
    );
    assert_eq!(value.get(), 1, "nothing of it was touched");
    refused!(
        Value::<f64>::open_in(memory),
        Error::Mismatch { what: "type", .. },
        "(memory): other type: expected f64, found u64"
    );
}

/// How errors call a descriptor, and the place it is.
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
        Value::<swapped_in_another::Job>::open(place("v2")),
        Error::Mismatch { what: "type", .. },
        format!("{}: other type: expected job/v2, found job/v1", &*name)
    );
    let same = Value::<same_in_another::Job>::open(place("v1")).unwrap();
    assert_eq!(same.get().size, 2);
}
