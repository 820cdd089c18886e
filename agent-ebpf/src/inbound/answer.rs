//! Responses leave on accepted sockets: is this one complete? And the end of
//! connections.

use core::ffi::c_void;

use aya_ebpf::macros::{btf_tracepoint, cgroup_skb};
use aya_ebpf::programs::{BtfTracePointContext, SkBuffContext};
use baton_common::attribution::{Claim, flag as claim_flag};
use baton_common::flow::kind;
use baton_common::framing::{Follows, after_response_head};
use baton_common::scan::{Scan, phase, stop};
use baton_common::socket::{Socket, flag, role};

use super::segment::Segment;
use crate::context::{connection, executor, process, python, runtime, slot};
use crate::kernel::{current_ids, has_storage, is_owned};
use crate::maps::NAMES;
use crate::scratch;
use crate::source::{Packet, Run};
use crate::twins::four_times;
use crate::{enrol, flow, policy, source};

/// Interim responses (1xx) that may share a segment with the final one.
const MAX_INTERIM: u32 = 3;

/// The packet goes on (include/linux/bpf-cgroup.h).
const PASS: i32 = 1;

/// Runs for each packet of selected cgroups only, on its way out, with the
/// socket locked. Always lets it pass.
///
/// What is written may wait in the socket and leave later, in another thread's
/// time or none's: `slot::may_be_answered` is for that while.
#[cgroup_skb(egress)]
pub fn cgroup_skb_leave(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is valid.
    let sk: *mut c_void = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk }.cast();
    if sk.is_null() {
        return PASS;
    }
    let Some(socket) = enrol::state(sk) else { return PASS };
    // Nothing is expected where no request is open.
    if socket.role == role::ACCEPTED && socket.depth != 0 && policy::is_selected(socket) {
        if let Some(segment) = Segment::of(&ctx) {
            if socket.flags & flag::TASKS != 0 {
                python::writes(socket.slot.wrapping_sub(1));
            }
            leaves(&ctx, socket, &segment);
        }
    }
    PASS
}

/// A response begins to leave. Where another thread of a pool sends it than the
/// one which read the request, the server hands requests from thread to thread,
/// and the reader works for others while this one is open.
#[inline(always)]
fn begins(socket: &Socket) {
    if let (true, Some(context)) = (socket.slot != 0, slot::get(socket.slot.wrapping_sub(1))) {
        let (tid, tgid) = current_ids();
        // SAFETY: a map value; aligned words.
        let (reader, process, sock) = unsafe { ((*context).tid, (*context).tgid, (*context).sock) };
        if tgid == process && is_owned(sock) && executor::get(reader).flags & claim_flag::POOLED != 0 {
            runtime::answers(tgid, tid == reader);
        }
    }
}

/// `segment` of the stream of responses leaves.
#[inline(always)]
fn leaves(ctx: &SkBuffContext, socket: &mut Socket, segment: &Segment) {
    let response = &mut socket.response;
    // A segment may leave several times, alone or with others.
    let known = response.seq.wrapping_sub(segment.seq);
    if known as i32 >= segment.len as i32 {
        return;
    }
    response.seq = segment.seq.wrapping_add(segment.len);
    if response.phase == phase::START {
        begins(socket);
    }
    let response = &mut socket.response;
    if (known as i32) < 0 || response.phase == phase::LOST {
        // Its end will not be seen: its first bytes count as its end.
        lose(socket);
    } else if response.phase != phase::UNTIL_CLOSE {
        let len = segment.len.wrapping_sub(known);
        if response.phase == phase::BODY && response.body > u64::from(len) {
            response.body -= u64::from(len);
        } else if !follow(ctx, socket, segment.at.wrapping_add(known), len) {
            lose(socket);
        }
    }
    slot::note_sent(socket);
}

/// The stream cannot be followed any more.
#[inline(always)]
fn lose(socket: &mut Socket) {
    socket.response.phase = phase::LOST;
    socket.depth = 0;
    slot::answer(socket);
}

/// Looks at `len` bytes of the packet. Returns false if the stream is lost.
#[inline(always)]
fn follow(ctx: &SkBuffContext, socket: &mut Socket, at: u32, len: u32) -> bool {
    let Some(names) = NAMES.get_ptr(0) else { return false };
    let Some(scratch) = scratch::acquire() else { return false };
    // SAFETY: the scratch memory is owned by this run.
    let lines = unsafe {
        (*scratch).source.set(u64::from(at), len);
        &raw mut (*scratch).lines
    };
    source::open(scratch, false);
    let mut run = Run { scratch, scan: &raw mut socket.response, lines, names, packet: ctx.skb.skb };
    let followed = scan(socket, &mut run, len);
    scratch::release(scratch);
    followed
}

#[inline(always)]
fn scan(socket: &mut Socket, run: &mut Run, len: u32) -> bool {
    for _ in 0..MAX_INTERIM {
        let said = source::run::<Packet>(run);
        let said = if said == stop::HEAD { after_head(&mut socket.response, socket.flags) } else { said };
        match said {
            stop::NO => {}
            stop::MESSAGE => {
                complete(socket);
                return source::position(run.scratch) == len;
            }
            stop::INPUT => return true,
            _ => return false,
        }
        if source::position(run.scratch) == len {
            return true;
        }
    }
    false
}

/// What the next turn is for: [`stop::NO`] to look on.
#[inline(always)]
fn after_head(response: &mut Scan, flags: u8) -> u32 {
    match after_response_head(response, flags & flag::HEAD_REQUEST != 0) {
        Follows::Nothing => stop::MESSAGE,
        Follows::Final => {
            response.begin_message();
            stop::NO
        }
        Follows::Body if response.phase == phase::UNTIL_CLOSE => stop::INPUT,
        Follows::Body => stop::NO,
        Follows::Unknown => stop::LOST,
    }
}

/// A response is complete.
#[inline(always)]
fn complete(socket: &mut Socket) {
    if socket.depth == 1 {
        let status = socket.response.status as u16;
        flow::respond(socket, kind::INBOUND, status);
    }
    socket.response.begin_message();
    socket.depth = socket.depth.saturating_sub(1);
    if socket.depth == 0 {
        slot::answer(socket);
    }
}

/// TCP states (include/net/tcp_states.h).
mod tcp_state {
    pub(super) const FIN_WAIT1: i32 = 4;
    pub(super) const CLOSE: i32 = 7;
    pub(super) const LAST_ACK: i32 = 9;
}

// A connection changes its state: one that can send no more answers no more. Done again, it is as if done once.
four_times! {
    btf_tracepoint on "inet_sock_set_state" (BtfTracePointContext) calls changes_state:
    inet_sock_set_state inet_sock_set_state_2 inet_sock_set_state_3 inet_sock_set_state_4
}

#[inline(always)]
fn changes_state(ctx: &BtfTracePointContext) {
    let state: i32 = ctx.arg(2);
    if state != tcp_state::FIN_WAIT1 && state != tcp_state::CLOSE && state != tcp_state::LAST_ACK {
        return;
    }
    let sk: *mut c_void = ctx.arg(0);
    if !has_storage(sk) {
        return;
    }
    let Some(socket) = enrol::state(sk) else { return };
    if socket.role != role::ACCEPTED {
        return;
    }
    if socket.response.phase == phase::UNTIL_CLOSE {
        let status = socket.response.status as u16;
        flow::respond(socket, kind::INBOUND, status);
    }
    slot::answer(socket);
    socket.depth = 0;
    if state == tcp_state::CLOSE || state == tcp_state::LAST_ACK {
        slot::release(socket);
        if socket.flags & flag::TASKS != 0 {
            connection::forget(&Claim::connection(socket.cookie, 0));
        }
        if socket.flags & flag::COUNTED != 0 {
            socket.flags &= !flag::COUNTED;
            process::closed(socket.tgid);
        }
    }
}
