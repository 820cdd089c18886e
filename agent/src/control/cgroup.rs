//! cgroup v2 directories.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::failure::Failure;

/// Where cgroup v2 is mounted (`/sys/fs/cgroup`, or below it beside cgroup v1).
///
/// # Errors
/// [`Failure::NoCgroup2`] if it is not.
pub(crate) fn mount() -> Result<PathBuf, Failure> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let path = fields.nth(1)?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
        })
        .next()
        .ok_or(Failure::NoCgroup2)
}

/// Checks that `path` is a cgroup v2 directory; returns its cgroup id.
///
/// # Errors
/// [`Failure::CgroupMissing`] or [`Failure::CgroupV1`].
pub(crate) fn check(path: &Path) -> Result<u64, Failure> {
    let mount = mount()?.display().to_string();
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir);
    let Some(metadata) = metadata else {
        return Err(Failure::CgroupMissing { path: path.to_owned(), mount });
    };
    let is_v2 = statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
    if is_v2 { Ok(metadata.ino()) } else { Err(Failure::CgroupV1 { path: path.to_owned(), mount }) }
}

/// Processes in `cgroup` and below it.
pub(crate) fn processes(cgroup: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for directory in tree(cgroup) {
        let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    found
}

/// `path` and all directories below it, each before those in it. Not by recursion: a workload to which its cgroup is
/// delegated may nest them as deep as it likes.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next) {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let below: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(below);
        next += 1;
    }
    found
}

/// The directories of cgroups with these ids.
pub(crate) fn find(ids: &HashSet<u64>) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = mount().into_iter().collect();
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        open.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
        if fs::metadata(&directory).is_ok_and(|metadata| ids.contains(&metadata.ino())) {
            found.push(directory);
        }
    }
    found
}

/// A cgroup that baton made and removes again.
#[derive(Debug)]
pub(crate) struct Own {
    path: PathBuf,
}

impl Own {
    /// Makes a fresh child of the cgroup that baton itself runs in.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let mount = mount()?;
        let own = fs::read_to_string("/proc/self/cgroup").context("failed to read /proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let path = mount.join(own).join(format!("baton-exec-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| {
            format!("failed to make the cgroup {}: baton exec needs write access to its own cgroup", path.display())
        })?;
        Ok(Self { path })
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it was made in.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Moves what still runs in it to its parent, and removes it.
    pub(crate) fn remove(&self) {
        for process in processes(&self.path) {
            // It may have ended by now.
            let _ = fs::write(self.parent().join("cgroup.procs"), process.to_string());
        }
        remove_tree(&self.path);
    }
}

fn remove_tree(path: &Path) {
    for directory in tree(path).iter().rev() {
        // A process that was started meanwhile keeps it.
        let _ = fs::remove_dir(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_trees_are_walked_and_removed() {
        let root = std::env::temp_dir().join(format!("baton-tree-{}", std::process::id()));
        let (mut deepest, mut depth) = (root.clone(), 1);
        while deepest.as_os_str().len() < 4000 {
            deepest.push("d");
            depth += 1;
        }
        fs::create_dir_all(&deepest).expect("a deep tree");
        fs::create_dir(root.join("e")).expect("a wide one");
        // With little stack, as recursion would need much.
        let walk = move || {
            let found = tree(&root);
            remove_tree(&root);
            (found, root)
        };
        let (found, root) =
            std::thread::Builder::new().stack_size(64 << 10).spawn(walk).expect("a thread").join().expect("it ends");
        assert_eq!((found.len(), found.first()), (depth + 1, Some(&root)));
        assert!(!root.exists());
    }
}
