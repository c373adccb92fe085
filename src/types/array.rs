//! [`Array`]: elements in place, under one lock.
//!
//! What a death in the middle of a write leaves, and who mends it, is `sync/journal.rs`'s. Elements of
//! 1, 2, 4 and 8 bytes need no journal: each is written by one store, which a death can't divide.

mod guard;

pub use guard::ArrayGuard;

use crate::error::{OutOfBounds, Result};
use crate::os::OwnedFd;
use crate::segment::Kind;
use crate::segment::Memory;
use crate::segment::Place;
use crate::segment::{Body, Region};
use crate::sync::LINE;
use crate::sync::{Deadline, Journal, Lock, LockError, LockGuard, LockId, LockWord, Wait};
use crate::types::element::Element;
use bytemuck::{cast, cast_slice};
use std::fmt;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LockResult, TryLockError, TryLockResult};

/// An array's control words; the elements follow, and behind the last of them the journal's slot.
/// Zeroed memory is a valid one.
#[repr(C)]
#[derive(Debug)]
struct ArrayWords {
    lock: LockWord,
    /// Beside the lock, since its owner alone writes it, and as often.
    journal: Journal,
    pad: [AtomicU64; 13],
}

const _: () = {
    assert!(offset_of!(ArrayWords, journal) == 8);
    assert!(size_of::<Journal>() == 16);
    assert!(size_of::<ArrayWords>() == LINE);
};

// SAFETY: `repr(C)`, atomics alone, every one of them valid when zero.
unsafe impl Body for ArrayWords {
    const KIND: Kind = Kind::Array;

    fn stride(size: u64) -> u64 {
        size
    }

    /// One more for the journal's slot.
    fn strides(capacity: u64) -> u64 {
        capacity.saturating_add(1)
    }
}

/// Elements in shared memory, as many as the creator said; each is written whole.
///
/// A handle is cheap to clone and can be used from any thread; forked children inherit it, other
/// programs open it by name.
///
/// ```
/// use shmkit::Array;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-array-{}", os::pid());
/// let squares = Array::create(&name, &[0u32, 1, 4, 9])?;
/// let same = Array::<u32>::open(&name)?; // in another program, as a rule
/// same.set(0, 100)?;
/// assert_eq!(squares.get(0), Some(100));
/// assert_eq!(squares.to_vec(), [100, 1, 4, 9]);
///
/// // Several elements that belong together: nobody sees one without the others.
/// let mut all = squares.lock().expect("nobody died in the middle");
/// all.swap(0, 3);
/// drop(all);
/// assert_eq!(same.to_vec(), [9, 1, 4, 100]);
/// # Ok(())
/// # }
/// ```
///
/// # One at a time, or many
///
/// [`get`](Self::get), [`set`](Self::set), [`read_at`](Self::read_at), [`write_at`](Self::write_at) and
/// [`to_vec`](Self::to_vec) take the lock for as long as they copy. A process that is killed in a
/// write of *one* element leaves the old one or the new one, whole, and nobody is told.
///
/// # Poisoning
///
/// A process that is killed, or a thread that panics, while it has an [`ArrayGuard`] in its hands may
/// have changed some elements and not others, or half of one. Neither can be undone, so the array is
/// *poisoned*: from then on [`lock`](Self::lock) says so, in the way of [`std::sync::Mutex`], until
/// somebody calls [`clear_poison`](Self::clear_poison). A process that is killed in a
/// [`write_at`](Self::write_at) of several elements poisons as well. The five verbs above ignore
/// poison: what they read from a poisoned array may be half written.
///
/// # Panics
/// Every method that locks panics where the shared lock word is one that the protocol never writes (a
/// peer's stray write), where the thread waits for itself (any of the five verbs, or
/// [`lock`](Self::lock), while it has a guard of the same array), and in a forked child that could not
/// open the segment for itself (`EMFILE`; no permission after a change of user).
pub struct Array<T: Element> {
    region: Region<T, ArrayWords>,
}

impl<T: Element> Array<T> {
    fn of(region: Region<T, ArrayWords>) -> Self {
        Self { region }
    }

    /// An anonymous array of these elements: for forked children.
    ///
    /// # Errors
    /// [`Error::InvalidSize`](crate::Error::InvalidSize) for no elements;
    /// [`NoSpace`](crate::Error::NoSpace), [`Os`](crate::Error::Os).
    pub fn new(init: &[T]) -> Result<Self> {
        Self::create(Place::anonymous(), init)
    }

    /// Creates an array of these elements, and publishes it once it is complete.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) if the name is taken (what a crash of
    /// all holders left is replaced); [`InvalidSize`](crate::Error::InvalidSize) for no elements;
    /// [`NoSpace`](crate::Error::NoSpace), [`InvalidName`](crate::Error::InvalidName),
    /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
    /// [`Os`](crate::Error::Os).
    pub fn create(place: impl Into<Place>, init: &[T]) -> Result<Self> {
        Region::create(&place.into(), init.len(), cast_slice(init)).map(Self::of)
    }

    /// Creates an array of `len` elements, every byte of which is zero.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Array, Place};
    /// let pixels = Array::<[u8; 3]>::zeroed(Place::anonymous(), 640 * 480)?;
    /// assert_eq!(pixels.get(640 * 480 - 1), Some([0, 0, 0]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`create`](Self::create); [`InvalidSize`](crate::Error::InvalidSize) as well for what no
    /// address space holds.
    pub fn zeroed(place: impl Into<Place>, len: usize) -> Result<Self> {
        Region::create(&place.into(), len, &[]).map(Self::of)
    }

    /// Opens an array that somebody created, whatever its length.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Foreign`](crate::Error::Foreign),
    /// [`Corrupt`](crate::Error::Corrupt) or [`Mismatch`](crate::Error::Mismatch) for anything that
    /// is not a sound array of this type, which is left as it was;
    /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
    /// [`Os`](crate::Error::Os).
    pub fn open(place: impl Into<Place>) -> Result<Self> {
        Region::open(&place.into(), None).map(Self::of)
    }

    /// Opens the array, or creates it of these elements where there is none. Of several that race, one
    /// creates, and all end with the same array.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create); another length is a
    /// [`Mismatch`](crate::Error::Mismatch) of the `capacity`.
    pub fn open_or_create(place: impl Into<Place>, init: &[T]) -> Result<Self> {
        Region::open_or_create(&place.into(), init.len(), cast_slice(init)).map(Self::of)
    }

    /// Lays an array out in memory of your own, if nothing was laid out in it yet.
    ///
    /// # Errors
    /// [`Error::InvalidSize`](crate::Error::InvalidSize) for no elements;
    /// [`NoSpace`](crate::Error::NoSpace) if it does not fit;
    /// [`AlreadyExists`](crate::Error::AlreadyExists) if something is there, or somebody else is
    /// laying it out; [`Unsupported`](crate::Error::Unsupported) in a forked child that could not
    /// become a holder.
    pub fn create_in(memory: Arc<dyn Memory>, init: &[T]) -> Result<Self> {
        Region::create_in(memory, init.len(), cast_slice(init)).map(Self::of)
    }

    /// Finds the array in memory of your own.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if nothing was laid out, or not to its end yet;
    /// [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt),
    /// [`Mismatch`](crate::Error::Mismatch).
    pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        Region::open_in(memory).map(Self::of)
    }

    /// How many elements there are; at least 1, and always as many.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        #[allow(clippy::cast_possible_truncation)] // it was mapped
        let len = self.region.capacity() as usize;
        len
    }

    /// Whether there are no elements, which is never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, or `None` where there is no such one.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        let _lock = self.locked();
        // SAFETY: inside the region and aligned for `T` (region, invariant 1), any bytes are a valid
        // `T`, and nobody writes it while we have the lock.
        Some(unsafe { self.element(index).read() })
    }

    /// Replaces the element at `index`. A process that is killed in this leaves the old one or the
    /// new one, whole.
    ///
    /// # Errors
    /// [`OutOfBounds`] where there is no such element.
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<(), OutOfBounds> {
        self.check(index, 1)?;
        let _lock = self.locked();
        self.write(index, value);
        Ok(())
    }

    /// Copies the elements from `offset` on to all of `out`, as they are at one moment.
    ///
    /// # Errors
    /// [`OutOfBounds`] where not all of them are in the array; `out` is left as it was.
    pub fn read_at(&self, offset: usize, out: &mut [T]) -> Result<(), OutOfBounds> {
        self.check(offset, out.len())?;
        let _lock = self.locked();
        // SAFETY: inside the region by the check (region, invariant 1); nobody writes there while we
        // have the lock, and nobody has a reference to it, `out` included, but who has the lock.
        unsafe {
            self.element(offset)
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len());
        };
        Ok(())
    }

    /// Replaces the elements from `offset` on by all of `from`: whoever locks sees none of them or all.
    /// A process that is killed in this poisons the array, unless it is about one element (then it is
    /// a [`set`](Self::set)) or none.
    ///
    /// # Errors
    /// [`OutOfBounds`] where not all of them are in the array; nothing is written.
    pub fn write_at(&self, offset: usize, from: &[T]) -> Result<(), OutOfBounds> {
        self.check(offset, from.len())?;
        let _lock = self.locked();
        match *from {
            [] => {}
            [value] => self.write(offset, value),
            _ => {
                self.journal().begin_many();
                // SAFETY: inside the region by the check (region, invariant 1), and nobody's but the
                // lock's owner's, so `from` is elsewhere.
                unsafe {
                    self.element(offset)
                        .copy_from_nonoverlapping(from.as_ptr(), from.len());
                };
                self.journal().end();
            }
        }
        Ok(())
    }

    /// All elements, as they are at one moment.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len());
        let lock = self.locked();
        // SAFETY: inside the region (its invariant 1), into memory with room for as many; nobody
        // writes them while we have the lock.
        unsafe {
            self.element(0)
                .copy_to_nonoverlapping(all.as_mut_ptr(), self.len());
        };
        drop(lock);
        // SAFETY: so many have just been written.
        unsafe { all.set_len(self.len()) };
        all
    }

    /// Locks the array, and gives its elements as a slice for as long as the guard lives. Waits for
    /// whoever has it locked.
    ///
    /// # Errors
    /// The guard all the same, in a [`PoisonError`](std::sync::PoisonError), where the array is
    /// poisoned: see [the type](Self#poisoning).
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u64, 2, 3])?;
    /// # std::panic::set_hook(Box::new(|_| ()));
    /// let outcome = std::thread::scope(|scope| {
    ///     let thread = scope.spawn(|| {
    ///         let mut all = array.lock().unwrap();
    ///         all[0] = 10;
    ///         panic!("before the others followed");
    ///     });
    ///     thread.join()
    /// });
    /// # let _ = std::panic::take_hook();
    /// assert!(outcome.is_err());
    ///
    /// let mut all = array.lock().unwrap_or_else(|poisoned| {
    ///     let mut all = poisoned.into_inner();
    ///     all.copy_from_slice(&[1, 2, 3]); // make it whole, in whatever way you know
    ///     array.clear_poison();
    ///     all
    /// });
    /// all[1] = 5;
    /// # drop(all);
    /// # assert_eq!(array.to_vec(), [1, 5, 3]);
    /// # assert!(array.lock().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self) -> LockResult<ArrayGuard<'_, T>> {
        ArrayGuard::new(self, self.locked())
    }

    /// As [`lock`](Self::lock), unless somebody has it locked, in whatever way, for more than some
    /// microseconds.
    ///
    /// # Errors
    /// [`WouldBlock`](TryLockError::WouldBlock) where somebody has it locked;
    /// [`Poisoned`](TryLockError::Poisoned) as for [`lock`](Self::lock).
    pub fn try_lock(&self) -> TryLockResult<ArrayGuard<'_, T>> {
        let lock = self.lock_with(Wait::Try);
        let lock = lock.ok_or(TryLockError::WouldBlock)?;
        Ok(ArrayGuard::new(self, lock)?)
    }

    /// Whether the array is poisoned: see [the type](Self#poisoning). Another may poison it, or clear
    /// that, by the time you look; what [`lock`](Self::lock) says holds while you have the guard.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.settle();
        self.journal().is_poisoned()
    }

    /// Declares the array to be whole again, whoever poisoned it.
    pub fn clear_poison(&self) {
        self.settle();
        self.journal().clear_poison();
    }

    /// Has the death of a lock's owner have its consequences now, if there was one. Where a living one
    /// has the lock, possibly this thread, there is none that has not had them.
    fn settle(&self) {
        if self.journal().is_busy() {
            drop(self.lock_with(Wait::Try));
        }
    }

    fn check(&self, offset: usize, count: usize) -> Result<(), OutOfBounds> {
        let len = self.len();
        match offset.checked_add(count) {
            Some(end) if end <= len => Ok(()),
            _ => Err(OutOfBounds { offset, count, len }),
        }
    }

    #[inline]
    fn journal(&self) -> &Journal {
        &self.region.body().journal
    }

    /// Where an element lies; that of `len()` is the journal's slot.
    #[inline]
    fn element(&self, index: usize) -> *mut T {
        debug_assert!(index <= self.len());
        let first = self.region.data().as_ptr().cast::<T>();
        first.wrapping_add(index)
    }

    /// Writes an element that there is, so that a death leaves the old one or the new one. The caller
    /// has the lock.
    #[inline]
    fn write(&self, index: usize, value: T) {
        /// One store.
        macro_rules! store {
            ($atomic:ty) => {{
                let word = self.element(index).cast();
                // SAFETY: inside the region (its invariant 1); the first element is aligned to 8 at
                // least and the others follow at multiples of this size, so it is aligned; and it is
                // the lock owner's alone.
                let word = unsafe { <$atomic>::from_ptr(word) };
                word.store(cast(value), Ordering::Relaxed);
            }};
        }
        match size_of::<T>() {
            1 => store!(AtomicU8),
            2 => store!(AtomicU16),
            4 => store!(AtomicU32),
            8 => store!(AtomicU64),
            _ => {
                // SAFETY: the slot is inside the region and aligned for `T` (region, invariant 1), and
                // the lock owner's alone.
                unsafe { self.element(self.len()).write(value) };
                self.journal().begin_element(index as u64);
                self.copy_from_slot(index);
                self.journal().end();
            }
        }
    }

    /// The caller has the lock.
    fn copy_from_slot(&self, index: usize) {
        assert!(index < self.len(), "checked by whoever computed it");
        let slot = self.element(self.len());
        // SAFETY: both are inside the region and aligned for `T` (region, invariant 1), they differ by
        // the assertion, and are the lock owner's alone.
        unsafe { slot.copy_to_nonoverlapping(self.element(index), 1) };
    }

    #[inline]
    fn locked(&self) -> LockGuard<'_> {
        self.lock_with(Wait::Until(Deadline::NEVER))
            .expect("a wait without a deadline ends with the lock")
    }

    #[inline]
    fn lock_with(&self, wait: Wait) -> Option<LockGuard<'_>> {
        let word = &self.region.body().lock;
        match Lock::new(word, self.region.holder(), LockId(0)).lock(wait) {
            Ok(guard) => {
                if guard.owner_died() {
                    self.recover();
                }
                Some(guard)
            }
            Err(LockError::Busy | LockError::TimedOut) => None,
            Err(LockError::Corrupt) => panic!(
                "the lock word of {} names an owner that never was: a peer wrote where it must not",
                self.region.name().unwrap_or("the array")
            ),
        }
    }

    #[cold]
    fn recover(&self) {
        #[allow(clippy::cast_possible_truncation)] // below `len()`
        let redo = |index| self.copy_from_slot(index as usize);
        self.journal().recover(self.region.capacity(), redo);
    }

    /// The place's name or path, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.region.name()
    }

    /// Whether this handle, or the one it was cloned from, created the array.
    #[must_use]
    pub fn was_created(&self) -> bool {
        self.region.was_created()
    }

    /// A fresh open of the segment's file, to be passed to another process, which opens it with
    /// [`Place::fd`]. It is no hold: whoever passes it on keeps the handle until it has arrived.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied),
    /// [`Os`](crate::Error::Os); [`Unsupported`](crate::Error::Unsupported) where the memory is no
    /// file.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.region.try_clone_fd()
    }
}

impl<T: Element> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
        }
    }
}

#[cfg(feature = "serde")] // for pools
impl Array<u64> {
    /// The element at `index` as a word of its own: for an array that is used in no other way.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len(), "a word that there is");
        // SAFETY: inside the region, which outlives the borrow, and aligned (region, invariant 1); who
        // uses the array this way makes no other reference to its elements.
        unsafe { AtomicU64::from_ptr(self.element(index)) }
    }
}

/// Takes no lock, and so shows no elements; a death that nobody has come upon yet is not shown either.
impl<T: Element> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("poisoned", &self.journal().is_poisoned())
            .finish()
    }
}
