//! Connections whose send buffer gets full, see [`upload`].
//!
//! Only `sock_ops` programs may take a socket out of the SOCKHASH while it is in use, and only what happens within a send
//! is early enough: nothing runs between the last send and the read that would sleep badly. So the kernel is told to ask
//! for header options (of which there are none) while a large body is sent. It does that after each wait for room, within
//! the system call that has waited (net/ipv4/tcp.c, `tcp_sendmsg_locked`: `tcp_send_mss`).

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, bpf_sock_ops};
use aya_ebpf::programs::SockOpsContext;
use baton_common::flow::Reason;
use baton_common::scan::phase;
use baton_common::socket::{Socket, role, upload};

use super::verdict;
use crate::kernel::{Tcp, is_owned, is_sending};
use crate::{enrol, leave};

/// Something was acknowledged, which is so before a thread that waits for room goes on: watches what is sent, from here
/// to the connection's end. (The kernel's flag may be somebody else's, too, and is not taken back.)
#[inline(always)]
pub(crate) fn acknowledged(ops: *mut bpf_sock_ops, sk: *mut c_void, socket: &mut Socket) {
    if socket.upload != upload::LARGE {
        return;
    }
    let Some(tcp) = Tcp::new(sk) else { return };
    if tcp.is_nonblocking() || !tcp.is_member() {
        return;
    }
    let context = SockOpsContext::new(ops);
    let _ = context.set_cb_flags((context.cb_flags() | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG) as i32);
    socket.upload |= upload::WATCHED;
}

/// A segment is about to be made. Takes the socket out of the SOCKHASH if its send buffer was full and a thread that
/// sends is all who uses it. (Who reads meanwhile, in another thread, would not see what arrives.)
#[inline(always)]
pub(crate) fn sending(ops: *mut bpf_sock_ops, sk: *mut c_void) {
    let Some(socket) = enrol::state(sk) else { return };
    let is_followed = socket.role == role::CONNECTED && socket.request.phase != phase::LOST;
    if !is_followed || socket.upload & upload::LARGE == 0 {
        return;
    }
    let Some(tcp) = Tcp::new(sk) else { return };
    // The map, and the thread that holds the socket's lock: the current one.
    let is_alone = is_owned(tcp.address()) && tcp.member_users() == 2 && is_sending();
    if !tcp.lacks_space() || tcp.is_nonblocking() || !is_alone || tcp.has_ingress() {
        return;
    }
    leave::now(ops);
    socket.request.phase = phase::LOST;
    verdict::gone(socket, None, Reason::SendBufferFull);
}
