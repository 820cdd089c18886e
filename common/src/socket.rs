//! What the kernel side keeps for each enrolled socket.

use crate::attribution::Claim;
use crate::scan::Scan;

/// Who opened the connection.
pub mod role {
    /// Not known yet, or of no interest.
    pub const NONE: u8 = 0;
    /// The workload accepted it: requests come in.
    pub const ACCEPTED: u8 = 1;
    /// The workload connected it: requests go out.
    pub const CONNECTED: u8 = 2;
}

/// Bits of [`Socket::flags`].
pub mod flag {
    /// The connection was open, and idle, before baton: its sequence numbers are
    /// not known yet.
    pub const ADOPTED: u8 = 1;
    /// The address policy was asked for this connection's peer.
    pub const JUDGED: u8 = 1 << 1;
    /// A first request has been sent.
    pub const USED: u8 = 1 << 2;
    /// Counted as unknown work of its process.
    pub const COUNTED: u8 = 1 << 3;
    /// The method of the request under way is HEAD.
    pub const HEAD_REQUEST: u8 = 1 << 4;
    /// The address policy allows this connection's peer.
    pub const ALLOWED: u8 = 1 << 5;
    /// The process that reads from it runs each request on a thread of its own
    /// as far as its runtime is concerned: no light threads.
    pub const THREADS: u8 = 1 << 6;
    /// Light threads serve it, see [`connection`](crate::attribution::connection).
    pub const TASKS: u8 = 1 << 7;
}

/// Values of [`Socket::proof`]: a connection that was in use before baton must show where its messages begin.
///
/// Between messages, as far as the kernel's counters tell, may be in the middle of one: a server may answer before it has
/// all of a request. What is written then could look like a request's head, and is somebody's data. So nothing goes into
/// the first head. The next one is believed if something was read in between, as its answer is.
pub mod proof {
    /// It is known.
    pub const DONE: u8 = 0;
    /// A first head is to come.
    pub const HEAD: u8 = 1;
    /// An answer and another head are to come.
    pub const ANSWER: u8 = 2;
}

/// Bits of [`Socket::upload`]: a blocking read sleeps badly in a member whose send buffer was full.
///
/// The acknowledgement that makes room then wakes the reader, and the kernel's code for members says EAGAIN, since nothing
/// has arrived (net/ipv4/tcp_bpf.c, `tcp_msg_wait_data`). So such a connection leaves while its body is still being sent.
pub mod upload {
    /// The body of the request under way may fill the send buffer.
    pub const LARGE: u8 = 1;
    /// Whenever something is sent, it is asked whether the buffer was full.
    pub const WATCHED: u8 = 1 << 1;

    /// Whether a message of `size` bytes, or a body of which `body` bytes follow its head, may fill a send buffer with
    /// `free` bytes left. An eighth does: small writes take up several times their size (`sk_buff.truesize`).
    #[inline(always)]
    #[must_use]
    pub const fn is_large(size: u32, body: u64, free: i32) -> bool {
        let small = if free < 0 { 0 } else { free as u64 / 8 };
        size as u64 > small || body > small
    }
}

/// A socket's state, in socket storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Socket {
    /// The kernel's socket cookie; key of the SOCKHASH.
    pub cookie: u64,
    /// Accepted: id of the context of the last head.
    pub context: u64,
    /// Accepted: index of this connection's context slot, plus one.
    pub slot: u32,
    /// Index of the workload's settings.
    pub workload: u32,
    /// The workload's generation when the state began.
    pub generation: u32,
    /// Adopted: how many bytes had been written (connected) or read (accepted) then, modulo 2³². Connected, later, while
    /// there is no [`proof`], or requests are only counted: the sequence number up to which was read when the last head
    /// was written.
    pub mark: u32,
    /// Connected: a constant of [`proof`].
    pub proof: u8,
    /// Connected: bits of [`upload`].
    pub upload: u8,
    /// Which request of this connection was the last, modulo 256.
    pub ordinal: u8,
    /// Whether somebody was told of it, and is to be told of its response.
    pub awaits: u8,
    /// This end's port.
    pub local_port: u16,
    /// A constant of [`role`].
    pub role: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The peer's port.
    pub peer_port: u16,
    /// A constant of [`skim`](crate::skim::stage).
    pub skim: u8,
    /// Accepted, Python: whether the first head has shown that no context was made for the connection.
    pub plain: u8,
    /// Accepted: heads read and not yet answered.
    pub depth: u32,
    /// Connected: bytes of a body counted in the last write.
    pub last_body: u32,
    /// Process in which unknown work was counted, or that owns the context.
    pub tgid: u32,
    /// The peer's address; IPv4 as IPv4-mapped IPv6.
    pub peer: [u8; 16],
    /// This end's address, in the same form.
    pub local: [u8; 16],
    /// Connected: the claim of the executor that called connect().
    pub connect: Claim,
    /// The stream of requests.
    pub request: Scan,
    /// Accepted: the stream of responses, as it leaves.
    pub response: Scan,
}

impl Socket {
    /// Another request's head is complete.
    #[inline(always)]
    pub const fn next_request(&mut self) {
        self.ordinal = self.ordinal.wrapping_add(1);
        self.awaits = 0;
    }
}
