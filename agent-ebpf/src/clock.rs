//! Time and identity, without reading the processor's clock: that waits for all
//! memory accesses under way, which costs more than most of a program.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64};

use crate::atomic;
use crate::maps::NEXT_ID;

/// The kernel's coarse clock, in ticks (jiffies).
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}

/// A number that no other context of this node has: a count, and the processor
/// that counted.
#[inline(always)]
pub(crate) fn new_id() -> u64 {
    let Some(next) = NEXT_ID.get_ptr_mut(0) else { return 0 };
    // SAFETY: a word of a map value. Atomic, because a program that preempts
    // this one may count, too; no arguments.
    unsafe { atomic::add(next, 1) << 16 | u64::from(bpf_get_smp_processor_id() & 0xffff) }
}
