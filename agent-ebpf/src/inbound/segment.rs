//! What of the TCP stream a packet carries.

use aya_ebpf::programs::SkBuffContext;

/// `IPPROTO_TCP` (include/uapi/linux/in.h).
const TCP: u8 = 6;

/// Bytes of an IPv6 header (RFC 8200 §3), and of the shortest IPv4 (RFC 791
/// §3.1) and TCP (RFC 9293 §3.1) ones.
const IPV6_HEADER: usize = 40;
const HEADER: usize = 20;

/// The data of a TCP segment, or of several that leave as one packet.
pub(super) struct Segment {
    /// Sequence number of its first byte.
    pub(super) seq: u32,
    /// Where its first byte is, counted from the network header.
    pub(super) at: u32,
    /// Number of bytes; not 0.
    pub(super) len: u32,
}

impl Segment {
    /// `None` for packets without data, and for those that are not TCP right
    /// behind IP (encrypted ones, IPv6 extension headers).
    #[inline(always)]
    pub(super) fn of(ctx: &SkBuffContext) -> Option<Self> {
        // SAFETY: the context is valid; loads from the packet are checked
        // against its end.
        unsafe {
            let skb = ctx.skb.skb;
            let data = (*skb).data as usize;
            let end = (*skb).data_end as usize;
            if data + HEADER + HEADER > end {
                return None;
            }
            let byte = |at: usize| *(at as *const u8);
            let first = byte(data);
            let (ip, protocol) = match first >> 4 {
                4 => (usize::from(first & 0xf) * 4, byte(data + 9)),
                6 => (IPV6_HEADER, byte(data + 6)),
                _ => return None,
            };
            let tcp = data + ip;
            if protocol != TCP || tcp + HEADER > end {
                return None;
            }
            let seq = u32::from_be_bytes([byte(tcp + 4), byte(tcp + 5), byte(tcp + 6), byte(tcp + 7)]);
            let at = ip as u32 + u32::from(byte(tcp + 12) >> 4) * 4;
            let len = (*skb).len.wrapping_sub(at);
            if len as i32 <= 0 { None } else { Some(Self { seq, at, len }) }
        }
    }
}
