//! What an event loop does in one go after it has read a request, for workloads
//! with balanced attribution: likely that request's, not certainly.

use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::ProbeContext;
use baton_common::attribution::Claim;
use baton_common::flow::Reason;

use super::ids;

/// The request that each thread's loop has read last, until its next event.
#[map]
static TURNS: HashMap<u32, Claim> = HashMap::with_max_entries(16_384, 1);

/// The loop on thread `tid` has read for `claim`.
#[inline(always)]
pub(crate) fn begin(tid: u32, claim: &Claim) {
    let _ = TURNS.insert(tid, claim, 0);
}

/// The loop on thread `tid` goes on to something else.
#[inline(always)]
pub(crate) fn end(tid: u32) {
    let _ = TURNS.remove(tid);
}

/// What the loop on thread `tid` does now.
#[inline(always)]
pub(crate) fn claim(tid: u32) -> Claim {
    // SAFETY: copied at once.
    unsafe { TURNS.get(tid) }.copied().unwrap_or(Claim::none(Reason::NoContext))
}

/// `epoll_wait()`, `epoll_pwait()`, `epoll_pwait2()`.
#[uprobe]
pub fn libc_loop_waits(_ctx: ProbeContext) -> u32 {
    end(ids().0);
    0
}
