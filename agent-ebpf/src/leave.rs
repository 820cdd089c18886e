//! Takes sockets out of the SOCKHASH when it is safe.
//!
//! On kernels where the pass-through stream verdict is on, received data may
//! wait in the sockmap's own queue, and a socket that is taken out then loses
//! it (measured on 6.18.44). This runs in tcp_ack() with the socket locked and
//! before the segment's own data is queued, so that an empty queue stays empty.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::bpf_map_delete_elem;
use baton_common::scan::phase;
use baton_common::socket::role;

use crate::kernel::Tcp;
use crate::maps::MEMBERS;
use crate::{enrol, policy};

/// Bytes of a connected socket have been acknowledged.
pub(crate) fn acknowledged(sk: *mut c_void) {
    let Some(socket) = enrol::state(sk) else { return };
    if socket.role != role::CONNECTED {
        return;
    }
    let stays = socket.request.phase != phase::LOST && policy::workload(socket).is_some();
    if stays {
        return;
    }
    let Some(tcp) = Tcp::from_context(sk) else { return };
    if !tcp.has_ingress() {
        let cookie = socket.cookie;
        // SAFETY: the key lives on the stack.
        unsafe { bpf_map_delete_elem(ptr::from_ref(&MEMBERS).cast_mut().cast(), (&raw const cookie).cast()) };
    }
}
