//! Words in shared memory that threads of any process can sleep on.
//!
//! A futex wait compares the word and goes to sleep in one step under the kernel's bucket lock, and a wake
//! takes the same lock. So if a waker changes the word first, either the comparison sees the change, or the
//! waker finds the sleeper on the list. Neither call here is ever `FUTEX_PRIVATE`.
//!
//! Under Miri a wait yields instead: Miri would take the kernel's look at half of a 64-bit word for a race.
//!
//! Under `cfg(loom)` the words are loom's, and a mutex and a condition variable model the kernel's bucket.
//! They never time out, so that a lost wake-up is a deadlock, which loom reports.

#[cfg(loom)]
pub(crate) use model::{Futex32, Futex64};
#[cfg(not(loom))]
pub(crate) use real::{Futex32, Futex64};

#[cfg(not(loom))]
mod real {
    use crate::os::process::end_if_orphaned;
    use std::ops::Deref;
    use std::sync::atomic::{AtomicU32, AtomicU64};
    use std::time::Duration;

    /// Sleeps while the 32-bit word at `word` is `expected`, for at most `limit`. A wake, a signal, or no
    /// reason at all may end the sleep early: the caller looks again in any case. A daemon that slept for the
    /// whole time ends here if its parent has ended.
    fn wait(word: *const u32, expected: u32, limit: Duration) {
        if cfg!(miri) {
            std::thread::yield_now();
            return;
        }
        let limit = libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // SAFETY: FUTEX_WAIT reads the word, which both callers below derive from a live reference,
        // and the timespec, which is alive. A relative time-out counts on CLOCK_MONOTONIC.
        let slept = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word,
                libc::FUTEX_WAIT,
                expected,
                &raw const limit,
            )
        };
        if slept == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT) {
            end_if_orphaned();
        }
    }

    /// Wakes at most `most` sleepers, and returns how many.
    fn wake(word: *const u32, most: u32) -> u32 {
        if cfg!(miri) {
            return 0;
        }
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        // SAFETY: FUTEX_WAKE uses the address only as a key; the callers' borrow keeps the word alive.
        let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, most) };
        u32::try_from(woken).unwrap_or(0)
    }

    /// A 32-bit word to sleep on. Zeroed memory is valid.
    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub(crate) struct Futex32(AtomicU32);

    impl Futex32 {
        /// Sleeps while the word is `expected`, for at most `limit`; may return without a reason.
        pub(crate) fn wait(&self, expected: u32, limit: Duration) {
            wait(self.0.as_ptr(), expected, limit);
        }

        /// Wakes at most `most` sleepers, and returns how many.
        pub(crate) fn wake(&self, most: u32) -> u32 {
            wake(self.0.as_ptr(), most)
        }
    }

    impl Deref for Futex32 {
        type Target = AtomicU32;
        fn deref(&self) -> &AtomicU32 {
            &self.0
        }
    }

    /// A 64-bit word to sleep on. Zeroed memory is valid.
    ///
    /// The kernel compares only the low half, which comes first in memory on the little-endian machines
    /// that this crate supports. A sleeper would sleep through a change of the high half alone, until the
    /// time-out.
    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub(crate) struct Futex64(AtomicU64);

    impl Futex64 {
        /// Sleeps while the word's low half is that of `expected`, for at most `limit`.
        #[allow(clippy::cast_possible_truncation)] // the low half is what the kernel compares
        pub(crate) fn wait(&self, expected: u64, limit: Duration) {
            wait(self.0.as_ptr().cast(), expected as u32, limit);
        }

        /// Wakes at most `most` sleepers, and returns how many.
        pub(crate) fn wake(&self, most: u32) -> u32 {
            wake(self.0.as_ptr().cast(), most)
        }
    }

    impl Deref for Futex64 {
        type Target = AtomicU64;
        fn deref(&self) -> &AtomicU64 {
            &self.0
        }
    }
}

#[cfg(loom)]
mod model {
    use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::ops::Deref;
    use std::time::Duration;

    /// The kernel's bucket: the tickets of those who sleep.
    #[derive(Debug)]
    struct Bucket {
        tickets: Mutex<Tickets>,
        turn: Condvar,
    }

    #[derive(Debug)]
    struct Tickets {
        asleep: Vec<usize>,
        next: usize,
    }

    impl Bucket {
        fn new() -> Self {
            Self {
                tickets: Mutex::new(Tickets {
                    asleep: Vec::new(),
                    next: 0,
                }),
                turn: Condvar::new(),
            }
        }

        fn wait(&self, unchanged: impl FnOnce() -> bool) {
            let mut tickets = self.tickets.lock().unwrap();
            if !unchanged() {
                return;
            }
            let mine = tickets.next;
            tickets.next += 1;
            tickets.asleep.push(mine);
            while tickets.asleep.contains(&mine) {
                tickets = self.turn.wait(tickets).unwrap();
            }
        }

        fn wake(&self, most: u32) -> u32 {
            let mut tickets = self.tickets.lock().unwrap();
            let count = tickets.asleep.len().min(most as usize);
            tickets.asleep.drain(..count);
            self.turn.notify_all();
            count as u32
        }
    }

    macro_rules! futex {
        ($name:ident, $atomic:ident, $word:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name($atomic, Bucket);

            impl Default for $name {
                fn default() -> Self {
                    Self($atomic::new(0), Bucket::new())
                }
            }

            impl $name {
                pub(crate) fn wait(&self, expected: $word, _limit: Duration) {
                    self.1.wait(|| self.0.load(Ordering::Relaxed) == expected);
                }

                pub(crate) fn wake(&self, most: u32) -> u32 {
                    self.1.wake(most)
                }
            }

            impl Deref for $name {
                type Target = $atomic;
                fn deref(&self) -> &$atomic {
                    &self.0
                }
            }
        };
    }

    futex!(Futex32, AtomicU32, u32);
    futex!(Futex64, AtomicU64, u64);
}
