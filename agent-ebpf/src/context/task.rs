//! Light threads as executors: what a language runtime runs on its threads.

use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use baton_common::attribution::Claim;
use baton_common::flow::Reason;
use baton_common::runtime::Object;

/// What each light thread (a goroutine, a Python context) runs for. One that is
/// not there runs for nobody. The map takes its memory beforehand: where it is
/// taken on demand, an entry cannot be made now and then while others come and go.
#[map]
static TASKS: HashMap<Object, Claim> = HashMap::with_max_entries(65_536, 0);

/// The claim of `task`.
#[inline(always)]
pub(crate) fn of(task: Object) -> Claim {
    find(task).unwrap_or(Claim::none(Reason::NoContext))
}

/// The claim of `task`, if anything is known of it.
#[inline(always)]
pub(crate) fn find(task: Object) -> Option<Claim> {
    // SAFETY: copied at once.
    unsafe { TASKS.get(task) }.copied()
}

/// Makes `claim` the one of `task`. Returns false if the table is full.
#[inline(always)]
pub(crate) fn set(task: Object, claim: &Claim) -> bool {
    TASKS.insert(task, claim, 0).is_ok()
}

/// `task` runs for nobody.
#[inline(always)]
pub(crate) fn forget(task: Object) {
    let _ = TASKS.remove(task);
}
