//! Requests of PHP-FPM, which come as FastCGI. A worker has one at a time.
//!
//! The probes sit in PHP-FPM's executable file. What a request's head said is
//! not read from the connection, but from where PHP has put it when the request
//! begins: however the bytes came, it is what the request's own code sees.
//!
//! Structures are those of main/fastcgi.c in PHP 8.2, and in newer sources that were looked at. That they are where they
//! are looked for shows in each request: see [`Variables`].

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_loop, bpf_probe_read_user as read_bytes};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use baton_common::attribution::{Claim, Context, state};
use baton_common::cgi::{self, MAX_VALUE, MAX_VARIABLE, VALUE_AT, Variable};
use baton_common::flow::{Reason, counter, kind as flow_kind};
use baton_common::limits::MAX_PATH;
use baton_common::names::{Name, Names};
use baton_common::runtime::kind;
use baton_common::scan::{self, Lines, Scan, Turn, Window, phase};
use baton_common::socket::Socket;

use crate::context::{executor, ids, process, runtime, slot};
use crate::flow::{self, Flow};
use crate::kernel::{Peer, Registers, peer_of};
use crate::maps::{FOLDED_NAMES, NAMES, WORKLOADS};
use crate::scratch::{self, Scratch};
use crate::{clock, policy};

/// The context slot of each worker, plus one, by process id.
#[map]
static PHP_WORKERS: HashMap<u32, u32> = HashMap::with_max_entries(16_384, 1);

/// Steps that one request may take: one for each variable, and one for each 64 bytes of lines.
const MAX_TURNS: u32 = 1024;

/// `struct _fcgi_request`: the connection's file descriptor (`fd`).
const FD: u64 = 8;
/// `out_pos`, which is the address of `out_buf` while nothing has been written.
const OUT_POS: u64 = 48;
const OUT_BUF: u64 = 56;
/// `env.list`, the newest variable.
const LIST: u64 = 9320;

/// `struct _fcgi_hash_bucket`: a variable.
#[repr(C)]
#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    name_len: u32,
    name: u64,
    value_len: u32,
    reserved: u32,
    /// 0 if the variable was taken away.
    value: u64,
    next_of_hash: u64,
    /// The one that was set before this one.
    next: u64,
}

/// How far the reading of a request's variables is. The list ends with the one
/// that PHP sets itself before all others, `FCGI_ROLE`: else it is no such list.
#[repr(C)]
pub(crate) struct Variables {
    /// Address of the next variable; 0 at the end.
    next: u64,
    /// Whether the last one was `FCGI_ROLE`.
    role: u32,
    /// Whether memory could not be read.
    failed: u32,
}

/// What reading the variables needs beside scratch memory.
#[repr(C)]
struct Walk {
    scratch: *mut Scratch,
    lines: *mut Lines,
    names: *const Names,
    folded: *const Names,
}

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
    flow::send(
        socket,
        &socket.request,
        &Flow {
            kind: flow_kind::INBOUND,
            verdict: 0,
            reason: reason as u8,
            context: socket.context,
            names: if socket.context == 0 { 0 } else { socket.request.present },
        },
    );
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
    read_variables(scratch, context, request)?;
    let names = NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    let dropped = socket.request.dropped;
    // SAFETY: the value of an array map.
    let unsafe_names = unsafe { (*names).with_groups(dropped) };
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

/// Reads the variables of `request`: its configured headers become the lines of `context`.
#[inline(always)]
fn read_variables(scratch: *mut Scratch, context: *mut Context, request: u64) -> Result<(), Reason> {
    // SAFETY: the helper checks the addresses.
    let (out_pos, list) = unsafe {
        (
            bpf_probe_read_user((request + OUT_POS) as *const u64).map_err(|_| Reason::Unreadable)?,
            bpf_probe_read_user((request + LIST) as *const u64).map_err(|_| Reason::Unreadable)?,
        )
    };
    if out_pos != request + OUT_BUF {
        return Err(Reason::Unreadable);
    }
    let names = NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    let folded = FOLDED_NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    // SAFETY: the scratch memory is owned by this run; the others are map values that outlive the call.
    unsafe {
        (*scratch).variables = Variables { next: list, role: 0, failed: 0 };
        let mut walk = Walk { scratch, lines: &raw mut (*context).lines, names, folded };
        let turns = bpf_loop(MAX_TURNS, turn as *mut c_void, (&raw mut walk).cast(), 0);
        let variables = &(*scratch).variables;
        if turns >= i64::from(MAX_TURNS) {
            return Err(Reason::HeadTooLarge);
        }
        if variables.failed != 0 || variables.role == 0 {
            return Err(Reason::Unreadable);
        }
    }
    Ok(())
}

/// Looks at one variable, or copies a part of one.
extern "C" fn turn(_index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: it lives in the caller's frame; its pointers are map values.
    unsafe {
        let walk = &*walk;
        let scratch = walk.scratch;
        if (*scratch).socket.request.phase == phase::COPY {
            let scan = &raw mut (*scratch).socket.request;
            php_copy(scan, &raw mut (*scratch).turn, &raw const (*scratch).window, walk.lines);
            return 0;
        }
        let variables = &mut (*scratch).variables;
        if variables.next == 0 {
            return 1;
        }
        let Ok(bucket) = bpf_probe_read_user(variables.next as *const Bucket) else {
            variables.failed = 1;
            return 1;
        };
        variables.next = bucket.next;
        variables.role = 0;
        if look_at(walk, &bucket).is_none() {
            (*scratch).variables.failed = 1;
            return 1;
        }
        0
    }
}

/// A function with a global symbol is verified once, by itself, as [`php_variable`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn php_copy(scan: *mut Scan, turn: *mut Turn, window: *const Window, lines: *mut Lines) -> u32 {
    if scan.is_null() || turn.is_null() || window.is_null() || lines.is_null() {
        return 0;
    }
    // SAFETY: checked for null; the verifier checks the rest at each call.
    unsafe { scan::copy_line(&mut *scan, &mut *turn, &*window, &mut *lines) };
    0
}

/// See [`cgi::variable`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn php_variable(
    window: *const Window,
    len: u32,
    name: *mut Name,
    names: *const Names,
    folded: *const Names,
) -> u32 {
    if window.is_null() || name.is_null() || names.is_null() || folded.is_null() {
        return 0;
    }
    // SAFETY: as in `php_copy`.
    unsafe { cgi::variable(&*window, len, &mut *name, &*names, &*folded).to_raw() }
}

/// Deals with a variable. `None` if it cannot be read.
#[inline(always)]
unsafe fn look_at(walk: &Walk, bucket: &Bucket) -> Option<()> {
    // SAFETY: the pointers are map values, the scratch memory is owned by this run.
    unsafe {
        let scratch = walk.scratch;
        let window = &raw mut (*scratch).window;
        let mut name_len = bucket.name_len;
        // The verifier must see the bound on the register that is passed.
        core::arch::asm!("{0} = {0}", inout(reg) name_len);
        if bucket.value == 0 || name_len > MAX_VARIABLE {
            return Some(());
        }
        let bytes = (*window).as_words_mut().as_mut_ptr();
        if read_bytes(bytes.cast(), name_len, bucket.name as *const c_void) != 0 {
            return None;
        }
        let name = &raw mut (*scratch).turn.word;
        let said = php_variable(window, name_len, name, walk.names, walk.folded);
        match Variable::from_raw(said) {
            Variable::Header { index, len } => {
                let scan = &mut (*scratch).socket.request;
                let mut value_len = bucket.value_len;
                core::arch::asm!("{0} = {0}", inout(reg) value_len);
                if value_len > MAX_VALUE {
                    scan.drop_line(index);
                    return Some(());
                }
                let to = bytes.add(VALUE_AT as usize / 8).cast();
                if read_bytes(to, value_len, bucket.value as *const c_void) != 0 {
                    return None;
                }
                let mut name = *name;
                cgi::begin_line(
                    scan,
                    &mut (*scratch).turn,
                    &mut *window,
                    &mut *walk.lines,
                    (index, &mut name, len),
                    value_len,
                );
            }
            Variable::Method => {
                let mut len = bucket.value_len.min(8);
                core::arch::asm!("{0} = {0}", inout(reg) len);
                if len <= 8 {
                    let to = &raw mut (*scratch).socket.request.method;
                    read_bytes(to.cast(), len, bucket.value as *const c_void);
                }
            }
            Variable::Target => {
                let mut len = bucket.value_len.min(MAX_PATH as u32);
                core::arch::asm!("{0} = {0}", inout(reg) len);
                if len <= MAX_PATH as u32 {
                    let to = &raw mut (*scratch).socket.request.path;
                    read_bytes(to.cast(), len, bucket.value as *const c_void);
                    (*scratch).socket.request.path_len = len;
                }
            }
            Variable::Role => (*scratch).variables.role = 1,
            Variable::Other => {}
        }
        Some(())
    }
}
