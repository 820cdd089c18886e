//! The programs that run after a read. User space attaches one kind of them, see `agent/src/datapath/hook.rs`; all of them
//! end in [`has_read`].

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext, ProbeContext, RetProbeContext};
use baton_common::reading::Reading;

use super::read::{UNSEEN, has_read};
use crate::context::turn;
use crate::kernel::{Buffers, Iter, has_storage, has_storage_at, sock_at, sock_of};
use crate::maps::READINGS;

/// Returns from inet_recvmsg(), in the reader's thread: of all sockets but IPv6 ones.
#[fexit(function = "inet_recvmsg")]
pub fn inet_recvmsg(ctx: FExitContext) -> i32 {
    returned(&ctx);
    0
}

/// Returns from inet6_recvmsg(), in the reader's thread.
#[fexit(function = "inet6_recvmsg")]
pub fn inet6_recvmsg(ctx: FExitContext) -> i32 {
    returned(&ctx);
    0
}

/// Does nothing: shows whether the kernel lets programs be attached to the return of functions.
#[fexit]
pub fn fexit_attempt(_ctx: FExitContext) -> i32 {
    0
}

/// `int inet_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)` (net/ipv4/af_inet.c) returns; its
/// result follows the arguments.
#[inline(always)]
fn returned(ctx: &FExitContext) {
    let sk = sock_of(ctx.arg(0));
    if has_storage(sk) {
        has_read(sk, ctx.arg(4), ctx.arg(3), Buffers::of_iter(Iter::of_message(ctx.arg(1))));
    }
}

/// Fires once for each read, in the reader's thread (net/socket.c,
/// `call_trace_sock_recv_length`, since 6.3).
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    if has_storage(sk) {
        has_read(sk, ctx.arg(1), ctx.arg(2), Buffers::OF_SYSCALL);
    }
    0
}

/// inet_recvmsg() or inet6_recvmsg() begins. A kprobe cannot ask for a socket's state: it notes where the thread will read
/// to, and [`tcp_rcv_space_adjust`] does the rest.
#[kprobe]
pub fn recvmsg_begins(ctx: ProbeContext) -> u32 {
    let (Some(socket), Some(message), Some(flags)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<i32>(3)) else {
        return 0;
    };
    let sock = sock_at(socket);
    if !has_storage_at(sock) {
        return 0;
    }
    // As `has_read` does, which does not run where there is nothing to read. (Without balanced attribution there is none.)
    turn::end(current());
    if flags & UNSEEN == 0 {
        let iter = Iter::of_message(message);
        let _ = READINGS.insert(current(), Reading { iter: iter.address(), left: iter.left(), sock }, 0);
    }
    0
}

/// It returns.
#[kretprobe]
pub fn recvmsg_ends(_ctx: RetProbeContext) -> u32 {
    let _ = READINGS.remove(current());
    0
}

/// Fires whenever a thread has copied a part of what it reads, with the socket locked (net/ipv4/tcp_input.c). Each part
/// counts as a read of its own.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    if !has_storage(sk) {
        return 0;
    }
    let Some(reading) = READINGS.get_ptr_mut(current()) else { return 0 };
    // SAFETY: a map value that only this thread uses.
    let reading = unsafe { &mut *reading };
    if reading.sock != sk as u64 {
        return 0;
    }
    let iter = Iter::at(reading.iter);
    let left = iter.left();
    let read = reading.left.wrapping_sub(left) as i32;
    reading.left = left;
    has_read(sk, read, 0, Buffers::of_iter(iter));
    0
}

/// The current thread.
#[inline(always)]
fn current() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}
