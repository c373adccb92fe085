//! A queue's slots in memory: their addresses, the reads and writes of items, and the prefetches.

use super::Queue;
use crate::sync::{Span, prefetch_read, prefetch_write};
use crate::types::element::Element;

/// After a single item, the line of the slot that is so many bytes ahead is prefetched.
const FETCH_AHEAD: u64 = 256;

/// After a batch, at most so many bytes of slots are prefetched.
const FETCH_MOST: u64 = 1024;

impl<T: Element> Queue<T> {
    /// Returns the address of the first slot.
    #[inline]
    fn first_slot(&self) -> *mut T {
        self.region.data().as_ptr().cast()
    }

    /// Returns the address of a position's slot, which is one of the region's slots for every position.
    #[inline]
    fn slot(&self, position: u64) -> *mut T {
        self.first_slot().wrapping_add(self.slots.index(position))
    }

    /// Returns the slots of a span as two pieces: those up to the last slot of the ring, and the rest, which
    /// begins at the first slot. Each piece is an address and a count. If the span has more positions than
    /// the ring has slots, each slot is returned once.
    #[inline]
    pub(super) fn pieces(&self, span: Span) -> [(*mut T, usize); 2] {
        let (index, capacity) = (self.slots.index(span.start), self.slots.count());
        #[allow(clippy::cast_possible_truncation)] // at most the capacity, whose slots were mapped
        let (len, behind) = (
            span.len.min(capacity) as usize,
            (capacity - index as u64) as usize,
        );
        let first = len.min(behind);
        let piece = self.first_slot().wrapping_add(index);
        [(piece, first), (self.first_slot(), len - first)]
    }

    /// Prefetches slots behind the span, as far as they belong to this side: one line a little ahead if the
    /// span is a single item, else as many slots as the span has. A commit is a full barrier, and without
    /// prefetches it would wait every few items for cache lines that the other side's CPU has.
    #[inline]
    pub(super) fn fetch_ahead<const FOR_WRITING: bool>(&self, span: Span) {
        let end = span.start + span.len;
        let item = size_of::<T>() as u64;
        if span.len == 1 {
            let ahead = (FETCH_AHEAD / item).max(1);
            if ahead < span.ahead {
                prefetch::<FOR_WRITING>(self.slot(end + ahead).cast());
            }
            return;
        }
        let next = span.len.min(span.ahead).min(FETCH_MOST / item);
        for position in (end..end + next).step_by((64 / size_of::<T>()).max(1)) {
            prefetch::<FOR_WRITING>(self.slot(position).cast());
        }
    }

    /// Writes items to positions that belong to this side alone (ring's invariant 2), and prefetches the
    /// slots behind them.
    #[inline]
    pub(super) fn write(&self, span: Span, items: &[T]) {
        for (item, position) in items.iter().zip(span.start..span.start + span.len) {
            // SAFETY: by region's invariant 1 a slot is inside the region and aligned for `T`; by ring's
            // invariant 2 nobody else touches this slot until the commit. If the item itself lies in this
            // ring, because the caller is inside `get_with`, then by the same invariant it has another slot.
            unsafe { self.slot(position).copy_from_nonoverlapping(item, 1) };
        }
        self.fetch_ahead::<true>(span);
    }

    /// Returns the item at a position that belongs to this side alone, in place.
    ///
    /// # Safety
    /// The position stays this side's (ring's invariant 2) as long as the result lives.
    #[inline]
    pub(super) unsafe fn item<'a>(&self, position: u64) -> &'a T {
        // SAFETY: by region's invariant 1 a slot is inside the region and aligned for `T`, and any bytes
        // are a valid `T`; by the contract nobody writes this slot while the result lives.
        unsafe { &*self.slot(position) }
    }

    /// Reads the item at a position that belongs to this side alone (ring's invariant 2).
    #[inline]
    pub(super) fn read(&self, position: u64) -> T {
        // SAFETY: the caller's side has the position until the commit, and this function does not commit.
        *unsafe { self.item(position) }
    }

    /// Reads the items of a span into the front of `out`, and returns their number.
    pub(super) fn read_many(&self, span: Span, out: &mut [T]) -> usize {
        let positions = span.start..span.start + span.len;
        out.iter_mut()
            .zip(positions)
            // SAFETY: as in `read`. Only this side has references to the slots, so `out` lies elsewhere.
            .map(|(out, position)| unsafe { self.slot(position).copy_to_nonoverlapping(out, 1) })
            .count()
    }
}

#[inline]
fn prefetch<const FOR_WRITING: bool>(line: *const i8) {
    if FOR_WRITING {
        prefetch_write(line);
    } else {
        prefetch_read(line);
    }
}
