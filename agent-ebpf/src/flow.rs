//! Counters and flow events.

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use baton_common::flow::{Event, Reason, counter, kind};
use baton_common::scan::Scan;
use baton_common::socket::Socket;

use crate::maps::{COUNTERS, EVENTS, SETTINGS};

/// The reader looks again by itself: waking it costs more than the event.
const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

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
    pub(crate) kind: u8,
    pub(crate) verdict: u8,
    pub(crate) reason: u8,
    pub(crate) context: u64,
    pub(crate) names: u64,
}

/// Sends the flow event of the inbound request that `socket` has now, with or without a context.
#[inline(always)]
pub(crate) fn send_inbound(socket: &Socket, reason: Reason) {
    send(
        socket,
        &socket.request,
        &Flow {
            kind: kind::INBOUND,
            verdict: 0,
            reason: reason as u8,
            context: socket.context,
            names: if socket.context == 0 { 0 } else { socket.request.present },
        },
    );
}

/// Sends a flow event, if somebody reads them.
#[inline(never)]
pub(crate) fn send(socket: &Socket, scan: &Scan, flow: &Flow) {
    let wanted = match SETTINGS.get(0) {
        Some(settings) => settings.events != 0,
        None => false,
    };
    if !wanted {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(socket.workload, counter::EVENTS_DROPPED as u32);
        return;
    };
    // SAFETY: every field is written below; the entry is memory of the ring buffer.
    unsafe {
        let event = &mut *entry.as_mut_ptr();
        event.time = bpf_ktime_get_ns();
        event.context = flow.context;
        event.names = flow.names;
        event.cookie = socket.cookie;
        event.method = scan.method;
        let ids = bpf_get_current_pid_tgid();
        event.tgid = (ids >> 32) as u32;
        event.tid = ids as u32;
        event.workload = socket.workload;
        event.path_len = scan.path_len;
        event.peer = socket.peer;
        event.comm = bpf_get_current_comm().unwrap_or_default();
        event.peer_port = socket.peer_port;
        event.kind = flow.kind;
        event.verdict = flow.verdict;
        event.reason = flow.reason;
        event.reserved = [0; 3];
        event.path = scan.path;
    }
    entry.submit(NO_WAKEUP);
}
