//! Takes sockets out of the SOCKHASH when it is safe: those that do not speak
//! HTTP/1, all of a workload that was switched off, and those that an earlier
//! baton has left and nobody wants any more.
//!
//! Where the pass-through stream verdict is on, received data may wait in the
//! sockmap's own queue, and a socket that is taken out then loses it (measured
//! on 6.18.44). A blocking read that sleeps in a member meanwhile would end with
//! EAGAIN (net/ipv4/tcp_bpf.c, `tcp_bpf_recvmsg_parser`). So a socket leaves
//! only with an empty queue that stays empty, and no blocking reader in it. The
//! queue stays empty while the socket is locked, or while all that arrives is
//! dropped before it gets there.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_map_delete_elem, bpf_map_update_elem, bpf_seq_write,
};
use aya_ebpf::macros::socket_filter;
use aya_ebpf::programs::{SkBuffContext, SockOpsContext};
use baton_common::leave::{Leaver, MARGIN};
use baton_common::scan::phase;
use baton_common::socket::{Socket, role};

use crate::kernel::Tcp;
use crate::maps::{FROZEN, MEMBERS, SETTINGS};
use crate::outbound::upload;
use crate::{enrol, log, policy};

/// States of a connection that was shut down for writing (include/net/tcp_states.h).
const FIN_WAIT1: u32 = 4;
const LAST_ACK: u32 = 9;

/// Whether a member with this state has no reason to be one.
#[inline(always)]
fn is_done(socket: &Socket) -> bool {
    socket.request.phase == phase::LOST || !policy::is_selected(socket)
}

/// Whether `socket` is connected and has no reason to be a member.
#[inline(always)]
fn shall_leave(socket: &Socket) -> bool {
    socket.role == role::CONNECTED && is_done(socket)
}

/// Whether a member has no reason to be one that has no state: an earlier baton
/// has left it. In a selected workload it may yet be adopted.
#[inline(always)]
fn is_forgotten(tcp: Tcp) -> bool {
    enrol::workload_of(tcp).is_none()
}

#[inline(always)]
fn remove(cookie: u64) {
    // SAFETY: the key lives on the stack.
    unsafe { bpf_map_delete_elem(ptr::from_ref(&MEMBERS).cast_mut().cast(), (&raw const cookie).cast()) };
}

/// Takes out a member whose queue is empty and stays so. Returns false if a
/// reader came in meanwhile: it holds on to the socket's old state, and putting
/// the socket back makes it a member as before.
#[inline(always)]
fn take_out(cookie: u64, sk: *mut c_void, tcp: Tcp) -> bool {
    remove(cookie);
    if !tcp.is_member() {
        return true;
    }
    let mut cookie = cookie;
    // SAFETY: the key lives on the stack; `sk` is a socket with a type.
    unsafe { bpf_map_update_elem(ptr::from_ref(&MEMBERS).cast_mut().cast(), (&raw mut cookie).cast(), sk, 0) };
    false
}

/// Bytes of a connected socket have been acknowledged. Runs in tcp_ack(), with
/// the socket locked and before the segment's own data is queued, so that an
/// empty queue stays empty.
pub(crate) fn acknowledged(ops: *mut bpf_sock_ops, sk: *mut c_void) {
    let mut state = enrol::state(sk);
    if let Some(socket) = state.as_mut().filter(|socket| !shall_leave(socket)) {
        upload::acknowledged(ops, sk, socket);
        return;
    }
    let Some(tcp) = Tcp::new(sk) else { return };
    // One that has left is acknowledged as often as before.
    if !tcp.is_member() || state.is_none() && !is_forgotten(tcp) {
        return;
    }
    let cure = SETTINGS.get(0).is_none_or(|settings| settings.cure != 0);
    // A thread may enter a blocking read while this runs, which could not be
    // made good here.
    if !cure || tcp.is_nonblocking() && !tcp.has_ingress() {
        now(ops);
    }
}

/// A connected socket changes its state. Once it has been shut down for writing, no request follows, and the
/// acknowledgement of that would interrupt a blocking read of a member, see [`upload`](baton_common::socket::upload).
/// Runs in the thread that shuts it down, with the socket locked.
pub(crate) fn closing(ops: *mut bpf_sock_ops, sk: *mut c_void) {
    let state = SockOpsContext::new(ops).arg(1);
    if state != FIN_WAIT1 && state != LAST_ACK {
        return;
    }
    let Some(tcp) = Tcp::new(sk) else { return };
    if enrol::state(sk).is_some() && tcp.member_users() == 1 && !tcp.has_ingress() {
        now(ops);
    }
}

/// Takes out the socket of a `sock_ops` program, which has seen that this is safe.
#[inline(always)]
pub(crate) fn now(ops: *mut bpf_sock_ops) {
    // SAFETY: the context is valid.
    let cookie = unsafe { bpf_get_socket_cookie(ops.cast()) };
    remove(cookie);
    if log::is_on() {
        log::left(cookie);
    }
}

/// What an `iter/tcp` program gets (net/ipv4/tcp_ipv4.c, `struct bpf_iter__tcp`).
#[repr(C)]
pub struct IterTcp {
    meta: *mut IterMeta,
    sk: *mut c_void,
}

/// What an `iter/sockmap` program gets (net/core/sock_map.c, `struct bpf_iter__sockmap`).
#[repr(C)]
pub struct IterSockmap {
    meta: *mut IterMeta,
    map: *mut c_void,
    key: *mut u64,
    sk: *mut c_void,
}

/// include/linux/bpf.h, `struct bpf_iter_meta`.
#[repr(C)]
struct IterMeta {
    seq: *mut c_void,
}

/// User space walks the TCP sockets of its network namespace. Runs with the
/// socket locked. Writes one byte for each socket that has to wait.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn iter_tcp_leave(ctx: *mut IterTcp) -> i32 {
    // SAFETY: the context is valid; both members are pointers to it with types.
    let (meta, sk) = unsafe { ((*ctx).meta, (*ctx).sk) };
    if sk.is_null() {
        return 0;
    }
    let Some(socket) = enrol::state(sk) else { return 0 };
    let Some(tcp) = Tcp::new(sk) else { return 0 };
    if !shall_leave(socket) || !tcp.is_member() {
        return 0;
    }
    let waits = tcp.member_users() != 1 || tcp.has_ingress() || !take_out(socket.cookie, sk, tcp);
    if waits {
        let mark = 1u8;
        // SAFETY: `meta` is valid; the byte lives on the stack.
        unsafe { bpf_seq_write((*meta).seq.cast(), (&raw const mark).cast(), 1) };
    }
    0
}

/// User space walks the members of all network namespaces. Runs without a lock:
/// a socket leaves if it stands still, see [`socket_filter_freeze`]. Writes a
/// [`Leaver`] for each one that shall leave and does not.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/sockmap")]
pub extern "C" fn iter_sockmap_leave(ctx: *mut IterSockmap) -> i32 {
    // SAFETY: the context is valid; its members are pointers with types.
    let (meta, key, sk) = unsafe { ((*ctx).meta, (*ctx).key, (*ctx).sk) };
    if key.is_null() || sk.is_null() {
        return 0;
    }
    // SAFETY: a key of the map.
    let cookie = unsafe { ptr::read_volatile(key) };
    let Some(tcp) = Tcp::new(sk) else { return 0 };
    let shall_leave = match enrol::state(sk) {
        Some(socket) => is_done(socket),
        None => is_forgotten(tcp),
    };
    if !shall_leave {
        return 0;
    }
    let mut leaver = Leaver { cookie: 0, cgroup: tcp.cgroup().id() };
    if tcp.member_users() == 1 && !tcp.has_ingress() {
        if is_frozen(cookie, MARGIN) && take_out(cookie, sk, tcp) {
            return 0;
        }
        leaver.cookie = cookie;
    }
    // SAFETY: `meta` is valid; what is written lives on the stack.
    unsafe { bpf_seq_write((*meta).seq.cast(), (&raw const leaver).cast(), size_of::<Leaver>() as u32) };
    0
}

/// Whether the socket stands still for so many nanoseconds yet.
#[inline(always)]
fn is_frozen(cookie: u64, margin: u64) -> bool {
    // SAFETY: the value is read at once; `bpf_ktime_get_ns` takes no arguments.
    unsafe { FROZEN.get(&cookie).is_some_and(|frozen| frozen.until > bpf_ktime_get_ns().wrapping_add(margin)) }
}

/// Filter of a socket whose receive side shall stand still: what arrives is
/// dropped before the socket is locked (net/ipv4/tcp_ipv4.c, `tcp_v4_rcv`), and
/// the peer sends it again. Passes everything once its time is over: a baton
/// that is killed in between leaves nothing behind that hurts.
#[socket_filter]
pub fn socket_filter_freeze(ctx: SkBuffContext) -> i64 {
    // SAFETY: the context is valid.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    if is_frozen(cookie, 0) { 0 } else { i64::from(u32::MAX) }
}
