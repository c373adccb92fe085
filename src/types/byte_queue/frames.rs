//! [`Frames`]: messages of any length in a ring whose positions are units of 8 bytes.
//!
//! A frame is a length word and the message's bytes, rounded up to units. Unit `p` of the ring lies at slot
//! `p % units`. Behind the slots lies the *spill area*: as many more units as the longest frame can go
//! beyond the last slot.
//!
//! ```text
//! slots 0 … units - 1                        | spill: units … 2 * units - 2
//! [len|bytes ][len|bytes     ]   free   [len | bytes         ]
//!                                        ^ begins at slot o, and is written at o, o + 1, o + 2 …
//!  ^ the next frame begins at slot (o + its units) % units
//! ```
//!
//! Invariants:
//! 1. *A frame is one piece*: it is written from its first unit's slot straight on, into the spill
//!    area if it goes beyond the last slot. A frame has at most `units` units, so it ends within the
//!    spill area.
//! 2. *No two live positions share memory*: positions `i`, `i + units`, `i + 2 * units` … may lie at slot
//!    `i` or at its alias, the spill unit `units + i`. At most one of those positions lies between `head`
//!    and `head + units` (ring's invariant 1).
//! 3. *Every commit is whole frames*: `head`, `tail`, and the copies of them, are positions at which a
//!    frame begins, or at which the next frame will begin.
//! 4. A length that is read from shared memory is loaded once, and checked against the units that are
//!    committed behind it. A length that leads beyond them is `Corrupt`, and nothing of it is touched.
//!
//! So there is no padding at the end of the ring, no commit for padding, and no message that fits into an
//! empty ring only after somebody has moved on. The price is memory: twice the capacity.
//!
//! If a process dies: as in [`ring`](crate::sync). A length word beyond `tail` belongs to nobody.

use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::{Body, Kind, Memory, Place, Region, Tag};
use crate::sync::{Announced, Commit, Holder, ReadClaim, Ring, RingWords, Wait, WriteClaim};
use crate::types::common::Slots;
use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a unit, and of a length word.
const UNIT: usize = size_of::<u64>();

/// Returns how many units hold that many bytes.
const fn units_for(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT as u64)
}

/// Returns how many units the frame of a message of that length takes.
#[allow(clippy::cast_possible_truncation)] // UNIT is 8
const fn units_of(len: usize) -> u64 {
    1 + units_for(len as u64)
}

/// How a queue of frames calls itself in a segment's header.
pub(crate) trait FrameKind {
    const KIND: Kind;
    fn tag() -> Tag;
}

/// A ring's words, in a segment of kind `K`.
#[repr(transparent)]
pub(crate) struct Framed<K>(RingWords, PhantomData<fn() -> K>);

// SAFETY: transparent to `repr(C)` words, made of atomics alone, each of which is valid when zero.
unsafe impl<K: FrameKind> Body for Framed<K> {
    const KIND: Kind = K::KIND;

    fn stride(size: u64) -> u64 {
        size
    }

    /// The slots and the spill area, in bytes.
    fn strides(capacity: u64) -> u64 {
        let units = units_for(capacity);
        let with_spill = (2 * units).saturating_sub(1);
        with_spill.saturating_mul(UNIT as u64)
    }

    fn tag<T>() -> Tag {
        K::tag()
    }
}

/// A queue of messages, each of them some bytes.
pub(crate) struct Frames<K> {
    region: Region<u8, Framed<K>>,
    /// The ring's slots, of one unit each.
    slots: Slots,
}

impl<K> Clone for Frames<K> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
            ..*self
        }
    }
}

/// Rounds a capacity up to whole units. A capacity that is too large for that stays as it is, and is
/// refused later.
fn rounded(capacity: usize) -> usize {
    capacity.checked_next_multiple_of(UNIT).unwrap_or(capacity)
}

impl<K: FrameKind> Frames<K> {
    fn of(region: Region<u8, Framed<K>>) -> Self {
        let slots = Slots::new(units_for(region.capacity()));
        Self { region, slots }
    }

    pub(crate) fn create(place: &Place, capacity: usize) -> Result<Self> {
        Region::create(place, rounded(capacity), &[]).map(Self::of)
    }

    pub(crate) fn open(place: &Place) -> Result<Self> {
        Region::open(place).map(Self::of)
    }

    pub(crate) fn open_or_create(place: &Place, capacity: usize) -> Result<Self> {
        Region::open_or_create(place, rounded(capacity), &[]).map(Self::of)
    }

    pub(crate) fn create_in(memory: Arc<dyn Memory>, capacity: usize) -> Result<Self> {
        Region::create_in(memory, rounded(capacity), &[]).map(Self::of)
    }

    pub(crate) fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        Region::open_in(memory).map(Self::of)
    }

    #[inline]
    pub(crate) fn holder(&self) -> Holder<'_> {
        self.region.holder()
    }

    #[inline]
    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.region.body().0, self.slots.count(), self.holder())
    }

    /// Returns where the frame at a position lies: at one of the slots for every position, with at least
    /// as many units from there on as there are slots (invariant 1).
    #[inline]
    fn slot(&self, position: u64) -> *mut u8 {
        let offset = self.slots.index(position) * UNIT;
        self.region.data().as_ptr().wrapping_add(offset)
    }

    /// Claims space for a message of up to `len` bytes.
    #[inline]
    pub(crate) fn claim_write(&self, len: usize, wait: Wait) -> Result<WriteFrame<'_>, PutError> {
        let max = self.max_message_len();
        if len > max {
            return Err(PutError::TooLong { len, max });
        }
        let units = units_of(len);
        let claim = self.ring().claim_write(units, units, wait)?;
        let at = self.slot(claim.span().start);
        Ok(WriteFrame { claim, at, len })
    }

    #[inline]
    pub(crate) fn put(&self, message: &[u8], wait: Wait) -> Result<(), PutError> {
        let frame = self.claim_write(message.len(), wait)?;
        // SAFETY: the frame has space for the message, and by ring's invariant 2 it belongs to this side
        // alone. If the message lies in this ring itself, it is live, and by invariant 2 lies elsewhere.
        unsafe {
            frame
                .bytes()
                .copy_from_nonoverlapping(message.as_ptr(), message.len());
        };
        frame.commit(message.len())
    }

    /// Claims the next message.
    #[inline]
    pub(crate) fn claim_read(&self, wait: Wait) -> Result<ReadFrame<'_>, GetError> {
        let claim = self.ring().claim_read(1, wait)?;
        let span = claim.span();
        let at = self.slot(span.start);
        // SAFETY: by region's invariant 1 a slot is inside the region and aligned to units.
        let len = unsafe { length_at(at) }.load(Ordering::Relaxed);
        // By invariant 3 a sound frame is committed as a whole; invariant 4 is checked here.
        let max = self.max_message_len();
        match usize::try_from(len) {
            Ok(len) if len <= max && units_of(len) <= span.len + span.ahead => {
                Ok(ReadFrame { claim, at, len })
            }
            _ => Err(GetError::Corrupt),
        }
    }

    #[inline]
    pub(crate) fn get(&self, wait: Wait) -> Result<Vec<u8>, GetError> {
        let frame = self.claim_read(wait)?;
        let bytes = frame.bytes().to_vec();
        frame.commit();
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn get_into(&self, buffer: &mut Vec<u8>, wait: Wait) -> Result<usize, GetError> {
        let frame = self.claim_read(wait)?;
        buffer.clear();
        buffer.extend_from_slice(frame.bytes());
        frame.commit();
        Ok(buffer.len())
    }

    #[inline]
    pub(crate) fn get_with<R>(
        &self,
        wait: Wait,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, GetError> {
        let frame = self.claim_read(wait)?;
        let announced = frame.announce();
        let result = f(frame.bytes());
        drop(announced);
        frame.commit();
        Ok(result)
    }

    pub(crate) fn max_message_len(&self) -> usize {
        #[allow(clippy::cast_possible_truncation)] // the units were mapped
        let units = self.slots.count() as usize;
        (units - 1) * UNIT
    }

    pub(crate) fn capacity(&self) -> usize {
        self.max_message_len() + UNIT
    }

    pub(crate) fn used(&self) -> usize {
        let units = usize::try_from(self.ring().len()).expect("at most the capacity");
        units * UNIT
    }

    /// Formats the handle for `Debug`.
    pub(crate) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("name", &self.name())
            .field("used", &self.used())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }

    pub(crate) fn close(&self) {
        self.ring().close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ring().is_closed()
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.region.name()
    }

    pub(crate) fn was_created(&self) -> bool {
        self.region.was_created()
    }

    pub(crate) fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.region.try_clone_fd()
    }
}

/// Returns the length word of the frame at a slot.
///
/// # Safety
/// `slot` is one of a region's slots, which stays mapped while the result lives.
#[inline]
unsafe fn length_at<'a>(slot: *mut u8) -> &'a AtomicU64 {
    // SAFETY: the slot is mapped by the contract, and aligned as the data is (to 8 bytes at least, by
    // `Plan::new`). Whoever else reaches a length word does so by this function too, or holds the other
    // side's positions.
    unsafe { AtomicU64::from_ptr(slot.cast()) }
}

/// Space for a message of up to `len` bytes, and the producers' lock.
#[derive(Debug)]
pub(crate) struct WriteFrame<'a> {
    claim: WriteClaim<'a>,
    at: *mut u8,
    len: usize,
}

impl<'a> WriteFrame<'a> {
    #[inline]
    pub(super) fn bytes(&self) -> *mut u8 {
        self.at.wrapping_add(UNIT)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn announce(&self) -> Announced<'a> {
        self.claim.announce()
    }

    pub(super) fn is_stale(&self) -> bool {
        self.claim.is_stale()
    }

    /// Puts the first `len` bytes as a message. The frame belongs to this process: it is not stale.
    #[inline]
    pub(super) fn commit(self, len: usize) -> Result<(), PutError> {
        if len > self.len {
            let max = self.len;
            return Err(PutError::TooLong { len, max });
        }
        // SAFETY: this is a slot, which stays mapped while the claim's handle does. Relaxed, because the
        // commit publishes the length.
        unsafe { length_at(self.at) }.store(len as u64, Ordering::Relaxed);
        let units = units_of(len);
        self.claim.commit(Commit {
            len: units,
            per_item: units,
            wake: 1,
        })?;
        Ok(())
    }
}

/// A message that is there, and the consumers' lock.
#[derive(Debug)]
pub(crate) struct ReadFrame<'a> {
    claim: ReadClaim<'a>,
    at: *mut u8,
    len: usize,
}

impl<'a> ReadFrame<'a> {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: by invariants 1 and 4 the bytes are inside the region; by ring's invariant 2 nobody
        // writes them until the commit, which takes the frame by value.
        unsafe { slice::from_raw_parts(self.at.wrapping_add(UNIT), self.len) }
    }

    pub(crate) fn announce(&self) -> Announced<'a> {
        self.claim.announce()
    }

    #[inline]
    fn commit(self) {
        let units = units_of(self.len);
        self.claim.commit(Commit {
            len: units,
            per_item: units,
            // Several short messages may wait for the freed space, or one long message for the rest of
            // its space. Nobody knows which sleeper that is, so all of them wake.
            wake: u32::MAX,
        });
    }
}
