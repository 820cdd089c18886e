//! What members receive, on kernels where it must pass through the sockmap's own
//! queue: FIONREAD sees only that (see `docs/DESIGN.md`, "Members and the way back").

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::helpers::generated::{bpf_loop, bpf_skb_adjust_room};
use aya_ebpf::macros::stream_verdict;
use aya_ebpf::programs::SkBuffContext;

use crate::kernel::{self, Tcp};

/// Bytes that the kernel takes off a packet at once at most (net/core/filter.c,
/// `sk_skb_adjust_room`).
const CUT: u32 = 0xfff;

/// The most that is taken off: the largest packet that there is has 512 KiB
/// (include/linux/netdevice.h, `GSO_MAX_SIZE`).
const CUTS: u32 = (512 << 10) / CUT + 1;

/// Passes a packet on, less what the socket has received before.
///
/// The kernel moves whole packets to the other queue (net/ipv4/tcp.c, `tcp_read_skb`), where `recv()` would skip such
/// bytes (`tcp_recvmsg_locked`). A packet begins with some
/// - if the peer sends again what it believes to be lost, together with more (net/ipv4/tcp_input.c, `tcp_data_queue`,
///   "Partial packet"; `tcp_ofo_queue`);
/// - if the socket became a member after somebody had read a part of its first packet.
#[stream_verdict]
pub fn sk_skb_pass(ctx: SkBuffContext) -> u32 {
    // SAFETY: the context is valid.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return SK_PASS;
    }
    let Some(tcp) = Tcp::new(sk.cast()) else { return SK_PASS };
    let known = tcp.queued_seq().wrapping_sub(kernel::packet_seq(ctx.skb.skb));
    // Past the half of all sequence numbers is before the packet, as usual.
    if known as i32 <= 0 || known >= ctx.len() {
        return SK_PASS;
    }
    if known > CUT * CUTS {
        return SK_DROP;
    }
    let mut cut = Cut { skb: ctx.skb.skb, known, failed: 0 };
    // SAFETY: `cut` outlives the call. Unlike a loop's turns, those of a callback are not verified one by one.
    unsafe { bpf_loop(CUTS, cut_turn as *mut c_void, (&raw mut cut).cast(), 0) };
    // Where there was no memory: the same bytes twice would be worse than an end.
    if cut.failed == 0 { SK_PASS } else { SK_DROP }
}

#[repr(C)]
struct Cut {
    skb: *mut __sk_buff,
    /// Bytes to be taken off.
    known: u32,
    failed: u32,
}

/// Takes off as many as go at once, in turn `index`. (What is left is not counted: the verifier would follow its values.)
extern "C" fn cut_turn(index: u32, cut: *mut Cut) -> i64 {
    // SAFETY: it lives in the caller's frame.
    let cut = unsafe { &mut *cut };
    let rest = cut.known.wrapping_sub(index.wrapping_mul(CUT));
    if rest as i32 <= 0 {
        return 1;
    }
    let bytes = if rest > CUT { CUT } else { rest };
    // SAFETY: the packet is the program's context.
    cut.failed = u32::from(unsafe { bpf_skb_adjust_room(cut.skb, -(bytes as i32), 0, 0) } != 0);
    i64::from(cut.failed)
}
