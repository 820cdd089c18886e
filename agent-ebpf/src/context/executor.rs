//! Executors: which thread runs for which context.

use baton_common::attribution::{Claim, Context, flag as claim_flag, kind, state};
use baton_common::flow::{Executor, Reason};

use baton_common::runtime::kind as runtime_kind;

use super::{goroutine, process, python, runtime, slot, turn};
use crate::maps::{EXECUTORS, SETTINGS};
use crate::{clock, policy};

/// The claim of thread `tid`.
#[inline(always)]
pub(crate) fn get(tid: u32) -> Claim {
    // SAFETY: copied at once.
    unsafe { EXECUTORS.get(tid) }.copied().unwrap_or(Claim::none(Reason::NoContext))
}

/// The claim of whoever writes now in thread `tid` of process `tgid`: the thread, or what its runtime runs on it.
#[inline(always)]
pub(crate) fn of_writer(tid: u32, tgid: u32) -> Claim {
    let claim = get(tid);
    // A thread that read its request itself is no runtime's.
    if claim.kind == kind::OWN && !claim.is_event_loop() {
        if may_be_handed_on(&claim, tgid) {
            return Claim::none(Reason::UnsupportedRuntime);
        }
        return claim;
    }
    let own = match runtime::of(tgid) {
        runtime_kind::GO => Some(goroutine::get(tgid)),
        // A loop that reads outside of any context is none of those that contexts explain.
        runtime_kind::PYTHON => python::claim(tid, tgid, claim.is_event_loop() && claim.kind == kind::NONE),
        runtime_kind::LOOPS if claim.is_event_loop() => Some(turn::claim(tid)),
        _ => None,
    };
    let Some(own) = own else { return claim };
    // What its process was started for counts where nothing else is known.
    if claim.kind == kind::SHARED && own.kind == kind::NONE && own.reason == Reason::NoContext as u8 {
        return claim;
    }
    own
}

/// Whether a pool's thread with this claim may have left its request to another: its process was not seen to answer
/// where it reads.
#[inline(always)]
fn may_be_handed_on(claim: &Claim, tgid: u32) -> bool {
    claim.flags & claim_flag::POOLED != 0 && runtime::of(tgid) != runtime_kind::JVM_SERVES
}

/// Makes `claim` the current one of thread `tid`, unless it drives an event
/// loop. Returns false if the table is full.
#[inline(always)]
pub(crate) fn set(tid: u32, claim: &Claim) -> bool {
    replace(tid, |_| *claim)
}

/// As [`set`], with a claim that depends on the one before.
#[inline(always)]
pub(crate) fn replace(tid: u32, claim: impl FnOnce(&Claim) -> Claim) -> bool {
    let Some(current) = EXECUTORS.get_ptr_mut(tid) else {
        return EXECUTORS.insert(tid, claim(&Claim::none(Reason::NoContext)), 0).is_ok();
    };
    // SAFETY: only this thread's own programs write the value.
    unsafe {
        if !(*current).is_event_loop() {
            *current = claim(&*current);
        }
    }
    true
}

/// Thread `tid` of process `tgid`, and what its runtime runs on it, runs for
/// nobody, for `reason`, until it reads the next head.
#[inline(always)]
pub(crate) fn forget(tid: u32, tgid: u32, reason: Reason) {
    forget_in(runtime::of(tgid), tid, tgid, reason);
}

/// As [`forget`], where the process's `runtime` is known.
#[inline(always)]
pub(crate) fn forget_in(runtime: u32, tid: u32, tgid: u32, reason: Reason) {
    let none = Claim::none(reason);
    if EXECUTORS.get_ptr_mut(tid).is_some() {
        set(tid, &none);
    }
    match runtime {
        runtime_kind::GO => {
            let _ = goroutine::replace(tgid, |_| none);
        }
        runtime_kind::PYTHON => python::forget(tid, tgid),
        runtime_kind::LOOPS => turn::end(tid),
        _ => {}
    }
}

/// Thread `tid` has read a part of the request `id`, whose body is not complete.
#[inline(always)]
pub(crate) fn has_read_a_part(tid: u32, id: u64) {
    if let Some(claim) = EXECUTORS.get_ptr_mut(tid) {
        // SAFETY: only this thread's own programs write the value.
        unsafe {
            if (*claim).kind == kind::OWN && (*claim).id == id {
                (*claim).flags |= claim_flag::INCOMPLETE;
            }
        }
    }
}

/// Thread `tid` drives an event loop, and has no claim of its own, until its process runs another program.
/// Returns false if the table is full.
#[inline(always)]
pub(crate) fn drives_loop(tid: u32) -> bool {
    EXECUTORS.insert(tid, Claim::event_loop(), 0).is_ok()
}

/// Whether thread `tid` of process `tgid` drives an event loop whose requests cannot be told apart in `workload`.
#[inline(always)]
pub(crate) fn is_blind(tid: u32, tgid: u32, workload: u32) -> bool {
    let Some(claim) = EXECUTORS.get_ptr(tid) else { return false };
    // SAFETY: only this thread's own programs write the value.
    let is_loop = unsafe { (*claim).is_event_loop() };
    is_loop && runtime::has_nothing_for_loops(tgid) && !policy::is_balanced(workload)
}

/// Whether `claim` makes its context current now.
#[inline(always)]
pub(crate) fn check(claim: &Claim) -> Result<*mut Context, Reason> {
    if claim.kind == kind::NONE || claim.flags & (claim_flag::EVENT_LOOP | claim_flag::STARTED) != 0 {
        claim.check(0, 0, 0, 0, 0, 0)?;
    }
    let context = slot::get(claim.slot).ok_or(Reason::Answered)?;
    let (max_age, epoch) = SETTINGS.get(0).map_or((0, 0), |settings| (settings.max_age, settings.epoch));
    // SAFETY: a map value.
    let is_valid = unsafe { (*context).epoch == epoch && policy::is_valid((*context).workload, (*context).generation) };
    if !is_valid {
        return Err(Reason::Expired);
    }
    let newest = if claim.kind == kind::SHARED { process::get(claim.tgid).newest } else { 0 };
    // SAFETY: a map value; `id` is read again after its lines were copied.
    let (id, state, since) =
        unsafe { (core::ptr::read_volatile(&raw const (*context).id), (*context).state, (*context).since) };
    claim.check(id, state, since, newest, clock::ticks(), max_age)?;
    if slot::may_be_answered(context) { Err(Reason::Answered) } else { Ok(context) }
}

/// What thread `tid` of process `tgid` is now, for flow events.
#[inline(always)]
pub(crate) fn current(tid: u32, tgid: u32) -> Executor {
    let is_loop = get(tid).is_event_loop();
    match runtime::of(tgid) {
        runtime_kind::GO => Executor::Goroutine,
        runtime_kind::PYTHON if is_loop => Executor::Task,
        runtime_kind::LOOPS if is_loop => Executor::Turn,
        _ if is_loop => Executor::EventLoop,
        _ => Executor::Thread,
    }
}

/// Whether `claim`'s request is open and was read by its holder itself.
#[inline(always)]
pub(crate) fn is_open(claim: &Claim) -> bool {
    if claim.kind != kind::OWN {
        return false;
    }
    let Some(context) = slot::get(claim.slot) else { return false };
    // SAFETY: as in `check`.
    unsafe {
        (*context).id == claim.id
            && ((*context).state == state::LIVE || (*context).state == state::AMBIGUOUS)
            && policy::is_valid((*context).workload, (*context).generation)
            && !slot::may_be_answered(context)
    }
}

/// The claim of a connection that thread `tid` of process `tgid` opens now.
#[inline(always)]
pub(crate) fn of_connection(tid: u32, tgid: u32) -> Claim {
    // A loop goes on to something else before the connection is there.
    if runtime::of(tgid) == runtime_kind::LOOPS && get(tid).is_event_loop() {
        return turn::claim(tid);
    }
    match to_pass_on(tid) {
        Ok((claim, balanced)) => claim.remembered(process::get(claim.tgid), balanced),
        Err(none) => none,
    }
}

/// The claim that what thread `tid` starts now gets.
#[inline(always)]
pub(crate) fn passed_on(tid: u32) -> Claim {
    match to_pass_on(tid) {
        Ok((claim, balanced)) => claim.passed_on(process::get(claim.tgid), balanced),
        Err(none) => none,
    }
}

/// The claim of thread `tid`, if it is current, and whether its workload has balanced attribution; else what others
/// get of it.
#[inline(always)]
fn to_pass_on(tid: u32) -> Result<(Claim, bool), Claim> {
    let claim = get(tid).of_creator();
    if may_be_handed_on(&claim, claim.tgid) {
        return Err(Claim::none(Reason::UnsupportedRuntime));
    }
    match check(&claim) {
        // SAFETY: a map value.
        Ok(context) => Ok((claim, policy::is_balanced(unsafe { (*context).workload }))),
        Err(Reason::Answered) => Err(Claim::none(Reason::NoContext)),
        Err(reason) => Err(Claim::none(reason)),
    }
}
