//! [`SeqLock`]: a value that readers copy without a lock. Every copy that a reader accepts is whole.
//!
//! A seqlock here is two slots and a version. Version v says that slot `v & 1` holds the value.
//!
//! | step | writer (one at a time, under its lock) | reader |
//! |---|---|---|
//! | 1 | Release fence | loads the version (Acquire): v |
//! | 2 | writes slot `(v + 1) & 1`, word by word | copies slot `v & 1`, word by word |
//! | 3 | stores version v + 1 (Release) | Acquire fence, loads the version again |
//! | 4 | | if the version is still v, the copy is the value; else the copy is worthless |
//!
//! Invariants:
//! 1. *Nobody writes the slot that the version names.* A writer writes the other slot.
//! 2. *A reader that copied a word of a later write sees a later version.* Slot `v & 1` is written
//!    again only by the write that makes v + 2, after v + 1 was stored. If the reader's copy took a word
//!    from that write, the writer's fence (step 1) pairs with the reader's fence (step 3). Then the
//!    reader's second load sees v + 1 at least, and the reader drops its copy.
//! 3. *A reader that copied the value of v sees all of it*: the reader's Acquire load pairs with the
//!    Release store of v.
//!
//! If a writer dies before step 3, the value is the old one, whole, and the next writer writes the same
//! slot again. If it dies after step 3, the value is the new one. There is nothing to repair. A stopped or
//! dead writer delays no reader. Writers that are faster than a reader's copy do delay the reader: the
//! caller decides when to give up and to read under the writers' lock.
//!
//! This is a sequence lock with a second copy. The fences are those of Boehm, "Can seqlocks get along with
//! programming language memory models?" (2012).

use super::atomic::{AtomicU64, Ordering, fence};

const WORD: usize = 8;

/// The two slots and their version, borrowed from shared memory. Zeroed memory is a valid seqlock.
#[derive(Clone, Copy, Debug)]
pub struct SeqLock<'a> {
    version: &'a AtomicU64,
    slots: [&'a [AtomicU64]; 2],
}

impl<'a> SeqLock<'a> {
    /// Returns the seqlock of these words. The two slots are equally long, and each has space for a value.
    #[inline]
    #[must_use]
    pub fn new(version: &'a AtomicU64, slots: [&'a [AtomicU64]; 2]) -> Self {
        Self { version, slots }
    }

    #[inline]
    fn slot(&self, version: u64) -> &'a [AtomicU64] {
        // An index would make the compiler put the pair into memory first.
        let [even, odd] = self.slots;
        if version & 1 == 0 { even } else { odd }
    }

    /// Copies the current value into `out`, without a lock. Returns `false`, with anything in `out`, if a
    /// write was committed meanwhile.
    #[inline]
    #[must_use]
    pub fn try_read(&self, out: &mut [u8]) -> bool {
        // Acquire pairs with the Release store in `write` (invariant 3).
        let before = self.version.load(Ordering::Acquire);
        copy_out(self.slot(before), out);
        // Pairs with the Release fence in `write` (invariant 2).
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == before
    }

    /// Copies the current value into `out`; the caller holds the writers' lock.
    #[inline]
    pub fn read_locked(&self, out: &mut [u8]) {
        copy_out(self.slot(self.version.load(Ordering::Relaxed)), out);
    }

    /// Makes `value` the current one; the caller holds the writers' lock.
    #[inline]
    pub fn write(&self, value: &[u8]) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Pairs with the Acquire fence in `try_read` (invariant 2).
        fence(Ordering::Release);
        copy_in(self.slot(next), value);
        // The commit. Release pairs with the Acquire load in `try_read` (invariant 3).
        self.version.store(next, Ordering::Release);
    }
}

#[inline]
fn copy_out(words: &[AtomicU64], out: &mut [u8]) {
    for (word, bytes) in words.iter().zip(out.chunks_mut(WORD)) {
        let value = word.load(Ordering::Relaxed).to_ne_bytes();
        bytes.copy_from_slice(&value[..bytes.len()]);
    }
}

#[inline]
fn copy_in(words: &[AtomicU64], value: &[u8]) {
    for (word, bytes) in words.iter().zip(value.chunks(WORD)) {
        let mut padded = [0; WORD];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
}
