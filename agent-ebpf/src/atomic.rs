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

/// Keeps loads before it before loads after it, and stores before it before
/// stores after it, as other processors see them.
///
/// x86-64 never changes those orders; only the compiler must not.
#[inline(always)]
#[cfg(bpf_target_arch = "x86_64")]
pub(crate) fn order() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// As on x86-64. An atomic operation that returns a value is a full barrier
/// (Documentation/bpf/standardization/instruction-set.rst; arch/arm64/net/bpf_jit_comp.c
/// emits LDADDAL, or a loop that ends with DMB ISH).
#[inline(always)]
#[cfg(bpf_target_arch = "aarch64")]
pub(crate) fn order() {
    let mut word = 0u64;
    // SAFETY: adds zero to a word on the stack. Assembly, because LLVM may drop
    // an operation on memory that nobody else sees.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
            value = inout(reg) 0u64 => _,
            word = in(reg) &raw mut word,
        );
    }
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
