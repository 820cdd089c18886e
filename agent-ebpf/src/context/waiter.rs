//! Threads that wait in epoll, in processes whose C library user space has probed.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use baton_common::runtime::kind;

use super::{executor, ids, runtime};
use crate::kernel::{Registers, waits_in_epoll};

#[inline(always)]
fn waits() {
    let (tid, tgid) = ids();
    // In Puma it is the reactor that waits so, or what a handler calls (gRPC).
    if runtime::of(tgid) == kind::PUMA && executor::is_open(&executor::get(tid)) {
        return;
    }
    executor::drives_loop(tid);
}

/// `epoll_wait()`, `epoll_pwait()`, `epoll_pwait2()`.
#[uprobe]
pub fn libc_epoll_wait(_ctx: ProbeContext) -> u32 {
    waits();
    0
}

/// `syscall(number, …)`.
#[uprobe]
pub fn libc_syscall(ctx: ProbeContext) -> u32 {
    if waits_in_epoll(Registers::of(&ctx).c_first()) {
        waits();
    }
    0
}
