//! Threads and processes begin, change their program, and end.

use core::ffi::c_void;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use baton_common::attribution::kind;
use baton_common::flow::Reason;

use super::{executor, python, runtime, turn};
use crate::inbound::php;
use crate::kernel::task_ids;
use crate::maps::{EXECUTORS, PROCESSES};

/// A thread or process starts another, which inherits the claim. Where only what is
/// certain counts it is good for nothing until the process runs a new program.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: *const c_void = ctx.arg(0);
    let child: *const c_void = ctx.arg(1);
    let (parent, parent_process) = task_ids(parent);
    let (child, process) = task_ids(child);
    if child == process {
        runtime::forked(parent_process, process);
    }
    // SAFETY: copied at once.
    let Some(claim) = unsafe { EXECUTORS.get(parent) }.copied() else { return 0 };
    if claim.kind == kind::NONE && !claim.is_event_loop() {
        return 0;
    }
    let passed = executor::passed_on(parent);
    if passed.kind == kind::NONE && passed.reason == Reason::NoContext as u8 {
        return 0;
    }
    let _ = EXECUTORS.insert(child, passed, 0);
    0
}

/// A process runs a new program, which need not be an event loop, and works for
/// who has started it. Once its parent's process has read another request this is not
/// certain any more: it may get the work of other requests through a pipe.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let before: i32 = ctx.arg(1);
    let before = before as u32;
    let (tid, tgid) = task_ids(task);
    runtime::started(tgid);
    python::started(before, tgid);
    // SAFETY: copied at once.
    let Some(claim) = unsafe { EXECUTORS.get(before) }.copied() else { return 0 };
    // A thread that calls exec takes its process's id (fs/exec.c, de_thread).
    let _ = EXECUTORS.remove(before);
    let _ = EXECUTORS.insert(tid, claim.executed(before == tid), 0);
    0
}

/// A thread ends; its id may be used again.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let (tid, tgid) = task_ids(task);
    let _ = EXECUTORS.remove(tid);
    python::ended(tid);
    turn::end(tid);
    if tid == tgid {
        let _ = PROCESSES.remove(tgid);
        php::ended(tgid);
        runtime::ended(tgid);
    }
    0
}
