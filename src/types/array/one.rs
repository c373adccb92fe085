//! Writes of one element, which a death can't divide.

use super::Array;
use crate::types::element::Element;
use bytemuck::{bytes_of, pod_read_unaligned};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

impl<T: Element> Array<T> {
    /// Writes an existing element in such a way that a death leaves the old element or the new one. The
    /// caller has the lock.
    #[inline]
    pub(super) fn write(&self, index: usize, value: &T) {
        /// Writes the element by one store.
        macro_rules! store {
            ($atomic:ty, $integer:ty) => {{
                let value = pod_read_unaligned::<$integer>(bytes_of(value));
                let word = self.element(index).cast();
                // SAFETY: by region's invariant 1 the element is inside the region, and the first element
                // is aligned to 8 at least. Each lies a multiple of this size further on, so this one is
                // aligned. Only the lock's owner touches it.
                let word = unsafe { <$atomic>::from_ptr(word) };
                word.store(value, Ordering::Relaxed);
            }};
        }
        match size_of::<T>() {
            1 => store!(AtomicU8, u8),
            2 => store!(AtomicU16, u16),
            4 => store!(AtomicU32, u32),
            8 => store!(AtomicU64, u64),
            _ => {
                let slot = self.element(self.len());
                // SAFETY: by region's invariant 1 the slot is inside the region and aligned for `T`; only
                // the lock's owner touches the slot, and nobody has a reference to it.
                unsafe { slot.copy_from_nonoverlapping(value, 1) };
                self.journal().begin_element(index as u64);
                self.copy_from_slot(index);
                self.journal().end();
            }
        }
    }

    /// Copies the journal's slot to an element. The caller has the lock.
    pub(super) fn copy_from_slot(&self, index: usize) {
        assert!(index < self.len(), "the caller checked the index");
        let slot = self.element(self.len());
        // SAFETY: by region's invariant 1 both are inside the region and aligned for `T`; by the assertion
        // they differ; only the lock's owner touches them.
        unsafe { slot.copy_to_nonoverlapping(self.element(index), 1) };
    }
}
