//! What the application reads from a connected socket.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use baton_common::flow::kind;
use baton_common::socket::Socket;
use baton_common::status;

use crate::kernel::Buffers;
use crate::{flow, scratch};

/// The current thread has read `len` bytes from `socket`, on which the response to a request is awaited; they are in
/// `buffers`. Only its first bytes are looked at: where they are in two reads, nobody is told of the response.
#[inline(never)]
pub(crate) fn has_read(socket: &mut Socket, len: u32, buffers: Buffers) {
    if len < status::LEN as u32 {
        return;
    }
    let Some(scratch) = scratch::acquire() else { return };
    // SAFETY: the scratch memory is owned by this run.
    let source = unsafe { &mut (*scratch).source };
    let mut bytes = MaybeUninit::<[u8; status::LEN]>::uninit();
    // SAFETY: the helper checks the address; what cannot be read becomes zero.
    let bytes = unsafe {
        if buffers.fill(source, len) && source.pieces[0].len >= status::LEN as u64 {
            bpf_probe_read_user(bytes.as_mut_ptr().cast(), status::LEN as u32, source.pieces[0].base as *const _);
        } else {
            bytes.write([0; status::LEN]);
        }
        bytes.assume_init()
    };
    scratch::release(scratch);
    if let Some(status) = status::of(&bytes)
        && !status::is_interim(status)
    {
        flow::respond(socket, kind::OUTBOUND, status);
    }
}
