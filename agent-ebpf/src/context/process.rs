//! What is known of processes that read requests.

use baton_common::attribution::Process;

use crate::atomic;
use crate::maps::PROCESSES;

/// A copy of what is known of `tgid`.
#[inline(always)]
pub(crate) fn get(tgid: u32) -> Process {
    let Some(process) = PROCESSES.get_ptr(tgid) else { return Process::default() };
    // SAFETY: words of a map value; in the order that `opened` is the reverse of.
    unsafe {
        let newest = core::ptr::read_volatile(&raw const (*process).newest);
        atomic::order();
        let open = core::ptr::read_volatile(&raw const (*process).open);
        Process { newest, open }
    }
}

/// A head (or work that cannot be seen) has come to `tgid`. Counting comes
/// first: who sees the new id must see the count (`Claim::passed_on`).
#[inline(always)]
pub(crate) fn opened(tgid: u32, id: u64) {
    let Some(process) = PROCESSES.get_ptr_mut(tgid) else {
        let _ = PROCESSES.insert(tgid, Process { newest: id, open: 1 }, 0);
        return;
    };
    // SAFETY: words of a map value, used atomically.
    unsafe {
        atomic::add(&raw mut (*process).open, 1);
        core::ptr::write_volatile(&raw mut (*process).newest, id);
    }
}

/// One of the things that [`opened`] counted is over.
#[inline(always)]
pub(crate) fn closed(tgid: u32) {
    if let Some(process) = PROCESSES.get_ptr_mut(tgid) {
        // SAFETY: as in `opened`.
        unsafe {
            if core::ptr::read_volatile(&raw const (*process).open) > 0 {
                atomic::subtract(&raw mut (*process).open, 1);
            }
        }
    }
}
