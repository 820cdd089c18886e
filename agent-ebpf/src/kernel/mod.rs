//! The only place that reads kernel structures. Their layout comes from the
//! running kernel's BTF; user space resolves it and sets [`LAYOUT`].

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use baton_common::layout::Layout;

/// Offsets in the running kernel's structures.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNKNOWN;

/// Offset of one field of [`Layout`], as user space set it.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: what user space sets before loading; volatile, since the compiler sees another value.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$field) as usize }
    };
}

mod arch;
mod buffers;
mod cgroup;
mod descriptor;
mod registers;
mod task;
mod tcp;

pub(crate) use buffers::{Buffers, Iter};
pub(crate) use descriptor::{Peer, cookie_of, peer_of};
pub(crate) use registers::{Registers, current_descriptor, current_goroutine, is_sending, waits_in_epoll};
pub(crate) use task::{current_comm, current_ids, is_only_thread, task_ids, thread_pointer};
pub(crate) use tcp::{Tcp, is_owned, write_seq_at};

/// Reads a `T` at `base + offset` in kernel memory; zero where that fails.
#[inline(always)]
fn read<T: Copy + Default>(base: *const c_void, offset: usize) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address; `T` has no invalid values here.
    unsafe {
        bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, base.cast::<u8>().add(offset).cast());
    }
    value
}

/// Whether a tracepoint's socket has anything in socket storage. One load, which
/// is all that baton costs a socket that is not selected.
#[inline(always)]
pub(crate) fn has_storage(sk: *mut c_void) -> bool {
    let at = sk.wrapping_byte_add(offset!(sock_storage));
    // SAFETY: the verifier knows the type of a tracepoint's `sk`, and checks the load.
    unsafe { core::ptr::read_volatile(at.cast::<u64>()) != 0 }
}

/// The same of a socket of which only the address is known.
#[inline(always)]
pub(crate) fn has_storage_at(sock: u64) -> bool {
    read::<u64>(sock as *const c_void, offset!(sock_storage)) != 0
}

/// The `struct sock` of a `struct socket` that a program was given; null if it has none.
#[inline(always)]
pub(crate) fn sock_of(socket: *mut c_void) -> *mut c_void {
    let at = socket.wrapping_byte_add(offset!(socket_sk));
    // SAFETY: the verifier knows the type of `socket`, and checks the load.
    unsafe { core::ptr::read_volatile(at.cast::<*mut c_void>()) }
}

/// The address of the `struct sock` of the `struct socket` at an address.
#[inline(always)]
pub(crate) fn sock_at(socket: u64) -> u64 {
    read(socket as *const c_void, offset!(socket_sk))
}

/// Sequence number of the first byte of a packet in a TCP socket's receive queue.
#[inline(always)]
pub(crate) fn packet_seq(skb: *const __sk_buff) -> u32 {
    // In a program's hands the context is the packet itself.
    read(skb.cast(), offset!(skb_seq))
}
