//! Goroutines as executors: Go runs many of them on one thread.
//!
//! The probes sit in the Go programs that user space has looked at, and nowhere else. What Go keeps where is its
//! register-based calling convention (`src/cmd/compile/abi-internal.md`, since Go 1.17): arguments and results in RAX, RBX,
//! …, the current goroutine in R14.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::ProbeContext;
use baton_common::attribution::{Claim, flag, kind};
use baton_common::flow::Reason;
use baton_common::runtime::Object;

use super::{ids, task};
use crate::kernel::{Registers, current_goroutine};

// The maps take their memory beforehand, as `task::TASKS` does.

/// For whom a request was last handed to each connection (`net/http.persistConn`),
/// whose writer is another goroutine. It gets the next one when the last one is
/// written and answered, `(*persistConn).wroteRequest` sees to that.
#[map]
static GO_CONNECTIONS: HashMap<Object, Claim> = HashMap::with_max_entries(16_384, 0);

/// The goroutine that is making another one, by thread.
#[map]
static GO_PARENTS: HashMap<u32, u64> = HashMap::with_max_entries(4096, 0);

/// The current process.
#[inline(always)]
fn process() -> u64 {
    u64::from(ids().1)
}

/// Makes `claim`, which depends on the one before, the current goroutine's,
/// unless it drives an event loop. Returns false if the table is full.
///
/// What a connection's writer reads (the body that it sends may be a
/// request's) says nothing about what it writes.
#[inline(always)]
pub(crate) fn replace(tgid: u32, claim: impl FnOnce(&Claim) -> Claim) -> bool {
    let goroutine = Object { address: current_goroutine(), tgid: u64::from(tgid) };
    let before = task::of(goroutine);
    before.is_event_loop() || before.kind == kind::WRITER || task::set(goroutine, &claim(&before))
}

/// The claim of the current goroutine.
#[inline(always)]
pub(crate) fn get(tgid: u32) -> Claim {
    let tgid = u64::from(tgid);
    in_force(task::of(Object { address: current_goroutine(), tgid }), tgid)
}

/// What `claim`, a goroutine's of process `tgid`, amounts to now.
#[inline(always)]
fn in_force(claim: Claim, tgid: u64) -> Claim {
    if claim.kind != kind::WRITER {
        return claim;
    }
    // SAFETY: copied at once.
    unsafe { GO_CONNECTIONS.get(Object { address: claim.id, tgid }) }.copied().unwrap_or(Claim::none(Reason::NoContext))
}

/// `runtime.newproc1(fn, callergp, callerpc, …)`, on the system stack; where it is not
/// known how [`go_made`] finds the creator. All of these probes but the next are at
/// the branch that follows the check of the stack.
#[uprobe]
pub fn go_newproc1(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = (ids().0, process());
    let registers = Registers::of(&ctx);
    let parent = registers.second();
    if !registers.stack_grows() && task::find(Object { address: parent, tgid }).is_some() {
        let _ = GO_PARENTS.insert(tid, parent, 0);
    }
    0
}

/// Where newproc1() calls `casgstatus(newg, …)` last: the new goroutine, whose
/// memory may have been another's, is about to be seen by others. The cookie is how
/// far above the stack pointer the creator (`callergp`) is, or 0.
#[uprobe]
pub fn go_made(ctx: ProbeContext) -> u32 {
    let tgid = process();
    let registers = Registers::of(&ctx);
    let child = Object { address: registers.first(), tgid };
    let before = task::find(child);
    if let Some(before) = before
        && before.kind == kind::WRITER
    {
        let _ = GO_CONNECTIONS.remove(Object { address: before.id, tgid });
    }
    // SAFETY: the helpers take this context, and check the address.
    let parent = match unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } {
        0 => noted_parent(),
        above => unsafe { bpf_probe_read_user(registers.stack().wrapping_add(above) as *const u64) }.ok(),
    };
    if let Some(claim) = parent.and_then(|address| task::find(Object { address, tgid })) {
        let mut claim = in_force(claim, tgid);
        claim.flags &= !flag::SHARES;
        task::set(child, &claim);
    } else if before.is_some() {
        task::forget(child);
    }
    0
}

/// What [`go_newproc1`] has noted in this thread.
#[inline(always)]
fn noted_parent() -> Option<u64> {
    let tid = ids().0;
    // SAFETY: copied at once.
    let parent = unsafe { GO_PARENTS.get(tid) }.copied()?;
    let _ = GO_PARENTS.remove(tid);
    Some(parent)
}

/// `net/http.(*persistConn).writeLoop()`, with which the goroutine of a connection
/// begins that writes all its requests; and `net/http.persistConnWriter.Write(…)`,
/// which it calls to write, where there are connections that are older than the probes.
#[uprobe]
pub fn go_writes(ctx: ProbeContext) -> u32 {
    let registers = Registers::of(&ctx);
    let goroutine = Object { address: registers.goroutine(), tgid: process() };
    task::set(goroutine, &Claim::writer(registers.first()));
    0
}

/// `net/http.(*persistConn).roundTrip(request)`: the request goes to the connection's writer.
#[uprobe]
pub fn go_round_trip(ctx: ProbeContext) -> u32 {
    let registers = Registers::of(&ctx);
    if registers.stack_grows() {
        return 0;
    }
    let tgid = process();
    let goroutine = Object { address: registers.goroutine(), tgid };
    let connection = Object { address: registers.first(), tgid };
    let mut own = task::of(goroutine);
    let claim = in_force(own, tgid);
    if own.flags & flag::SHARES != 0 {
        own.flags &= !flag::SHARES;
        task::set(goroutine, &own);
    } else if claim.kind != kind::NONE && GO_CONNECTIONS.insert(connection, claim, 0).is_ok() {
        return 0;
    }
    let _ = GO_CONNECTIONS.remove(connection);
    0
}

/// `net/http.http1ClientConn.RoundTrip(…)` (since Go 1.26), which goes on to roundTrip(): there it waits
/// for others that have handed their requests to the same connection.
#[uprobe]
pub fn go_shares(ctx: ProbeContext) -> u32 {
    let goroutine = Object { address: Registers::of(&ctx).goroutine(), tgid: process() };
    if let Some(mut claim) = task::find(goroutine) {
        claim.flags |= flag::SHARES;
        task::set(goroutine, &claim);
    }
    0
}
