//! uvloop reads outside of any context, and enters one that all connections of a
//! server share. What belongs to which connection is told by its functions'
//! beginnings and ends instead: all that runs between belongs to one.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{HashMap, LruHashMap};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use baton_common::attribution::{Claim, kind};
use baton_common::runtime::Object;

use super::{connection, ids, python};
use crate::clock;
use crate::kernel::{Registers, current_descriptor};

/// The file descriptor in libuv's `uv_stream_t` (`io_watcher.fd`, libuv 1.x on 64 bits).
const STREAM_FD: u64 = 184;

/// Where a thread is with a connection.
#[map]
static SCOPES: HashMap<u32, Scope> = HashMap::with_max_entries(16_384, 1);

/// The numbers of connections, by uvloop's object. Such an object's memory may
/// become another's, a number does not.
#[map]
static TRANSPORTS: LruHashMap<Object, u64> = LruHashMap::with_max_entries(8192, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Scope {
    /// What is made within gets this.
    claim: Claim,
    /// Whether the thread is within one of the functions; else it has just read.
    within: u32,
    /// The file descriptor that was read.
    fd: u32,
}

#[inline(always)]
fn get(tid: u32) -> Option<Scope> {
    // SAFETY: copied at once.
    unsafe { SCOPES.get(tid) }.copied()
}

/// Thread `tid` has read for the request of `claim`. Returns true if that can be followed.
#[inline(always)]
pub(super) fn reads(tid: u32, claim: &Claim) -> bool {
    let scope = Scope { claim: *claim, within: 0, fd: current_descriptor() };
    SCOPES.insert(tid, scope, 0).is_ok()
}

/// Thread `tid` is in no scope.
#[inline(always)]
pub(super) fn forget(tid: u32) {
    let _ = SCOPES.remove(tid);
}

/// What a context gets that thread `tid` makes now, and whose creator runs for nobody.
#[inline(always)]
pub(super) fn made(tid: u32) -> Option<Claim> {
    get(tid).filter(|scope| scope.within != 0).map(|scope| scope.claim)
}

/// The request that thread `tid` is passing on to its protocol.
#[inline(always)]
pub(super) fn claim(tid: u32) -> Option<Claim> {
    made(tid).filter(|claim| claim.kind == kind::OWN)
}

/// `__uv_stream_on_read(stream, …)`, which libuv calls with what it has read.
#[uprobe]
pub fn uvloop_on_read(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = ids();
    let Some(mut scope) = get(tid) else { return 0 };
    let stream = Registers::of(&ctx).c_first();
    // SAFETY: the helper checks the addresses.
    let (fd, transport) =
        unsafe { (bpf_probe_read_user((stream + STREAM_FD) as *const u32), bpf_probe_read_user(stream as *const u64)) };
    let (Ok(fd), Ok(transport)) = (fd, transport) else { return 0 };
    if scope.within != 0 || fd != scope.fd {
        // What was read was not for uvloop.
        forget(tid);
        return 0;
    }
    // SAFETY: copied at once.
    if let Some(number) = unsafe { TRANSPORTS.get(Object { address: transport, tgid: u64::from(tgid) }) }.copied() {
        // For what was made for the connection when it began.
        connection::reads(&Claim::connection(number, tgid), &scope.claim, 0);
        scope.claim.stamp = number;
    }
    scope.within = 1;
    let _ = SCOPES.insert(tid, scope, 0);
    0
}

/// `TCPTransport._call_connection_made(transport)`.
#[uprobe]
pub fn uvloop_connection_made(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = ids();
    if !python::follows_uvloop(tgid) {
        // Its requests would not be seen yet.
        return 0;
    }
    let transport = Object { address: Registers::of(&ctx).c_first(), tgid: u64::from(tgid) };
    let number = clock::new_id();
    let claim = Claim::connection(number, tgid);
    let _ = TRANSPORTS.insert(transport, number, 0);
    connection::begin(&claim);
    let _ = SCOPES.insert(tid, Scope { claim, within: 1, fd: 0 }, 0);
    0
}

/// A return of one of these functions.
#[uretprobe]
pub fn uvloop_returns(_ctx: RetProbeContext) -> u32 {
    forget(ids().0);
    0
}
