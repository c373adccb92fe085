//! Producers and consumers of one queue, each in a process of its own.

use crate::Stage;
use crate::support::{Kid, start};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

pub(crate) const PRODUCERS: usize = 2;
pub(crate) const CONSUMERS: usize = 2;

/// An item names its producer and has a number among the producer's items.
pub(crate) const fn item(producer: u64, number: u64) -> u64 {
    producer << 32 | number
}

pub(crate) const fn read_item(item: u64) -> (usize, u64) {
    ((item >> 32) as usize, item & 0xffff_ffff)
}

/// A consumer writes its items to a file, in the order in which they arrive.
pub(crate) fn write_down(file: &str, items: impl IntoIterator<Item = u64>) {
    let mut file = BufWriter::new(File::create(file).expect("create the output"));
    for item in items {
        file.write_all(&item.to_ne_bytes()).expect("write");
    }
    file.flush().expect("write");
}

/// The items of each consumer, in the order of their arrival.
pub(crate) struct Delivery {
    by_consumer: Vec<Vec<u64>>,
    pub(crate) took: Duration,
}

/// Starts producers and consumers in these roles, lets all of them begin at once, and closes the queue when
/// the producers have ended.
pub(crate) fn deliver(queue: &str, produce: &str, consume: &str, close: impl FnOnce()) -> Delivery {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let outputs: Vec<String> = (0..CONSUMERS)
        .map(|who| folder.path().join(format!("got-{who}")))
        .map(|path| path.to_str().expect("a plain name").to_owned())
        .collect();
    let gate = Stage::new();
    let consumers: Vec<Kid> = outputs
        .iter()
        .map(|output| start(consume, &[queue, gate.name(), output]))
        .collect();
    let producers: Vec<Kid> = (0..PRODUCERS)
        .map(|who| start(produce, &[queue, gate.name(), &who.to_string()]))
        .collect();
    let began = Instant::now();
    gate.reach(1);
    producers.into_iter().for_each(Kid::finish);
    close();
    consumers.into_iter().for_each(Kid::finish);
    let took = began.elapsed();
    let read = |output| {
        let bytes = std::fs::read(output).expect("read the output");
        let (items, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty());
        items.iter().map(|item| u64::from_ne_bytes(*item)).collect()
    };
    let by_consumer = outputs.iter().map(read).collect();
    Delivery { by_consumer, took }
}

impl Delivery {
    /// Asserts that every consumer got the items of each producer in the order of their numbers. Items that
    /// name none of the producers have no order.
    pub(crate) fn assert_order(&self) {
        for (consumer, items) in self.by_consumer.iter().enumerate() {
            let mut next = [0; PRODUCERS];
            for item in items {
                let (producer, number) = read_item(*item);
                if let Some(next) = next.get_mut(producer) {
                    assert!(number >= *next, "out of order at consumer {consumer}");
                    *next = number + 1;
                }
            }
        }
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = u64> {
        self.by_consumer.iter().flatten().copied()
    }

    /// The number of items that each consumer got.
    pub(crate) fn shares(&self) -> Vec<usize> {
        self.by_consumer.iter().map(Vec::len).collect()
    }
}
