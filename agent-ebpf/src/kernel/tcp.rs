//! TCP sockets.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;

use super::cgroup::Cgroup;
use super::read;
use crate::atomic;

/// A TCP socket, as `struct tcp_sock`: a pointer whose type the verifier knows.
#[derive(Clone, Copy)]
pub(crate) struct Tcp(*const c_void);

/// Reads a 32-bit field of a [`Tcp`] with a plain load. The verifier knows the
/// offset, since what user space sets before loading is constant.
macro_rules! field {
    ($tcp:expr, $field:ident as $type:ty) => {{
        let at = $tcp.0.wrapping_byte_add(offset!($field));
        // SAFETY: the verifier checks the load against the structure's type.
        unsafe { core::ptr::read_volatile(at.cast::<$type>()) }
    }};
}

impl Tcp {
    /// From the socket of a program's context or of a tracepoint; `None` if it
    /// is no full TCP socket.
    #[inline(always)]
    pub(crate) fn new(sk: *mut c_void) -> Option<Self> {
        // SAFETY: `sk` is a socket that was checked for null.
        let tcp = unsafe { bpf_skc_to_tcp_sock(sk) };
        if tcp.is_null() { None } else { Some(Self(tcp.cast())) }
    }

    /// Where it is in kernel memory.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// Sequence number after the last byte that was written.
    #[inline(always)]
    pub(crate) fn write_seq(self) -> u32 {
        field!(self, tcp_write_seq as u32)
    }

    /// Sequence number after the last byte that was acknowledged.
    #[inline(always)]
    pub(crate) fn snd_una(self) -> u32 {
        field!(self, tcp_snd_una as u32)
    }

    /// How many bytes were ever written, modulo 2³², as `tcp_info` counts those
    /// that were acknowledged.
    #[inline(always)]
    pub(crate) fn written(self) -> u32 {
        let acknowledged = field!(self, tcp_bytes_acked as u64) as u32;
        acknowledged.wrapping_add(self.write_seq().wrapping_sub(self.snd_una()))
    }

    /// Sequence number after the last byte that was read. The kernel counts the end of the stream, too, which is often
    /// read along with the last bytes (net/ipv4/tcp.c, `tcp_recvmsg_locked`: `found_fin_ok`); here it does not count.
    #[inline(always)]
    pub(crate) fn copied_seq(self) -> u32 {
        let copied = field!(self, tcp_copied_seq as u32);
        let is_at_end = copied == field!(self, tcp_rcv_nxt as u32) && self.has_ended();
        copied.wrapping_sub(u32::from(is_at_end))
    }

    /// Whether the peer has sent all that it will.
    #[inline(always)]
    fn has_ended(self) -> bool {
        // include/net/tcp_states.h
        const CLOSE_WAIT: u8 = 8;
        const LAST_ACK: u8 = 9;
        const CLOSING: u8 = 11;
        matches!(field!(self, sock_state as u8), CLOSE_WAIT | LAST_ACK | CLOSING)
    }

    /// How many bytes were ever read, modulo 2³², as `tcp_info` counts those that were received.
    #[inline(always)]
    pub(crate) fn read(self) -> u32 {
        let received = field!(self, tcp_bytes_received as u64) as u32;
        let next = field!(self, tcp_rcv_nxt as u32).wrapping_sub(u32::from(self.has_ended()));
        received.wrapping_sub(next.wrapping_sub(self.copied_seq()))
    }

    /// Size of the send buffer, and how much of it is in use.
    #[inline(always)]
    pub(crate) fn send_buffer(self) -> (i32, i32) {
        (field!(self, sock_sndbuf as i32), field!(self, sock_wmem_queued as i32))
    }

    /// Ids of the socket's cgroup and its ancestors, upwards; 0 past the root.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Cgroup {
        Cgroup(read(self.0, offset!(sock_cgroup)))
    }

    /// The sockmap's own state of the socket; null where it is no member.
    #[inline(always)]
    fn psock(self) -> *const c_void {
        // The low bits of sk_user_data are flags (include/net/sock.h, SK_USER_DATA_PTRMASK).
        (read::<u64>(self.0, offset!(sock_user_data)) & !7) as *const c_void
    }

    /// Whether the socket is a member, or somebody still works on it as one.
    #[inline(always)]
    pub(crate) fn is_member(self) -> bool {
        !self.psock().is_null()
    }

    /// How many use the socket as a member: the map, and every thread that is
    /// within a system call on it.
    #[inline(always)]
    pub(crate) fn member_users(self) -> u32 {
        let psock = self.psock();
        if psock.is_null() { 0 } else { read(psock, offset!(psock_refs)) }
    }

    /// Whether received data waits in the sockmap's own queues.
    #[inline(always)]
    pub(crate) fn has_ingress(self) -> bool {
        let psock = self.psock();
        if psock.is_null() {
            return false;
        }
        let head = psock as u64 + offset!(psock_ingress_msg) as u64;
        let first: u64 = read(psock, offset!(psock_ingress_msg));
        let queued: u32 = read(psock, offset!(psock_ingress_skb_len));
        first != head || queued != 0
    }

    /// Sequence number after the last byte in the sockmap's own queues, or after the last one that was read where those
    /// are empty.
    ///
    /// Nothing may be read, and nothing be put there, at the time: as in a program that sees what the socket receives.
    #[inline(always)]
    pub(crate) fn queued_seq(self) -> u32 {
        let psock = self.psock();
        let packets = psock as u64 + offset!(psock_ingress_skb) as u64;
        let last: u64 = read(psock, offset!(psock_ingress_skb_last));
        if last != packets {
            let seq = read(last as *const c_void, offset!(skb_end_seq));
            // A worker moves the packets from there to the messages. It has not freed the last one if that is still
            // the last one.
            if read::<u64>(psock, offset!(psock_ingress_skb_last)) == last {
                return seq;
            }
        }
        // The worker counts a message before it takes the packet away.
        atomic::order();
        self.copied_seq().wrapping_add(read(psock, offset!(psock_ingress_len)))
    }

    /// Whether somebody waits for the socket: an epoll instance that watches it,
    /// or another thread. The current one does not, since it runs.
    #[inline(always)]
    pub(crate) fn is_watched(self) -> bool {
        let queue = field!(self, sock_wq as *const c_void).wrapping_byte_add(offset!(wq_first));
        // SAFETY: the verifier checks the load against the structure's type.
        let first = unsafe { core::ptr::read_volatile(queue.cast::<u64>()) };
        // An empty list's head points at itself.
        first != queue as u64
    }

    /// Whether somebody had to wait for room in the send buffer, or was told that there is none, and there has not been
    /// enough since (net/core/stream.c, `sk_stream_write_space`).
    #[inline(always)]
    pub(crate) fn lacks_space(self) -> bool {
        /// `SOCK_NOSPACE` (include/linux/net.h).
        const NO_SPACE: u64 = 1 << 2;
        let socket = field!(self, sock_socket as *const c_void).wrapping_byte_add(offset!(socket_flags));
        // SAFETY: the verifier checks the load against the structure's type; it gives zero where there is no file.
        unsafe { core::ptr::read_volatile(socket.cast::<u64>()) & NO_SPACE != 0 }
    }

    /// Whether the socket's file is in non-blocking mode.
    #[inline(always)]
    pub(crate) fn is_nonblocking(self) -> bool {
        /// `O_NONBLOCK` (include/uapi/asm-generic/fcntl.h), the same on both CPU architectures.
        const NONBLOCK: u32 = 0o4000;
        let socket = field!(self, sock_socket as *const c_void).wrapping_byte_add(offset!(socket_file));
        // SAFETY: the verifier checks the loads against the structures' types; they
        // give zero where there is no file.
        let file = unsafe { core::ptr::read_volatile(socket.cast::<*const c_void>()) };
        let flags = file.wrapping_byte_add(offset!(file_flags)).cast::<u32>();
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(flags) & NONBLOCK != 0 }
    }
}

/// Sequence number after the last byte that was written to the TCP socket at
/// `address`; 0 if there is none.
#[inline(always)]
pub(crate) fn write_seq_at(address: u64) -> u32 {
    read(address as *const c_void, offset!(tcp_write_seq))
}

/// Whether a thread works on the TCP socket at `address`. What is sent then is
/// sent by that thread, which is the current one.
#[inline(always)]
pub(crate) fn is_owned(address: u64) -> bool {
    read::<u32>(address as *const c_void, offset!(sock_owned)) != 0
}
