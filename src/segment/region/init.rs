//! Who lays a primitive out in memory that is there already: one word decides, so that of any number
//! of `create_in` one wins, and no `open_in` sees half of it.
//!
//! The header's first word:
//!
//! | word | means | `create_in` | `open_in` |
//! |---|---|---|---|
//! | 0 | nothing was laid out yet | claims it | `NotFound` |
//! | `INITIALIZING + n` | holder n is laying out | `AlreadyExists`; if n is dead, takes the claim over | `NotFound` |
//! | the magic | a complete primitive | `AlreadyExists` | goes on to judge the header |
//! | any other | not ours | `AlreadyExists` | `Foreign` |
//!
//! Invariants:
//! 1. *Between claim and publication the bytes are the claimant's alone*: a word that names a live
//!    holder is changed by nobody else, and a number is never reused (contract of `Memory`), so no
//!    claim is taken from a successor of its owner.
//! 2. *Behind the magic the sealed part of the header is complete and never written again*: it is
//!    stored with release after everything else, and no word but 0 and a claim is ever replaced.
//!    Loading it with acquire pairs with that store.
//!
//! If a claimant dies, its claim names the dead. The next `create_in` takes it over by CAS, wipes what
//! the dead may have written and begins anew; that it is ordered after the dead's last write is what
//! `Liveness` answers for, as for locks. Who dies while wiping is itself found dead.

use crate::segment::layout::{COMPLETE, INITIALIZING, MAGIC, NEXT_HOLDER, SEALED};
use crate::segment::memory::Memory;
use crate::sync::HolderState;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the first word.
const WORD: usize = 8;

/// What the first word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// A holder is, or was, laying something out.
    Initializing,
    /// A primitive whose header is complete.
    Primitive,
    /// Something that is not ours: the word.
    Foreign(u64),
}

/// The first word of at least that many bytes.
fn first_word(memory: &dyn Memory) -> &AtomicU64 {
    assert!(memory.len() >= WORD, "checked by who asks");
    let word = memory.base().cast();
    // SAFETY: aligned and readable, for as long as the memory is borrowed; only atomics refer to it.
    unsafe { word.as_ref() }
}

/// The sealed part of the header of a complete primitive, in memory of at least a header; or what is
/// there instead.
pub(super) fn sealed(memory: &dyn Memory) -> Result<[u8; SEALED], Found> {
    match judge(memory, first_word(memory).load(Ordering::Acquire)) {
        Found::Primitive => {}
        other => return Err(other),
    }
    assert!(memory.len() >= SEALED, "checked by who asks");
    let mut sealed = [0; SEALED];
    sealed[..WORD].copy_from_slice(&MAGIC);
    let rest = &mut sealed[WORD..];
    let from = memory.base().as_ptr().wrapping_add(WORD);
    // SAFETY: inside the memory, complete, and never written again (invariant 2).
    unsafe { from.copy_to_nonoverlapping(rest.as_mut_ptr(), rest.len()) };
    Ok(sealed)
}

fn judge(memory: &dyn Memory, word: u64) -> Found {
    match word {
        0 => Found::Nothing,
        COMPLETE => Found::Primitive,
        _ if word & INITIALIZING == 0 => Found::Foreign(word),
        _ if holder_state(memory, word) == HolderState::NeverDrawn => Found::Foreign(word),
        _ => Found::Initializing,
    }
}

/// Of the owner of a init.
fn holder_state(memory: &dyn Memory, word: u64) -> HolderState {
    let owner = word & !INITIALIZING;
    if owner == memory.number().load(Ordering::Relaxed) {
        HolderState::Alive
    } else {
        memory.holder_state(owner)
    }
}

/// The right to lay a primitive out in that memory, all zeros but for the first word and the counter
/// of holders.
#[must_use = "nobody else can lay anything out before it is published"]
pub(super) struct Initializer<'a>(&'a dyn Memory);

impl<'a> Initializer<'a> {
    /// Claims memory of at least a word for this process, whose number is not 0; or tells what is
    /// there.
    pub(super) fn begin(memory: &'a dyn Memory) -> Result<Self, Found> {
        let me = memory.number().load(Ordering::Relaxed);
        let word = first_word(memory);
        // Acquire, as in `sealed`: pairs with the Release of a claim, whose owner drew its number before.
        let mut found = word.load(Ordering::Acquire);
        loop {
            let dead = match judge(memory, found) {
                Found::Nothing => false,
                Found::Initializing if holder_state(memory, found) == HolderState::Dead => true,
                other => return Err(other),
            };
            // Acquire: nothing of ours is done before the claim is ours (invariant 1). Release: who
            // sees the claim sees that its number was drawn.
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

    /// Undoes whatever a dead claimant wrote: all but the first word and the counter of holders.
    fn wipe(&self) {
        let len = self.0.len();
        let counter = NEXT_HOLDER..NEXT_HOLDER + 8;
        for piece in [WORD..counter.start.min(len), counter.end.min(len)..len] {
            let from = self.0.base().as_ptr().wrapping_add(piece.start);
            // SAFETY: inside the memory, and the claimant's alone (invariant 1).
            unsafe { from.write_bytes(0, piece.len()) };
        }
    }

    /// Writes bytes that begin behind the first word.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(
            at >= WORD && end.is_some_and(|end| end <= self.0.len()),
            "checked by create"
        );
        let to = self.0.base().as_ptr().wrapping_add(at);
        // SAFETY: inside the memory, and the claimant's alone (invariant 1).
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Lets everybody see it: the magic, after all that was written.
    pub(super) fn publish(self) {
        // Pairs with the load in `look`.
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

    /// Four words, all of which a new primitive finds zero.
    #[repr(C)]
    struct Words([AtomicU64; 4]);

    // SAFETY: `repr(C)`, atomics alone, valid when zero.
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
        // SAFETY: inside the region, and nobody writes it after `create_in`.
        unsafe { region.data().cast::<u64>().read() }
    }

    fn leases_of(result: Result<Four, Error>) -> &'static str {
        match result {
            Err(Error::AlreadyExists { by, .. }) => by,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was laid out a second time"),
        }
    }

    /// The one number that the elements are; fails where there are two. The last is looked at first.
    fn element_of_all(region: &Four, len: usize) -> u64 {
        let element = |i: usize| {
            let element = region.data().cast::<u64>().as_ptr().wrapping_add(i);
            // SAFETY: inside the region, and nobody writes it after `create_in`.
            unsafe { element.read() }
        };
        let found = [len - 1, len / 2, 0].map(element);
        assert_eq!(found, [found[0]; 3], "half of it");
        found[0]
    }

    /// UnlinkOnLast when all have come, in all of them at the same moment, as far as there are CPUs.
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
                        let by = leases_of(created);
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
    fn while_somebody_lays_out_there_is_nothing_to_open_and_nothing_to_claim() {
        let memory = Arc::new(HeapMemory::new(1024));
        assert!(matches!(
            Four::open_in(memory.clone()),
            Err(Error::NotFound { .. })
        ));
        let init = Initializer::begin(&*memory).expect("it is free");
        for who in [memory.clone(), Arc::new(memory.attach())] {
            assert_eq!(leases_of(create(&who, 1)), BEING_LAID_OUT);
            assert!(matches!(Four::open_in(who), Err(Error::NotFound { .. })));
        }
        init.publish();
        assert_eq!(leases_of(create(&memory, 1)), LAID_OUT);
    }

    #[test]
    fn what_a_dead_claimant_left_is_wiped_and_laid_out_anew() {
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
        let region = create(&other, 7).expect("the claimant is dead");
        assert_eq!(first_element(&region), 7);
        let words = region.body().0.iter();
        assert!(words.map(|w| w.load(Ordering::Relaxed)).eq([0; 4]));
        assert_eq!(leases_of(create(&memory, 1)), LAID_OUT);
        assert_eq!(first_element(&Four::open_in(memory).unwrap()), 7);
    }

    #[test]
    fn bytes_that_are_not_ours_are_left_alone() {
        for foreign in [1, COMPLETE ^ 1, INITIALIZING, INITIALIZING | 99, u64::MAX] {
            let memory = Arc::new(HeapMemory::new(1024));
            first_word(&*memory).store(foreign, Ordering::Relaxed);
            assert_eq!(leases_of(create(&memory, 1)), NOT_OURS);
            assert!(matches!(
                Four::open_in(memory.clone()),
                Err(Error::Foreign { .. })
            ));
            assert_eq!(first_word(&*memory).load(Ordering::Relaxed), foreign);
        }
    }
}
