//! The methods of a [`Value`] that are given or return a `T`, for a `T` that is too large for a copy on the
//! stack. Each returns its result straight from the heap to where the caller wants the result.

use super::Value;
use crate::sync::{Deadline, LockGuard};
use crate::types::element::Element;
use bytemuck::{bytes_of, bytes_of_mut, zeroed_box};

/// Allocates a value under the lock. The allocator is code that is not ours, so the lock is announced.
fn zeroed_under<T: Element>(guard: &LockGuard<'_>) -> Box<T> {
    let announced = guard.announce();
    let value = zeroed_box();
    drop(announced);
    value
}

impl<T: Element> Value<T> {
    /// Returns the current value on the heap.
    pub(super) fn on_heap(&self) -> Box<T> {
        let mut value = zeroed_box();
        self.get_into(&mut value);
        value
    }

    #[inline(never)]
    pub(super) fn swap_large(&self, guard: LockGuard<'_>, value: &T) -> T {
        let mut old = zeroed_under(&guard);
        self.seqlock().read_locked(bytes_of_mut(&mut *old));
        self.commit(guard, value);
        *old
    }

    #[inline(never)]
    pub(super) fn compare_exchange_large(
        &self,
        guard: LockGuard<'_>,
        current: &T,
        new: &T,
    ) -> Result<T, T> {
        let mut found = zeroed_under(&guard);
        self.seqlock().read_locked(bytes_of_mut(&mut *found));
        // Two calls, of `Ok` and of `Err`, would have an argument each on the stack.
        let outcome = if bytes_of(&*found) == bytes_of(current) {
            self.commit(guard, new);
            Ok
        } else {
            Err
        };
        outcome(*found)
    }

    #[inline(never)]
    pub(super) fn update_large<R>(&self, guard: LockGuard<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = zeroed_under(&guard);
        self.update_in(guard, &mut value, f)
    }

    /// Waits until the value satisfies `pred`, and returns that value on the heap.
    #[inline(never)]
    pub(super) fn wait_large(
        &self,
        deadline: Deadline,
        mut pred: impl FnMut(&T) -> bool,
    ) -> Option<Box<T>> {
        let mut value = self.on_heap();
        if !pred(&value) {
            let look = || {
                self.get_into(&mut value);
                pred(&value).then_some(())
            };
            self.region.body().changed.wait(deadline, 1, look)?;
        }
        Some(value)
    }
}
