//! Atomic operations that change a value. `core::sync::atomic` has only loads
//! and stores for BPF targets, though BPF has the instructions (since 5.12).

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xsub};

/// Adds `value`; returns what was there.
///
/// Sequentially consistent on purpose: for a relaxed one LLVM 22 emits the
/// instruction without `BPF_FETCH`, which returns nothing.
///
/// # Safety
/// `target` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn add(target: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(target, value) }
}

/// Subtracts `value`.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn subtract(target: *mut u64, value: u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xsub::<u64, u64, { AtomicOrdering::SeqCst }>(target, value) };
}

/// Replaces `old` with `new`; returns whether `old` was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn replace(target: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(target, old, new).1 }
}
