//! [`Value`]: one value that every process sees, whole.

use crate::error::Result;
use crate::os::OwnedFd;
use crate::segment::Kind;
use crate::segment::Memory;
use crate::segment::Place;
use crate::segment::{Body, Region};
use crate::sync::LINE;
use crate::sync::{
    Deadline, Event, Lock, LockError, LockGuard, LockId, LockWord, SeqLock, Wait,
    full_fence_after_rmw,
};
use crate::types::element::Element;
use bytemuck::{bytes_of, bytes_of_mut};
use std::fmt;
use std::mem::{offset_of, size_of};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A value's control words; the two slots follow. Zeroed memory is a valid one.
#[repr(C)]
#[derive(Debug)]
struct ValueWords {
    lock: LockWord,
    pad_lock: [AtomicU64; 15],
    changed: Event,
    pad_changed: [Event; 31],
    /// Beside the slots, so that a small value is read from one line.
    version: AtomicU64,
}

const _: () = {
    assert!(offset_of!(ValueWords, changed) == LINE);
    assert!(offset_of!(ValueWords, version) == 2 * LINE);
    assert!(size_of::<ValueWords>() == 2 * LINE + 8);
};

// SAFETY: `repr(C)`, atomics alone, every one of them valid when zero.
unsafe impl Body for ValueWords {
    const KIND: Kind = Kind::Value;

    /// SeqLock are copied by words of 8 bytes.
    fn stride(size: u64) -> u64 {
        size.next_multiple_of(8)
    }

    /// A value has two slots.
    fn strides(capacity: u64) -> u64 {
        capacity.saturating_mul(2)
    }
}

/// How often in a row writers outrun a reader before it asks for their lock: few enough that a large
/// value's reader is not long behind, so many that a small one's hardly ever does.
const COPIES: u64 = 16;

/// One value in shared memory: read without a lock, written under one, always whole.
///
/// A handle is cheap to clone and can be used from any thread; forked children inherit it, other
/// programs open it by name. A process that is killed inside a write leaves the old value.
///
/// ```
/// use shmkit::Value;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-value-{}", os::pid());
/// let hits = Value::create(&name, 0u64)?;
/// let same = Value::<u64>::open(&name)?; // in another program, as a rule
/// same.update(|hits| *hits += 1);
/// assert_eq!(hits.get(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Every method that locks panics where the shared lock word is one that the protocol never
/// writes (a peer's stray write), where the thread waits for itself (a call from inside a closure
/// of [`update`](Self::update) on the same value), and in a forked child that could not open the
/// segment for itself (`EMFILE`; no permission after a change of user).
pub struct Value<T: Element> {
    region: Region<T, ValueWords>,
}

impl<T: Element> Value<T> {
    fn of(region: Region<T, ValueWords>) -> Self {
        Self { region }
    }

    /// An anonymous value: for forked children.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Os`](crate::Error::Os).
    pub fn new(init: T) -> Result<Self> {
        Self::create(Place::anonymous(), init)
    }

    /// Creates the value, and publishes it once it is complete.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) if the name is taken (what a crash of
    /// all holders left is replaced); [`NoSpace`](crate::Error::NoSpace),
    /// [`InvalidName`](crate::Error::InvalidName),
    /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
    /// [`Os`](crate::Error::Os).
    pub fn create(place: impl Into<Place>, init: T) -> Result<Self> {
        Region::create(&place.into(), 1, bytes_of(&init)).map(Self::of)
    }

    /// Opens a value that somebody created.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Foreign`](crate::Error::Foreign),
    /// [`Corrupt`](crate::Error::Corrupt) or [`Mismatch`](crate::Error::Mismatch) for anything that
    /// is not a sound value of this type, which is left as it was;
    /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
    /// [`Os`](crate::Error::Os).
    pub fn open(place: impl Into<Place>) -> Result<Self> {
        Region::open(&place.into(), None).map(Self::of)
    }

    /// Opens the value, or creates it with `init` where there is none. Of several that race, one
    /// creates, and all end with the same value.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(place: impl Into<Place>, init: T) -> Result<Self> {
        Region::open_or_create(&place.into(), 1, bytes_of(&init)).map(Self::of)
    }

    /// Lays a value out in memory of your own, if nothing was laid out in it yet.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) if it does not fit;
    /// [`AlreadyExists`](crate::Error::AlreadyExists) if something is there, or somebody else is
    /// laying it out; [`Unsupported`](crate::Error::Unsupported) in a forked child that could not
    /// become a holder.
    pub fn create_in(memory: Arc<dyn Memory>, init: T) -> Result<Self> {
        Region::create_in(memory, 1, bytes_of(&init)).map(Self::of)
    }

    /// Finds the value in memory of your own.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if nothing was laid out, or not to its end yet;
    /// [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt),
    /// [`Mismatch`](crate::Error::Mismatch).
    pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        Region::open_in(memory).map(Self::of)
    }

    #[inline]
    fn slots(&self) -> SeqLock<'_> {
        let words = size_of::<T>().div_ceil(8);
        let stride = size_of::<T>()
            .next_multiple_of(8)
            .next_multiple_of(align_of::<T>());
        let first = self.region.data();
        let slot = |offset: usize| {
            let words_at = first.as_ptr().wrapping_add(offset).cast::<AtomicU64>();
            // SAFETY: the region has two strides of data (its invariant 1), aligned to 8, as is the
            // stride; the words are atomics here and in every other process.
            unsafe { slice::from_raw_parts(words_at, words) }
        };
        SeqLock::new(&self.region.body().version, [slot(0), slot(stride)])
    }

    /// The current value. Waits for nobody: not for a lock, not for a stopped or dead writer. It copies
    /// again when a new value came while it was copying. Where writers are faster than its copy many
    /// times in a row, it copies under their lock, if that can be had between two of them; who is stopped
    /// right there holds writers up as a stopped writer does.
    #[inline]
    #[must_use]
    pub fn get(&self) -> T {
        let mut value = T::zeroed();
        if self.slots().try_read(bytes_of_mut(&mut value)) {
            value
        } else {
            self.get_behind_writers()
        }
    }

    #[cold]
    #[inline(never)]
    fn get_behind_writers(&self) -> T {
        let mut value = T::zeroed();
        let slots = self.slots();
        let holder = self.region.holder();
        for copies in 1u64.. {
            std::hint::spin_loop();
            if slots.try_read(bytes_of_mut(&mut value)) {
                break;
            }
            // A child that could not become a holder has no number to lock with, and copies on.
            if copies < COPIES || holder.number.load(Ordering::Relaxed) == 0 {
                continue;
            }
            if let Ok(_guard) =
                Lock::new(&self.region.body().lock, holder, LockId(0)).lock(Wait::Try)
            {
                slots.read_locked(bytes_of_mut(&mut value));
                break;
            }
        }
        value
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: T) {
        let guard = self.lock();
        self.commit(guard, &value);
    }

    /// Replaces the value, and returns the one that was there.
    #[inline]
    pub fn swap(&self, value: T) -> T {
        let guard = self.lock();
        let old = self.current();
        self.commit(guard, &value);
        old
    }

    /// Changes the value under the lock: nobody else's change comes in between. Where `f` panics, or
    /// the process dies in it, the value stays as it was.
    ///
    /// # Panics
    /// In a child that `f` forked, when `f` returns there: the update is the parent's.
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.update_locked(self.lock(), f)
    }

    /// As [`update`](Self::update), unless somebody else is in it: then `None`, at once.
    pub fn try_update<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let guard = self.lock_with(Wait::Try)?;
        Some(self.update_locked(guard, f))
    }

    /// Stores `new` if the value is `current`, byte by byte (so a NaN equals the same NaN, and 0.0
    /// is not -0.0). `Ok` is what was replaced, `Err` what was there instead.
    ///
    /// # Errors
    /// The value that is there, where it is not `current`.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        let guard = self.lock();
        let found = self.current();
        if bytes_of(&found) != bytes_of(&current) {
            return Err(found);
        }
        self.commit(guard, &new);
        Ok(found)
    }

    /// Waits until the value satisfies `pred`, and returns that value. A value that was there only
    /// between two looks may be missed.
    pub fn wait_until(&self, pred: impl FnMut(&T) -> bool) -> T {
        self.wait(Deadline::NEVER, pred)
            .expect("a wait without a deadline ends with a value")
    }

    /// As [`wait_until`](Self::wait_until), for at most `timeout`; `None` if it did not come true.
    pub fn wait_until_timeout(&self, timeout: Duration, pred: impl FnMut(&T) -> bool) -> Option<T> {
        self.wait(Deadline::after(timeout), pred)
    }

    fn wait(&self, deadline: Deadline, mut pred: impl FnMut(&T) -> bool) -> Option<T> {
        let changed = &self.region.body().changed;
        let mut look = || Some(self.get()).filter(&mut pred);
        look().or_else(|| changed.wait(deadline, 1, look))
    }

    fn update_locked<R>(&self, guard: LockGuard<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        let announced = guard.announce();
        let mut value = self.current();
        let result = f(&mut value);
        drop(announced);
        self.commit(guard, &value);
        result
    }

    /// The value, read under the lock.
    #[inline]
    fn current(&self) -> T {
        let mut value = T::zeroed();
        self.slots().read_locked(bytes_of_mut(&mut value));
        value
    }

    #[inline]
    fn commit(&self, guard: LockGuard<'_>, value: &T) {
        assert!(
            !guard.is_stale(),
            "this process is a fork made inside the update: the update is its parent's"
        );
        self.slots().write(bytes_of(value));
        drop(guard);
        full_fence_after_rmw();
        self.region.body().changed.notify_all();
    }

    #[inline]
    fn lock(&self) -> LockGuard<'_> {
        self.lock_with(Wait::Until(Deadline::NEVER))
            .expect("a wait without a deadline ends with the lock")
    }

    #[inline]
    fn lock_with(&self, wait: Wait) -> Option<LockGuard<'_>> {
        let word = &self.region.body().lock;
        match Lock::new(word, self.region.holder(), LockId(0)).lock(wait) {
            Ok(guard) => Some(guard),
            Err(LockError::Busy | LockError::TimedOut) => None,
            Err(LockError::Corrupt) => panic!(
                "the lock word of {} names an owner that never was: a peer wrote where it must not",
                self.region.name().unwrap_or("the value")
            ),
        }
    }

    /// The place's name or path, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.region.name()
    }

    /// Whether this handle, or the one it was cloned from, created the value.
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

impl<T: Element> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self {
            region: self.region.clone(),
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("name", &self.name())
            .field("value", &self.get())
            .finish()
    }
}
