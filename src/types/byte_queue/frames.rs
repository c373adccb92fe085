//! [`Frames`]: messages of any length in a ring whose positions are units of 8 bytes.
//!
//! A frame is a length word and the message's bytes, rounded up to units. Position `p` of the ring lies at
//! slot `p % units`. The *spill area* behind the slots has as many units as the longest frame can reach beyond
//! the last slot.
//!
//! ```text
//! slots 0 … units - 1                        | spill: units … 2 * units - 2
//! [len|bytes ][len|bytes     ]   free   [len | bytes         ]
//!                                        ^ begins at slot o, and is written at o, o + 1, o + 2 …
//!  ^ the next frame begins at slot (o + its units) % units
//! ```
//!
//! Invariants:
//! 1. *A frame is one piece*: it goes straight on from its first unit's slot, and beyond the last slot it
//!    goes on into the spill area. A frame has at most `units` units, so it ends within the spill area.
//! 2. *No two live positions share memory*: positions `i`, `i + units`, `i + 2 * units` … may lie at slot
//!    `i` or at its alias, the spill unit `units + i`. At most one of those positions lies between `head`
//!    and `head + units` (ring's invariant 1).
//! 3. *Every commit consists of whole frames*: `head`, `tail` and their copies are positions at which a frame
//!    begins, or at which the next frame will begin.
//! 4. *A length that is read from shared memory is loaded once, and checked* against the units that are
//!    committed from its frame on. A length that leads beyond those units is `Corrupt`, and no byte of the
//!    message is touched.
//!
//! So the ring needs no padding at its end, and no commit for padding, and the longest message fits into
//! an empty ring at any position. The price is twice the memory.
//!
//! A death has the effects that [`ring`](crate::sync) describes. Nobody reads a length word beyond `tail`.

use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::{Body, Kind, Memory, Place, Region, Tag};
use crate::sync::{Announced, Commit, Holder, ReadClaim, Ring, RingWords, Seen, Wait, WriteClaim};
use crate::types::common::Slots;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The size of a unit, and of a length word, in bytes.
const UNIT: usize = size_of::<u64>();

/// Returns how many units hold `bytes` bytes.
const fn units_for(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT as u64)
}

/// Returns how many units the frame of a message of `len` bytes takes.
#[allow(clippy::cast_possible_truncation)] // UNIT is 8
const fn units_of(len: usize) -> u64 {
    1 + units_for(len as u64)
}

/// The kind and the tag that a segment's header has for a queue of frames.
pub(crate) trait FrameKind {
    const KIND: Kind;
    fn tag() -> Tag;
}

/// A ring's words, in a segment of kind `K`.
#[repr(transparent)]
pub(crate) struct Framed<K>(RingWords, PhantomData<fn() -> K>);

// SAFETY: the type is transparent over `repr(C)` words, which consist of atomics. An atomic is valid when zero.
unsafe impl<K: FrameKind> Body for Framed<K> {
    const KIND: Kind = K::KIND;

    fn stride(size: u64) -> u64 {
        size
    }

    /// Returns the length of the slots and the spill area in bytes.
    fn strides(capacity: u64) -> u64 {
        let units = units_for(capacity);
        let with_spill = (2 * units).saturating_sub(1);
        with_spill.saturating_mul(UNIT as u64)
    }

    fn tag<T>() -> Tag {
        K::tag()
    }
}

/// A queue of messages of bytes, in a segment of kind `K`.
pub(crate) struct Frames<K> {
    region: Region<u8, Framed<K>>,
    /// The ring's slots, of one unit each.
    slots: Slots,
    seen: Arc<Seen>,
}

impl<K> Clone for Frames<K> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
            slots: self.slots,
            seen: Arc::clone(&self.seen),
        }
    }
}

/// Rounds a capacity up to whole units. A capacity that is too large for that stays as it is, and `Region`
/// refuses it.
fn rounded(capacity: usize) -> usize {
    capacity.checked_next_multiple_of(UNIT).unwrap_or(capacity)
}

impl<K: FrameKind> Frames<K> {
    fn of(region: Region<u8, Framed<K>>) -> Self {
        let slots = Slots::new(units_for(region.capacity()));
        Self {
            region,
            slots,
            seen: Arc::new(Seen::new(slots.count())),
        }
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
        Ring::new(&self.region.body().0, &self.seen, self.holder())
    }

    /// Returns the address of a position's slot. Whatever the position is, the memory from this slot on has
    /// at least as many units as the ring (invariant 1).
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
        // SAFETY: the frame has space for the message, and by ring's invariant 2 the space belongs to this
        // side alone. The message itself may lie in this ring, because the caller is inside `get_with`. Then
        // the message is live, and by invariant 2 shares no memory with the space, unless a peer overwrote
        // a count; the copy is defined for that too.
        unsafe { frame.bytes().copy_from(message.as_ptr(), message.len()) };
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
        // The check of invariant 4. A sound frame passes, because all its units are committed (invariant 3).
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
    pub(crate) fn take_with<R, E>(
        &self,
        wait: Wait,
        f: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<Result<R, E>, GetError> {
        let frame = self.claim_read(wait)?;
        let announced = frame.announce();
        let result = f(frame.bytes());
        drop(announced);
        match result {
            Ok(_) => frame.commit(),
            Err(_) => frame.claim.leave(),
        }
        Ok(result)
    }

    #[inline]
    pub(crate) fn get_with<R>(
        &self,
        wait: Wait,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, GetError> {
        let Ok(result) = self.take_with(wait, |message| Ok::<_, Infallible>(f(message)))?;
        Ok(result)
    }

    pub(crate) fn max_message_len(&self) -> usize {
        #[allow(clippy::cast_possible_truncation)] // the units are mapped
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

    pub(crate) fn is_reachable(&self) -> bool {
        self.region.is_reachable()
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
/// `slot` is a slot of a region that stays mapped while the result lives.
#[inline]
unsafe fn length_at<'a>(slot: *mut u8) -> &'a AtomicU64 {
    // SAFETY: the slot is mapped by the contract, and aligned to units, because `Plan::new` aligns a region's
    // data to at least 8 bytes. Only this function reaches a length word, so every access is atomic, and by
    // ring's invariant 2 nobody writes a message's bytes there meanwhile.
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

    /// Puts the first `len` bytes as a message. The caller made sure that the frame is not stale.
    #[inline]
    pub(super) fn commit(self, len: usize) -> Result<(), PutError> {
        if len > self.len {
            let max = self.len;
            return Err(PutError::TooLong { len, max });
        }
        // SAFETY: `at` is a slot, which stays mapped while the claim lives. Relaxed suffices, because the
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

/// The next message, and the consumers' lock.
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
            // Several producers may wait with short messages, or one with a long message that fits only
            // now. The consumer can't tell which sleeper can go on, and so wakes all of them.
            wake: u32::MAX,
        });
    }
}
