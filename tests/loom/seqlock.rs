//! `SeqLock`: a reader sees whole values, and never an older value after a newer one.

use crate::support::{Holders, exhaustive, spawn};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use shmkit::internals::{LockWord, SeqLock};

type Words = [AtomicU64; 2];

/// A value of two words. A writer makes both words equal.
struct Shared {
    version: AtomicU64,
    slots: [Words; 2],
    word: LockWord,
    holders: Holders,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU64::new(0),
            slots: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            word: LockWord::default(),
            holders: Holders::immortal(),
        })
    }

    fn slots(&self) -> SeqLock<'_> {
        SeqLock::new(&self.version, self.slots.each_ref().map(|words| &words[..]))
    }

    fn read(&self) -> u64 {
        let mut out = [0; 16];
        while !self.slots().try_read(&mut out) {
            thread::yield_now();
        }
        whole(&out)
    }

    /// Stores a value. Only one thread at a time may call this.
    fn write(&self, value: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&value.to_ne_bytes());
        bytes[8..].copy_from_slice(&value.to_ne_bytes());
        self.slots().write(&bytes);
    }

    /// Adds 1 under the lock, as holder `number`.
    fn update(&self, number: u64) {
        let _guard = self.holders.lock(&self.word, number);
        let mut now = [0; 16];
        self.slots().read_locked(&mut now);
        self.write(whole(&now) + 1);
    }
}

fn whole(bytes: &[u8; 16]) -> u64 {
    let [first, second] =
        [&bytes[..8], &bytes[8..]].map(|half| u64::from_ne_bytes(half.try_into().unwrap()));
    assert_eq!(first, second, "torn");
    first
}

/// Two writes use both slots, so the second one may write the slot that the reader reads.
#[test]
fn one_writer_one_reader() {
    exhaustive(|| {
        let shared = Shared::new();
        let writer = spawn(&shared, move |shared| {
            shared.write(1);
            shared.write(2);
        });
        let first = shared.read();
        let second = shared.read();
        assert!(first <= second, "went back from {first} to {second}");
        writer.join().unwrap();
        assert_eq!(shared.read(), 2);
    });
}

#[test]
fn two_writers_one_reader() {
    exhaustive(|| {
        let shared = Shared::new();
        let writers = [2, 3].map(|number| spawn(&shared, move |shared| shared.update(number)));
        let first = shared.read();
        let second = shared.read();
        assert!(first <= second, "went back from {first} to {second}");
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(shared.read(), 2, "an update was lost");
    });
}
