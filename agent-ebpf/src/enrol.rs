//! Gives the sockets of selected workloads a state, and puts those that the
//! workload connected into the SOCKHASH.

use core::ffi::c_void;
use core::num::NonZeroU32;
use core::ptr;

use aya_ebpf::bindings::{
    BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get, bpf_sock_hash_update};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use baton_common::flow::{Reason, counter};
use baton_common::head::IN_REQUEST;
use baton_common::policy::mapped;
use baton_common::socket::{Socket, role};

use crate::kernel::{Tcp, current_ids};
use crate::maps::{CGROUPS, MEMBERS, SOCKETS, WORKLOADS};
use crate::outbound::{upload, verdict};
use crate::{context, flow, leave, log};

/// `AF_INET` (include/linux/socket.h).
const AF_INET: u32 = 2;

/// `-EBUSY` (include/uapi/asm-generic/errno-base.h): the socket is in a sockmap with such a program already
/// (net/core/sock_map.c, `sock_map_link`).
const EBUSY: i64 = -16;

/// Cgroups between a socket's own and the workload's.
const MAX_DEPTH: u32 = 12;

/// The state of `sk`, if it has one.
///
/// `sk` must come from a program's context and not be null.
#[inline(always)]
pub(crate) fn state(sk: *mut c_void) -> Option<&'static mut Socket> {
    // SAFETY: the verifier checks `sk`; the value lives as long as the socket.
    unsafe {
        bpf_sk_storage_get(ptr::from_ref(&SOCKETS).cast_mut().cast(), sk, ptr::null_mut(), 0).cast::<Socket>().as_mut()
    }
}

#[inline(always)]
fn create(sk: *mut c_void) -> Option<&'static mut Socket> {
    // SAFETY: as in `state`.
    unsafe {
        bpf_sk_storage_get(
            ptr::from_ref(&SOCKETS).cast_mut().cast(),
            sk,
            ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
        .cast::<Socket>()
        .as_mut()
    }
}

/// Runs for TCP sockets of selected cgroups only.
#[sock_ops]
pub fn sock_ops_enrol(ctx: SockOpsContext) -> u32 {
    // SAFETY: the context is valid.
    let sk: *mut c_void = unsafe { (*ctx.ops).__bindgen_anon_2.sk }.cast();
    if sk.is_null() {
        return 1;
    }
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connect(sk),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ctx.ops, sk),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(ctx.ops, sk),
        BPF_SOCK_OPS_RTT_CB => leave::acknowledged(ctx.ops, sk),
        BPF_SOCK_OPS_STATE_CB => leave::closing(ctx.ops, sk),
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => upload::sending(ctx.ops, sk),
        _ => {}
    }
    1
}

/// In connect(), in the caller's thread: the connection remembers its claim, if it may.
fn connect(sk: *mut c_void) {
    let Some(socket) = create(sk) else { return };
    let (tid, tgid) = current_ids();
    socket.role = role::NONE;
    socket.tgid = tgid;
    socket.connect = context::executor::of_connection(tid, tgid);
}

/// Gives an established connection of a workload its state.
#[inline(always)]
fn establish(ops: *mut bpf_sock_ops, sk: *mut c_void, role: u8) -> Option<(Tcp, &'static mut Socket)> {
    let tcp = Tcp::new(sk)?;
    let workload = workload_of(tcp)?;
    let Some(socket) = create(sk) else {
        flow::count(workload, counter::NOT_ENROLLED as u32);
        return None;
    };
    identify(ops, socket, workload);
    socket.role = role;
    socket.request.flags = IN_REQUEST;
    if log::is_on() {
        log::enrolled(socket);
    }
    Some((tcp, socket))
}

fn connected(ops: *mut bpf_sock_ops, sk: *mut c_void) {
    let Some((tcp, socket)) = establish(ops, sk, role::CONNECTED) else { return };
    socket.request.seq = tcp.write_seq();
    let mut cookie = socket.cookie;
    // SAFETY: `ops` is the program's context; the key lives on the stack.
    let refused =
        unsafe { bpf_sock_hash_update(ops, ptr::from_ref(&MEMBERS).cast_mut().cast(), (&raw mut cookie).cast(), 0) };
    if refused != 0 {
        flow::count(socket.workload, counter::NOT_ENROLLED as u32);
        if refused == EBUSY {
            // This may run in anybody's thread.
            verdict::gone(socket, NonZeroU32::new(socket.tgid), Reason::OwnedByAnother);
        }
        if log::is_on() {
            log::refused(socket, refused);
        }
        return;
    }
    let flags = SockOpsContext::new(ops).cb_flags() | BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;
    let _ = SockOpsContext::new(ops).set_cb_flags(flags as i32);
}

fn accepted(ops: *mut bpf_sock_ops, sk: *mut c_void) {
    let Some((tcp, socket)) = establish(ops, sk, role::ACCEPTED) else { return };
    socket.request.seq = tcp.copied_seq();
}

fn identify(ops: *mut bpf_sock_ops, socket: &mut Socket, workload: u32) {
    let ctx = SockOpsContext::new(ops);
    // SAFETY: `ops` is the program's context.
    socket.cookie = unsafe { bpf_get_socket_cookie(ops.cast()) };
    socket.workload = workload;
    socket.generation = WORKLOADS.get(workload).map_or(0, |settings| settings.generation);
    // The context holds addresses and the port in network order.
    socket.peer_port = u16::from_be((ctx.remote_port() >> 16) as u16);
    // This one is in the processor's.
    socket.local_port = ctx.local_port() as u16;
    (socket.peer, socket.local) = if ctx.family() == AF_INET {
        (mapped(ctx.remote_ip4().to_ne_bytes()), mapped(ctx.local_ip4().to_ne_bytes()))
    } else {
        // SAFETY: `ops` is the program's context.
        unsafe { (address(&raw const (*ops).remote_ip6), address(&raw const (*ops).local_ip6)) }
    };
}

/// An IPv6 address of a program's context. Word by word: the verifier allows
/// only loads of single words here.
///
/// # Safety
/// `words` must be in the context.
#[inline(always)]
unsafe fn address(words: *const [u32; 4]) -> [u8; 16] {
    // SAFETY: the caller's.
    let word = |index: usize| unsafe { ptr::read_volatile(words.cast::<u32>().add(index)) }.to_ne_bytes();
    let mut address = [0; 16];
    address[..4].copy_from_slice(&word(0));
    address[4..8].copy_from_slice(&word(1));
    address[8..12].copy_from_slice(&word(2));
    address[12..].copy_from_slice(&word(3));
    address
}

/// The workload whose cgroup directory holds the socket.
pub(crate) fn workload_of(tcp: Tcp) -> Option<u32> {
    let mut cgroup = tcp.cgroup();
    for _ in 0..MAX_DEPTH {
        if !cgroup.exists() {
            return None;
        }
        // SAFETY: the value is copied at once.
        if let Some(workload) = unsafe { CGROUPS.get(cgroup.id()) } {
            return Some(*workload);
        }
        cgroup = cgroup.parent()?;
    }
    None
}
