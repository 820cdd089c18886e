//! What is said to those who debug baton itself (`--log baton_ebpf=debug`).
//!
//! Free when it is off: the level is constant when programs are loaded, and the verifier takes out what is behind
//! [`is_on`]. Nothing of `outbound` is here: its programs have no stack left for it, and a flow event for each request.

use aya_log_ebpf::debug;
use aya_log_ebpf::macro_support::{Level, level_enabled};
use baton_common::flow::Reason;
use baton_common::socket::Socket;

/// Whether anything is to be said.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    level_enabled(Level::Debug)
}

/// `socket` has its state now.
#[inline(never)]
pub(crate) fn enrolled(socket: &Socket) {
    debug!(
        (),
        "socket {}: enrolled in workload {}, role {}, ports {} and {}",
        socket.cookie,
        socket.workload,
        socket.role,
        socket.local_port,
        socket.peer_port
    );
}

/// The kernel does not let `socket` into the SOCKHASH: `error` is negative.
#[inline(never)]
pub(crate) fn refused(socket: &Socket, error: i64) {
    debug!((), "socket {}: cannot become a member: error {}", socket.cookie, error);
}

/// Requests on `socket` are not followed from here on.
#[inline(never)]
pub(crate) fn not_followed(socket: &Socket, reason: Reason) {
    debug!(
        (),
        "socket {}: not followed any more, for reason {} in {}", socket.cookie, reason as u8, socket.request.phase
    );
}

/// The socket with `cookie` is no member any more.
#[inline(never)]
pub(crate) fn left(cookie: u64) {
    debug!((), "socket {}: has left the SOCKHASH", cookie);
}
