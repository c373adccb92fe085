//! Instructions for which the standard library has no portable name: prefetches, the exchange of two words
//! at once, and a fence that costs nothing after a locked instruction.

#[cfg(loom)]
use super::atomic::{Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::Ordering;
#[cfg(not(any(loom, all(target_arch = "x86_64", not(miri)))))]
use std::sync::atomic::fence;

/// A full fence whose caller has just done an atomic read-modify-write.
///
/// On x86-64 every such instruction is locked, and therefore a full fence of the hardware already. So only
/// the compiler has to be held back. Elsewhere, and in the models, this is a real fence. (The Linux
/// kernel calls the same thing `smp_mb__after_atomic`.)
#[inline]
pub(crate) fn full_fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    fence(Ordering::SeqCst);
}

/// Compares the two words at `pair` with `from`, and stores `to` if both are equal, in one instruction.
/// Returns `false` if a word differs, or if the machine has no such instruction; nothing is stored then.
///
/// Locked instructions of different sizes exclude each other, because each locks the whole cache line.
/// (The Linux kernel's slab allocator relies on the same.)
///
/// # Safety
/// `pair` points to two live atomic words of 8 bytes, aligned to 16 bytes.
#[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
#[inline]
pub(super) unsafe fn compare_exchange_pair<T>(
    pair: *const T,
    from: [u64; 2],
    to: [u64; 2],
) -> bool {
    // The standard library keeps the answer: this is a load and a test.
    if !std::arch::is_x86_feature_detected!("cmpxchg16b") {
        return false;
    }
    let answer: u64;
    // SAFETY: the CPU has the instruction, and the pair is live, aligned and made of atomic words by the
    // contract. The compiler keeps rbx for itself, so the code puts rbx back. The answer goes to a
    // register that is named, because the compiler might choose a part of rbx for it.
    unsafe {
        std::arch::asm!(
            "xchg {low}, rbx",
            "lock cmpxchg16b [rdi]",
            "sete al",
            "mov rbx, {low}",
            low = inout(reg) to[0] => _,
            in("rdi") pair,
            inout("rax") from[0] => answer,
            inout("rdx") from[1] => _,
            in("rcx") to[1],
            options(nostack),
        );
    }
    answer & 0xff != 0
}

/// Returns `false`, because there is no such instruction.
///
/// # Safety
/// The caller has no duty; the signature is that of the function for x86-64.
#[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
#[inline]
pub(super) unsafe fn compare_exchange_pair<T>(_: *const T, _: [u64; 2], _: [u64; 2]) -> bool {
    false
}

/// Asks the CPU to fetch a cache line that will be written. This is a hint.
#[cfg(not(loom))]
#[inline]
pub(crate) fn prefetch_write(line: *const i8) {
    // The intrinsic would fetch for reading on a baseline CPU, and the CPU would then have to ask for
    // the line twice.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch faults at no address, and a CPU without the instruction does nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = line;
}

/// Asks the CPU to fetch a cache line that will be read. This is a hint.
#[cfg(not(loom))]
#[inline]
pub(crate) fn prefetch_read(line: *const i8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = line;
}
