//! Laying a primitive out in memory that exists already. One word decides who does it, so that one of any
//! number of `create_in` wins, and no `open_in` sees half of the result.
//!
//! The header's first word:
//!
//! | word | meaning | `create_in` | `open_in` |
//! |---|---|---|---|
//! | 0 | nothing was laid out yet | becomes the initializer | `NotFound` |
//! | `INITIALIZING + n` | holder n is laying out | `AlreadyExists`; if n is dead, takes over | `NotFound` |
//! | the magic | a complete primitive | `AlreadyExists` | goes on to validate the header |
//! | any other | not ours | `AlreadyExists` | `Foreign` |
//!
//! Invariants:
//! 1. *From the CAS of the first word to publication, the bytes belong to the initializer alone*: nobody
//!    else changes a word that names a live holder, and numbers are never reused (the contract of
//!    `Memory`), so that a take-over hits no successor.
//! 2. *Behind the magic the sealed part of the header is complete, and never written again*: the magic is
//!    stored with Release after everything else, and only 0 and an initializer's word are ever replaced.
//!    The Acquire load in [`sealed`] pairs with that store.
//!
//! If an initializer dies, the first word names the dead. The next `create_in` takes over by CAS, wipes
//! everything that the dead initializer may have written, and begins anew. `Liveness` guarantees that this
//! comes after the dead initializer's last write, as it does for locks. A process that dies while wiping is
//! a dead initializer like any other.

use crate::segment::layout::{COMPLETE, INITIALIZING, MAGIC, NEXT_HOLDER, SEALED};
use crate::segment::memory::Memory;
use crate::sync::HolderState;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the first word.
const WORD: usize = 8;

/// The meaning of the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was laid out yet.
    Nothing,
    /// A holder is laying something out, or died while it did.
    Initializing,
    /// A primitive whose header is complete.
    Primitive,
    /// The word is not ours.
    Foreign(u64),
}

/// Returns the first word of memory that has at least that many bytes.
fn first_word(memory: &dyn Memory) -> &AtomicU64 {
    assert!(memory.len() >= WORD, "the caller checked the length");
    let word = memory.base().cast();
    // SAFETY: the word is aligned and readable for as long as the memory is borrowed, and all references to
    // it are atomic.
    unsafe { word.as_ref() }
}

/// Returns the sealed part of a complete primitive's header, in memory of at least a header; or an error that
/// says what is there instead.
pub(super) fn sealed(memory: &dyn Memory) -> Result<[u8; SEALED], Found> {
    match meaning(memory, first_word(memory).load(Ordering::Acquire)) {
        Found::Primitive => {}
        other => return Err(other),
    }
    assert!(memory.len() >= SEALED, "the caller checked the length");
    let mut sealed = [0; SEALED];
    sealed[..WORD].copy_from_slice(&MAGIC);
    let rest = &mut sealed[WORD..];
    let from = memory.base().as_ptr().wrapping_add(WORD);
    // SAFETY: the bytes are inside the memory, and by invariant 2 complete and never written again.
    unsafe { from.copy_to_nonoverlapping(rest.as_mut_ptr(), rest.len()) };
    Ok(sealed)
}

fn meaning(memory: &dyn Memory, word: u64) -> Found {
    match word {
        0 => Found::Nothing,
        COMPLETE => Found::Primitive,
        _ if word & INITIALIZING == 0 => Found::Foreign(word),
        _ if holder_state(memory, word) == HolderState::NeverDrawn => Found::Foreign(word),
        _ => Found::Initializing,
    }
}

/// Returns the state of the holder that an initializer's word names.
fn holder_state(memory: &dyn Memory, word: u64) -> HolderState {
    let owner = word & !INITIALIZING;
    if owner == memory.number().load(Ordering::Relaxed) {
        HolderState::Alive
    } else {
        memory.holder_state(owner)
    }
}

/// The right to lay a primitive out in memory whose bytes are zero, except for the first word and the counter
/// of holders.
#[must_use = "nobody else can lay anything out before it is published"]
pub(super) struct Initializer<'a>(&'a dyn Memory);

impl<'a> Initializer<'a> {
    /// Makes this process, whose number is not 0, the initializer of memory that has at least a word.
    ///
    /// # Errors
    /// The meaning of the first word, if somebody else was first.
    pub(super) fn begin(memory: &'a dyn Memory) -> Result<Self, Found> {
        let me = memory.number().load(Ordering::Relaxed);
        let word = first_word(memory);
        // Acquire pairs with the Release of another initializer's CAS below: it drew its number before.
        let mut found = word.load(Ordering::Acquire);
        loop {
            let dead = match meaning(memory, found) {
                Found::Nothing => false,
                Found::Initializing if holder_state(memory, found) == HolderState::Dead => true,
                other => return Err(other),
            };
            // Acquire: none of our writes comes before we are the initializer (invariant 1). Release: whoever
            // sees our word sees that its number was drawn.
            match word.compare_exchange(
                found,
                INITIALIZING | me,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) if dead => {
                    let init = Self(memory);
                    init.wipe();
                    return Ok(init);
                }
                Ok(_) => return Ok(Self(memory)),
                Err(now) => found = now,
            }
        }
    }

    /// Undoes the writes of a dead initializer: zeroes all but the first word and the counter of holders.
    fn wipe(&self) {
        let len = self.0.len();
        let counter = NEXT_HOLDER..NEXT_HOLDER + 8;
        for piece in [WORD..counter.start.min(len), counter.end.min(len)..len] {
            let from = self.0.base().as_ptr().wrapping_add(piece.start);
            // SAFETY: the bytes are inside the memory, and by invariant 1 belong to the initializer alone.
            unsafe { from.write_bytes(0, piece.len()) };
        }
    }

    /// Writes bytes behind the first word.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(
            at >= WORD && end.is_some_and(|end| end <= self.0.len()),
            "checked by create"
        );
        let to = self.0.base().as_ptr().wrapping_add(at);
        // SAFETY: the bytes are inside the memory, and by invariant 1 belong to the initializer alone.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Publishes the primitive: stores the magic, after everything else.
    pub(super) fn publish(self) {
        // Pairs with the Acquire load in `sealed`.
        first_word(self.0).store(COMPLETE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::segment::heap::HeapMemory;
    use crate::segment::region::{BEING_LAID_OUT, Body, LAID_OUT, NOT_OURS, Region};
    use std::sync::Arc;
    use std::thread;

    /// Four words, which are zero in a new primitive.
    #[repr(C)]
    struct Words([AtomicU64; 4]);

    // SAFETY: `repr(C)`, made of atomics alone, valid when zero.
    unsafe impl Body for Words {
        const KIND: crate::segment::layout::Kind = crate::segment::layout::Kind::Other(9);

        fn stride(size: u64) -> u64 {
            size
        }

        fn strides(capacity: u64) -> u64 {
            capacity
        }
    }

    type Four = Region<u64, Words>;

    fn create(memory: &Arc<HeapMemory>, first: u64) -> Result<Four, Error> {
        Four::create_in(memory.clone(), 4, &first.to_le_bytes())
    }

    fn first_element(region: &Four) -> u64 {
        // SAFETY: the element is inside the region, and nobody writes it after `create_in`.
        unsafe { region.data().cast::<u64>().read() }
    }

    fn refused_by(result: Result<Four, Error>) -> &'static str {
        match result {
            Err(Error::AlreadyExists { by, .. }) => by,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was laid out a second time"),
        }
    }

    /// Returns the value that all elements have; fails if they differ. Looks at the last element first.
    fn element_of_all(region: &Four, len: usize) -> u64 {
        let element = |i: usize| {
            let element = region.data().cast::<u64>().as_ptr().wrapping_add(i);
            // SAFETY: the element is inside the region, and nobody writes it after `create_in`.
            unsafe { element.read() }
        };
        let found = [len - 1, len / 2, 0].map(element);
        assert_eq!(found, [found[0]; 3], "half of it");
        found[0]
    }

    /// Returns once all threads have come, at about the same moment in each of them.
    fn meet(arrived: &AtomicU64, all: u64) {
        arrived.fetch_add(1, Ordering::Relaxed);
        for look in 1u64.. {
            if arrived.load(Ordering::Relaxed) >= all {
                return;
            }
            if look.is_multiple_of(4096) {
                thread::yield_now();
            }
        }
    }

    fn race(rounds: usize, len: usize) {
        for _ in 0..if cfg!(miri) { 20 } else { rounds } {
            let memory = Arc::new(HeapMemory::new(1024 + 8 * len));
            let arrived = AtomicU64::new(0);
            let run = |me: u64| {
                let first = vec![me; len];
                meet(&arrived, 2);
                let created = Four::create_in(memory.clone(), len, bytemuck::cast_slice(&first));
                let won = match created {
                    Ok(region) => Some(element_of_all(&region, len)),
                    created => {
                        let by = refused_by(created);
                        assert!(by == BEING_LAID_OUT || by == LAID_OUT, "{by}");
                        None
                    }
                };
                let seen = loop {
                    match Four::open_in(memory.clone()) {
                        Ok(region) => break element_of_all(&region, len),
                        Err(Error::NotFound { .. }) => thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                };
                (won, seen)
            };
            let (one, other) = thread::scope(|scope| {
                let other = scope.spawn(|| run(2));
                (run(1), other.join().expect("the other thread"))
            });
            let outcomes = [one, other];
            let sound = [[(Some(1), 1), (None, 1)], [(None, 2), (Some(2), 2)]];
            assert!(sound.contains(&outcomes), "{outcomes:?}");
        }
    }

    #[test]
    fn of_two_that_race_one_lays_out() {
        race(3000, 1);
    }

    #[test]
    fn of_what_is_being_laid_out_none_sees_half() {
        race(300, 1 << 16);
    }

    #[test]
    fn while_somebody_lays_out_there_is_nothing_to_open_and_nobody_else_may() {
        let memory = Arc::new(HeapMemory::new(1024));
        assert!(matches!(
            Four::open_in(memory.clone()),
            Err(Error::NotFound { .. })
        ));
        let init = Initializer::begin(&*memory).expect("it is free");
        for who in [memory.clone(), Arc::new(memory.attach())] {
            assert_eq!(refused_by(create(&who, 1)), BEING_LAID_OUT);
            assert!(matches!(Four::open_in(who), Err(Error::NotFound { .. })));
        }
        init.publish();
        assert_eq!(refused_by(create(&memory, 1)), LAID_OUT);
    }

    #[test]
    fn the_rest_of_a_dead_initializer_is_wiped_and_laid_out_anew() {
        let memory = Arc::new(HeapMemory::new(1024));
        let other = Arc::new(memory.attach());
        let died = HeapMemory::until_death(|| {
            let init = Initializer::begin(&*memory).expect("it is free");
            init.write(WORD, &[0xa5; NEXT_HOLDER - WORD]);
            init.write(NEXT_HOLDER + 8, &[0xa5; 1024 - NEXT_HOLDER - 8]);
            // SAFETY: this thread alone uses the holder.
            unsafe { memory.die() }
        });
        assert!(died.is_none());
        assert!(matches!(
            Four::open_in(other.clone()),
            Err(Error::NotFound { .. })
        ));
        let region = create(&other, 7).expect("the initializer is dead");
        assert_eq!(first_element(&region), 7);
        let words = region.body().0.iter();
        assert!(words.map(|w| w.load(Ordering::Relaxed)).eq([0; 4]));
        assert_eq!(refused_by(create(&memory, 1)), LAID_OUT);
        assert_eq!(first_element(&Four::open_in(memory).unwrap()), 7);
    }

    #[test]
    fn bytes_that_are_not_ours_are_left_alone() {
        for foreign in [1, COMPLETE ^ 1, INITIALIZING, INITIALIZING | 99, u64::MAX] {
            let memory = Arc::new(HeapMemory::new(1024));
            first_word(&*memory).store(foreign, Ordering::Relaxed);
            assert_eq!(refused_by(create(&memory, 1)), NOT_OURS);
            assert!(matches!(
                Four::open_in(memory.clone()),
                Err(Error::Foreign { .. })
            ));
            assert_eq!(first_word(&*memory).load(Ordering::Relaxed), foreign);
        }
    }
}
