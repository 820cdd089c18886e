//! After a read from an accepted socket.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use baton_common::attribution::Claim;
use baton_common::flow::Reason;
use baton_common::framing::{Follows, Position, after_request_head, synchronise};
use baton_common::runtime::kind;
use baton_common::scan::{phase, stop};
use baton_common::skim::stage;
use baton_common::socket::{Socket, flag, role};

use super::head;
use crate::context::{executor, runtime, slot, turn};
use crate::kernel::{Buffers, Tcp, current_ids};
use crate::maps::NAMES;
use crate::outbound::response;
use crate::scratch::{self, Scratch};
use crate::source::{Run, User};
use crate::{enrol, flow, policy, source, twins};

/// Reads whose bytes are not to be looked at (include/linux/socket.h): with
/// `MSG_PEEK` nothing is taken, with `MSG_TRUNC` the bytes are thrown away
/// unseen (the next read's sequence number tells), and `MSG_ERRQUEUE` reads
/// something else.
pub(super) const UNSEEN: i32 = 0x2 | 0x20 | 0x2000;

/// The current thread has read `length` bytes from `sk`, which is enrolled; they are in `buffers`. Every read hook ends
/// here. A function of its own, so that all other sockets' reads do not pay for its stack and registers.
#[inline(never)]
pub(super) fn has_read(sk: *mut c_void, length: i32, flags: i32, buffers: Buffers) {
    let Some(socket) = enrol::state(sk) else { return };
    if twins::are_attached() && length > 0 && flags & UNSEEN == 0 && was_seen(sk, socket) {
        return;
    }
    if policy::is_balanced(socket.workload) {
        // SAFETY: no arguments.
        turn::end(unsafe { bpf_get_current_pid_tgid() } as u32);
    }
    if length <= 0 || flags & UNSEEN != 0 {
        return;
    }
    if socket.role == role::ACCEPTED {
        if !policy::is_selected(socket) {
            return;
        }
        // Before anything else: what is not HTTP/1 shall pay as little as possible.
        if socket.request.phase == phase::LOST {
            after_lost(socket);
        } else if let Some(tcp) = Tcp::new(sk) {
            after_read(tcp, socket, length as u32, buffers);
        }
    } else if socket.awaits != 0 && flow::is_wanted() {
        response::has_read(socket, length as u32, buffers);
    }
}

/// Whether a twin has dealt with a read. Not of connected sockets, and of those whose requests are not followed any more:
/// what is done there may be done again.
#[inline(always)]
fn was_seen(sk: *mut c_void, socket: &Socket) -> bool {
    if socket.role != role::ACCEPTED {
        return false;
    }
    let is_at = |tcp: Tcp| tcp.copied_seq() == socket.request.seq;
    socket.flags & flag::ADOPTED == 0 && Tcp::new(sk).is_some_and(is_at)
}

/// The current thread has read `len` bytes from `socket`, which it accepted.
#[inline(always)]
fn after_read(tcp: Tcp, socket: &mut Socket, len: u32, buffers: Buffers) {
    let (tid, tgid) = current_ids();
    let end = tcp.copied_seq();
    let start = end.wrapping_sub(len);
    if socket.flags & flag::ADOPTED != 0 {
        socket.flags &= !flag::ADOPTED;
        if tcp.read().wrapping_sub(len) != socket.mark {
            // As where a connected one is written to: this may be the rest of a request.
            socket.generation = 0;
            executor::forget(tid, tgid, Reason::FramingLost);
            return;
        }
        socket.request.seq = start;
    }
    if socket.skim != stage::NO && !super::skim::looks(tcp, socket, tid, start, end) {
        return;
    }
    match synchronise(&mut socket.request, start, 0) {
        Position::Known => {}
        Position::Ended => socket.request.begin_message(),
        Position::Lost => {
            head::lose(socket, Reason::FramingLost);
            after_lost(socket);
            return;
        }
    }
    socket.request.seq = end;
    if in_body(socket.request.phase) {
        resume(tcp, socket, tid, tgid);
    }
    if socket.request.phase == phase::BODY && socket.request.body > u64::from(len) {
        socket.request.body -= u64::from(len);
        executor::has_read_a_part(tid, socket.context);
        return;
    }
    let Some(scratch) = scratch::acquire() else {
        head::lose(socket, Reason::ScratchBusy);
        return;
    };
    match scan(tcp, socket, scratch, (tid, tgid), len, buffers) {
        Err(Reason::NotHttp1) if runtime::of(tgid) == kind::PHP_FPM => {}
        Err(reason) => {
            head::lose(socket, reason);
            executor::forget(tid, tgid, reason);
        }
        Ok(()) if in_body(socket.request.phase) => executor::has_read_a_part(tid, socket.context),
        Ok(()) => {}
    }
    scratch::release(scratch);
}

/// The current thread has read from `socket`, whose requests are not followed.
#[inline(always)]
fn after_lost(socket: &Socket) {
    let (tid, tgid) = current_ids();
    let runtime = runtime::of(tgid);
    // What PHP-FPM reads is FastCGI, and followed otherwise.
    if runtime != kind::PHP_FPM {
        executor::forget_in(runtime, tid, tgid, Reason::of_lost(socket.request.lost));
    }
}

/// Whether more of a message that stands at `phase` is to come after its head.
#[inline(always)]
const fn in_body(phase: u32) -> bool {
    matches!(phase, phase::BODY | phase::CHUNK_SIZE | phase::CHUNK_DATA | phase::TRAILER | phase::TRAILER_SKIP)
}

/// Reading a request's body makes its context current for the reader.
#[inline(always)]
fn resume(tcp: Tcp, socket: &mut Socket, tid: u32, tgid: u32) {
    if socket.slot != 0 && socket.depth != 0 {
        let mut claim = Claim::own(socket.context, socket.slot.wrapping_sub(1), tgid);
        head::claim(tcp, socket, tid, &mut claim);
    }
}

#[inline(always)]
fn scan(
    tcp: Tcp,
    socket: &mut Socket,
    scratch: *mut Scratch,
    (tid, tgid): (u32, u32),
    len: u32,
    buffers: Buffers,
) -> Result<(), Reason> {
    // SAFETY: the scratch memory is owned by this run.
    if !buffers.fill(unsafe { &mut (*scratch).source }, len) {
        return Err(Reason::Unreadable);
    }
    let names = NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    // SAFETY: as above; where there is no slot, lines go to scratch memory.
    let lines = match slot::of(socket) {
        Some(context) => unsafe {
            if socket.request.phase == phase::START {
                slot::empty(context, socket);
            }
            &raw mut (*context).lines
        },
        None => unsafe { &raw mut (*scratch).lines },
    };
    source::open(scratch, true);
    let mut run = Run { scratch, scan: &raw mut socket.request, lines, names, packet: ptr::null_mut() };
    let said = source::run::<User>(&mut run);
    if said == stop::HEAD {
        head::complete(tcp, socket, names, tid, tgid);
        after_head(socket, &mut run, len)?;
    } else if said == stop::MESSAGE {
        socket.request.begin_message();
        if source::position(scratch) != len {
            return Err(head::pipelined(socket));
        }
    } else if said == stop::LOST {
        return Err(Reason::of_lost(socket.request.lost));
    }
    Ok(())
}

/// Deals with what follows a head in the same read.
#[inline(always)]
fn after_head(socket: &mut Socket, run: &mut Run, len: u32) -> Result<(), Reason> {
    let rest = u64::from(len.wrapping_sub(source::position(run.scratch)));
    match after_request_head(&mut socket.request) {
        Follows::Unknown => return Err(Reason::of_lost(socket.request.lost)),
        Follows::Body if socket.request.phase == phase::BODY => {
            if socket.request.body > rest {
                socket.request.body -= rest;
                return Ok(());
            }
            let more = rest - socket.request.body;
            socket.request.begin_message();
            if more > 0 {
                return Err(head::pipelined(socket));
            }
        }
        Follows::Body => {
            let said = source::run::<User>(run);
            if said == stop::LOST {
                return Err(Reason::of_lost(socket.request.lost));
            }
            if said == stop::MESSAGE {
                socket.request.begin_message();
                if source::position(run.scratch) != len {
                    return Err(head::pipelined(socket));
                }
            }
        }
        Follows::Nothing | Follows::Final => {
            socket.request.begin_message();
            if rest > 0 {
                return Err(head::pipelined(socket));
            }
        }
    }
    Ok(())
}
