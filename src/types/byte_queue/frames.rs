//! [`Frames`]: messages of any length in a ring whose positions are units of 8 bytes.
//!
//! A message is a length word and its bytes, rounded up to units. Unit `p` of the ring lies at slot
//! `p % units`, and behind the slots lies the *spill area*: as many more units as the longest message
//! can go beyond the last slot.
//!
//! ```text
//! slots 0 … units - 1                        | spill: units … 2 * units - 2
//! [len|bytes ][len|bytes     ]   free   [len | bytes         ]
//!                                        ^ begins at slot o, and is written at o, o + 1, o + 2 …
//!  ^ the next one begins at slot (o + its units) % units
//! ```
//!
//! Invariants:
//! 1. *A message is one piece*: it is written from its first unit's slot straight on, into the spill
//!    area where it goes beyond the last slot. It has at most `units` units, so it ends within the
//!    spill area.
//! 2. *No two live positions share memory*: slot `i` and its alias, the spill unit `units + i`, are
//!    what positions `i`, `i + units`, `i + 2 * units` … may lie at, and of those at most one is
//!    between `head` and `head + units` (ring, invariant 1).
//! 3. *Every commit is whole messages*: `head`, `tail`, and the copies of them, are where a message
//!    begins or where the next one will.
//! 4. A length read from shared memory is loaded once and checked against what is committed behind
//!    it; what leads beyond that is `Corrupt`, and nothing of it is touched.
//!
//! So there is no padding at the end of the ring, no commit of its own for it, and no message that
//! fits in an empty ring only once somebody has moved on. The price is memory: twice the capacity.
//!
//! If a process dies: as in [`ring`](crate::sync). A length word beyond `tail` is nobody's.

use super::reservation::Reservation;
use crate::error::{GetError, PutError, Result};
use crate::os::OwnedFd;
use crate::segment::Memory;
use crate::segment::Place;
use crate::segment::{Body, Region};
use crate::segment::{Kind, Tag};
use crate::sync::{Announced, Wait};
use crate::sync::{Commit, ReadClaim, Ring, RingWords, WriteClaim};
use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a unit: of a length word too.
const UNIT: usize = size_of::<u64>();

/// How many units hold that many bytes.
const fn units_for(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT as u64)
}

/// How many units a message of that length takes.
#[allow(clippy::cast_possible_truncation)] // UNIT is 8
const fn units_of(len: usize) -> u64 {
    1 + units_for(len as u64)
}

/// How long a look at the front waits for the lock in one go: where the queue becomes empty meanwhile,
/// that long in vain.
#[cfg(feature = "serde")]
const NAP: std::time::Duration = std::time::Duration::from_millis(1);

/// Which queue it is, in a segment's header.
pub(crate) trait FrameKind {
    const KIND: Kind;
    fn tag() -> Tag;
}

/// A ring's words, in a segment of that kind.
#[repr(transparent)]
pub(crate) struct Framed<K>(RingWords, PhantomData<fn() -> K>);

// SAFETY: what it is transparent to is `repr(C)`, atomics alone, every one of them valid when zero.
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
    /// Of the ring: its capacity.
    units: u64,
    /// `units - 1` where that is a power of two, so that a slot is found without a division; else 0.
    mask: u64,
}

impl<K> Clone for Frames<K> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
            ..*self
        }
    }
}

/// A capacity as it is kept: whole units. One that is too large for that stays as it is, and is
/// refused.
fn rounded(capacity: usize) -> usize {
    capacity.checked_next_multiple_of(UNIT).unwrap_or(capacity)
}

impl<K: FrameKind> Frames<K> {
    fn of(region: Region<u8, Framed<K>>) -> Self {
        let units = units_for(region.capacity());
        let mask = if units.is_power_of_two() {
            units - 1
        } else {
            0
        };
        Self {
            region,
            units,
            mask,
        }
    }

    pub(crate) fn create(place: &Place, capacity: usize) -> Result<Self> {
        Region::create(place, rounded(capacity), &[]).map(Self::of)
    }

    pub(crate) fn open(place: &Place) -> Result<Self> {
        Region::open(place, None).map(Self::of)
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
    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.region.body().0, self.units, self.region.holder())
    }

    /// Where the message that begins at a position lies; the slots for every position, with at
    /// least `units` units from there on (invariant 1).
    #[inline]
    fn slot(&self, position: u64) -> *mut u8 {
        let index = if self.mask != 0 {
            position & self.mask
        } else {
            position % self.units
        };
        #[allow(clippy::cast_possible_truncation)] // less than `units`, whose bytes were mapped
        let offset = index as usize * UNIT;
        self.region.data().as_ptr().wrapping_add(offset)
    }

    #[inline]
    fn claim(&self, len: usize, wait: Wait) -> Result<Space<'_>, PutError> {
        let max = self.max_message_len();
        if len > max {
            return Err(PutError::TooLong { len, max });
        }
        let units = units_of(len);
        let room = self.ring().claim_write(units, units, wait)?;
        let at = self.slot(room.span().start);
        Ok(Space { room, at, len })
    }

    #[inline]
    pub(crate) fn put(&self, message: &[u8], wait: Wait) -> Result<(), PutError> {
        let space = self.claim(message.len(), wait)?;
        // SAFETY: the space has that many bytes, which are this side's alone (ring, invariant 2); a
        // message that lies in this ring itself is one that is live, and so elsewhere (invariant 2).
        unsafe {
            space
                .bytes()
                .copy_from_nonoverlapping(message.as_ptr(), message.len());
        };
        space.commit(message.len())
    }

    pub(crate) fn reserve(&self, len: usize, wait: Wait) -> Result<Reservation<'_>, PutError> {
        self.claim(len, wait).map(Reservation::new)
    }

    /// The next message, and the consumers' lock.
    #[inline]
    fn claim_next(&self, wait: Wait) -> Result<Message<'_>, GetError> {
        let items = self.ring().claim_read(1, wait)?;
        let span = items.span();
        let at = self.slot(span.start);
        // SAFETY: a slot is inside the region and aligned to units.
        let len = unsafe { length_at(at) }.load(Ordering::Relaxed);
        // Invariant 4; by invariant 3 a sound one is committed as a whole.
        let max = self.max_message_len();
        match usize::try_from(len) {
            Ok(len) if len <= max && units_of(len) <= span.len + span.ahead => {
                Ok(Message { items, at, len })
            }
            _ => Err(GetError::Corrupt),
        }
    }

    #[inline]
    pub(crate) fn get(&self, wait: Wait) -> Result<Vec<u8>, GetError> {
        let message = self.claim_next(wait)?;
        let bytes = message.bytes().to_vec();
        message.commit();
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn get_into(&self, buffer: &mut Vec<u8>, wait: Wait) -> Result<usize, GetError> {
        let message = self.claim_next(wait)?;
        buffer.clear();
        buffer.extend_from_slice(message.bytes());
        message.commit();
        Ok(buffer.len())
    }

    #[inline]
    pub(crate) fn get_with<R>(
        &self,
        wait: Wait,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, GetError> {
        let message = self.claim_next(wait)?;
        let announced = message.items.announce();
        let result = f(message.bytes());
        drop(announced);
        message.commit();
        Ok(result)
    }

    #[cfg(feature = "serde")] // for pools
    pub(crate) fn is_held(&self) -> bool {
        self.region.is_held()
    }

    /// As [`get_with`](Self::get_with), but takes nothing, and does not wait for a message.
    #[cfg(feature = "serde")] // for pools
    pub(crate) fn front_with<R>(&self, f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, GetError> {
        let mut wait = Wait::Try;
        loop {
            match self.claim_next(wait) {
                Ok(message) => {
                    let _announced = message.items.announce();
                    return Ok(f(Some(message.bytes())));
                }
                Err(GetError::Empty | GetError::Closed) => return Ok(f(None)),
                // Somebody has the lock: a nap in its queue, and another look.
                Err(GetError::Busy) => wait = Wait::within(NAP),
                Err(GetError::TimedOut) => wait = Wait::Try,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn max_message_len(&self) -> usize {
        #[allow(clippy::cast_possible_truncation)] // its bytes were mapped
        let units = self.units as usize;
        (units - 1) * UNIT
    }

    pub(crate) fn capacity(&self) -> usize {
        self.max_message_len() + UNIT
    }

    pub(crate) fn used(&self) -> usize {
        let units = usize::try_from(self.ring().len()).expect("at most the capacity");
        units * UNIT
    }

    /// What `Debug` says of the handle.
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

/// The length word of the message at a slot.
///
/// # Safety
/// `slot` is one of a region's slots, which stays mapped while the result lives.
#[inline]
unsafe fn length_at<'a>(slot: *mut u8) -> &'a AtomicU64 {
    // SAFETY: mapped, by the contract above, and aligned as the data is (to 8 bytes at least, by
    // `Plan::new`); whoever else reaches a length word does so by this function too, or holds the
    // other side's positions.
    unsafe { AtomicU64::from_ptr(slot.cast()) }
}

/// Room for a message of up to `len` bytes, and the producers' lock.
#[derive(Debug)]
pub(super) struct Space<'a> {
    room: WriteClaim<'a>,
    at: *mut u8,
    len: usize,
}

impl<'a> Space<'a> {
    #[inline]
    pub(super) fn bytes(&self) -> *mut u8 {
        self.at.wrapping_add(UNIT)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn announce(&self) -> Announced<'a> {
        self.room.announce()
    }

    pub(super) fn is_stale(&self) -> bool {
        self.room.is_stale()
    }

    /// Has the first `len` bytes be a message. The space is this process's own: not stale.
    #[inline]
    pub(super) fn commit(self, len: usize) -> Result<(), PutError> {
        if len > self.len {
            let max = self.len;
            return Err(PutError::TooLong { len, max });
        }
        // SAFETY: a slot, which stays mapped while the room's handle does. Relaxed: the commit
        // publishes it.
        unsafe { length_at(self.at) }.store(len as u64, Ordering::Relaxed);
        let units = units_of(len);
        self.room.commit(Commit {
            len: units,
            per_item: units,
            wake: 1,
        })?;
        Ok(())
    }
}

/// A message that is there, and the consumers' lock.
#[derive(Debug)]
struct Message<'a> {
    items: ReadClaim<'a>,
    at: *mut u8,
    len: usize,
}

impl Message<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: inside the region (invariants 1 and 4), and nobody writes it until the commit
        // (ring, invariant 2), which takes this by value.
        unsafe { slice::from_raw_parts(self.at.wrapping_add(UNIT), self.len) }
    }

    #[inline]
    fn commit(self) {
        let units = units_of(self.len);
        self.items.commit(Commit {
            len: units,
            per_item: units,
            // What was freed may be what several small messages wait for, or the rest of what a
            // long one does; who of the sleepers that is, nobody knows.
            wake: u32::MAX,
        });
    }
}
