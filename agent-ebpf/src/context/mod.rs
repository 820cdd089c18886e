//! Contexts, and which executor runs for which.

pub(crate) mod connection;
pub(crate) mod executor;
pub(crate) mod goroutine;
mod lifecycle;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod runtime;
pub(crate) mod slot;
mod task;
pub(crate) mod turn;
mod uvloop;
mod waiter;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;

/// Thread id and process id of the current thread.
#[inline(always)]
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: no arguments.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    (ids as u32, (ids >> 32) as u32)
}
