//! Goroutines as executors: Go runs many of them on one thread.
//!
//! The probes sit in the Go programs that user space has looked at, and nowhere else. What Go keeps where is its
//! register-based calling convention (`src/cmd/compile/abi-internal.md`, since Go 1.17): arguments and results in RAX, RBX,
//! …, the current goroutine in R14.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::ProbeContext;
use baton_common::attribution::{Claim, flag, kind};
use baton_common::runtime::Object;

use super::{ids, task};
use crate::kernel::{Registers, current_goroutine};

// The maps take their memory beforehand, as `task::TASKS` does.

/// For whom each request (`net/http.Request`) was handed to a connection, whose
/// writer is another goroutine.
#[map]
static GO_REQUESTS: HashMap<Object, Claim> = HashMap::with_max_entries(16_384, 0);

/// The request that a goroutine has handed over last. Once it hands over another,
/// or ends, that one's memory may be another's.
#[map]
static GO_TRIPS: HashMap<Object, u64> = HashMap::with_max_entries(16_384, 0);

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
#[inline(always)]
pub(crate) fn replace(tgid: u32, claim: impl FnOnce(&Claim) -> Claim) -> bool {
    let goroutine = Object { address: current_goroutine(), tgid: u64::from(tgid) };
    let before = task::of(goroutine);
    before.is_event_loop() || task::set(goroutine, &claim(&before))
}

/// The claim of the current goroutine.
#[inline(always)]
pub(crate) fn get(tgid: u32) -> Claim {
    task::of(Object { address: current_goroutine(), tgid: u64::from(tgid) })
}

/// `runtime.newproc1(fn, callergp, callerpc, …)`, on the system stack. All of
/// these probes but the next are at the branch that follows the check of the stack.
#[uprobe]
pub fn go_newproc1(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = (ids().0, process());
    let registers = Registers::of(&ctx);
    let parent = registers.second();
    if !registers.stack_grows() && task::is_known(Object { address: parent, tgid }) {
        let _ = GO_PARENTS.insert(tid, parent, 0);
    }
    0
}

/// Where newproc1() calls `casgstatus(newg, …)` last: the new goroutine, whose
/// memory may have been another's, is about to be seen by others.
#[uprobe]
pub fn go_made(ctx: ProbeContext) -> u32 {
    let (tid, tgid) = (ids().0, process());
    let child = Object { address: Registers::of(&ctx).first(), tgid };
    ends_trip(child);
    // SAFETY: copied at once.
    let parent = unsafe { GO_PARENTS.get(tid) }.copied();
    let Some(parent) = parent else {
        task::forget(child);
        return 0;
    };
    let _ = GO_PARENTS.remove(tid);
    let mut claim = task::of(Object { address: parent, tgid });
    claim.flags &= !flag::HANDED;
    task::set(child, &claim);
    0
}

/// The request that `goroutine` has handed over last, if it was never written, may be gone.
#[inline(always)]
fn ends_trip(goroutine: Object) {
    // SAFETY: copied at once.
    if let Some(address) = unsafe { GO_TRIPS.get(goroutine) }.copied() {
        let _ = GO_TRIPS.remove(goroutine);
        let _ = GO_REQUESTS.remove(Object { address, tgid: goroutine.tgid });
    }
}

/// `net/http.(*persistConn).roundTrip(request)`: the request goes to the connection's writer.
#[uprobe]
pub fn go_round_trip(ctx: ProbeContext) -> u32 {
    let tgid = process();
    let registers = Registers::of(&ctx);
    if registers.stack_grows() {
        return 0;
    }
    // `net/http.transportRequest` begins with the pointer to the request.
    // SAFETY: the helper checks the address.
    let Ok(address) = (unsafe { bpf_probe_read_user::<u64>(registers.second() as *const u64) }) else { return 0 };
    let goroutine = Object { address: registers.goroutine(), tgid };
    let request = Object { address, tgid };
    ends_trip(goroutine);
    let mut claim = task::of(goroutine);
    if claim.kind == kind::NONE {
        let _ = GO_REQUESTS.remove(request);
        return 0;
    }
    claim.flags |= flag::HANDED;
    let _ = GO_REQUESTS.insert(request, claim, 0);
    let _ = GO_TRIPS.insert(goroutine, address, 0);
    0
}

/// `net/http.(*Request).write(…)`, in the goroutine that writes for a connection
/// (or in one that writes a request of its own).
#[uprobe]
pub fn go_write_request(ctx: ProbeContext) -> u32 {
    let tgid = process();
    let registers = Registers::of(&ctx);
    if registers.stack_grows() {
        return 0;
    }
    let goroutine = Object { address: registers.goroutine(), tgid };
    let request = Object { address: registers.first(), tgid };
    // SAFETY: copied at once.
    if let Some(claim) = unsafe { GO_REQUESTS.get(request) }.copied() {
        let _ = GO_REQUESTS.remove(request);
        task::set(goroutine, &claim);
    } else if task::of(goroutine).flags & flag::HANDED != 0 {
        // Nobody waits for this one any more; the claim is the last one's.
        task::forget(goroutine);
    }
    0
}
