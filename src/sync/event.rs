//! [`Event`]: sleeping until a peer has changed something, and waking.
//!
//! An event is one futex word. As long as nobody sleeps, it costs a waker one load.
//!
//! | step | sleeper | waker |
//! |---|---|---|
//! | 1 | sets the flag: `v = fetch_or(1) \| 1`, full fence | publishes its change, full fence |
//! | 2 | looks at the shared state again | loads the word; if the flag is clear: done |
//! | 3 | `futex_wait(v)` | sequence + 1, flag kept; wakes as many as there is work for |
//! | 4 | starts over | if nobody woke: sequence + 1 and flag cleared in one step; wakes all |
//!
//! Invariants:
//! 1. *The sleeper's step 2 sees the waker's step 1, or the waker's step 2 sees the sleeper's step 1.*
//!    The two full fences make it so: this is Dekker's argument.
//! 2. *Of the sleepers that looked before the change was published, as many are woken as the change has
//!    work for.* By 1 the waker sees the flag, unless another waker has cleared it (see 3), and bumps the
//!    sequence. A sleeper that does not sleep yet has a stale `v`, so that its wait returns at once. A
//!    sleeper that sleeps already is on the kernel's list, from which the waker's wake takes.
//! 3. *A waker that clears the flag wakes everybody who set it.* If a wake finds nobody, the waker clears
//!    the flag and bumps the sequence in one step. Somebody may have set the flag and fallen asleep since
//!    that wake, so the waker then wakes all. A sleeper that does not sleep yet has a stale `v`. So only a
//!    waker that is stopped or dies between these steps leaves somebody asleep whose flag is gone.
//!
//! If a process dies before it has set the flag, nothing has happened. If it dies with its flag set and
//! nobody sleeps, the next waker's wakes find nobody, and the waker clears the flag.
//!
//! A wake-up is lost if a waker dies after publishing and before it wakes. If a waker dies in step 4,
//! between the clearing and the wake, a sleeper without a flag misses later wakers too. A sleeper that dies
//! after it was woken passes no wake-up on: others sleep beside the work. So every sleep ends after [`NAP`],
//! and the sleeper looks again. (A sleeper that lives and leaves the work to others wakes one of them.)

use super::atomic::{Ordering, fence};
#[cfg(not(loom))]
use super::spin::LONGEST_LOOK_GAP;
use super::spin::spin;
use super::wait::Deadline;
use crate::os::Futex32;
use std::time::Duration;

/// The longest sleep without another look.
const NAP: Duration = Duration::from_millis(100);

/// How long a waiter spins before it sleeps, if it may run on more than one CPU. This is the cost of a sleep
/// and a wake-up (40 to 55 µs on a virtual machine, measured), so that waiting takes at most about twice
/// as long as the better choice would have taken. On bare metal a wake-up costs some 5 µs; there the
/// waiter spends CPU time, but the answer comes no later.
#[cfg(not(loom))]
const SPIN_FOR: Duration = Duration::from_micros(50);

/// How many pauses (of 10 to 40 ns) lie between two looks at the clock, and before the first.
const BOUT: u32 = 256;

const SLEEPERS: u32 = 1;
const SEQUENCE: u32 = 2;

/// Spins on for as long as spinning may pay, but not beyond the deadline.
#[cfg(not(loom))]
fn spin_on<R>(deadline: Deadline, gap: u32, look: &mut impl FnMut() -> Option<R>) -> Option<R> {
    if !crate::os::spinning_pays() {
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

/// A word to sleep on until a peer has changed something. Zeroed memory is a valid event.
///
/// ```text
/// bit 31 … 1   sequence: how many times wakers bumped it, modulo 2^31
/// bit 0        somebody sleeps, or is about to
/// ```
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Event(Futex32);

impl Event {
    /// Waits until `look` finds something: spins first, then sleeps. Returns `None` if the deadline passed
    /// and a last look, taken after the deadline, found nothing.
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
        if let found @ Some(_) = spin_on(deadline, gap.max(LONGEST_LOOK_GAP), &mut look) {
            return found;
        }
        loop {
            // Without time to sleep, no flag: a flag would cost the next waker two system calls.
            let Some(left) = deadline.left() else {
                return look();
            };
            let seen = self.0.fetch_or(SLEEPERS, Ordering::Relaxed) | SLEEPERS;
            // The sleeper's half of invariant 1. Pairs with the full fence that `notify` asks for.
            fence(Ordering::SeqCst);
            if let found @ Some(_) = look() {
                return found;
            }
            self.0.wait(seen, left.min(NAP));
        }
    }

    /// Tells sleepers that there is work for `count` of them. This is one load, unless somebody sleeps.
    ///
    /// The caller has published its change and then made a full fence, as the waker's half of
    /// invariant 1 requires.
    #[inline]
    pub fn notify(&self, count: u32) {
        if self.0.load(Ordering::Relaxed) & SLEEPERS != 0 {
            self.notify_sleepers(count);
        }
    }

    /// Tells all sleepers that something changed; the caller has made a full fence, as for
    /// [`notify`](Self::notify).
    #[inline]
    pub fn notify_all(&self) {
        self.notify(u32::MAX);
    }

    #[cold]
    fn notify_sleepers(&self, count: u32) {
        self.0.fetch_add(SEQUENCE, Ordering::Relaxed);
        // A wake that found somebody keeps the flag, although nobody may be asleep any more. The next
        // waker finds out. Sleepers may have set the flag again by then, so that a batch takes one call.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_sleep_sets_no_flag() {
        let event = Event::default();
        let mut looks = 0;
        let found = event.wait(Deadline::after(Duration::ZERO), 1, || {
            looks += 1;
            None::<()>
        });
        assert_eq!((found, event.0.load(Ordering::Relaxed)), (None, 0));
        assert!(looks > 0);

        let soon = Deadline::after(Duration::from_millis(1));
        assert_eq!(event.wait(soon, 1, || None::<()>), None);
        assert_eq!(event.0.load(Ordering::Relaxed), SLEEPERS);
    }

    #[test]
    fn what_comes_until_the_deadline_is_found() {
        let deadline = Deadline::after(Duration::from_millis(1));
        let late = || deadline.left().is_none().then_some(());
        assert_eq!(Event::default().wait(deadline, 1, late), Some(()));
    }
}
