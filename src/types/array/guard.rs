//! [`ArrayGuard`]: the elements of a locked array, as a slice.

use super::Array;
use crate::sync::{Announced, LockGuard};
use crate::types::element::Element;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::{LockResult, PoisonError};
use std::thread;

/// The lock of an [`Array`], through which all elements are one slice. Dropping the guard unlocks the array.
///
/// While the guard lives, nobody else reads or writes an element: other calls wait, and
/// [`try_lock`](Array::try_lock) returns `WouldBlock`. If a process is killed, or a thread begins to panic,
/// while it has a guard, the array is [poisoned](Array#poisoning).
///
/// If a guard is forgotten (`mem::forget`), the array stays locked until the handle and all its clones are
/// dropped, and is poisoned from then on. If a process forks while it has a guard, the child gets a copy,
/// but the lock belongs to the parent: reading or writing through the copy panics, and dropping the copy
/// does nothing. [`Process::spawn`](crate::Process::spawn) refuses to fork while the thread has a guard.
///
/// Every use of the guard as a slice checks whether the guard is such a copy. A tight loop checks only
/// once if it takes the slice first:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let array = shmkit::Array::new(&[3u8, 1, 2])?;
/// let mut guard = array.lock().expect("nobody died in the middle");
/// let all: &mut [u8] = &mut guard;
/// for i in 0..all.len() {
///     all[i] *= 2;
/// }
/// all.sort_unstable();
/// drop(guard);
/// assert_eq!(array.to_vec(), [2, 4, 6]);
/// # Ok(())
/// # }
/// ```
///
/// A guard can't move to another thread:
///
/// ```compile_fail,E0277
/// let array = shmkit::Array::new(&[1u8]).unwrap();
/// let guard = array.lock().unwrap();
/// std::thread::scope(|scope| scope.spawn(move || drop(guard)));
/// ```
#[must_use = "the array is unlocked when the guard is dropped"]
pub struct ArrayGuard<'a, T: Element> {
    array: &'a Array<T>,
    // This field stands before `lock`, so that its drop withdraws the record before the lock is released.
    _announced: Announced<'a>,
    lock: LockGuard<'a>,
    /// Set if the thread was panicking already when it took the lock. Such a panic did not interrupt a
    /// change of the elements, so it does not poison them.
    was_panicking: bool,
}

impl<'a, T: Element> ArrayGuard<'a, T> {
    pub(super) fn new(array: &'a Array<T>, lock: LockGuard<'a>) -> LockResult<Self> {
        let guard = Self {
            array,
            _announced: lock.announce(),
            lock,
            was_panicking: thread::panicking(),
        };
        let poisoned = array.journal().is_poisoned();
        // This is the last step: a death before it has changed no element, and must not poison the array.
        array.journal().begin_many();
        if poisoned {
            Err(PoisonError::new(guard))
        } else {
            Ok(guard)
        }
    }

    /// Returns all elements. Panics if this guard is a fork's copy, which must not touch them.
    #[inline]
    fn elements(&self) -> *mut [T] {
        assert!(
            !self.lock.is_stale(),
            "this process is a fork made while the array was locked: the guard is its parent's"
        );
        ptr::slice_from_raw_parts_mut(self.array.element(0), self.array.len())
    }
}

impl<T: Element> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: by region's invariant 1 the elements are inside the region and aligned for `T`, and any
        // bytes are valid elements. Nobody else touches them while this guard has the lock, and the guard
        // lives as long as the borrow.
        unsafe { &*self.elements() }
    }
}

impl<T: Element> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the guard itself is borrowed mutably.
        unsafe { &mut *self.elements() }
    }
}

impl<T: Element> Drop for ArrayGuard<'_, T> {
    fn drop(&mut self) {
        if self.lock.is_stale() {
            return; // the lock and the journal belong to the parent
        }
        if !self.was_panicking && thread::panicking() {
            self.array.journal().poison();
        }
        self.array.journal().end();
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lock.is_stale() {
            return f.write_str("ArrayGuard(a fork's copy)");
        }
        (**self).fmt(f)
    }
}
