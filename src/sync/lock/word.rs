//! [`LockWord`], and the values that the word of a lock takes.

use crate::os::Futex64;
#[cfg(not(loom))]
use crate::os::now;
use std::time::Duration;

/// The longest sleep before a waiter asks again whether the owner is alive; and the longest time for which
/// a reservation keeps others away.
pub(super) const NAP: Duration = Duration::from_millis(20);

/// A lock's word in shared memory. Zeroed memory is a valid, free lock.
///
/// ```text
/// held, or free                                reserved
/// bit 63 … 2   the owner's holder number;      bit 63       1
///              0: free                         bit 62 … 34  0
/// bit 1        a sleeper has waited too long   bit 33 … 2   the time, in ms modulo 2^32
///                                              bit 1        0
/// bit 0        somebody may sleep              bit 0        somebody may sleep
/// ```
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct LockWord(pub(super) Futex64);

#[cfg(all(test, not(loom)))]
impl LockWord {
    pub(in crate::sync) fn raw(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(in crate::sync) fn set_raw(&self, word: u64) {
        self.0.store(word, std::sync::atomic::Ordering::Relaxed);
    }
}

pub(super) const SLEEPERS: u64 = 1;
pub(super) const STARVING: u64 = 2;
const RESERVED: u64 = 1 << 63;
const NUMBER: u32 = 2;

/// The word of a lock that holder `number` holds, without the two bits. Numbers are below 2^49.
#[inline]
pub(super) fn held_by(number: u64) -> u64 {
    number << NUMBER
}

/// The number of the holder that has the lock; 0 if none has.
#[inline]
pub(super) fn owner_of(word: u64) -> u64 {
    if is_reserved(word) { 0 } else { word >> NUMBER }
}

/// The word of a lock that is reserved from now on.
pub(super) fn reserved() -> u64 {
    RESERVED | u64::from(clock()) << NUMBER
}

pub(super) fn is_reserved(word: u64) -> bool {
    word & !(u64::from(u32::MAX) << NUMBER | SLEEPERS) == RESERVED
}

/// Returns whether a waiter may take a lock with this word; `slept` says whether the waiter has slept for it.
pub(super) fn is_free_for(word: u64, slept: bool) -> bool {
    word == 0 || is_reserved(word) && (slept || is_over(word))
}

/// Returns whether a reservation is older than [`NAP`]. One from the future is too: it was made in another
/// time namespace, or is damage.
#[allow(clippy::cast_possible_truncation)] // the time is stored modulo 2^32
fn is_over(word: u64) -> bool {
    let age = clock().wrapping_sub((word >> NUMBER) as u32);
    u128::from(age) >= NAP.as_millis() && cfg!(not(loom)) // a model has no clock
}

#[cfg(not(loom))]
#[allow(clippy::cast_possible_truncation)] // modulo 2^32
fn clock() -> u32 {
    now().as_millis() as u32
}

#[cfg(loom)]
fn clock() -> u32 {
    0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_for_sleepers_and_ends_after_a_nap() {
        let nap = u32::try_from(NAP.as_millis()).unwrap();
        let made = |age: u32| RESERVED | u64::from(clock().wrapping_sub(age)) << NUMBER;
        for (word, stranger) in [
            (0, true),
            (reserved(), false),
            (reserved() | SLEEPERS, false),
            (made(nap), true),
            (made(nap) | SLEEPERS, true),
            (made(1 << 31), true),
            (made(u32::MAX - 5000), true), // 5 seconds from now
        ] {
            assert_eq!(is_free_for(word, false), stranger, "{word:x}");
            assert!(is_free_for(word, true), "{word:x}");
            assert_eq!(owner_of(word), 0, "{word:x}");
        }
    }

    #[test]
    fn no_other_word_is_a_reservation() {
        for word in [
            held_by(1),
            held_by(1 << 49) | SLEEPERS | STARVING,
            SLEEPERS,
            STARVING,
            reserved() | STARVING,
            reserved() | 1 << 34,
            reserved() ^ RESERVED,
            u64::MAX,
        ] {
            assert!(!is_free_for(word, true), "{word:x}");
            assert_eq!(owner_of(word), word >> NUMBER, "{word:x}");
        }
    }
}
