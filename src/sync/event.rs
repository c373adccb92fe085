//! [`Event`]: sleeping until a peer has changed something, and waking. [`Deadline`]: until when.
//!
//! One futex word that costs a waker one load while nobody sleeps.
//!
//! | step | sleeper | waker |
//! |---|---|---|
//! | 1 | sets the flag: `v = fetch_or(1) \| 1`, full fence | publishes its change, full fence |
//! | 2 | looks at the shared state again | loads the word; flag clear: done |
//! | 3 | `futex_wait(v)` | sequence + 1, flag kept; wakes as many as there is work for |
//! | 4 | starts over | none woke: sequence + 1 and flag cleared in one step; wakes all  |
//!
//! Invariants:
//! 1. *Of a sleeper's step 2 and a waker's step 2, at least one sees the other's step 1.* The two
//!    full fences make it so: it is Dekker's argument.
//! 2. *Whoever looked before the change was published is woken.* By 1 the waker sees the flag and
//!    bumps the sequence: the sleeper's `v` is stale, so that its wait returns at once, or it sleeps
//!    already, and is on the kernel's list that the waker's wake takes from.
//! 3. *The flag is cleared only when nobody is left asleep with it.* It is cleared when a wake found
//!    nobody, so the list was empty at that moment. Who sets the flag between that wake
//!    and the clearing has a `v` that the clearing makes stale, or sleeps by then and is woken by
//!    the second wake. Clearing and bumping are one step, so that nobody can sleep on a `v` whose
//!    flag is gone.
//!
//! If a process dies: before its flag is set, nothing happened; with its flag set, the next waker
//! makes a call in vain and clears it. A waker that dies between publishing and step 3, or a sleeper
//! that dies after it was woken in another's place, loses that wake-up: so every sleep ends after
//! [`NAP`] and looks again.

#[cfg(not(loom))]
use super::LONGEST_GAP;
use super::atomic::{Ordering, fence};
use super::spin;
use crate::os::{self, Futex32};
use std::time::Duration;

/// The longest sleep without another look.
const NAP: Duration = Duration::from_millis(100);

/// How long a waiter spins before it sleeps, where more than one CPU is online: what a sleep and a
/// wake-up cost (40 to 55 µs on a virtual machine, measured), so that waiting takes at most about
/// twice what the better choice would have taken. On bare metal a wake-up costs some 5 µs; there it is
/// CPU time that is given for it, not time till the answer.
#[cfg(not(loom))]
const SPIN_FOR: Duration = Duration::from_micros(50);

/// How many pauses (of 10 to 40 ns) go by before the clock is asked, and between two times that it is.
const BOUT: u32 = 256;

const SLEEPERS: u32 = 1;
const SEQUENCE: u32 = 2;

/// A point in time on `CLOCK_MONOTONIC` at which waiting ends, or none.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// Waiting does not end by itself.
    pub const NEVER: Self = Self(None);

    /// `timeout` from now; never, where that is beyond what the clock can count.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self(os::now().checked_add(timeout))
    }

    /// This one, or `time` from now, whichever comes first.
    #[cfg(not(loom))]
    fn or_after(self, time: Duration) -> Self {
        let other = os::now().saturating_add(time);
        Self(Some(self.0.map_or(other, |at| at.min(other))))
    }

    /// Whether waiting does not end by itself.
    #[must_use]
    pub fn is_never(self) -> bool {
        self.0.is_none()
    }

    /// Time that is left: `None` once it has passed, all there is where it never does.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some(at) => at
                .checked_sub(os::now())
                .filter(|left| *left > Duration::ZERO),
        }
    }
}

/// Spins on for as long as it may pay, and not beyond the deadline.
#[cfg(not(loom))]
fn spin_on<R>(deadline: Deadline, gap: u32, look: &mut impl FnMut() -> Option<R>) -> Option<R> {
    if !os::spinning_pays() {
        return None;
    }
    let end = deadline.or_after(SPIN_FOR);
    while end.left().is_some() {
        if let found @ Some(_) = spin(BOUT, gap, &mut *look) {
            return found;
        }
    }
    None
}

/// A word to sleep on until a peer says that something changed. Zeroed memory is a valid one.
///
/// ```text
/// bit 31 … 1   sequence: how many wake-ups were called, modulo 2^31
/// bit 0        somebody sleeps, or is about to
/// ```
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Event(Futex32);

impl Event {
    /// Waits until `look` finds something: spinning first, then sleeping. `None` is a deadline that
    /// passed with nothing found, by a look that was taken after it had passed or just before.
    ///
    /// The first look comes after `gap` pauses: the caller has just looked.
    pub fn wait<R>(
        &self,
        deadline: Deadline,
        gap: u32,
        mut look: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if let found @ Some(_) = spin(BOUT, gap, &mut look) {
            return found;
        }
        #[cfg(not(loom))]
        if let found @ Some(_) = spin_on(deadline, gap.max(LONGEST_GAP), &mut look) {
            return found;
        }
        loop {
            let seen = self.0.fetch_or(SLEEPERS, Ordering::Relaxed) | SLEEPERS;
            // The sleeper's half of invariant 1; pairs with the full fence that `notify` asks for.
            fence(Ordering::SeqCst);
            if let found @ Some(_) = look() {
                return found;
            }
            let left = deadline.left()?;
            self.0.wait(seen, left.min(NAP));
        }
    }

    /// Tells sleepers that there is work for `count` of them. A load, unless somebody sleeps.
    ///
    /// The caller has published its change and then made a full fence: the waker's half of
    /// invariant 1.
    #[inline]
    pub fn notify(&self, count: u32) {
        if self.0.load(Ordering::Relaxed) & SLEEPERS != 0 {
            self.notify_sleepers(count);
        }
    }

    /// Tells all sleepers; otherwise as [`notify`](Self::notify).
    #[inline]
    pub fn notify_all(&self) {
        self.notify(u32::MAX);
    }

    #[cold]
    fn notify_sleepers(&self, count: u32) {
        self.0.fetch_add(SEQUENCE, Ordering::Relaxed);
        // Where some woke, if fewer than were called, the flag may well be set for nobody now. To find
        // out is the next waker's: it may be set again by then, and a batch takes one call.
        if self.0.wake(count) == 0 {
            let mut word = self.0.load(Ordering::Relaxed);
            while let Err(now) = self.0.compare_exchange_weak(
                word,
                (word & !SLEEPERS).wrapping_add(SEQUENCE),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                word = now;
            }
            self.0.wake(u32::MAX);
        }
    }
}
