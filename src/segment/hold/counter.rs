//! The counter of holder numbers, in the segment's header.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bits of the counter hold the next number; the 16 bits above are a check of them.
const NUMBER_BITS: u32 = 48;
const NUMBER_MASK: u64 = NUMBERS - 1;

/// Every number is below this one.
pub(super) const NUMBERS: u64 = 1 << NUMBER_BITS;

/// Returns the counter's word for the next number `next`.
///
/// ```text
/// bit 63 … 48   check: the number's three 16-bit parts and a constant, XORed, so that one flipped byte
///               is found, and zeroed memory is no counter
/// bit 47 … 0    the next number to be drawn, from 1 on
/// ```
const fn counter_word(next: u64) -> u64 {
    let check = next ^ next >> 16 ^ next >> 32 ^ 0x5a5a;
    next & NUMBER_MASK | (check & 0xffff) << NUMBER_BITS
}

/// The counter of a new segment.
pub(crate) const FIRST_COUNTER: u64 = counter_word(1);

/// Returns the next number that a counter's word names; `None` if the word is damaged.
pub(crate) fn next_number(word: u64) -> Option<u64> {
    let next = word & NUMBER_MASK;
    (next != 0 && word == counter_word(next)).then_some(next)
}

/// Draws a number. An error of the kind `InvalidData` says that the counter is damaged.
pub(super) fn draw(counter: &AtomicU64) -> io::Result<u64> {
    let mut word = counter.load(Ordering::Relaxed);
    loop {
        let next = next_number(word).filter(|next| *next < NUMBER_MASK);
        let next = next.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        match counter.compare_exchange_weak(
            word,
            counter_word(next + 1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => return Ok(next),
            Err(now) => word = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_of_the_counter_is_found() {
        for next in [1, 2, 0xffff, 0x1_0000, 0x1234_5678_9abc] {
            let word = counter_word(next);
            assert_eq!(next_number(word), Some(next));
            for byte in 0..8 {
                for mask in 1..=255u64 {
                    assert_eq!(next_number(word ^ mask << (8 * byte)), None);
                }
            }
        }
        assert_eq!(next_number(0), None);
    }

    #[test]
    fn numbers_are_drawn_once() {
        let counter = AtomicU64::new(FIRST_COUNTER);
        let drawn: Vec<_> = (0..70_000).map(|_| draw(&counter).unwrap()).collect();
        assert!(drawn.iter().copied().eq(1..=70_000));
    }
}
