//! What happened to an outbound request.

use core::num::NonZeroU32;

use baton_common::flow::{Reason, Verdict, counter, kind};
use baton_common::socket::Socket;

use crate::flow::{self, Flow};

/// Counts and reports one outbound request, and so that its response is awaited.
#[inline(always)]
pub(super) fn report(socket: &mut Socket, verdict: Verdict, reason: Reason, context: u64, names: u64) {
    socket.awaits = u8::from(tell(socket, None, verdict, reason, context, names));
}

/// Counts and reports. Returns whether somebody was told.
#[inline(always)]
fn tell(
    socket: &Socket,
    process: Option<NonZeroU32>,
    verdict: Verdict,
    reason: Reason,
    context: u64,
    names: u64,
) -> bool {
    let index = match verdict {
        Verdict::Injected => counter::INJECTED as u32,
        Verdict::AlreadyPresent => counter::ALREADY_PRESENT as u32,
        Verdict::NothingToInsert => counter::NOTHING_TO_INSERT as u32,
        Verdict::Lost => counter::OUTBOUND_LOST as u32 + reason as u32,
    };
    flow::count(socket.workload, counter::OUTBOUND as u32);
    flow::count(socket.workload, index);
    flow::send(
        socket,
        &socket.request,
        &Flow { process, kind: kind::OUTBOUND, verdict: verdict as u8, reason: reason as u8, context, names },
    )
}

/// The connection is not followed from here on: one loss, whatever comes. A request before this may await its response.
#[inline(always)]
pub(super) fn lost(socket: &Socket, reason: Reason) {
    leave(socket);
    gone(socket, None, reason);
}

/// The connection is no member (any more): one loss, whatever comes; of the current thread, or of `process`.
#[inline(always)]
pub(crate) fn gone(socket: &Socket, process: Option<NonZeroU32>, reason: Reason) {
    tell(socket, process, Verdict::Lost, reason, 0, 0);
}

/// The connection is not followed from here on, and shall leave the SOCKHASH.
#[inline(always)]
pub(super) fn leave(socket: &Socket) {
    flow::count(socket.workload, counter::TO_LEAVE as u32);
}
