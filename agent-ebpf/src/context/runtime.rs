//! Which runtime a process has, and telling user space about processes.

use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use baton_common::runtime::{Notice, kind, notice};

use crate::maps::{CGROUPS, NOTICES, RUNTIMES};

/// Cgroups from the root down to a workload's.
const MAX_DEPTH: i32 = 16;

/// The runtime of process `tgid`, a constant of [`kind`].
#[inline(always)]
pub(crate) fn of(tgid: u32) -> u32 {
    known(tgid).unwrap_or(kind::NONE)
}

/// The same, if user space has been asked or has looked at it.
#[inline(always)]
pub(crate) fn known(tgid: u32) -> Option<u32> {
    // SAFETY: copied at once.
    unsafe { RUNTIMES.get(tgid) }.copied()
}

/// Whether user space has found that a process with this runtime has no light threads.
#[inline(always)]
pub(crate) fn has_threads_only(runtime: Option<u32>) -> bool {
    matches!(
        runtime,
        Some(kind::NONE | kind::JVM | kind::JVM_SERVES | kind::JVM_HANDS_ON | kind::PUMA | kind::LOOPS | kind::FINAL)
    )
}

/// Whether nothing can tell what an event loop of process `tgid` does when, with strict attribution.
#[inline(always)]
pub(crate) fn has_nothing_for_loops(tgid: u32) -> bool {
    matches!(known(tgid), Some(kind::NONE | kind::JVM_HANDS_ON | kind::FINAL))
}

/// A process of which nothing is known has read a request: user space shall look at it.
#[inline(always)]
pub(crate) fn ask(tgid: u32) {
    // SAFETY: looked at only.
    if unsafe { RUNTIMES.get(tgid) }.is_none() && RUNTIMES.insert(tgid, kind::ASKED, 0).is_ok() {
        tell(tgid, notice::SERVES);
    }
}

/// A thread of a pool of process `tgid` answers a request: one that it has read
/// itself, or another one has.
#[inline(always)]
pub(crate) fn answers(tgid: u32, itself: bool) {
    if let Some(found) = RUNTIMES.get_ptr_mut(tgid) {
        // SAFETY: one aligned word of a map value.
        unsafe {
            match *found {
                kind::JVM if itself => *found = kind::JVM_SERVES,
                kind::JVM | kind::JVM_SERVES if !itself => *found = kind::JVM_HANDS_ON,
                _ => {}
            }
        }
    }
}

/// Process `tgid` has an event loop: user space shall see to it that its turns are known.
#[inline(always)]
pub(crate) fn ask_for_turns(tgid: u32) {
    if RUNTIMES.insert(tgid, kind::FINAL, 0).is_ok() {
        tell(tgid, notice::LOOPS);
    }
}

/// Something was noted of process `tgid`, of which user space has been asked, in
/// case that it is Go.
#[inline(always)]
pub(crate) fn noted(tgid: u32) {
    if let Some(found) = RUNTIMES.get_ptr_mut(tgid) {
        // SAFETY: one aligned word of a map value. User space may have answered
        // in between; then it overwrites this, or the socket's next head asks again.
        unsafe {
            if *found == kind::ASKED {
                *found = kind::NOTED;
            }
        }
    }
}

/// The current process, `tgid`, runs another program.
#[inline(always)]
pub(crate) fn started(tgid: u32) {
    begin(tgid, kind::ASKED);
}

/// The current process, `parent`, has the new child `tgid`. A worker of PHP-FPM
/// may have a request at once.
#[inline(always)]
pub(crate) fn forked(parent: u32, tgid: u32) {
    begin(tgid, if of(parent) == kind::PHP_FPM { kind::PHP_FPM } else { kind::ASKED });
}

#[inline(always)]
fn begin(tgid: u32, runtime: u32) {
    let _ = RUNTIMES.remove(tgid);
    if workload().is_some() && RUNTIMES.insert(tgid, runtime, 0).is_ok() {
        tell(tgid, notice::STARTED);
    }
}

/// Process `tgid` ends.
#[inline(always)]
pub(crate) fn ended(tgid: u32) {
    if RUNTIMES.remove(tgid).is_ok() {
        tell(tgid, notice::ENDED);
    }
}

pub(super) fn tell(tgid: u32, about: u32) {
    // Where there is no room user space looks at the process when it reads its first request, or never.
    let _ = NOTICES.output::<Notice>(&Notice { tgid, about }, 0);
}

/// The workload that the current thread belongs to: that of the closest cgroup.
#[inline(always)]
pub(crate) fn workload() -> Option<u32> {
    let mut workload = None;
    for level in 1..MAX_DEPTH {
        // SAFETY: no pointers.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if id == 0 {
            break;
        }
        // SAFETY: copied at once.
        workload = unsafe { CGROUPS.get(id) }.copied().or(workload);
    }
    workload
}
