//! Context slots: one for each accepted connection that carries HTTP/1.

use baton_common::attribution::{Context, state};
use baton_common::scan::phase;
use baton_common::socket::Socket;

use super::process;
use crate::maps::{CONTEXTS, FREE_SLOTS, SETTINGS, SLOTS_TAKEN};
use crate::{atomic, clock, kernel};

/// The context in `slot`.
#[inline(always)]
pub(crate) fn get(slot: u32) -> Option<*mut Context> {
    CONTEXTS.get_ptr_mut(slot)
}

/// The context slot of `socket`; takes one if it has none. `None` if all are taken.
#[inline(always)]
pub(crate) fn of(socket: &mut Socket) -> Option<*mut Context> {
    if socket.slot == 0 {
        socket.slot = take()? + 1;
    }
    get(socket.slot.wrapping_sub(1))
}

#[inline(always)]
fn take() -> Option<u32> {
    if let Ok(Some(slot)) = FREE_SLOTS.pop() {
        return Some(slot);
    }
    let size = SETTINGS.get(0)?.slots;
    let taken = SLOTS_TAKEN.get_ptr_mut(0)?;
    // SAFETY: a word of a map value. Looked at first, so that it never wraps.
    let slot = unsafe {
        if core::ptr::read_volatile(taken) >= u64::from(size) {
            return None;
        }
        atomic::add(taken, 1)
    };
    if slot < u64::from(size) { Some(slot as u32) } else { None }
}

/// What a context begins with, beside its lines.
pub(crate) struct Begin {
    pub(crate) id: u64,
    /// Bits of the names whose lines may be inserted.
    pub(crate) have: u64,
    /// Bits of those that must not be.
    pub(crate) unsafe_names: u64,
    /// Where its `struct tcp_sock` is; 0 if there is none.
    pub(crate) sock: u64,
    pub(crate) tid: u32,
    pub(crate) tgid: u32,
    pub(crate) state: u32,
}

/// Begins the context of the request on `socket`, whose lines are there.
#[inline(always)]
pub(crate) fn begin(context: *mut Context, socket: &Socket, begin: &Begin) {
    // SAFETY: the slot is this connection's; `id` comes last, since readers
    // compare it.
    unsafe {
        (*context).have = begin.have;
        (*context).unsafe_names = begin.unsafe_names;
        (*context).since = clock::ticks();
        (*context).sock = begin.sock;
        (*context).sent = socket.response.seq;
        (*context).left = 0;
        (*context).tid = begin.tid;
        (*context).tgid = begin.tgid;
        (*context).workload = socket.workload;
        (*context).generation = socket.generation;
        (*context).epoch = SETTINGS.get(0).map_or(0, |settings| settings.epoch);
        (*context).lines_len = socket.request.lines_len;
        (*context).line_count = socket.request.line_count;
        (*context).state = begin.state;
        atomic::order();
        core::ptr::write_volatile(&raw mut (*context).id, begin.id);
    }
}

/// Nobody may use the context in `socket`'s slot while its lines are written anew.
#[inline(always)]
pub(crate) fn empty(context: *mut Context, socket: &Socket) {
    answer(socket);
    // SAFETY: the slot is this connection's.
    unsafe { core::ptr::write_volatile(&raw mut (*context).id, 0) };
    atomic::order();
}

/// Notes how much of the response on `socket` has left.
#[inline(always)]
pub(crate) fn note_sent(socket: &Socket) {
    if socket.slot == 0 {
        return;
    }
    let Some(context) = get(socket.slot.wrapping_sub(1)) else { return };
    let response = &socket.response;
    let left = match response.phase {
        phase::BODY | phase::CHUNK_DATA => response.body,
        phase::UNTIL_CLOSE => u64::MAX,
        _ => 0,
    };
    // SAFETY: a map value; aligned words.
    unsafe {
        core::ptr::write_volatile(&raw mut (*context).left, left);
        atomic::order();
        core::ptr::write_volatile(&raw mut (*context).sent, response.seq);
    }
}

/// Whether the response may be complete though its end has not left.
#[inline(always)]
pub(crate) fn may_be_answered(context: *const Context) -> bool {
    // SAFETY: a map value; aligned words. Who sees a new `sent` must see its
    // `left`, which `note_sent` writes first.
    unsafe {
        let written = kernel::write_seq_at((*context).sock);
        let sent = core::ptr::read_volatile(&raw const (*context).sent);
        atomic::order();
        let left = core::ptr::read_volatile(&raw const (*context).left);
        Context::may_be_answered(written, sent, left)
    }
}

/// Ends the context in `socket`'s slot: it is current for nobody any more.
#[inline(always)]
pub(crate) fn answer(socket: &Socket) {
    end(socket.slot);
}

/// Ends the context in the slot `held`, plus one; 0 is none.
#[inline(always)]
pub(crate) fn end(held: u32) {
    if held == 0 {
        return;
    }
    let Some(context) = get(held.wrapping_sub(1)) else { return };
    // SAFETY: a map value; the state is one aligned word.
    unsafe {
        let before = (*context).state;
        if before == state::LIVE || before == state::AMBIGUOUS {
            core::ptr::write_volatile(&raw mut (*context).state, state::ANSWERED);
            process::closed((*context).tgid);
        }
    }
}

/// Gives the slot of `socket` back.
#[inline(always)]
pub(crate) fn release(socket: &mut Socket) {
    give_back(socket.slot);
    socket.slot = 0;
}

/// Gives the slot `held`, plus one, back; 0 is none.
#[inline(always)]
pub(crate) fn give_back(held: u32) {
    if held == 0 {
        return;
    }
    end(held);
    let slot = held.wrapping_sub(1);
    if let Some(context) = get(slot) {
        // SAFETY: as in `end`.
        unsafe {
            core::ptr::write_volatile(&raw mut (*context).id, 0);
            core::ptr::write_volatile(&raw mut (*context).state, state::FREE);
        }
    }
    let _ = FREE_SLOTS.push(slot, 0);
}
