//! `SeqLock`: a reader sees values that somebody stored whole, and never an older one after a newer.

use crate::support::{FOREVER, Holders, exhaustive};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use shmkit::internals::{Lock, LockId, LockWord, SeqLock};

type Words = [AtomicU64; 2];

/// A value of two words, which are equal in every value that is ever stored.
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

    /// To be called by one thread at a time.
    fn write(&self, value: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&value.to_ne_bytes());
        bytes[8..].copy_from_slice(&value.to_ne_bytes());
        self.slots().write(&bytes);
    }

    /// Adds 1 under the lock, as holder `number`.
    fn update(&self, number: u64) {
        let lock = Lock::new(&self.word, self.holders.holder(number), LockId(0));
        let _guard = lock.lock(FOREVER).expect("waits for ever");
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

/// Two writes reach both slots, so that one comes back to the slot that is being read.
#[test]
fn one_writer_one_reader() {
    exhaustive(|| {
        let shared = Shared::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.write(1);
                shared.write(2);
            })
        };
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
        let writers = [2, 3].map(|number| {
            let shared = shared.clone();
            thread::spawn(move || shared.update(number))
        });
        let first = shared.read();
        let second = shared.read();
        assert!(first <= second, "went back from {first} to {second}");
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(shared.read(), 2, "an update was lost");
    });
}
