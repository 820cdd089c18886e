//! Inserts a context's lines into a request head.

use core::ffi::c_void;

use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_loop, bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data, bpf_probe_read_kernel,
};
use baton_common::attribution::{Claim, Context, kind};
use baton_common::flow::{Reason, Verdict};
use baton_common::limits::MAX_LINES;
use baton_common::names::Names;
use baton_common::scan::{Lines, Text};
use baton_common::select::{self, Select};
use baton_common::socket::{Socket, flag};

use super::verdict;
use super::write::LINEAR;
use crate::atomic;
use crate::context::executor;
use crate::kernel::Tcp;
use crate::scratch::Scratch;

/// Bytes that one turn of the copying loops moves.
const TURN: u32 = 64;

/// Messages up to this size get the lines where they stand: with an offset
/// beyond 64 KiB the verifier refuses the store.
const IN_PLACE: u32 = 48 * 1024;

/// Send buffer that must stay free beside what is sent.
const MARGIN: i32 = 2048;

/// What is to be inserted where. It lives in the frame of `sk_msg_write`, where every word counts.
pub(super) struct Insertion<'a> {
    pub(super) msg: *mut sk_msg_md,
    pub(super) tcp: Tcp,
    pub(super) socket: &'a mut Socket,
    /// Where the blank line begins in the message.
    pub(super) at: u32,
    /// The message's size.
    pub(super) size: u32,
    /// Why nothing may be inserted, whatever there is; [`Reason::None`] if it may.
    pub(super) barred: Reason,
}

/// Inserts what belongs before the blank line; returns how many bytes. Reports
/// the verdict. `names` are the configured ones.
///
/// Not inlined: its stack must not add to the scanner's, which is never called
/// from here.
#[inline(never)]
pub(super) fn insert(insertion: &mut Insertion<'_>, scratch: *mut Scratch, names: *const Names) -> u32 {
    let socket = &mut *insertion.socket;
    // SAFETY: the value of an array map.
    let own = unsafe { (*names).with_groups(socket.request.present) };
    let claim = claim_of(socket);
    let context = match executor::check(&claim) {
        Ok(context) => context,
        Err(reason) => {
            if own != 0 {
                let names = socket.request.present;
                verdict::report(socket, Verdict::AlreadyPresent, Reason::None, 0, names);
            } else {
                verdict::report(socket, Verdict::Lost, reason, claim.id, 0);
            }
            return 0;
        }
    };
    // SAFETY: a map value; its id is compared again after the copy.
    let (have, skip) = unsafe { ((*context).have, (*context).unsafe_names | own) };
    let wanted = have & !skip;
    if wanted == 0 {
        let (verdict, names) = if have & own != 0 {
            (Verdict::AlreadyPresent, socket.request.present)
        } else {
            (Verdict::NothingToInsert, 0)
        };
        verdict::report(socket, verdict, Reason::None, claim.id, names);
        return 0;
    }
    match put(insertion, scratch, context, &claim, skip) {
        Ok(len) => {
            verdict::report(insertion.socket, Verdict::Injected, Reason::None, claim.id, wanted);
            len
        }
        Err(reason) => {
            verdict::report(insertion.socket, Verdict::Lost, reason, claim.id, 0);
            0
        }
    }
}

/// The claim of the current thread; for the connection's first request, where
/// the thread has none, what the connection remembers of the thread that connected.
#[inline(always)]
fn claim_of(socket: &Socket) -> Claim {
    // SAFETY: no arguments.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    let claim = executor::of_writer(ids as u32, (ids >> 32) as u32);
    if claim.is_left_to_connection() && socket.flags & flag::USED == 0 && socket.connect.kind != kind::NONE {
        return socket.connect;
    }
    claim
}

#[inline(always)]
fn put(
    insertion: &Insertion<'_>,
    scratch: *mut Scratch,
    context: *const Context,
    claim: &Claim,
    skip: u64,
) -> Result<u32, Reason> {
    let Insertion { msg, tcp, ref socket, at, size, barred } = *insertion;
    if !matches!(barred, Reason::None) {
        return Err(barred);
    }
    let len = gather(scratch, context, skip)?;
    // The slot may have gone to the connection's next request meanwhile; its id
    // is void before its lines change.
    atomic::order();
    // SAFETY: a map value.
    if unsafe { core::ptr::read_volatile(&raw const (*context).id) } != claim.id {
        return Err(Reason::Answered);
    }
    room(tcp, socket, at, len)?;
    // SAFETY: the context is valid.
    unsafe {
        if bpf_msg_push_data(msg, at, len, 0) != 0 {
            return Err(Reason::InsertFailed);
        }
        // What is to leave in one piece is made one piece first, if the lines
        // can be written anywhere in it.
        let whole = size.wrapping_add(len);
        let (from, to, lines_at) = if whole <= IN_PLACE { (0, whole, at) } else { (at, at.wrapping_add(len), 0) };
        if bpf_msg_pull_data(msg, from, to, 0) != 0 || !write(msg, scratch, lines_at, len) {
            bpf_msg_pop_data(msg, at, len, 0);
            return Err(Reason::InsertFailed);
        }
        if whole > IN_PLACE {
            bpf_msg_pull_data(msg, 0, if whole <= LINEAR { whole } else { at.wrapping_add(len) }, 0);
        }
    }
    Ok(len)
}

/// Nothing but this head may be in flight, and the send buffer must take the
/// message up to the end of the inserted lines at once: a non-blocking send
/// that is cut before that makes the application send the wrong bytes again
/// (net/ipv4/tcp_bpf.c, `tcp_bpf_send_verdict`, takes the unsent rest off what
/// the application wrote, inserted bytes included).
#[inline(always)]
fn room(tcp: Tcp, socket: &Socket, at: u32, len: u32) -> Result<(), Reason> {
    let written = tcp.write_seq();
    let in_flight = written.wrapping_sub(tcp.snd_una());
    let of_head = written.wrapping_sub(socket.request.head_seq);
    let (size, used) = tcp.send_buffer();
    let needed = at as i32 + len as i32 + used + MARGIN;
    if in_flight > of_head || needed > size { Err(Reason::QueueBusy) } else { Ok(()) }
}

/// Copies the lines of `context` but those in `skip` into the scratch memory.
#[inline(always)]
fn gather(scratch: *mut Scratch, context: *const Context, skip: u64) -> Result<u32, Reason> {
    // SAFETY: the scratch memory is owned by this run; the context is a map value.
    let len = unsafe {
        let to = &mut (*scratch).lines;
        if skip & (*context).have == 0 && (*context).unsafe_names == 0 {
            let mut len = (*context).lines_len;
            core::arch::asm!("{0} = {0}", inout(reg) len);
            if len == 0 || len > MAX_LINES as u32 {
                return Err(Reason::InsertFailed);
            }
            let from = (&raw const (*context).lines.text).cast::<c_void>();
            bpf_probe_read_kernel((&raw mut to.text).cast(), len, from);
            len
        } else {
            let mut gather = Gather { from: &raw const (*context).lines, to: &raw mut to.text, scratch };
            (*scratch).select = Select::new((*context).line_count, skip);
            bpf_loop(select::MAX_TURNS, select_turn as *mut c_void, (&raw mut gather).cast(), 0);
            (*scratch).select.len
        }
    };
    if len == 0 || len > MAX_LINES as u32 { Err(Reason::InsertFailed) } else { Ok(len) }
}

#[repr(C)]
struct Gather {
    from: *const Lines,
    to: *mut Text,
    scratch: *mut Scratch,
}

extern "C" fn select_turn(_index: u32, gather: *mut Gather) -> i64 {
    // SAFETY: `gather` lives in the caller's frame; its pointers are map values.
    let (from, to, select) = unsafe { (&*(*gather).from, &mut *(*gather).to, &mut (*(*gather).scratch).select) };
    i64::from(!select::turn(select, from, to))
}

#[repr(C)]
struct Write {
    msg: *mut aya_ebpf::bindings::sk_msg_md,
    text: *const Text,
    scratch: *mut Scratch,
}

/// Writes the gathered lines over `len` bytes of the message's readable part,
/// from `at` on.
#[inline(always)]
fn write(msg: *mut sk_msg_md, scratch: *mut Scratch, at: u32, len: u32) -> bool {
    // SAFETY: the scratch memory is owned by this run.
    unsafe {
        (*scratch).written = 0;
        (*scratch).write_at = at;
        (*scratch).to_write = len;
        let mut write = Write { msg, text: &raw const (*scratch).lines.text, scratch };
        bpf_loop(MAX_LINES as u32 / TURN + 1, write_turn as *mut c_void, (&raw mut write).cast(), 0);
        (*scratch).written == len
    }
}

/// Writes up to 64 bytes.
extern "C" fn write_turn(_index: u32, write: *mut Write) -> i64 {
    // SAFETY: `write` lives in the caller's frame; every store is checked
    // against the end of the message's data.
    unsafe {
        let scratch = (*write).scratch;
        let text = &*(*write).text;
        let msg = (*write).msg;
        let mut from = (*scratch).written;
        let len = (*scratch).to_write;
        core::arch::asm!("{0} = {0}", inout(reg) from);
        if from >= len || from > MAX_LINES as u32 {
            return 1;
        }
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let mut at = (*scratch).write_at;
        core::arch::asm!("{0} = {0}", inout(reg) at);
        if at > IN_PLACE {
            return 1;
        }
        let to = data + at as usize + from as usize;
        let mut done = 0;
        for word in 0..8usize {
            let at = to + word * 8;
            // What follows the lines is the application's.
            if from + word as u32 * 8 + 8 > len || at + 8 > end {
                break;
            }
            *(at as *mut u64) = text.at_after(from, word);
            done += 8;
        }
        if done < TURN {
            let rest = text.at(from + done);
            let tail = to + (done & 56) as usize;
            for byte in 0..7usize {
                if from + done >= len || tail + byte + 1 > end {
                    break;
                }
                *((tail + byte) as *mut u8) = (rest >> (byte * 8)) as u8;
                done += 1;
            }
        }
        (*scratch).written = from + done;
    }
    0
}
