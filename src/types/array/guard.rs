//! [`ArrayGuard`]: all elements of an array, locked.

use super::Array;
use crate::sync::{Announced, LockGuard};
use crate::types::element::Element;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::{LockResult, PoisonError};
use std::thread;

/// A locked [`Array`], as a slice; dropping the guard unlocks the array.
///
/// Nobody else reads or writes an element meanwhile: their calls wait, or are `WouldBlock`. A process
/// that is killed with a guard in its hands, or a thread that begins to panic with one, poisons the
/// array.
///
/// A guard that is forgotten (`mem::forget`) keeps the array locked until the handle and all its
/// clones are dropped; whoever locks the array after that finds it poisoned. The copy of a guard that a
/// fork makes is of no use: reading or writing through the copy panics, dropping it does nothing, and
/// [`Process::spawn`](crate::Process::spawn) refuses to make one.
///
/// Every use of the guard as a slice asks whether the guard is such a copy. In a tight loop, ask once:
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
/// The guard stays with its thread:
///
/// ```compile_fail,E0277
/// let array = shmkit::Array::new(&[1u8]).unwrap();
/// let guard = array.lock().unwrap();
/// std::thread::scope(|scope| scope.spawn(move || drop(guard)));
/// ```
#[must_use = "the array is unlocked when the guard is dropped"]
pub struct ArrayGuard<'a, T: Element> {
    array: &'a Array<T>,
    // The order of the fields withdraws this record before the lock is released.
    _announced: Announced<'a>,
    lock: LockGuard<'a>,
    /// Whether the thread was panicking already when it locked: such a panic says nothing of the elements.
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
        // This is the last step: before it, nothing is in the caller's hands.
        array.journal().begin_many();
        if poisoned {
            Err(PoisonError::new(guard))
        } else {
            Ok(guard)
        }
    }

    /// Returns all elements; panics if they are not this guard's to touch.
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
        // bytes are valid elements; nobody else touches them while the lock is ours, which is so for as
        // long as the guard is borrowed.
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
            return; // the elements are in another process's hands
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
