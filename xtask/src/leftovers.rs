//! What a test run leaves that was interrupted: its tests had no time to clean up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{cgroup, say};

/// How the end-to-end tests name their directories and cgroups: this, their process id, a dash, and a number.
const PREFIX: &str = "baton-test-";

/// The same for the bridges of their clusters; a network device's name has at most 15 characters.
const BRIDGE_PREFIX: &str = "bt-";

/// Where a cluster keeps the machine's settings that it changes, as lines of FILE=VALUE, in its directory.
const SETTINGS: &str = "sysctls";

/// Removes what test processes have left that are gone.
pub(crate) fn remove() {
    // First what still runs, since that goes on writing. Without a cgroup v2 file system there is nothing.
    let unified = cgroup::mount().ok();
    for mount in unified.into_iter().chain(cgroup::legacy_mounts()) {
        for directory in orphans(&mount, PREFIX) {
            drop(cgroup::Cgroup::adopt(directory));
        }
    }
    for bridge in orphans(Path::new("/sys/class/net"), BRIDGE_PREFIX) {
        remove_bridge(&bridge);
    }
    for directory in orphans(&std::env::temp_dir(), PREFIX) {
        restore_settings(&directory.join(SETTINGS));
        if let Err(error) = fs::remove_dir_all(&directory) {
            say::warning(&format!("failed to remove {}: {error}", directory.display()));
        }
    }
}

fn remove_bridge(device: &Path) {
    let mut ip = Command::new("ip");
    ip.args(["link", "delete"]).args(device.file_name()).stdin(Stdio::null());
    // Not with what `process` has for this, which starts nothing after an interruption.
    if !ip.status().is_ok_and(|status| status.success()) {
        say::warning(&format!("failed to remove the bridge {}", device.display()));
    }
}

fn restore_settings(file: &Path) {
    let settings = fs::read_to_string(file).unwrap_or_default();
    for (name, value) in settings.lines().filter_map(|line| line.split_once('=')) {
        if let Err(error) = fs::write(name, value) {
            say::warning(&format!("failed to write {value} back to {name}: {error}"));
        }
    }
}

fn orphans(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_orphan = |path: &PathBuf| {
        let owner = path.file_name().and_then(|name| owner(name.to_str()?, prefix));
        owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    entries.map(|entry| entry.path()).filter(is_orphan).collect()
}

fn owner(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owners() {
        assert_eq!(owner("baton-test-4711-3", PREFIX), Some(4711));
        assert_eq!(owner("baton-test-venv", PREFIX), None);
        assert_eq!(owner("baton-demo-4711", PREFIX), None);
        assert_eq!(owner("bt-4711-12", BRIDGE_PREFIX), Some(4711));
    }
}
