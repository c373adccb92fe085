//! An array's elements in memory: their addresses, and the copies under the lock.

use super::Array;
use crate::sync::{LockGuard, Wait};
use crate::types::element::Element;
use bytemuck::{bytes_of, pod_read_unaligned};
use std::mem::size_of;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

impl<T: Element> Array<T> {
    /// Returns the address of an element. The address for the index `len()` is that of the journal's slot.
    #[inline]
    pub(in crate::types) fn element(&self, index: usize) -> *mut T {
        debug_assert!(index <= self.len());
        let first = self.region.data().as_ptr().cast::<T>();
        first.wrapping_add(index)
    }

    /// Reads an existing element.
    #[inline]
    pub(super) fn read(&self, _: &LockGuard<'_>, index: usize) -> T {
        // SAFETY: by region's invariant 1 the element is inside the region and aligned for `T`, and any
        // bytes are a valid `T`; nobody writes the element while we have the lock.
        unsafe { self.element(index).read() }
    }

    /// Copies existing elements to `out`.
    pub(super) fn read_many(&self, _: &LockGuard<'_>, offset: usize, out: &mut [T]) {
        // SAFETY: by region's invariant 1 existing elements are inside the region. Nobody writes them while
        // we have the lock, and only the lock's owner has references to them, so `out` lies elsewhere.
        unsafe {
            self.element(offset)
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len());
        };
    }

    /// Replaces existing elements by those of `from`.
    pub(super) fn write_many(&self, lock: &LockGuard<'_>, offset: usize, from: &[T]) {
        match from {
            [] => {}
            [value] => self.write(lock, offset, value),
            _ => {
                self.journal().begin_many();
                // SAFETY: by region's invariant 1 existing elements are inside the region. Only the lock's
                // owner has references to them, so `from` lies elsewhere.
                unsafe {
                    self.element(offset)
                        .copy_from_nonoverlapping(from.as_ptr(), from.len());
                };
                self.journal().end();
            }
        }
    }

    /// Writes an existing element in such a way that a death leaves the old element or the new one.
    #[inline]
    pub(super) fn write(&self, _: &LockGuard<'_>, index: usize, value: &T) {
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

    /// Returns copies of all elements; `None` if a live owner still has the lock when the wait is over.
    pub(super) fn copy_all(&self, wait: Wait) -> Option<Vec<T>> {
        let mut all = Vec::with_capacity(self.len());
        let lock = self.lock_with(wait)?;
        // SAFETY: by region's invariant 1 the elements are inside the region, and the vector has space for
        // as many; nobody writes them while we have the lock.
        unsafe {
            self.element(0)
                .copy_to_nonoverlapping(all.as_mut_ptr(), self.len());
        };
        drop(lock);
        // SAFETY: `len()` elements have just been written.
        unsafe { all.set_len(self.len()) };
        Some(all)
    }
}
