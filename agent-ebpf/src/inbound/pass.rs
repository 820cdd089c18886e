//! What members receive, on kernels where it must pass through the sockmap's own
//! queue: FIONREAD sees only that (see `docs/DESIGN.md`, "Members and the way back").

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
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
    let mut rest = known;
    for _ in 0..CUTS {
        let cut = if rest > CUT { CUT } else { rest };
        if ctx.adjust_room(-(cut as i32), 0, 0).is_err() {
            // No memory. The same bytes twice would be worse than an end.
            return SK_DROP;
        }
        rest = rest.wrapping_sub(cut);
        if rest == 0 {
            return SK_PASS;
        }
    }
    SK_DROP
}
