//! What a test run leaves that was interrupted: its tests had no time to clean up.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{cgroup, say};

/// How the end-to-end tests name their directories and cgroups: this, their process id, a dash, and a number.
const PREFIX: &str = "baton-test-";

/// Removes directories and cgroups of test processes that are gone.
pub(crate) fn remove() {
    for directory in orphans(&std::env::temp_dir()) {
        if let Err(error) = fs::remove_dir_all(&directory) {
            say::warning(&format!("failed to remove {}: {error}", directory.display()));
        }
    }
    // Without a cgroup v2 file system there is none to remove.
    for directory in cgroup::mount().map(|mount| orphans(&mount)).unwrap_or_default() {
        drop(cgroup::Cgroup::adopt(directory));
    }
}

fn orphans(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_orphan = |path: &PathBuf| {
        let owner = path.file_name().and_then(|name| owner(name.to_str()?));
        owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    entries.map(|entry| entry.path()).filter(is_orphan).collect()
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn names_tell_their_owners() {
        assert_eq!(owner("baton-test-4711-3"), Some(4711));
        assert_eq!(owner("baton-test-venv"), None);
        assert_eq!(owner("baton-demo-4711"), None);
    }
}
