//! cgroup v2 directories of the tests' own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::baton::copy_surroundings;
use crate::scratch::serial;
use crate::wait;

/// Where the first file system of this kind (`cgroup` or `cgroup2`) is mounted.
pub fn mount(kind: &str) -> Result<PathBuf> {
    std::fs::read_to_string("/proc/self/mounts")?
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&kind))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
        .with_context(|| format!("no {kind} file system is mounted"))
}

/// Every cgroup v2 directory there is.
pub fn all() -> Result<Vec<PathBuf>> {
    let mut found = vec![mount("cgroup2")?];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        // A directory may vanish while it is listed.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
        next += 1;
    }
    found.sort();
    Ok(found)
}

/// A cgroup; on drop its processes are killed and it is removed.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// Creates one below the root.
    pub fn new() -> Result<Self> {
        let directory = mount("cgroup2")?.join(format!("baton-test-{}-{}", std::process::id(), serial()));
        std::fs::create_dir(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// Creates one in this one, to be dropped before it.
    pub fn child(&self, name: &str) -> Result<Self> {
        let directory = self.directory.join(name);
        std::fs::create_dir(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// A command that moves itself in here before it becomes `inner`.
    pub fn wrap(&self, inner: &Command) -> Command {
        let mut outer = Command::new("/bin/sh");
        outer.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.directory);
        outer.arg(inner.get_program()).args(inner.get_args());
        copy_surroundings(inner, &mut outer);
        outer
    }

    /// The processes in it.
    pub fn members(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = wait::until("an empty cgroup", Duration::from_secs(5), || {
            for member in self.members() {
                let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            Ok(std::fs::remove_dir(&self.directory).is_ok().then_some(()))
        });
    }
}
