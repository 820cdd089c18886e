//! Requests of PHP-FPM, which come as FastCGI. A worker has one at a time.
//!
//! The probes sit in PHP-FPM's executable file. What a request's head said is
//! not read from the connection, but from where PHP has put it when the request
//! begins: however the bytes came, it is what the request's own code sees.
//!
//! Structures are those of main/fastcgi.c in PHP 8.2, and in newer sources that were looked at. That they are where they
//! are looked for shows in each request: see [`Variables`].

mod variables;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use baton_common::attribution::{Claim, state};
use baton_common::flow::{Reason, counter};
use baton_common::runtime::kind;
use baton_common::scan::phase;
use baton_common::socket::Socket;

use crate::context::{executor, ids, process, runtime, slot};
use crate::flow;
use crate::kernel::{Peer, Registers, peer_of};
use crate::maps::{NAMES, WORKLOADS};
use crate::scratch::{self, Scratch};
use crate::{clock, policy};

pub(crate) use variables::Variables;

/// The context slot of each worker, plus one, by process id.
#[map]
static PHP_WORKERS: HashMap<u32, u32> = HashMap::with_max_entries(16_384, 1);

/// `struct _fcgi_request`: the connection's file descriptor (`fd`).
const FD: u64 = 8;

/// `php_request_startup()`: the worker has taken a request, and its code runs next.
///
/// The cookie is how far behind this function `sapi_globals` is.
#[uprobe]
pub fn php_begins(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = ids();
    if runtime::of(tgid) != kind::PHP_FPM {
        return 0;
    }
    over(tgid);
    executor::forget(tid, tgid, Reason::NoContext);
    let Some(workload) = runtime::workload() else { return 0 };
    // SAFETY: the program's context; the helper checks the addresses.
    let request = unsafe {
        let globals = Registers::of(&ctx).instruction().wrapping_add(bpf_get_attach_cookie(ctx.as_ptr()));
        // `sapi_globals_struct` (main/SAPI.h) begins with `server_context`.
        bpf_probe_read_user(globals as *const u64).unwrap_or(0)
    };
    if request == 0 {
        // PHP runs code of its own, for `php-fpm -i`.
        return 0;
    }
    let Some(scratch) = scratch::acquire() else {
        flow::count_inbound_loss(workload, Reason::ScratchBusy);
        executor::forget(tid, tgid, Reason::ScratchBusy);
        return 0;
    };
    begins(scratch, request, workload, tid, tgid);
    scratch::release(scratch);
    0
}

/// A return of `php_request_shutdown()`: the response is complete. Functions
/// that a script has registered for its end ran before.
#[uretprobe]
pub fn php_ends(_ctx: RetProbeContext) -> u32 {
    over(ids().1);
    0
}

/// `fastcgi_finish_request()`: the response will be complete when it returns. A
/// probe on its return would not do: a script can leave it in the middle, for
/// another fiber and its stack, and the kernel would take it for gone
/// (kernel/events/uprobes.c, `cleanup_return_instances`).
#[uprobe]
pub fn php_finishes(_ctx: ProbeContext) -> u32 {
    over(ids().1);
    0
}

/// The request of worker `tgid`, if it has one, causes nothing more.
#[inline(always)]
fn over(tgid: u32) {
    // SAFETY: copied at once.
    if let Some(slot) = unsafe { PHP_WORKERS.get(tgid) }.copied() {
        slot::end(slot);
    }
}

/// Process `tgid` ends.
#[inline(always)]
pub(crate) fn ended(tgid: u32) {
    // SAFETY: copied at once.
    if let Some(slot) = unsafe { PHP_WORKERS.get(tgid) }.copied() {
        let _ = PHP_WORKERS.remove(tgid);
        slot::give_back(slot);
    }
}

/// The worker `tgid` has taken the `request` (a `fcgi_request`).
#[inline(always)]
fn begins(scratch: *mut Scratch, request: u64, workload: u32, tid: u32, tgid: u32) {
    // SAFETY: the scratch memory is owned by this run.
    let socket = unsafe { &mut (*scratch).socket };
    prepare(socket, workload, tgid);
    let id = clock::new_id();
    let reason = match take(scratch, socket, request, id, tgid) {
        Ok(reason) => {
            let claim = Claim::own(id, socket.slot.wrapping_sub(1), tgid);
            if executor::set(tid, &claim) { reason } else { Reason::ExecutorsFull }
        }
        Err(reason) => {
            executor::forget(tid, tgid, reason);
            reason
        }
    };
    if !matches!(reason, Reason::None | Reason::LineDropped | Reason::IngressDenied) {
        flow::count_inbound_loss(workload, reason);
    }
    flow::send_inbound(socket, reason);
}

/// Makes `socket` stand for the connection of worker `tgid`.
#[inline(always)]
fn prepare(socket: &mut Socket, workload: u32, tgid: u32) {
    socket.cookie = 0;
    socket.context = 0;
    // SAFETY: copied at once.
    socket.slot = unsafe { PHP_WORKERS.get(tgid) }.copied().unwrap_or(0);
    socket.workload = workload;
    socket.generation = WORKLOADS.get(workload).map_or(0, |settings| settings.generation);
    socket.flags = 0;
    socket.peer = [0; 16];
    socket.local = [0; 16];
    socket.local_port = 0;
    socket.peer_port = 0;
    socket.request.begin_message();
    socket.request.method = 0;
    socket.response.seq = 0;
    socket.response.phase = phase::START;
}

/// Takes the context of `request`, to be called `id`. Returns why something of it is missing.
#[inline(always)]
fn take(scratch: *mut Scratch, socket: &mut Socket, request: u64, id: u64, tgid: u32) -> Result<Reason, Reason> {
    let had = socket.slot;
    let context = slot::of(socket).ok_or(Reason::ContextsFull)?;
    if had == 0 && PHP_WORKERS.insert(tgid, socket.slot, 0).is_err() {
        slot::release(socket);
        return Err(Reason::ContextsFull);
    }
    slot::empty(context, socket);
    let allowed = allows(socket, request);
    variables::read(scratch, context, request)?;
    let names = NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    let dropped = socket.request.dropped;
    let carried = policy::carried(socket.workload);
    // SAFETY: the value of an array map.
    let unsafe_names = unsafe { (*names).with_groups(dropped) } | socket.request.present & !carried;
    socket.request.present &= carried;
    flow::count(socket.workload, counter::INBOUND as u32);
    if dropped != 0 {
        flow::count(socket.workload, counter::LINES_DROPPED as u32);
    }
    process::opened(tgid, id);
    socket.context = id;
    let have = if allowed { socket.request.present & !unsafe_names } else { 0 };
    slot::begin(context, socket, &slot::Begin { id, have, unsafe_names, sock: 0, tid: tgid, tgid, state: state::LIVE });
    Ok(match (dropped, allowed) {
        (0, true) => Reason::None,
        (0, false) => Reason::IngressDenied,
        _ => Reason::LineDropped,
    })
}

/// Whether the web server's address is allowed; notes it in `socket`.
#[inline(always)]
fn allows(socket: &mut Socket, request: u64) -> bool {
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_user((request + FD) as *const u32) } {
        Ok(fd) => match peer_of(fd) {
            Peer::Address(address, port) => {
                socket.peer = address;
                socket.peer_port = port;
                policy::allows(socket, baton_common::policy::INGRESS)
            }
            Peer::Local => policy::allows_all_sources(socket.workload),
            Peer::Unknown => false,
        },
        Err(_) => false,
    }
}
