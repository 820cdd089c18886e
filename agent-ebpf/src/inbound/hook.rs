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
use crate::twins::four_times;

// Returns from inet_recvmsg(), in the reader's thread: of all sockets but IPv6 ones.
four_times! {
    fexit on "inet_recvmsg" (FExitContext) calls returned:
    inet_recvmsg inet_recvmsg_2 inet_recvmsg_3 inet_recvmsg_4
}

// Returns from inet6_recvmsg(), in the reader's thread.
four_times! {
    fexit on "inet6_recvmsg" (FExitContext) calls returned:
    inet6_recvmsg inet6_recvmsg_2 inet6_recvmsg_3 inet6_recvmsg_4
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

// Fires once for each read, in the reader's thread (net/socket.c,
// `call_trace_sock_recv_length`, since 6.3).
four_times! {
    btf_tracepoint on "sock_recv_length" (BtfTracePointContext) calls received:
    sock_recv_length sock_recv_length_2 sock_recv_length_3 sock_recv_length_4
}

#[inline(always)]
fn received(ctx: &BtfTracePointContext) {
    let sk: *mut c_void = ctx.arg(0);
    if has_storage(sk) {
        has_read(sk, ctx.arg(1), ctx.arg(2), Buffers::OF_SYSCALL);
    }
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

// Fires whenever a thread has copied a part of what it reads, with the socket locked (net/ipv4/tcp_input.c). Each part
// counts as a read of its own.
four_times! {
    btf_tracepoint on "tcp_rcv_space_adjust" (BtfTracePointContext) calls copied:
    tcp_rcv_space_adjust tcp_rcv_space_adjust_2 tcp_rcv_space_adjust_3 tcp_rcv_space_adjust_4
}

#[inline(always)]
fn copied(ctx: &BtfTracePointContext) {
    let sk: *mut c_void = ctx.arg(0);
    if !has_storage(sk) {
        return;
    }
    let Some(reading) = READINGS.get_ptr_mut(current()) else { return };
    // SAFETY: a map value that only this thread uses.
    let reading = unsafe { &mut *reading };
    if reading.sock != sk as u64 {
        return;
    }
    let iter = Iter::at(reading.iter);
    let left = iter.left();
    let read = reading.left.wrapping_sub(left) as i32;
    reading.left = left;
    // What a twin has seen is none any more.
    if read != 0 {
        has_read(sk, read, 0, Buffers::of_iter(iter));
    }
}

/// The current thread.
#[inline(always)]
fn current() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}
