//! Gives up what baton does not need any more once all is loaded: capabilities, new privileges, and system calls.
//!
//! Whoever takes over a process that reads what others have written gets what is left, see `docs/SECURITY.md`. It is
//! done before the first workload is attached, so that whatever comes later is known to work with what is kept. Where
//! some of it cannot be done, that is said, and baton goes on: connections that it follows would suffer otherwise.

mod capabilities;
mod system_calls;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use caps::CapSet;
use nix::unistd::geteuid;

use crate::failure::chain;

/// Whether this process, or the one that it is a fork of, is confined.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// What is needed later on, besides what always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Workloads are in other network namespaces, which are entered where sockets leave the SOCKHASH.
    pub(crate) namespaces: bool,
    /// This kernel attaches programs to processes by perf events only.
    pub(crate) perf: bool,
    /// Maps are pinned, and opened by their paths at the end.
    pub(crate) pins: bool,
    /// Signals are handed on to a command, which may run as any user.
    pub(crate) signals: bool,
    /// What is removed at the end is in a directory of another user, or one that its owner may not write to.
    pub(crate) foreign: bool,
}

/// What stays of this process's capabilities when it is confined, each with what for; and whether this kernel has
/// seccomp filters. `None` if that cannot be found out.
pub(crate) fn outlook(needs: Needs) -> Option<(Vec<(String, &'static str)>, bool)> {
    let permitted = caps::read(None, CapSet::Permitted).ok()?;
    let kept = capabilities::kept(&permitted, needs).into_iter();
    let named = kept.map(|(capability, purpose)| (capability.to_string(), purpose)).collect();
    Some((named, system_calls::is_supported()))
}

/// Whether it takes CAP_DAC_OVERRIDE to remove something from `directory`: it is another user's, or not to be written to
/// even by its owner, as the root of cgroup v2 (0555).
pub(crate) fn is_foreign(directory: &Path) -> bool {
    const CHANGES: u32 = 0o300;
    fs::metadata(directory)
        .is_ok_and(|metadata| metadata.uid() != geteuid().as_raw() || metadata.mode() & CHANGES != CHANGES)
}

/// Confines this process, which must have one thread, for good. Forks of it inherit that.
pub(crate) fn confine(needs: Needs) {
    if CONFINED.swap(true, Ordering::Relaxed) {
        return;
    }
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        tracing::warn!(threads, "only one of several threads gives up capabilities");
    }
    let kept = match capabilities::keep(needs) {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(error = chain(&error), "capabilities that are not needed cannot be given up");
            Vec::new()
        }
    };
    let names: Vec<String> = kept.iter().map(|(capability, _)| capability.to_string()).collect();
    for (capability, purpose) in &kept {
        tracing::debug!(%capability, purpose, "kept");
    }
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        tracing::warn!(%error, "programs that this process starts could gain privileges");
    }
    match system_calls::restrict(needs) {
        Ok(count) => tracing::info!(capabilities = names.join(","), system_calls = count, "confined"),
        Err(error) => {
            tracing::info!(capabilities = names.join(","), "confined");
            tracing::warn!(error = chain(&error), "all system calls stay possible");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::DirBuilderExt as _;

    use super::*;

    #[test]
    fn rights_that_are_needed_to_clean_up_are_known() {
        let directory = std::env::temp_dir().join(format!("baton-foreign-{}", std::process::id()));
        for (mode, expected) in [(0o755, false), (0o555, true)] {
            fs::DirBuilder::new().mode(mode).create(&directory).expect("a directory");
            let found = is_foreign(&directory);
            fs::remove_dir(&directory).expect("it is empty");
            assert_eq!(found, expected, "{mode:o}");
        }
    }
}
