//! After a write to an accepted socket: is the response complete? And the end
//! of connections.

use core::ffi::c_void;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use baton_common::framing::{Follows, Position, after_response_head, synchronise};
use baton_common::scan::{Scan, phase, stop};
use baton_common::socket::{Socket, flag, role};

use crate::context::{process, slot};
use crate::kernel::{Tcp, has_storage, syscall_buffers};
use crate::maps::NAMES;
use crate::scratch::{self, Scratch};
use crate::{enrol, policy, source};

/// Interim responses (1xx) that may share a write with the final one.
const MAX_INTERIM: u32 = 3;

/// Fires once for each write, in the writer's thread (net/socket.c,
/// `call_trace_sock_send_length`, since 6.3).
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    if !has_storage(sk) {
        return 0;
    }
    let Some(socket) = enrol::state(sk) else { return 0 };
    let length: i32 = ctx.arg(1);
    // Nothing is expected where no request is open.
    if socket.role == role::ACCEPTED && length > 0 && socket.depth != 0 && policy::is_selected(socket) {
        if let Some(tcp) = Tcp::new(sk) {
            after_write(tcp, socket, length as u32);
        }
    }
    0
}

#[inline(always)]
fn after_write(tcp: Tcp, socket: &mut Socket, len: u32) {
    let end = tcp.write_seq();
    let start = end.wrapping_sub(len);
    if socket.response.phase == phase::START && socket.response.carry_len == 0 {
        // Bytes that were sent while no request was open do not matter.
        socket.response.seq = start;
    }
    let position = synchronise(&mut socket.response, start, 0);
    socket.response.seq = end;
    if position == Position::Ended {
        complete(socket);
        return;
    }
    if socket.response.phase == phase::UNTIL_CLOSE {
        return;
    }
    if socket.response.phase == phase::BODY && socket.response.body > u64::from(len) {
        socket.response.body -= u64::from(len);
        return;
    }
    let followed = socket.response.phase != phase::LOST && follow(socket, len);
    if !followed {
        // Its end will not be seen: its first bytes count as its end.
        socket.response.phase = phase::LOST;
        socket.depth = 0;
        slot::answer(socket);
    }
}

/// Looks at the bytes. Returns false if the stream is lost.
#[inline(always)]
fn follow(socket: &mut Socket, len: u32) -> bool {
    let Some(scratch) = scratch::acquire() else { return false };
    let followed = scan(socket, scratch, len);
    scratch::release(scratch);
    followed
}

#[inline(always)]
fn scan(socket: &mut Socket, scratch: *mut Scratch, len: u32) -> bool {
    let Some(names) = NAMES.get_ptr(0) else { return false };
    // SAFETY: the scratch memory is owned by this run.
    let (source, lines) = unsafe { (&mut (*scratch).source, &raw mut (*scratch).lines) };
    if !syscall_buffers(source, len) {
        // sendfile(): only what is counted may pass.
        let ends = socket.response.phase == phase::BODY && socket.response.body == u64::from(len);
        if ends {
            complete(socket);
        }
        return ends;
    }
    source::open(scratch, false);
    for _ in 0..MAX_INTERIM {
        let said = source::run(scratch, &raw mut socket.response, lines, names);
        let said = if said == stop::HEAD { after_head(&mut socket.response, socket.flags) } else { said };
        match said {
            stop::NO => {}
            stop::MESSAGE => {
                complete(socket);
                return source::position(scratch) == len;
            }
            stop::INPUT => return true,
            _ => return false,
        }
        if source::position(scratch) == len {
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

/// A connection changes its state: one that can send no more answers no more.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let state: i32 = ctx.arg(2);
    if state != tcp_state::FIN_WAIT1 && state != tcp_state::CLOSE && state != tcp_state::LAST_ACK {
        return 0;
    }
    let sk: *mut c_void = ctx.arg(0);
    if !has_storage(sk) {
        return 0;
    }
    let Some(socket) = enrol::state(sk) else { return 0 };
    if socket.role != role::ACCEPTED {
        return 0;
    }
    slot::answer(socket);
    socket.depth = 0;
    if state == tcp_state::CLOSE || state == tcp_state::LAST_ACK {
        slot::release(socket);
        if socket.flags & flag::COUNTED != 0 {
            socket.flags &= !flag::COUNTED;
            process::closed(socket.tgid);
        }
    }
    0
}
