//! [`Array`]: elements in shared memory, which are read and written in place, under one lock.
//!
//! `sync/journal.rs` explains what a death in the middle of a write leaves, and how the lock's next owner
//! mends it. Elements of 1, 2, 4 and 8 bytes need no journal: each is written by one store, which a death
//! can't divide.

mod elements;
mod guard;
mod timed;

pub use guard::ArrayGuard;

use super::common::{constructors, lock_word, place_methods};
use super::element::Element;
use crate::error::{OutOfBounds, Result};
use crate::os::OwnedFd;
use crate::segment::{Body, Kind, Memory, Place, Region};
use crate::sync::{Journal, LINE, LockGuard, LockWord, Wait};
use bytemuck::cast_slice;
use std::fmt;
use std::mem::{offset_of, size_of};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LockResult, TryLockError, TryLockResult};

/// An array's control words. The elements lie behind them, and the journal's slot behind the last element.
/// Zeroed memory is valid.
#[repr(C)]
#[derive(Debug)]
struct ArrayWords {
    lock: LockWord,
    /// The journal lies on the lock's cache line, because the lock's owner alone writes it, and has that
    /// line anyway.
    journal: Journal,
    pad: [AtomicU64; 13],
}

const _: () = {
    assert!(offset_of!(ArrayWords, journal) == 8);
    assert!(size_of::<Journal>() == 16);
    assert!(size_of::<ArrayWords>() == LINE);
};

// SAFETY: the type is `repr(C)` and made of atomics alone, each of which is valid when zero.
unsafe impl Body for ArrayWords {
    const KIND: Kind = Kind::Array;

    fn stride(size: u64) -> u64 {
        size
    }

    /// The journal's slot takes one stride more than the elements.
    fn strides(capacity: u64) -> u64 {
        capacity.saturating_add(1)
    }
}

/// A fixed number of elements in shared memory, under one lock.
///
/// A handle is cheap to clone, and any thread can use it. Forked children inherit the handle, and other
/// programs open the array by its name.
///
/// ```
/// use shmkit::Array;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-array-{}", std::process::id());
/// let squares = Array::create(&name, &[0u32, 1, 4, 9])?;
/// let same = Array::<u32>::open(&name)?; // usually in another program
/// same.set(0, 100)?;
/// assert_eq!(squares.get(0), Some(100));
/// assert_eq!(squares.to_vec(), [100, 1, 4, 9]);
///
/// // Under a guard, several elements change together: nobody sees one change without the others.
/// let mut all = squares.lock().expect("nobody died in the middle");
/// all.swap(0, 3);
/// drop(all);
/// assert_eq!(same.to_vec(), [9, 1, 4, 100]);
/// # Ok(())
/// # }
/// ```
///
/// # One element at a time, or many
///
/// [`get`](Self::get), [`set`](Self::set), [`read_at`](Self::read_at), [`write_at`](Self::write_at) and
/// [`to_vec`](Self::to_vec) take the lock only while they copy. If a process is killed while one of them
/// writes *one* element, the array has the old element or the new one, whole, and is not poisoned.
/// [`lock`](Self::lock) takes the lock for as long as you need several elements.
///
/// # Large elements
///
/// [`get`](Self::get) and [`set`](Self::set) return and take an element by value, so the element lies on the
/// caller's stack, in a debug build more than once. [`read_at`](Self::read_at), [`write_at`](Self::write_at) and
/// [`lock`](Self::lock) keep no element on the stack, whatever its size:
///
/// ```
/// use shmkit::{Array, Place};
/// use std::slice;
///
/// type Picture = [u8; 6 << 20];
///
/// # fn main() -> shmkit::Result<()> {
/// let pictures = Array::<Picture>::zeroed(Place::anonymous(), 2)?;
/// let mut picture: Box<Picture> = shmkit::bytemuck::zeroed_box();
/// picture.fill(7);
/// pictures.write_at(1, slice::from_ref(&*picture))?; // one element, so a death can't poison the array
/// assert_eq!(pictures.lock().expect("nobody died in the middle")[1][100], 7);
/// # Ok(())
/// # }
/// ```
///
/// # Stopped peers
///
/// All six wait while somebody else has the lock, however long. Each has a `_timeout` form, which gives up: a
/// peer that is *stopped* (`SIGSTOP`, a debugger) while it has the lock keeps the lock until it goes on or dies.
///
/// # Poisoning
///
/// If a process is killed, or a thread panics, while it has an [`ArrayGuard`], then it may have changed some
/// elements and not others, or half of one element. Nobody can undo such changes, so the array becomes
/// *poisoned*: from then on [`lock`](Self::lock) returns an error, as [`std::sync::Mutex::lock`] does, until
/// somebody calls [`clear_poison`](Self::clear_poison). A process that is killed in a
/// [`write_at`](Self::write_at) of several elements poisons the array as well. The five methods above ignore
/// poison: if they read a poisoned array, they may return half written elements.
///
/// # Panics
/// Every method that takes the lock panics in three cases:
/// - A peer has overwritten the shared lock word with something that this crate never writes.
/// - The thread would wait for itself, because it calls [`lock`](Self::lock), one of the five methods
///   above, or a `_timeout` form of them, while it has a guard of the same array.
/// - The process is a forked child that could not open the segment for itself: it had no file descriptor
///   left (`EMFILE`), or no permission after a change of user.
pub struct Array<T: Element> {
    region: Region<T, ArrayWords>,
}

impl<T: Element> Array<T> {
    fn of(region: Region<T, ArrayWords>) -> Self {
        Self { region }
    }

    constructors! {
        "array" with "length", Region, init: &[T] => (init.len(), cast_slice(init));

        /// Creates an anonymous array with the elements of `init`, which forked children inherit.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let primes = shmkit::Array::new(&[2u16, 3, 5])?;
        /// assert_eq!(primes.len(), 3);
        /// # Ok(())
        /// # }
        /// ```
        new;
        /// Creates an array with the elements of `init`.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-array-create-{}", std::process::id());
        /// let weights = shmkit::Array::create(&name, &[0.25f32, 0.5, 0.25])?;
        /// assert_eq!(weights.name(), Some(name.as_str()));
        /// # Ok(())
        /// # }
        /// ```
        create;
        /// Opens an existing array of any length.
        ///
        /// ```
        /// use shmkit::Array;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-array-open-{}", std::process::id());
        /// let ours = Array::create(&name, &[1u8, 2, 3])?;
        /// let theirs = Array::<u8>::open(&name)?;
        /// assert_eq!(theirs.len(), 3);
        /// # drop(ours);
        /// # Ok(())
        /// # }
        /// ```
        open;
        /// Opens the array, or creates one with the elements of `init` if there is none. An existing array
        /// must be as long as `init`.
        ///
        /// ```
        /// use shmkit::{Array, Error};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-array-either-{}", std::process::id());
        /// let first = Array::open_or_create(&name, &[1u8, 2])?;
        /// let second = Array::open_or_create(&name, &[8u8, 9])?;
        /// assert_eq!(second.to_vec(), [1, 2]);
        /// let longer = Array::open_or_create(&name, &[0u8; 3]);
        /// assert!(matches!(longer, Err(Error::Mismatch { what: "capacity", .. })));
        /// # drop(first);
        /// # Ok(())
        /// # }
        /// ```
        open_or_create;
        /// Lays an array out in memory of your own, in which nothing has been laid out yet.
        ///
        /// ```
        /// use shmkit::{Array, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let array = Array::create_in(Arc::new(HeapMemory::new(4096)), &[1u64, 2])?;
        /// assert_eq!(array.get(1), Some(2));
        /// # Ok(())
        /// # }
        /// ```
        create_in;
        /// Opens the array that [`create_in`](Self::create_in) laid out in memory of your own.
        ///
        /// ```
        /// use shmkit::{Array, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(4096));
        /// assert!(Array::<u64>::open_in(memory.clone()).is_err());
        /// let array = Array::create_in(memory.clone(), &[1u64, 2])?;
        /// assert_eq!(Array::<u64>::open_in(memory)?.len(), 2);
        /// # drop(array);
        /// # Ok(())
        /// # }
        /// ```
        open_in;
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
    /// As for [`create`](Self::create).
    pub fn zeroed(place: impl Into<Place>, len: usize) -> Result<Self> {
        Region::create(&place.into(), len, &[]).map(Self::of)
    }

    place_methods!(region, "Array::<u64>", "&[1, 2]");

    /// Returns the number of elements, which is at least 1 and never changes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        #[allow(clippy::cast_possible_truncation)] // the elements were mapped
        let len = self.region.capacity() as usize;
        len
    }

    /// Returns `false`, because every array has at least one element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the element at `index`, or `None` if there is no such element.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[10u8, 20])?;
    /// assert_eq!(array.get(1), Some(20));
    /// assert_eq!(array.get(2), None);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        let _lock = self.locked();
        // SAFETY: by region's invariant 1 the element is inside the region and aligned for `T`, and any
        // bytes are a valid `T`; nobody writes the element while we have the lock.
        Some(unsafe { *self.element(index) })
    }

    /// Replaces the element at `index`. If the process is killed meanwhile, the array has the old element or
    /// the new one, whole.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[10u8, 20])?;
    /// array.set(0, 11)?;
    /// assert_eq!(array.to_vec(), [11, 20]);
    /// assert!(array.set(2, 30).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OutOfBounds`] if there is no such element.
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<(), OutOfBounds> {
        self.check(index, 1)?;
        let lock = self.locked();
        self.write(&lock, index, &value);
        Ok(())
    }

    /// Fills `out` with copies of the elements from `offset` on. All of them are from the same moment.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8, 2, 3, 4])?;
    /// let mut middle = [0; 2];
    /// array.read_at(1, &mut middle)?;
    /// assert_eq!(middle, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OutOfBounds`] if the array does not have all of these elements; `out` is left as it was.
    pub fn read_at(&self, offset: usize, out: &mut [T]) -> Result<(), OutOfBounds> {
        self.check(offset, out.len())?;
        let lock = self.locked();
        self.read_many(&lock, offset, out);
        Ok(())
    }

    /// Replaces the elements from `offset` on by those of `from`. Other calls see either none of the new
    /// elements or all of them.
    ///
    /// If the process is killed meanwhile, it may have written only some of the elements, and the array is
    /// poisoned. A single element is written as by [`set`](Self::set), without that risk.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[0u8; 4])?;
    /// array.write_at(2, &[7, 8])?;
    /// assert_eq!(array.to_vec(), [0, 0, 7, 8]);
    /// assert!(array.write_at(3, &[9, 9]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OutOfBounds`] if the array does not have all of these elements; nothing is written.
    pub fn write_at(&self, offset: usize, from: &[T]) -> Result<(), OutOfBounds> {
        self.check(offset, from.len())?;
        let lock = self.locked();
        self.write_many(&lock, offset, from);
        Ok(())
    }

    /// Returns copies of all elements. All of them are from the same moment.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8, 2, 3])?;
    /// assert_eq!(array.to_vec(), vec![1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        self.copy_all(Wait::FOREVER)
            .expect("a wait without a deadline ends with the lock")
    }

    /// Locks the array, and returns a guard through which all elements are one slice. Waits while somebody
    /// else has the array locked.
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
    ///     all.copy_from_slice(&[1, 2, 3]); // make the elements whole, in whatever way you know
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
    ///
    /// # Errors
    /// A [`PoisonError`](std::sync::PoisonError), which contains the guard, if the array is
    /// [poisoned](Self#poisoning).
    pub fn lock(&self) -> LockResult<ArrayGuard<'_, T>> {
        ArrayGuard::new(self, self.locked())
    }

    /// Locks the array as [`lock`](Self::lock) does, but gives up if the lock is still taken after some
    /// microseconds. Every method that reads or writes elements takes the same lock.
    ///
    /// ```
    /// use std::sync::TryLockError;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8])?;
    /// let guard = array.try_lock().expect("nobody has it locked");
    /// assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`WouldBlock`](TryLockError::WouldBlock) if somebody has the array locked;
    /// [`Poisoned`](TryLockError::Poisoned), which contains the guard, if the array is
    /// [poisoned](Self#poisoning).
    pub fn try_lock(&self) -> TryLockResult<ArrayGuard<'_, T>> {
        let lock = self.lock_with(Wait::Try);
        let lock = lock.ok_or(TryLockError::WouldBlock)?;
        Ok(ArrayGuard::new(self, lock)?)
    }

    /// Returns whether the array is [poisoned](Self#poisoning). Another process may poison the array, or
    /// clear the poison, right after this call. While you have a guard, nobody else can poison the array.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8])?;
    /// assert!(!array.is_poisoned());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.settle();
        self.journal().is_poisoned()
    }

    /// Declares the elements whole again, so that [`lock`](Self::lock) succeeds. Anybody may do so, best
    /// after making the elements whole under a guard, as in the example of [`lock`](Self::lock).
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::new(&[1u8, 2])?;
    /// let outcome = std::panic::catch_unwind(|| {
    ///     let _guard = array.lock().unwrap();
    ///     panic!("before anything was written");
    /// });
    /// assert!(outcome.is_err() && array.is_poisoned());
    /// array.clear_poison();
    /// assert!(array.lock().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_poison(&self) {
        self.settle();
        self.journal().clear_poison();
    }

    /// If the lock's owner died in the middle of a write, runs recovery now. Nothing is left to do if a
    /// living owner has the lock, possibly this thread: that owner ran recovery when it took the lock.
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

    #[inline]
    fn locked(&self) -> LockGuard<'_> {
        self.lock_with(Wait::FOREVER)
            .expect("a wait without a deadline ends with the lock")
    }

    #[inline]
    fn lock_with(&self, wait: Wait) -> Option<LockGuard<'_>> {
        let guard = lock_word(&self.region, &self.region.body().lock, wait, "the array")?;
        if guard.owner_died() {
            self.recover();
        }
        Some(guard)
    }

    #[cold]
    fn recover(&self) {
        #[allow(clippy::cast_possible_truncation)] // the index is below `len()`
        let redo = |index| self.copy_from_slot(index as usize);
        self.journal().recover(self.region.capacity(), redo);
    }
}

impl<T: Element> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
        }
    }
}

/// Shows no elements, because reading them would take the lock. For the same reason, `poisoned` may be
/// `false` although the lock's owner has died, if nobody has locked the array since.
impl<T: Element> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("poisoned", &self.journal().is_poisoned())
            .finish()
    }
}
