//! Takes sockets out of the SOCKHASH when it is safe: those that do not speak
//! HTTP/1, and all of a workload that was switched off.
//!
//! Where the pass-through stream verdict is on, received data may wait in the
//! sockmap's own queue, and a socket that is taken out then loses it (measured
//! on 6.18.44). A blocking read that sleeps in a member meanwhile would end with
//! EAGAIN (net/ipv4/tcp_bpf.c, `tcp_bpf_recvmsg_parser`). So a socket leaves
//! only with its lock held, an empty queue, and no blocking reader in it.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_map_delete_elem, bpf_map_update_elem, bpf_seq_write};
use baton_common::scan::phase;
use baton_common::socket::{Socket, role};

use crate::kernel::Tcp;
use crate::maps::{MEMBERS, SETTINGS};
use crate::{enrol, policy};

/// Whether `socket` has no reason to be a member.
#[inline(always)]
fn shall_leave(socket: &Socket) -> bool {
    socket.role == role::CONNECTED && (socket.request.phase == phase::LOST || !policy::is_selected(socket))
}

#[inline(always)]
fn remove(socket: &Socket) {
    let cookie = socket.cookie;
    // SAFETY: the key lives on the stack.
    unsafe { bpf_map_delete_elem(ptr::from_ref(&MEMBERS).cast_mut().cast(), (&raw const cookie).cast()) };
}

/// Bytes of a connected socket have been acknowledged. Runs in tcp_ack(), with
/// the socket locked and before the segment's own data is queued, so that an
/// empty queue stays empty.
pub(crate) fn acknowledged(sk: *mut c_void) {
    let Some(socket) = enrol::state(sk) else { return };
    if !shall_leave(socket) {
        return;
    }
    let Some(tcp) = Tcp::new(sk) else { return };
    let cure = SETTINGS.get(0).is_none_or(|settings| settings.cure != 0);
    // A thread may enter a blocking read while this runs, which could not be
    // made good here.
    if !cure || tcp.is_nonblocking() && !tcp.has_ingress() {
        remove(socket);
    }
}

/// What an `iter/tcp` program gets (net/ipv4/tcp_ipv4.c, `struct bpf_iter__tcp`).
#[repr(C)]
pub struct IterTcp {
    meta: *mut IterMeta,
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
    let mut waits = tcp.member_users() != 1 || tcp.has_ingress();
    if !waits {
        remove(socket);
        // A reader that came in between holds on to the socket's old state:
        // putting the socket back makes it a member as before.
        if tcp.is_member() {
            let mut cookie = socket.cookie;
            // SAFETY: the key lives on the stack; `sk` is a socket with a type.
            unsafe { bpf_map_update_elem(ptr::from_ref(&MEMBERS).cast_mut().cast(), (&raw mut cookie).cast(), sk, 0) };
            waits = true;
        }
    }
    if waits {
        let mark = 1u8;
        // SAFETY: `meta` is valid; the byte lives on the stack.
        unsafe { bpf_seq_write((*meta).seq.cast(), (&raw const mark).cast(), 1) };
    }
    0
}
