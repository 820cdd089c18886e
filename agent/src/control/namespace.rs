//! Network namespaces of workloads.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use super::cgroup;

/// Whether some process below `cgroups` runs in another network namespace than this one.
pub(crate) fn are_others(cgroups: &[&Path]) -> bool {
    let namespace = |process: &str| fs::metadata(format!("/proc/{process}/ns/net")).map(|metadata| metadata.ino()).ok();
    let own = namespace("self");
    let mut all = cgroups.iter().flat_map(|cgroup| cgroup::processes(cgroup));
    all.any(|process| namespace(&process.to_string()).is_some_and(|other| Some(other) != own))
}

/// Does `action` in each network namespace that processes below `cgroups` run
/// in, and in this process's own. Returns how many may not be entered (it takes
/// CAP_SYS_ADMIN), and are left out.
///
/// This process must have one thread; it is back in its own namespace after.
pub(crate) fn in_each(cgroups: &[&Path], mut action: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<usize> {
    action()?;
    let Ok(own) = File::open("/proc/self/ns/net") else { return Ok(0) };
    let mut others: HashMap<u64, File> = HashMap::new();
    for process in cgroups.iter().flat_map(|cgroup| cgroup::processes(cgroup)) {
        if let Ok(file) = File::open(format!("/proc/{process}/ns/net"))
            && let Ok(metadata) = file.metadata()
        {
            others.insert(metadata.ino(), file);
        }
    }
    if let Ok(metadata) = own.metadata() {
        others.remove(&metadata.ino());
    }
    let mut result = Ok(());
    let mut closed = 0;
    for other in others.values() {
        if setns(other, CloneFlags::CLONE_NEWNET).is_ok() {
            result = result.and(action());
            setns(&own, CloneFlags::CLONE_NEWNET)?;
        } else {
            closed += 1;
        }
    }
    result.map(|()| closed)
}
