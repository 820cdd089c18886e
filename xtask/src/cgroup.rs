//! cgroups of a task's own, so that what it starts is counted together and none of it stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{say, wait};

const REMOVAL: Duration = Duration::from_secs(5);

/// A cgroup v2 directory, or one of v1 whose processes are elsewhere in v2. Dropping it ends the processes in it and removes it.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes `baton-NAME-PID` below the cgroup that this task runs in.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = own()?.join(format!("baton-{name}-{}", std::process::id()));
        fs::create_dir(&path)
            .with_context(|| format!("failed to make the cgroup {}; are you root?", path.display()))?;
        Ok(Self(path))
    }

    /// Takes over one that somebody else made.
    pub(crate) fn adopt(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A command that moves itself in here before it becomes `inner`, with inner's environment.
    pub(crate) fn wrap(&self, inner: &Command) -> Command {
        let mut outer = Command::new("/bin/sh");
        outer.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        outer.arg(inner.get_program()).args(inner.get_args());
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer
    }
}

/// CPU time that the processes of a cgroup and of those below it have used, in microseconds.
pub(crate) fn cpu_microseconds(cgroup: &Path) -> Result<u64> {
    let file = cgroup.join("cpu.stat");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    parse_usage(&text).with_context(|| format!("no usage_usec in {}", file.display()))
}

fn parse_usage(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
}

/// The cgroup that this process is in.
pub(crate) fn own() -> Result<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").context("failed to read /proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Ok(mount()?.join(own))
}

/// Where cgroup v2 is mounted.
pub(crate) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("failed to read /proc/self/mounts")?;
    of_kind(&mounts, "cgroup2").next().context("no cgroup v2 file system is mounted")
}

/// Where hierarchies of cgroup v1 are mounted, beside v2 or instead of it.
pub(crate) fn legacy_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    of_kind(&mounts, "cgroup").collect()
}

fn of_kind(mounts: &str, kind: &str) -> impl Iterator<Item = PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(move |fields| fields.get(2) == Some(&kind)).filter_map(|fields| fields.get(1).map(PathBuf::from))
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = wait::until_regardless("removing a cgroup", REMOVAL, || {
            // Linux 5.14. It reaches the cgroups below, too.
            let _ = fs::write(self.0.join("cgroup.kill"), "1");
            remove_tree(&self.0).is_ok().then_some(())
        });
        if removed.is_err() {
            say::warning(&format!("failed to remove the cgroup {}: it still holds processes", self.0.display()));
        }
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_mounts_are_told_apart() {
        let mounts = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = |kind| of_kind(mounts, kind).map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(found("cgroup2"), ["/sys/fs/cgroup/unified"]);
        assert_eq!(found("cgroup"), ["/sys/fs/cgroup/pids"]);
    }

    #[test]
    fn usage_is_found_by_name() {
        assert_eq!(parse_usage("usage_usec 2322834967\nuser_usec 1866610550\n"), Some(2_322_834_967));
        assert_eq!(parse_usage("user_usec 1\n"), None);
    }
}
