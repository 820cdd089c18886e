//! Connected sockets whose requests are only counted, see [`baton_common::skim`].

use baton_common::flow::{Reason, counter};
use baton_common::scan::{lost, phase};
use baton_common::skim::{Moment, Said, judge, stage};
use baton_common::socket::Socket;

use super::verdict;
use crate::context::executor;
use crate::flow;
use crate::kernel::{Tcp, current_ids};

/// A request on `socket` was sent, and got no lines: the next ones may be counted only, if it came from a loop of which
/// nothing is to be known. A function of its own for the stack's sake.
#[inline(never)]
pub(super) fn may(tcp: Tcp, socket: &mut Socket) {
    if socket.skim == stage::NO && is_blind(tcp, socket) {
        socket.skim = stage::MAY;
    }
}

/// Whether the current thread is such a loop. (On blocking sockets bodies are followed for the sake of
/// [`upload`](baton_common::socket::upload), too.)
#[inline(always)]
fn is_blind(tcp: Tcp, socket: &Socket) -> bool {
    let (tid, tgid) = current_ids();
    tcp.is_nonblocking() && executor::is_blind(tid, tgid, socket.workload)
}

/// Whether what is written from sequence number `start` up to `end` is to be looked at. A function of its own: few
/// connections need it.
#[inline(never)]
pub(super) fn looks(tcp: Tcp, socket: &mut Socket, start: u32, end: u32) -> bool {
    let read = tcp.copied_seq();
    let request = &socket.request;
    let moment = Moment {
        loops: is_blind(tcp, socket),
        watched: flow::is_wanted(),
        between: request.phase == phase::START && request.carry_len == 0 && request.seq == start,
        turned: read != socket.mark,
    };
    let (said, after) = judge(socket.skim, moment);
    socket.skim = after;
    match said {
        Said::Look => return true,
        Said::Begin => {
            socket.request.begin_message();
            socket.request.seq = start;
            return true;
        }
        Said::Count => {
            socket.mark = read;
            flow::count(socket.workload, counter::OUTBOUND as u32);
            flow::count(socket.workload, counter::NOT_LOOKED_AT as u32);
        }
        Said::Pass => {}
        Said::Lose => {
            socket.request.lose(lost::FRAMING);
            verdict::lost(socket, Reason::FramingLost);
            return false;
        }
    }
    socket.request.seq = end;
    socket.last_body = 0;
    false
}
