//! Before a message goes out on a connected socket.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::generated::bpf_msg_pull_data;
use aya_ebpf::macros::sk_msg;
use aya_ebpf::programs::SkMsgContext;
use baton_common::flow::Reason;
use baton_common::framing::{Follows, Position, after_request_head, synchronise};
use baton_common::head::BARE_LINE_FEED;
use baton_common::limits::MAX_HEAD;
use baton_common::policy::EGRESS;
use baton_common::scan::{lost, phase, stop};
use baton_common::skim::stage;
use baton_common::socket::{Socket, flag, proof, role, upload};

use super::insert::{self, Insertion};
use super::verdict;
use crate::kernel::Tcp;
use crate::maps::NAMES;
use crate::scratch::{self, Scratch};
use crate::source::{Kernel, Run};
use crate::{enrol, policy, source};

/// Messages up to this size stay in one piece, so that Nagle's algorithm does
/// not hold back their last one.
pub(super) const LINEAR: u32 = 64 * 1024;

/// Runs in the sending thread with the message in hand. Always passes it.
#[sk_msg]
pub fn sk_msg_write(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context is valid.
    let sk: *mut c_void = unsafe { (*ctx.msg).__bindgen_anon_3.sk }.cast();
    if sk.is_null() {
        return SK_PASS;
    }
    let Some(socket) = enrol::state(sk) else { return SK_PASS };
    if socket.role != role::CONNECTED || socket.request.phase == phase::LOST || !policy::is_selected(socket) {
        return SK_PASS;
    }
    if let Some(tcp) = Tcp::new(sk) {
        before_write(&ctx, tcp, socket);
    }
    SK_PASS
}

#[inline(always)]
fn before_write(ctx: &SkMsgContext, tcp: Tcp, socket: &mut Socket) {
    let start = tcp.write_seq();
    let size = ctx.size();
    if socket.flags & flag::ADOPTED != 0 {
        socket.flags &= !flag::ADOPTED;
        if tcp.written() != socket.mark {
            // Something passed before there was a state, and this may be its rest.
            // User space has seen that, too, and adopts the connection anew.
            socket.generation = 0;
            return;
        }
        socket.request.seq = start;
    }
    if socket.skim != stage::NO && !super::skim::looks(tcp, socket, start, start.wrapping_add(size)) {
        linearise(ctx, size);
        return;
    }
    match synchronise(&mut socket.request, start, socket.last_body) {
        Position::Known => {}
        Position::Ended => socket.request.begin_message(),
        Position::Lost => {
            verdict::lost(socket, Reason::FramingLost);
            return;
        }
    }
    socket.last_body = 0;
    socket.request.seq = start.wrapping_add(size);
    if socket.request.phase == phase::BODY && socket.request.body >= u64::from(size) {
        socket.request.body -= u64::from(size);
        socket.last_body = size;
        if socket.request.body == 0 {
            socket.request.begin_message();
        }
        return;
    }
    let Some(scratch) = scratch::acquire() else {
        socket.request.lose(lost::FRAMING);
        verdict::lost(socket, Reason::ScratchBusy);
        return;
    };
    if let Err(reason) = follow(ctx, tcp, socket, scratch, size) {
        socket.request.phase = phase::LOST;
        verdict::lost(socket, reason);
    }
    scratch::release(scratch);
}

/// Whether the head that is written now is one for sure, see [`proof`]. A function of its own for the stack's sake.
#[inline(never)]
fn is_proven(tcp: Tcp, socket: &mut Socket) -> bool {
    if socket.proof == proof::DONE {
        return true;
    }
    let read = tcp.copied_seq();
    let is_answered = socket.proof == proof::ANSWER && read != socket.mark;
    socket.proof = if is_answered { proof::DONE } else { proof::ANSWER };
    socket.mark = read;
    is_answered
}

#[inline(always)]
fn follow(ctx: &SkMsgContext, tcp: Tcp, socket: &mut Socket, scratch: *mut Scratch, size: u32) -> Result<(), Reason> {
    let names = NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    let linear = linearise(ctx, size);
    // SAFETY: the scratch memory is owned by this run.
    let lines = unsafe {
        (*scratch).source.set(ctx.data() as u64, linear);
        &raw mut (*scratch).lines
    };
    let mut run = Run { scratch, scan: &raw mut socket.request, lines, names, packet: ptr::null_mut() };
    if socket.request.phase == phase::START && socket.request.carry_len == 0 {
        socket.request.head_seq = tcp.write_seq();
    }
    source::open(scratch, false);
    let mut said = source::run::<Kernel>(&mut run);
    if said == stop::HEAD {
        // SAFETY: as above.
        let blank = unsafe { (*scratch).turn.blank };
        let end = source::position(scratch);
        // Where the blank line began in an earlier message, nothing can be
        // put before it any more; the scanner sees to it that this is not so.
        let blank_len = unsafe { (*scratch).turn.pos.wrapping_sub(blank) };
        let at = end.wrapping_sub(blank_len);
        let scan = &mut socket.request;
        if scan.flags & BARE_LINE_FEED != 0 {
            // What is inserted would end otherwise, and servers differ in what they make of that.
            return Err(Reason::NotHttp1);
        }
        let follows = after_request_head(scan);
        let rest = u64::from(size.wrapping_sub(end));
        let body = match follows {
            Follows::Body if scan.phase == phase::BODY => scan.body,
            Follows::Body => u64::MAX,
            _ => 0,
        };
        let (buffer, used) = tcp.send_buffer();
        let is_large = upload::is_large(size, body, buffer.wrapping_sub(used));
        socket.upload = socket.upload & upload::WATCHED | u8::from(is_large);
        let more = match follows {
            Follows::Body if scan.phase == phase::BODY => rest > scan.body,
            Follows::Nothing | Follows::Final => rest > 0,
            _ => false,
        };
        if more {
            return Err(Reason::Pipelined);
        }
        socket.next_request();
        let barred = if !is_proven(tcp, socket) {
            Reason::Unproven
        } else if !policy::allows(socket, EGRESS) {
            Reason::EgressDenied
        } else {
            Reason::None
        };
        let inserted = insert::insert(&mut Insertion { msg: ctx.msg, tcp, socket, at, size, barred }, scratch, names);
        if inserted == 0 {
            super::skim::may(tcp, socket);
        }
        socket.flags |= flag::USED;
        let scan = &mut socket.request;
        scan.seq = scan.seq.wrapping_add(inserted);
        match follows {
            // The request has had its verdict, and what follows is none.
            Follows::Unknown if scan.lost == lost::UPGRADED => {
                verdict::leave(socket);
                return Ok(());
            }
            Follows::Unknown => return Err(Reason::of_lost(scan.lost)),
            Follows::Body if scan.phase == phase::BODY => {
                scan.body -= rest;
                socket.last_body = rest as u32;
                if scan.body == 0 {
                    scan.begin_message();
                }
                return Ok(());
            }
            Follows::Body => said = source::run::<Kernel>(&mut run),
            Follows::Nothing | Follows::Final => {
                scan.begin_message();
                return Ok(());
            }
        }
    }
    let scan = &mut socket.request;
    match said {
        stop::MESSAGE => {
            if source::position(scratch) != size {
                return Err(Reason::Pipelined);
            }
            scan.begin_message();
            Ok(())
        }
        stop::INPUT => beyond(socket, size.wrapping_sub(linear)),
        _ => Err(Reason::of_lost(scan.lost)),
    }
}

/// Accounts for bytes of the message that were not in its linear part: only
/// counted bytes may be there.
#[inline(always)]
fn beyond(socket: &mut Socket, rest: u32) -> Result<(), Reason> {
    let scan = &mut socket.request;
    if rest == 0 {
        return Ok(());
    }
    if scan.phase == phase::CHUNK_DATA && scan.body >= u64::from(rest) {
        scan.body -= u64::from(rest);
        if scan.body == 0 {
            scan.phase = phase::CHUNK_SIZE;
        }
        return Ok(());
    }
    if scan.in_head() {
        scan.lose(lost::HEAD_TOO_LARGE);
        return Err(Reason::HeadTooLarge);
    }
    scan.lose(lost::FRAMING);
    Err(Reason::FramingLost)
}

/// Makes the message's beginning readable in one piece; returns how much.
#[inline(always)]
fn linearise(ctx: &SkMsgContext, size: u32) -> u32 {
    let have = ctx.data_end().wrapping_sub(ctx.data()) as u32;
    if have >= size {
        return size;
    }
    let wanted = if size <= LINEAR { size } else { MAX_HEAD };
    if have < wanted {
        // SAFETY: the context is valid. Where it fails, less is readable.
        unsafe { bpf_msg_pull_data(ctx.msg, 0, wanted, 0) };
    }
    let have = ctx.data_end().wrapping_sub(ctx.data()) as u32;
    have.min(size)
}
