//! An inbound request's head is complete, or cannot be understood.

use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use baton_common::attribution::{self, Claim, flag as claim_flag, state};
use baton_common::flow::{Reason, counter, kind as flow_kind};
use baton_common::names::Names;
use baton_common::policy::INGRESS;
use baton_common::runtime::kind;
use baton_common::scan::{lost, phase};
use baton_common::socket::{Socket, flag};
use baton_common::words::literal;

use super::skim;
use crate::context::{executor, goroutine, process, python, runtime, slot, turn};
use crate::flow::{self, Flow};
use crate::kernel::{Tcp, is_only_thread};
use crate::{clock, log, policy};

/// The head on `socket` is complete: its context begins and is current for the
/// thread `tid` that read the end of it.
#[inline(always)]
pub(super) fn complete(tcp: Tcp, socket: &mut Socket, names: *const Names, tid: u32, tgid: u32) {
    let id = clock::new_id();
    let allowed = policy::allows(socket, INGRESS);
    let carried = policy::carried(socket.workload);
    socket.next_request();
    let scan = &mut socket.request;
    // SAFETY: the value of an array map.
    let unsafe_names = unsafe { (*names).with_groups(scan.dropped) } | scan.present & !carried;
    scan.present &= carried;
    let have = scan.present & !unsafe_names;
    let written = tcp.write_seq();
    if socket.response.seq != written && tcp.snd_una() == written {
        // All was acknowledged, but did not leave where it could be seen.
        socket.depth = 0;
    }
    let ambiguous = socket.depth != 0;
    if !ambiguous {
        // What was written before is not this request's response.
        if socket.response.phase != phase::LOST {
            socket.response.begin_message();
        }
        socket.response.seq = written;
    }
    flow::count(socket.workload, counter::INBOUND as u32);
    if scan.dropped != 0 {
        flow::count(socket.workload, counter::LINES_DROPPED as u32);
    }
    if scan.method == literal("HEAD") {
        socket.flags |= flag::HEAD_REQUEST;
    } else {
        socket.flags &= !flag::HEAD_REQUEST;
    }
    socket.depth += 1;
    let mut reason = if allowed { Reason::None } else { Reason::IngressDenied };
    if scan.dropped != 0 {
        reason = Reason::LineDropped;
    }
    let slot = socket.slot.wrapping_sub(1);
    if let (true, Some(context)) = (socket.slot != 0, slot::get(slot)) {
        process::opened(tgid, id);
        socket.context = id;
        slot::begin(
            context,
            socket,
            &slot::Begin {
                id,
                have: if allowed { have } else { 0 },
                unsafe_names,
                sock: tcp.address(),
                tid,
                tgid,
                state: if ambiguous { state::AMBIGUOUS } else { state::LIVE },
            },
        );
        if !claim(tcp, socket, tid, &mut Claim::own(id, slot, tgid)) {
            reason = Reason::ExecutorsFull;
            flow::count_inbound_loss(socket.workload, reason);
        }
    } else {
        reason = Reason::ContextsFull;
        flow::count_inbound_loss(socket.workload, reason);
        unknown_work(socket, tgid, id);
        executor::forget(tid, tgid, reason);
    }
    flow::send_inbound(socket, reason);
}

/// Makes `claim` current for the reader: the thread `tid`, or what its runtime
/// runs on it. A thread that reads for many, or that has another request open,
/// drives an event loop otherwise. Returns false if a table is full. A function of its own, since it has two callers, and
/// for the stack's sake.
#[inline(never)]
pub(super) fn claim(tcp: Tcp, socket: &mut Socket, tid: u32, claim: &mut Claim) -> bool {
    let tgid = claim.tgid;
    // Asked once for each connection, where the answer is final.
    if socket.flags & flag::THREADS == 0 {
        let runtime = runtime::known(tgid);
        match runtime.unwrap_or(kind::NONE) {
            kind::GO => return goroutine::replace(tgid, |before| claim.beside(before, executor::is_open)),
            kind::PYTHON if python::reads(tid, tgid, socket, claim) => {
                socket.flags |= flag::TASKS;
                return true;
            }
            _ => {}
        }
        if runtime::has_threads_only(runtime) {
            socket.flags |= flag::THREADS;
        }
    }
    let nonblocking = tcp.is_nonblocking();
    let mut loops = nonblocking && (is_carrier() || python::has_greenlets(tgid));
    let watched = tcp.is_watched();
    if nonblocking || watched {
        match runtime::of(tgid) {
            // Who waits in epoll is marked here; and sockets come and go there as it likes.
            kind::JVM | kind::JVM_SERVES if nonblocking => claim.flags |= claim_flag::POOLED,
            kind::JVM_HANDS_ON if nonblocking => loops = true,
            // Who waits in epoll is marked here, too; and that may still watch what a thread has been given.
            kind::PUMA if nonblocking => {}
            _ if watched && attribution::reads_for_many(true, nonblocking, is_only_thread()) => {
                runtime::ask(tgid);
                loops = true;
            }
            _ => {}
        }
    }
    if loops {
        match runtime::of(tgid) {
            kind::PYTHON => {
                if python::reads_outside(tid, tgid, claim) {
                    socket.flags |= flag::TASKS;
                    return executor::drives_loop(tid);
                }
            }
            kind::LOOPS if policy::is_balanced(socket.workload) => turn::begin(tid, claim),
            kind::NONE if policy::is_balanced(socket.workload) => runtime::ask_for_turns(tgid),
            kind::ASKED | kind::NOTED => {
                // It may turn out to be Go: a goroutine that reads another request before this one is answered is an
                // event loop. For any other runtime this is noted for nobody, and goes when it is known.
                let _ = goroutine::replace(tgid, |before| claim.beside(before, executor::is_open));
                runtime::noted(tgid);
            }
            _ => {}
        }
        claim.flags |= claim_flag::EVENT_LOOP;
    }
    // A thread of Puma leaves a request whose body is late to the reactor, and goes on to another.
    let hands_on = |before: &Claim| before.is_incomplete() && runtime::of(tgid) == kind::PUMA;
    let is_open = |before: &Claim| !hands_on(before) && executor::is_open(before);
    let is_kept = executor::replace(tid, |before| claim.beside(before, is_open));
    skim::may(socket, tid, tgid);
    is_kept
}

/// See [`attribution::is_carrier`].
#[inline(always)]
fn is_carrier() -> bool {
    let mut comm = [0u64; 2];
    // SAFETY: the helper fills the 16 bytes.
    unsafe { bpf_get_current_comm((&raw mut comm).cast(), 16) };
    attribution::is_carrier(comm)
}

/// The process gets work on this connection that cannot be seen, so that
/// nothing that its threads inherit is certain.
#[inline(always)]
pub(super) fn unknown_work(socket: &mut Socket, tgid: u32, id: u64) {
    if socket.flags & flag::COUNTED == 0 {
        socket.flags |= flag::COUNTED;
        socket.tgid = tgid;
        process::opened(tgid, id);
    }
}

/// More bytes than one request were read at once: whose code runs next is not
/// known.
#[inline(always)]
pub(super) fn pipelined(socket: &mut Socket) -> Reason {
    if let (true, Some(context)) = (socket.slot != 0, slot::get(socket.slot.wrapping_sub(1))) {
        // SAFETY: the slot is this connection's.
        unsafe {
            if (*context).state == state::LIVE {
                core::ptr::write_volatile(&raw mut (*context).state, state::AMBIGUOUS);
            }
        }
    }
    socket.request.lose(lost::PIPELINED);
    Reason::Pipelined
}

/// Requests on `socket` are not followed from here on.
#[inline(always)]
pub(super) fn lose(socket: &mut Socket, reason: Reason) {
    if socket.request.lost == 0 {
        socket.request.lose(lost::FRAMING);
    }
    socket.request.phase = phase::LOST;
    flow::count_inbound_loss(socket.workload, reason);
    if log::is_on() {
        log::not_followed(socket, reason);
    }
    // SAFETY: no arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    unknown_work(socket, tgid, clock::new_id());
    if !matches!(reason, Reason::NotHttp1) {
        flow::send(
            socket,
            &socket.request,
            &Flow { process: None, kind: flow_kind::INBOUND, verdict: 0, reason: reason as u8, context: 0, names: 0 },
        );
    }
}
