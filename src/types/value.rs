//! [`Value`]: one value in shared memory, which every process reads as a whole.

mod large;
mod timed;

use super::common::{constructors, is_large, lock_word, place_methods};
use super::element::Element;
use crate::error::Result;
use crate::os::OwnedFd;
use crate::segment::{Body, Kind, Memory, Place, Region};
use crate::sync::{
    Deadline, Event, LINE, Lock, LockGuard, LockId, LockWord, SeqLock, Wait, full_fence_after_rmw,
};
use bytemuck::{bytes_of, bytes_of_mut};
use std::fmt;
use std::mem::{offset_of, size_of};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A value's control words, behind which the two slots lie. Zeroed memory is valid.
#[repr(C)]
#[derive(Debug)]
struct ValueWords {
    lock: LockWord,
    pad_lock: [AtomicU64; 15],
    changed: Event,
    pad_changed: [Event; 31],
    /// The seqlock's version. It lies beside the slots, so that the reader of a small value needs one
    /// cache line.
    version: AtomicU64,
}

const _: () = {
    assert!(offset_of!(ValueWords, changed) == LINE);
    assert!(offset_of!(ValueWords, version) == 2 * LINE);
    assert!(size_of::<ValueWords>() == 2 * LINE + 8);
};

// SAFETY: the type is `repr(C)` and made of atomics alone, each of which is valid when zero.
unsafe impl Body for ValueWords {
    const KIND: Kind = Kind::Value;

    /// A slot's length is a multiple of 8 bytes, because slots are copied in words of that size.
    fn stride(size: u64) -> u64 {
        size.next_multiple_of(8)
    }

    /// A value has two slots.
    fn strides(capacity: u64) -> u64 {
        capacity.saturating_mul(2)
    }
}

/// How many of a reader's copies writers may spoil in a row before the reader tries to take their lock.
/// With a higher number, readers of large values would fall further behind. With a lower number, readers of
/// small values would take the lock more often.
const COPIES: u64 = 16;

/// One value in shared memory. Writers take a lock, readers normally take none, and nobody ever reads a mix
/// of two values.
///
/// A handle is cheap to clone, and any thread can use it. Forked children inherit the handle, and other
/// programs open the value by its name. If a process is killed inside a write, the old value stays.
///
/// Writers wait while somebody else has the lock, however long. Each has a `_timeout` form, which gives up: a
/// peer that is *stopped* (`SIGSTOP`, a debugger) while it has the lock keeps the lock until it goes on or dies.
///
/// ```
/// use shmkit::Value;
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-value-{}", std::process::id());
/// let hits = Value::create(&name, 0u64)?;
/// let same = Value::<u64>::open(&name)?; // usually in another program
/// same.update(|hits| *hits += 1);
/// assert_eq!(hits.get(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Large values
///
/// Methods that take or return a `T` by value put it on the caller's stack, in a debug build more than once. If
/// a `T` is too large for the stack, create the value with [`zeroed`](Self::zeroed), read it with
/// [`get_into`](Self::get_into), and write it with [`set_from`](Self::set_from) or [`update`](Self::update). The
/// copy that an update's closure changes lies on the heap if a `T` has 64 KiB or more. So does each copy that
/// another method makes for itself.
///
/// # Panics
/// Every method that writes takes the lock, and panics in three cases:
/// - A peer has overwritten the shared lock word with something that this crate never writes.
/// - The thread would wait for itself, with or without a timeout, because the call comes from inside a
///   closure of [`update`](Self::update) on the same value.
/// - The process is a forked child that could not open the segment for itself: it had no file descriptor
///   left (`EMFILE`), or no permission after a change of user.
pub struct Value<T: Element> {
    region: Region<T, ValueWords>,
}

impl<T: Element> Value<T> {
    fn of(region: Region<T, ValueWords>) -> Self {
        Self { region }
    }

    constructors! {
        "value", Region, init: T => (1, bytes_of(&init));

        /// Creates an anonymous value, which forked children inherit.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// let progress = shmkit::Value::new(0.0f64)?;
        /// assert_eq!(progress.name(), None);
        /// # Ok(())
        /// # }
        /// ```
        new;
        /// Creates a value, which is `init` at first.
        ///
        /// ```
        /// use shmkit::{Error, Value};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-value-create-{}", std::process::id());
        /// let limit = Value::create(&name, 10u32)?;
        /// let again = Value::create(&name, 20u32);
        /// assert!(matches!(again, Err(Error::AlreadyExists { .. })));
        /// assert_eq!(limit.get(), 10);
        /// # Ok(())
        /// # }
        /// ```
        create;
        /// Opens an existing value.
        ///
        /// ```
        /// use shmkit::{Error, Value};
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-value-open-{}", std::process::id());
        /// assert!(matches!(Value::<u32>::open(&name), Err(Error::NotFound { .. })));
        /// let limit = Value::create(&name, 10u32)?;
        /// assert_eq!(Value::<u32>::open(&name)?.get(), 10);
        /// assert!(matches!(Value::<i64>::open(&name), Err(Error::Mismatch { .. })));
        /// # drop(limit);
        /// # Ok(())
        /// # }
        /// ```
        open;
        /// Opens the value, or creates one that is `init` at first, if there is none.
        ///
        /// ```
        /// use shmkit::Value;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// # let name = format!("doc-value-either-{}", std::process::id());
        /// let first = Value::open_or_create(&name, 1u8)?;
        /// let second = Value::open_or_create(&name, 2u8)?;
        /// assert_eq!((first.was_created(), second.was_created()), (true, false));
        /// assert_eq!(second.get(), 1);
        /// # Ok(())
        /// # }
        /// ```
        open_or_create;
        /// Lays a value out in memory of your own, in which nothing has been laid out yet.
        ///
        /// ```
        /// use shmkit::{Value, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(4096));
        /// let value = Value::create_in(memory.clone(), 7u64)?;
        /// assert!(Value::create_in(memory, 8u64).is_err());
        /// # drop(value);
        /// # Ok(())
        /// # }
        /// ```
        create_in;
        /// Opens the value that [`create_in`](Self::create_in) laid out in memory of your own.
        ///
        /// ```
        /// use shmkit::{Value, memory::HeapMemory};
        /// use std::sync::Arc;
        ///
        /// # fn main() -> shmkit::Result<()> {
        /// let memory = Arc::new(HeapMemory::new(4096));
        /// let value = Value::create_in(memory.clone(), 7u64)?;
        /// let same = Value::<u64>::open_in(memory)?;
        /// value.set(8);
        /// assert_eq!(same.get(), 8);
        /// # Ok(())
        /// # }
        /// ```
        open_in;
    }

    /// Creates a value, every byte of which is zero. Unlike [`create`](Self::create), this takes no `T`, which
    /// would lie on the caller's stack.
    ///
    /// ```
    /// use shmkit::{Place, Value};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let picture = Value::<[u8; 6 << 20]>::zeroed(Place::anonymous())?;
    /// picture.update(|picture| picture[100] = 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub fn zeroed(place: impl Into<Place>) -> Result<Self> {
        Region::create(&place.into(), 1, &[]).map(Self::of)
    }

    place_methods!(region, "Value::<u64>", "7");

    #[inline]
    fn seqlock(&self) -> SeqLock<'_> {
        let words = size_of::<T>().div_ceil(8);
        let stride = size_of::<T>()
            .next_multiple_of(8)
            .next_multiple_of(align_of::<T>());
        let first = self.region.data();
        let slot = |offset: usize| {
            let words_at = first.as_ptr().wrapping_add(offset).cast::<AtomicU64>();
            // SAFETY: by region's invariant 1 the region has two strides of data, aligned to 8. A stride
            // is a multiple of 8 and at least as long as the words, which every process uses as atomics.
            unsafe { slice::from_raw_parts(words_at, words) }
        };
        SeqLock::new(&self.region.body().version, [slot(0), slot(stride)])
    }

    /// Returns the current value.
    ///
    /// A reader waits for no lock, and for no stopped or dead writer. If somebody writes while the reader
    /// copies, the reader copies again. After many copies in vain, the reader also tries to take the
    /// writers' lock, and copies under the lock as soon as a try succeeds. A reader that is stopped while it
    /// has the lock delays writers, as a stopped writer does.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let position = shmkit::Value::new([0.5f64, 1.5, 2.5])?;
    /// let [x, y, z] = position.get(); // all three from the same `set`
    /// assert_eq!((x, y, z), (0.5, 1.5, 2.5));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self) -> T {
        if is_large::<T>() {
            *self.on_heap()
        } else {
            self.get_small()
        }
    }

    #[inline]
    fn get_small(&self) -> T {
        let mut value = T::zeroed();
        if self.seqlock().try_read(bytes_of_mut(&mut value)) {
            value
        } else {
            self.get_small_behind_writers()
        }
    }

    /// This returns the value, because a reference to the caller's copy would keep that copy in memory.
    #[cold]
    #[inline(never)]
    fn get_small_behind_writers(&self) -> T {
        let mut value = T::zeroed();
        self.get_behind_writers(&mut value);
        value
    }

    /// Copies the current value into `out`, as [`get`](Self::get) does, without a copy on the stack.
    ///
    /// ```
    /// type Picture = [u8; 6 << 20];
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let shared = shmkit::Value::<Picture>::zeroed(shmkit::Place::anonymous())?;
    /// let mut picture: Box<Picture> = shmkit::bytemuck::zeroed_box();
    /// picture.fill(7);
    /// shared.get_into(&mut picture);
    /// assert_eq!(picture[100], 0);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get_into(&self, out: &mut T) {
        if !self.seqlock().try_read(bytes_of_mut(out)) {
            self.get_behind_writers(out);
        }
    }

    #[cold]
    #[inline(never)]
    fn get_behind_writers(&self, value: &mut T) {
        let seqlock = self.seqlock();
        let holder = self.region.holder();
        for copies in 1u64.. {
            std::hint::spin_loop();
            if seqlock.try_read(bytes_of_mut(value)) {
                break;
            }
            // A forked child that could not become a holder has no number with which to lock. It goes on
            // copying without the lock.
            if copies < COPIES || holder.number.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let lock = Lock::new(&self.region.body().lock, holder, LockId(0));
            if let Ok(_guard) = lock.lock(Wait::Try) {
                seqlock.read_locked(bytes_of_mut(value));
                break;
            }
        }
    }

    /// Replaces the value.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let temperature = shmkit::Value::new(20.0f32)?;
    /// temperature.set(21.5);
    /// assert_eq!(temperature.get(), 21.5);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set(&self, value: T) {
        self.set_from(&value);
    }

    /// Replaces the value by a copy of `value`, as [`set`](Self::set) does, without a copy on the stack.
    ///
    /// ```
    /// type Picture = [u8; 6 << 20];
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let shared = shmkit::Value::<Picture>::zeroed(shmkit::Place::anonymous())?;
    /// let mut picture: Box<Picture> = shmkit::bytemuck::zeroed_box();
    /// picture.fill(7);
    /// shared.set_from(&picture);
    /// assert_eq!(shared.update(|picture| picture[100]), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set_from(&self, value: &T) {
        let guard = self.lock();
        self.commit(guard, value);
    }

    /// Replaces the value, and returns the old one.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let leader = shmkit::Value::new(3u32)?;
    /// assert_eq!(leader.swap(7), 3);
    /// assert_eq!(leader.get(), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn swap(&self, value: T) -> T {
        self.swap_locked(self.lock(), &value)
    }

    /// Lets `f` change the value, and returns the result of `f`. The lock is held meanwhile, so that nobody
    /// else's change comes in between. If `f` panics, or if the process dies in `f`, the old value stays.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let counter = shmkit::Value::new(41u64)?;
    /// let before = counter.update(|n| std::mem::replace(n, *n + 1));
    /// assert_eq!((before, counter.get()), (41, 42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `f` forks, and returns in the child too, then this panics in the child: the update belongs to the
    /// parent.
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.update_locked(self.lock(), f)
    }

    /// Changes the value as [`update`](Self::update) does, but returns `None`, without a call of `f`, if the
    /// lock is still taken after some microseconds.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let counter = shmkit::Value::new(1u64)?;
    /// assert_eq!(counter.try_update(|n| *n += 1), Some(()));
    /// // While somebody is in an update, a try does not wait.
    /// counter.update(|_| assert_eq!(counter.try_update(|n| *n += 1), None));
    /// assert_eq!(counter.get(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_update<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let guard = self.lock_with(Wait::Try)?;
        Some(self.update_locked(guard, f))
    }

    /// Stores `new` if the value is `current`, and returns the value that was replaced. Values are compared
    /// byte by byte, so that a NaN equals itself, and 0.0 does not equal -0.0.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let owner = shmkit::Value::new(0u32)?;
    /// assert_eq!(owner.compare_exchange(0, 17), Ok(0));
    /// assert_eq!(owner.compare_exchange(0, 18), Err(17));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the value is not `current`, it stays as it is, and is returned as the error.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        self.compare_exchange_locked(self.lock(), &current, &new)
    }

    /// Waits until the value satisfies `pred`, and returns that value. If the value satisfies `pred` only
    /// for a moment, the wait may miss that moment.
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let state = shmkit::Value::new(0u8)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| state.set(2)); // usually in another process
    ///     assert_eq!(state.wait_until(|state| *state > 1), 2);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_until(&self, pred: impl FnMut(&T) -> bool) -> T {
        if is_large::<T>() {
            *self
                .wait_large(Deadline::NEVER, pred)
                .expect("a wait without a deadline ends with a value")
        } else {
            self.wait_small_until(pred)
        }
    }

    /// Waits as [`wait_until`](Self::wait_until) does, but for at most `timeout`, after which it returns
    /// `None`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let state = shmkit::Value::new(0u8)?;
    /// let found = state.wait_until_timeout(Duration::from_millis(1), |state| *state > 1);
    /// assert_eq!(found, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_until_timeout(&self, timeout: Duration, pred: impl FnMut(&T) -> bool) -> Option<T> {
        let deadline = Deadline::after(timeout);
        if is_large::<T>() {
            self.wait_large(deadline, pred).map(|value| *value)
        } else {
            self.wait_small(deadline, pred)
        }
    }

    fn wait_small_until(&self, pred: impl FnMut(&T) -> bool) -> T {
        self.wait_small(Deadline::NEVER, pred)
            .expect("a wait without a deadline ends with a value")
    }

    fn wait_small(&self, deadline: Deadline, mut pred: impl FnMut(&T) -> bool) -> Option<T> {
        let changed = &self.region.body().changed;
        let mut look = || Some(self.get()).filter(&mut pred);
        look().or_else(|| changed.wait(deadline, 1, look))
    }

    #[inline]
    fn swap_locked(&self, guard: LockGuard<'_>, value: &T) -> T {
        if is_large::<T>() {
            self.swap_large(guard, value)
        } else {
            self.swap_small(guard, value)
        }
    }

    #[inline]
    fn swap_small(&self, guard: LockGuard<'_>, value: &T) -> T {
        let old = self.current();
        self.commit(guard, value);
        old
    }

    fn compare_exchange_locked(&self, guard: LockGuard<'_>, current: &T, new: &T) -> Result<T, T> {
        if is_large::<T>() {
            self.compare_exchange_large(guard, current, new)
        } else {
            self.compare_exchange_small(guard, current, new)
        }
    }

    #[inline]
    fn compare_exchange_small(&self, guard: LockGuard<'_>, current: &T, new: &T) -> Result<T, T> {
        let found = self.current();
        if bytes_of(&found) != bytes_of(current) {
            return Err(found);
        }
        self.commit(guard, new);
        Ok(found)
    }

    fn update_locked<R>(&self, guard: LockGuard<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        if is_large::<T>() {
            self.update_large(guard, f)
        } else {
            self.update_small(guard, f)
        }
    }

    #[inline]
    fn update_small<R>(&self, guard: LockGuard<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        self.update_in(guard, &mut T::zeroed(), f)
    }

    /// Lets `f` change a copy of the value, which lies at `copy`, and makes the copy the value.
    #[inline]
    fn update_in<R>(&self, guard: LockGuard<'_>, copy: &mut T, f: impl FnOnce(&mut T) -> R) -> R {
        let announced = guard.announce();
        self.seqlock().read_locked(bytes_of_mut(copy));
        let result = f(copy);
        drop(announced);
        self.commit(guard, copy);
        result
    }

    /// Reads the value. The caller holds the lock.
    #[inline]
    fn current(&self) -> T {
        let mut value = T::zeroed();
        self.seqlock().read_locked(bytes_of_mut(&mut value));
        value
    }

    #[inline]
    fn commit(&self, guard: LockGuard<'_>, value: &T) {
        assert!(
            !guard.is_stale(),
            "this process is a fork made inside the update: the update is its parent's"
        );
        self.seqlock().write(bytes_of(value));
        drop(guard);
        full_fence_after_rmw();
        self.region.body().changed.notify_all();
    }

    #[inline]
    fn lock(&self) -> LockGuard<'_> {
        self.lock_with(Wait::FOREVER)
            .expect("a wait without a deadline ends with the lock")
    }

    #[inline]
    fn lock_with(&self, wait: Wait) -> Option<LockGuard<'_>> {
        lock_word(&self.region, &self.region.body().lock, wait, "the value")
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
            .field("value", &self.on_heap())
            .finish()
    }
}
