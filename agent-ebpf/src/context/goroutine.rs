//! Goroutines as executors: Go runs many of them on one thread.
//!
//! The probes sit in the Go programs that user space has looked at, and nowhere else. What Go keeps where is its
//! register-based calling convention (`src/cmd/compile/abi-internal.md`, since Go 1.17): arguments and results in RAX, RBX,
//! …, the current goroutine in R14.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::ProbeContext;
use baton_common::attribution::{Claim, flag};
use baton_common::flow::Reason;
use baton_common::runtime::Object;

use crate::kernel::{Registers, current_goroutine};

// The maps take their memory beforehand: where it is taken on demand, an entry
// cannot be made now and then while others come and go.

/// What each goroutine runs for. One that is not there runs for nobody.
#[map]
static GOROUTINES: HashMap<Object, Claim> = HashMap::with_max_entries(65_536, 0);

/// For whom each request (`net/http.Request`) was handed to a connection, whose
/// writer is another goroutine.
#[map]
static GO_REQUESTS: HashMap<Object, Claim> = HashMap::with_max_entries(16_384, 0);

/// The request that a goroutine waits for in roundTrip(). Only so long is the
/// request's memory certainly its own.
#[map]
static GO_TRIPS: HashMap<Object, u64> = HashMap::with_max_entries(16_384, 0);

/// The goroutine that is making another one, by thread.
#[map]
static GO_PARENTS: HashMap<u32, u64> = HashMap::with_max_entries(16_384, 0);

#[inline(always)]
fn ids() -> (u32, u64) {
    // SAFETY: no arguments.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    (ids as u32, ids >> 32)
}

/// Makes `claim`, which depends on the one before, the current goroutine's,
/// unless it drives an event loop. Returns false if the table is full.
#[inline(always)]
pub(crate) fn replace(tgid: u32, claim: impl FnOnce(&Claim) -> Claim) -> bool {
    let goroutine = Object { address: current_goroutine(), tgid: u64::from(tgid) };
    let before = of(goroutine);
    before.is_event_loop() || GOROUTINES.insert(goroutine, claim(&before), 0).is_ok()
}

/// The claim of the current goroutine.
#[inline(always)]
pub(crate) fn get(tgid: u32) -> Claim {
    of(Object { address: current_goroutine(), tgid: u64::from(tgid) })
}

#[inline(always)]
fn of(goroutine: Object) -> Claim {
    // SAFETY: copied at once.
    unsafe { GOROUTINES.get(goroutine) }.copied().unwrap_or(Claim::none(Reason::NoContext))
}

/// `runtime.newproc1(fn, callergp, callerpc, …)`, on the system stack.
#[uprobe]
pub fn go_newproc1(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = ids();
    let parent = Registers::of(&ctx).second();
    // SAFETY: looked at only.
    if unsafe { GOROUTINES.get(Object { address: parent, tgid }) }.is_some() {
        let _ = GO_PARENTS.insert(tid, parent, 0);
    }
    0
}

/// A return of `runtime.newproc1`: its result is the new goroutine, whose memory may have been another's.
#[uprobe]
pub fn go_newproc1_returns(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = ids();
    let child = Object { address: Registers::of(&ctx).first(), tgid };
    // SAFETY: copied at once.
    let parent = unsafe { GO_PARENTS.get(tid) }.copied();
    let Some(parent) = parent else {
        let _ = GOROUTINES.remove(child);
        return 0;
    };
    let _ = GO_PARENTS.remove(tid);
    let mut claim = of(Object { address: parent, tgid });
    claim.flags &= !flag::HANDED;
    let _ = GOROUTINES.insert(child, claim, 0);
    0
}

/// `net/http.(*persistConn).roundTrip(request)`: the request goes to the connection's writer.
#[uprobe]
pub fn go_round_trip(ctx: ProbeContext) -> u32 {
    let (_, tgid) = ids();
    let registers = Registers::of(&ctx);
    // `net/http.transportRequest` begins with the pointer to the request.
    // SAFETY: the helper checks the address.
    let Ok(address) = (unsafe { bpf_probe_read_user::<u64>(registers.second() as *const u64) }) else { return 0 };
    let goroutine = Object { address: registers.goroutine(), tgid };
    let mut claim = of(goroutine);
    claim.flags |= flag::HANDED;
    let _ = GO_REQUESTS.insert(Object { address, tgid }, claim, 0);
    let _ = GO_TRIPS.insert(goroutine, address, 0);
    0
}

/// A return of roundTrip().
#[uprobe]
pub fn go_round_trip_returns(ctx: ProbeContext) -> u32 {
    let (_, tgid) = ids();
    let goroutine = Object { address: Registers::of(&ctx).goroutine(), tgid };
    // SAFETY: copied at once.
    if let Some(address) = unsafe { GO_TRIPS.get(goroutine) }.copied() {
        let _ = GO_TRIPS.remove(goroutine);
        let _ = GO_REQUESTS.remove(Object { address, tgid });
    }
    0
}

/// `net/http.(*Request).write(…)`, in the goroutine that writes for a connection
/// (or in one that writes a request of its own).
#[uprobe]
pub fn go_write_request(ctx: ProbeContext) -> u32 {
    let (_, tgid) = ids();
    let registers = Registers::of(&ctx);
    let goroutine = Object { address: registers.goroutine(), tgid };
    let request = Object { address: registers.first(), tgid };
    // The entry stays: a function begins twice where its goroutine's stack must grow.
    // SAFETY: copied at once.
    if let Some(claim) = unsafe { GO_REQUESTS.get(request) }.copied() {
        let _ = GOROUTINES.insert(goroutine, claim, 0);
    } else if of(goroutine).flags & flag::HANDED != 0 {
        // Nobody waits for this one any more; the claim is the last one's.
        let _ = GOROUTINES.remove(goroutine);
    }
    0
}
