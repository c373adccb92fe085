//! [`spin`]: waiting without sleeping.

/// The longest time between two looks of a spinning waiter, in pauses. Every look takes the cache line
/// away from the side that is at work.
#[cfg(not(loom))]
pub(super) const LONGEST_LOOK_GAP: u32 = 64;

/// Waits for `look` without sleeping, in the hope that another CPU is at work for the caller. The caller
/// has just looked.
///
/// The first look comes after `gap` pauses. Each further look comes after a quarter of the pauses so far,
/// but after at least `gap` and at most [`LONGEST_LOOK_GAP`] of them, until about `pauses` pauses have gone
/// by. So a change is noticed late by at most a quarter of the time that it took, or by `gap` pauses.
#[inline]
pub(super) fn spin<R>(pauses: u32, gap: u32, mut look: impl FnMut() -> Option<R>) -> Option<R> {
    #[cfg(loom)]
    {
        let _ = (pauses, gap);
        look()
    }
    #[cfg(not(loom))]
    {
        if !crate::os::spinning_pays() {
            return None;
        }
        let (mut gone, mut next) = (0, gap);
        while gone < pauses {
            for _ in 0..next {
                std::hint::spin_loop();
            }
            if let found @ Some(_) = look() {
                return found;
            }
            gone += next;
            next = (gone / 4).clamp(gap.max(1), LONGEST_LOOK_GAP.max(gap));
        }
        None
    }
}
