//! Accepted connections whose requests are only counted, see [`baton_common::skim`].

use baton_common::flow::{Reason, counter};
use baton_common::scan::phase;
use baton_common::skim::{Moment, Said, judge, stage};
use baton_common::socket::Socket;

use super::head;
use crate::context::executor;
use crate::kernel::Tcp;
use crate::{clock, flow};

/// A request on `socket` was read by thread `tid`: the next ones may be counted only, if that is a loop of which nothing
/// is to be known.
#[inline(always)]
pub(super) fn may(socket: &mut Socket, tid: u32, tgid: u32) {
    if socket.skim == stage::NO && executor::is_blind(tid, tgid, socket.workload) {
        socket.skim = stage::MAY;
    }
}

/// Whether what thread `tid` has read, from sequence number `start` up to `end`, is to be looked at. A function of its own:
/// few connections need it.
#[inline(never)]
pub(super) fn looks(tcp: Tcp, socket: &mut Socket, tid: u32, start: u32, end: u32) -> bool {
    let (_, tgid) = crate::kernel::current_ids();
    let written = tcp.write_seq();
    let request = &socket.request;
    let moment = Moment {
        loops: executor::is_blind(tid, tgid, socket.workload),
        watched: flow::is_wanted(),
        between: request.phase == phase::START && request.carry_len == 0 && request.seq == start && socket.depth == 0,
        turned: written != socket.response.seq,
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
            socket.response.seq = written;
            flow::count(socket.workload, counter::INBOUND as u32);
            // Others in this process cannot be certain any more of what they were started for.
            head::unknown_work(socket, tgid, clock::new_id());
        }
        Said::Pass => {}
        Said::Lose => {
            head::lose(socket, Reason::FramingLost);
            executor::forget(tid, tgid, Reason::FramingLost);
            return false;
        }
    }
    socket.request.seq = end;
    false
}
