//! Counters and flow events.

use core::num::NonZeroU32;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel};
use baton_common::flow::{Carrying, Event, Reason, Response, SHOWN_LINES, class, counter, kind};
use baton_common::scan::Scan;
use baton_common::socket::Socket;

use crate::context::{executor, slot};
use crate::kernel::{current_comm, current_ids};
use crate::maps::{COUNTERS, EVENTS, SETTINGS};

/// The reader looks again by itself: waking it costs more than the event.
const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

/// A "second" is this power of two in nanoseconds.
const SECOND: u32 = 30;

/// Adds one to a workload's counter `index` of [`counter`].
#[inline(always)]
pub(crate) fn count(workload: u32, index: u32) {
    let index = workload.wrapping_mul(counter::COUNT as u32).wrapping_add(index);
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value; a lost increment by a preempting run is harmless.
        unsafe { *value += 1 };
    }
}

/// Counts an inbound request that was not understood.
#[inline(always)]
pub(crate) fn count_inbound_loss(workload: u32, reason: Reason) {
    count(workload, counter::INBOUND_LOST as u32 + reason as u32);
}

/// What a flow event says beside what the socket's state says.
pub(crate) struct Flow {
    /// The process, if it is not the current thread's; no thread is named then.
    pub(crate) process: Option<NonZeroU32>,
    pub(crate) kind: u8,
    pub(crate) verdict: u8,
    pub(crate) reason: u8,
    pub(crate) context: u64,
    pub(crate) names: u64,
}

/// Sends the flow event of the inbound request that `socket` has now, with or without a context.
#[inline(always)]
pub(crate) fn send_inbound(socket: &mut Socket, reason: Reason) {
    let names = if socket.context == 0 { 0 } else { socket.request.present };
    let (reason, context) = (reason as u8, socket.context);
    let flow = Flow { process: None, kind: kind::INBOUND, verdict: 0, reason, context, names };
    let is_sent = if names == 0 { send(socket, &socket.request, &flow) } else { send_carrying(socket, &flow) };
    socket.awaits = u8::from(is_sent);
}

/// The same, with the lines that the context has.
#[inline(never)]
fn send_carrying(socket: &Socket, flow: &Flow) -> bool {
    let (Some(now), Some(context)) = (admit(socket.workload, class_of(flow)), slot::get(socket.slot.wrapping_sub(1)))
    else {
        return false;
    };
    let Some(mut entry) = EVENTS.reserve::<Carrying>(0) else {
        count(socket.workload, counter::EVENTS_DROPPED as u32);
        return false;
    };
    // SAFETY: every field is written here; the entry is memory of the ring buffer, and the slot is this connection's.
    unsafe {
        let carrying = entry.as_mut_ptr();
        fill(&raw mut (*carrying).event, now, socket, &socket.request, flow);
        (*carrying).lines_len = u64::from(socket.request.lines_len);
        let text = (&raw const (*context).lines.text).cast();
        bpf_probe_read_kernel((&raw mut (*carrying).lines).cast(), SHOWN_LINES as u32, text);
    }
    entry.submit(NO_WAKEUP);
    true
}

/// Sends a flow event, if somebody reads them. Returns whether it was sent.
#[inline(never)]
pub(crate) fn send(socket: &Socket, scan: &Scan, flow: &Flow) -> bool {
    let Some(now) = admit(socket.workload, class_of(flow)) else { return false };
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(socket.workload, counter::EVENTS_DROPPED as u32);
        return false;
    };
    // SAFETY: the entry is memory of the ring buffer.
    unsafe { fill(entry.as_mut_ptr(), now, socket, scan, flow) };
    entry.submit(NO_WAKEUP);
    true
}

/// Tells that the response with `status` is there, if its request was told of, and this has not been yet.
#[inline(always)]
pub(crate) fn respond(socket: &mut Socket, kind: u8, status: u16) {
    if socket.awaits == 0 {
        return;
    }
    socket.awaits = 0;
    send_response(socket, kind, status);
}

#[inline(never)]
fn send_response(socket: &Socket, kind: u8, status: u16) {
    let Some(time) = admit(socket.workload, class::RESPONSE as u32) else { return };
    // That a request was answered is not missed by anybody who counts.
    let Some(mut entry) = EVENTS.reserve::<Response>(0) else { return };
    let (cookie, workload, ordinal) = (socket.cookie, socket.workload, socket.ordinal);
    entry.write(Response { time, cookie, workload, status, kind, ordinal });
    entry.submit(NO_WAKEUP);
}

/// Whether somebody reads flow events.
#[inline(always)]
pub(crate) fn is_wanted() -> bool {
    SETTINGS.get(0).is_some_and(|settings| settings.events != 0)
}

/// The class of a request's event.
#[inline(always)]
fn class_of(flow: &Flow) -> u32 {
    if flow.reason == 0 { class::FINE as u32 } else { class::LOSS as u32 }
}

/// The time, if somebody reads flow events and this workload may send another one of this class in this second.
#[inline(always)]
fn admit(workload: u32, class: u32) -> Option<u64> {
    let limit = SETTINGS.get(0)?.events;
    if limit == 0 {
        return None;
    }
    let counters = workload.wrapping_mul(counter::COUNT as u32);
    let second = COUNTERS.get_ptr_mut(counters.wrapping_add(counter::SECOND as u32))?;
    let sent = |class: u32| COUNTERS.get_ptr_mut(counters.wrapping_add(counter::IN_SECOND as u32).wrapping_add(class));
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: per-CPU values; where a preempting run changes them, some events more or less are sent.
    unsafe {
        if *second != now >> SECOND {
            *second = now >> SECOND;
            *sent(class::FINE as u32)? = 0;
            *sent(class::LOSS as u32)? = 0;
            *sent(class::RESPONSE as u32)? = 0;
        }
        let sent = sent(class)?;
        if *sent >= u64::from(limit) {
            if class != class::RESPONSE as u32 {
                count(workload, counter::EVENTS_SKIPPED as u32);
            }
            return None;
        }
        *sent += 1;
    }
    Some(now)
}

/// Writes every field of `event`.
///
/// # Safety
/// `event` must be memory for one.
#[inline(always)]
unsafe fn fill(event: *mut Event, now: u64, socket: &Socket, scan: &Scan, flow: &Flow) {
    // SAFETY: the caller's.
    let event = unsafe { &mut *event };
    event.time = now;
    event.context = flow.context;
    event.names = flow.names;
    event.cookie = socket.cookie;
    event.method = scan.method;
    let (tid, tgid, comm) = match flow.process {
        None => {
            let (tid, tgid) = current_ids();
            (tid, tgid, current_comm())
        }
        Some(process) => (process.get(), process.get(), [0; 16]),
    };
    event.tgid = tgid;
    event.tid = tid;
    event.workload = socket.workload;
    event.path_len = scan.path_len as u16;
    event.executor = executor::current(tid, tgid) as u16;
    event.peer = socket.peer;
    event.local = socket.local;
    event.comm = comm;
    event.peer_port = socket.peer_port;
    event.local_port = socket.local_port;
    event.kind = flow.kind;
    event.verdict = flow.verdict;
    event.reason = flow.reason;
    event.ordinal = socket.ordinal;
    event.path = scan.path;
}
