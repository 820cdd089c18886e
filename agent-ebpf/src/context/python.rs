//! Python contexts as executors: `asyncio` and its like run each task in a
//! context (`contextvars`, PEP 567) of its own, and a context's copy belongs to
//! what the original was current for.
//!
//! The probes sit in the Python processes that user space has looked at, and
//! nowhere else.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use baton_common::attribution::{Claim, kind};
use baton_common::flow::Reason;
use baton_common::runtime::{Object, Python, loaded, notice};
use baton_common::socket::Socket;

use super::{connection, executor, ids, runtime, task, uvloop};
use crate::kernel::{Registers, cookie_of, current_ids, thread_pointer};

/// Where one of these is known of a process, its contexts say nothing of requests.
const SAYS_NOTHING: u32 = loaded::QUEUES | loaded::GREENLETS | loaded::UNKNOWN;

/// Threads of a process that are looked through for the current one.
const MAX_THREADS: u32 = 128;

/// Where the interpreters of processes keep what is looked up. Written by user space.
#[map]
static PYTHONS: HashMap<u32, Python> = HashMap::with_max_entries(4096, 1);

/// The `PyThreadState` of threads, once it was found.
#[map]
static PYTHON_THREADS: HashMap<u32, u64> = HashMap::with_max_entries(16_384, 1);

/// Threads that are about to copy a context which need not be their current one.
#[map]
static COPYING: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 1);

/// The connection that a thread has accepted last.
#[map]
static ACCEPTED: HashMap<u32, Accepted> = HashMap::with_max_entries(16_384, 1);

#[repr(C)]
#[derive(Clone, Copy)]
struct Accepted {
    /// The socket's cookie.
    cookie: u64,
    /// The context in which it was accepted.
    context: u64,
}

#[inline(always)]
fn read(address: u64) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or(0)
}

/// Where the interpreter of process `tgid` keeps what is looked up.
#[inline(always)]
fn of(tgid: u32) -> Option<Python> {
    // SAFETY: copied at once.
    unsafe { PYTHONS.get(tgid) }.copied()
}

/// Address of the context in which the current thread `tid` of process `tgid` runs; 0 if there is none.
#[inline(always)]
fn current(tid: u32, tgid: u32) -> u64 {
    python_context(tid, tgid)
}

/// See [`current`]. A function with a global symbol is verified once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn python_context(tid: u32, tgid: u32) -> u64 {
    // Not copied, for the stack's sake.
    let Some(python) = PYTHONS.get_ptr(tgid) else { return 0 };
    // SAFETY: a map value, whose memory stays while this runs.
    let python = unsafe { &*python };
    let own = thread_pointer();
    // SAFETY: copied at once.
    let mut state = unsafe { PYTHON_THREADS.get(tid) }.copied().unwrap_or(0);
    if state == 0 || read(state + u64::from(python.thread)) != own {
        state = find(python, own);
        if state == 0 {
            return 0;
        }
        let _ = PYTHON_THREADS.insert(tid, state, 0);
    }
    read(state + u64::from(python.context))
}

/// The `PyThreadState` of the thread whose pthread_self() is `own`; 0 if there is none.
#[inline(always)]
fn find(python: &Python, own: u64) -> u64 {
    let state = read(read(python.interpreter) + u64::from(python.threads));
    let mut search = Search { state, own, thread: python.thread, next: python.next };
    // SAFETY: `search` outlives the call.
    let turns = unsafe { bpf_loop(MAX_THREADS, search_turn as *mut c_void, (&raw mut search).cast(), 0) };
    if turns < i64::from(MAX_THREADS) { search.state } else { 0 }
}

#[repr(C)]
struct Search {
    state: u64,
    own: u64,
    thread: u32,
    next: u32,
}

extern "C" fn search_turn(_index: u32, search: *mut Search) -> i64 {
    // SAFETY: it lives in the caller's frame.
    let search = unsafe { &mut *search };
    if search.state == 0 || read(search.state + u64::from(search.thread)) == search.own {
        return 1;
    }
    search.state = read(search.state + u64::from(search.next));
    0
}

/// The claim of what thread `tid` of process `tgid` runs now; `None` where the thread's own is what counts.
#[inline(always)]
pub(crate) fn claim(tid: u32, tgid: u32, is_loop: bool) -> Option<Claim> {
    let mut claim = Claim::none(Reason::NoContext);
    if python_claim(&raw mut claim, tid, tgid, u32::from(is_loop)) != 0 { Some(claim) } else { None }
}

/// See [`claim`]. A function with a global symbol is verified once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn python_claim(claim: *mut Claim, tid: u32, tgid: u32, is_loop: u32) -> u32 {
    if claim.is_null() {
        return 0;
    }
    let task = Object { address: current(tid, tgid), tgid: u64::from(tgid) };
    let found = connection::current(task::of(task), task.address, tgid);
    let found = if found.kind == kind::NONE { uvloop::claim(tid).unwrap_or(found) } else { found };
    // SAFETY: checked for null; the verifier checks the rest at each call.
    unsafe { *claim = found };
    if found.kind != kind::NONE || found.reason != Reason::NoContext as u8 {
        return 1;
    }
    // A thread without a loop is a thread like others. Where contexts say nothing, a loop's thread does.
    let says_nothing = of(tgid).is_none_or(|python| python.flags & SAYS_NOTHING != 0);
    u32::from(is_loop != 0 && !says_nothing)
}

/// The current thread has read a head or body for `claim` from the connection of
/// `socket`. Returns whether contexts are what tells its requests apart.
#[inline(always)]
pub(crate) fn reads(tid: u32, tgid: u32, socket: &mut Socket, claim: &Claim) -> bool {
    forget_accepted(tid);
    // A connection for which no context was made before its first head has none.
    if socket.plain != 0 {
        return false;
    }
    if of(tgid).is_none_or(|python| python.flags & (loaded::QUEUES | loaded::UNKNOWN) != 0) {
        return false;
    }
    let task = Object { address: current(tid, tgid), tgid: u64::from(tgid) };
    let of_connection = Claim::connection(socket.cookie, 0);
    // A reader that starts again after a pause is made by the request that paused it.
    let is_its = task.address != 0 && task::of(task).is_of_connection(socket.cookie);
    if is_its && connection::reads(&of_connection, claim, task.address) {
        task::set(task, &of_connection);
        return executor::drives_loop(tid);
    }
    socket.plain = u8::from(!connection::reads(&of_connection, claim, 0));
    false
}

/// Thread `tid` does something else than making a context for what it has accepted. Mostly there is nothing to forget,
/// and to look costs less than the table's lock.
#[inline(always)]
fn forget_accepted(tid: u32) {
    if ACCEPTED.get_ptr(tid).is_some() {
        let _ = ACCEPTED.remove(tid);
    }
}

/// As [`reads`], where a loop reads outside of any context that belongs to the connection.
#[inline(always)]
pub(crate) fn reads_outside(tid: u32, tgid: u32, claim: &Claim) -> bool {
    let Some(python) = PYTHONS.get_ptr_mut(tgid) else { return false };
    // SAFETY: words of a map value; asking twice does no harm.
    let flags = unsafe {
        if (*python).asked == 0 {
            (*python).asked = 1;
            runtime::tell(tgid, notice::SERVES);
        }
        (*python).flags
    };
    flags & loaded::UVLOOP != 0 && flags & (loaded::QUEUES | loaded::UNKNOWN) == 0 && uvloop::reads(tid, claim)
}

/// Whether a thread of process `tgid` that reads from a non-blocking socket may
/// switch to other requests' code at any time. (Tornado's reads before it watches.)
#[inline(always)]
pub(crate) fn has_greenlets(tgid: u32) -> bool {
    of(tgid).is_some_and(|python| python.flags & (loaded::GREENLETS | loaded::QUEUES) != 0)
}

/// What thread `tid` reads cannot be followed any more.
#[inline(always)]
pub(crate) fn forget(tid: u32, tgid: u32) {
    let claim = task::of(Object { address: current(tid, tgid), tgid: u64::from(tgid) });
    if claim.kind == kind::CONNECTION {
        connection::forget(&claim);
    }
    uvloop::forget(tid);
}

/// A part of a response leaves on the connection in `slot`, most likely in the
/// time of the thread that writes it.
#[inline(always)]
pub(crate) fn writes(slot: u32) {
    let (tid, tgid) = current_ids();
    let address = current(tid, tgid);
    if address != 0 {
        connection::writes(Object { address, tgid: u64::from(tgid) }, slot);
    }
}

/// Process `tgid`, whose thread is `tid`, runs another program. Until user space
/// has looked at that, the probes do nothing.
#[inline(always)]
pub(super) fn started(tid: u32, tgid: u32) {
    let _ = PYTHONS.remove(tgid);
    ended(tid);
}

/// Whether uvloop's connections are to be followed in process `tgid`.
#[inline(always)]
pub(super) fn follows_uvloop(tgid: u32) -> bool {
    of(tgid).is_some_and(|python| python.flags & loaded::UVLOOP != 0)
}

/// Thread `tid` ends.
#[inline(always)]
pub(super) fn ended(tid: u32) {
    let _ = PYTHON_THREADS.remove(tid);
    let _ = ACCEPTED.remove(tid);
    let _ = COPYING.remove(tid);
    uvloop::forget(tid);
}

/// A return of `PyContext_CopyCurrent()`, of the function with which it ends, or
/// of what copies any context: its result is a new one. A copy of any belongs to nobody, but
/// to the connection that was accepted just now (asyncio of Python 3.15 copies the server's).
#[uretprobe]
pub fn python_copies(ctx: RetProbeContext) -> u32 {
    let (tid, tgid) = ids();
    let child = Object { address: Registers::at_return(&ctx).first(), tgid: u64::from(tgid) };
    let parent = Object { address: current(tid, tgid), tgid: u64::from(tgid) };
    // As a rule it is not there; to look costs less than the table's lock.
    let is_copy_of_any = COPYING.get_ptr(tid).is_some() && COPYING.remove(tid).is_ok();
    let mut claim = if is_copy_of_any { Claim::none(Reason::NoContext) } else { connection::passed_on(parent) };
    if claim.kind == kind::NONE {
        let scope = if is_copy_of_any { None } else { uvloop::made(tid) };
        if let Some(scope) = scope {
            claim = scope;
        } else if let Some(cookie) = accepted(tid, parent.address) {
            claim = Claim::connection(cookie, 0);
            connection::begin(&claim);
        }
    }
    if claim.kind == kind::NONE {
        task::forget(child);
    } else {
        task::set(child, &claim);
    }
    0
}

/// `Context.copy()`, or `PyContext_Copy(context)`.
#[uprobe]
pub fn python_copies_any(_ctx: ProbeContext) -> u32 {
    let _ = COPYING.insert(ids().0, 1, 0);
    0
}

/// The connection that thread `tid` has accepted in `context`, for the first
/// context that it makes there afterwards.
#[inline(always)]
fn accepted(tid: u32, context: u64) -> Option<u64> {
    // SAFETY: copied at once.
    let accepted = unsafe { ACCEPTED.get(tid) }.copied()?;
    if context == 0 || accepted.context != context {
        return None;
    }
    let _ = ACCEPTED.remove(tid);
    Some(accepted.cookie)
}

/// `context_tp_dealloc(context)`: its memory may become another's.
#[uprobe]
pub fn python_forgets(ctx: ProbeContext) -> u32 {
    let (_, tgid) = ids();
    task::forget(Object { address: Registers::of(&ctx).c_first(), tgid: u64::from(tgid) });
    0
}

/// A return of `accept()` or `accept4()`.
#[uretprobe]
pub fn libc_accept(ctx: RetProbeContext) -> u32 {
    let (tid, tgid) = ids();
    let fd = Registers::at_return(&ctx).first() as i32;
    let context = if fd < 0 { 0 } else { current(tid, tgid) };
    let cookie = if context == 0 { 0 } else { cookie_of(fd as u32) };
    if cookie == 0 {
        let _ = ACCEPTED.remove(tid);
    } else {
        let _ = ACCEPTED.insert(tid, Accepted { cookie, context }, 0);
    }
    0
}

/// `listen()`: what an application needs is loaded by then.
#[uprobe]
pub fn libc_listen(_ctx: ProbeContext) -> u32 {
    runtime::tell(ids().1, notice::SERVES);
    0
}
