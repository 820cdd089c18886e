//! What baton itself takes: memory in user space and in the kernel, and time to start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::case::HEADERS;
use crate::cgroup::Cgroup;
use crate::process::{self, table};

/// Memory of a running baton.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Footprint {
    pub(super) resident_bytes: u64,
    /// What the kernel accounts to baton's maps (`memlock` in their fdinfo).
    pub(super) map_bytes: u64,
    pub(super) maps: usize,
}

impl Footprint {
    /// Of baton's process `pid`, and of its guard, which is a fork of it.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let program = fs::read_link(format!("/proc/{pid}/exe"))
            .with_context(|| format!("failed to find the program of baton, pid {pid}"))?;
        let family = table::descendants(pid).into_iter().map(|process| process.pid);
        let forks = family.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|other| other == program));
        let mut resident_bytes = resident(pid)?;
        for fork in forks {
            resident_bytes += resident(fork)?;
        }
        let maps = maps(pid)?;
        Ok(Self { resident_bytes, map_bytes: maps.values().sum(), maps: maps.len() })
    }

    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes.max(other.resident_bytes),
            map_bytes: self.map_bytes.max(other.map_bytes),
            maps: self.maps.max(other.maps),
        }
    }
}

/// Resident memory in bytes. Pages that processes share count once for all of them (proc(5), `Pss`).
fn resident(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let status = fs::read_to_string(&file).with_context(|| format!("failed to read {file}"))?;
    let kibibytes = field(&status, "Pss:").with_context(|| format!("no Pss in {file}"))?;
    Ok(kibibytes * 1024)
}

/// Resident memory of all processes of a cgroup and of those below it, in bytes.
pub(super) fn resident_of_all(cgroup: &Path) -> u64 {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    // A process that has just ended has none.
    let own: u64 = processes.lines().filter_map(|pid| resident(pid.parse().ok()?).ok()).sum();
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    own + below.map(|entry| resident_of_all(&entry.path())).sum::<u64>()
}

/// Bytes by map id.
fn maps(pid: u32) -> Result<BTreeMap<u64, u64>> {
    descriptors(pid, |info| Some((field(info, "map_id:")?, field(info, "memlock:")?)))
}

/// What the kernel has counted in baton's programs, since they were loaded; where it counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InPrograms {
    pub(super) nanoseconds: u64,
    /// Runs of those that sit in other programs' code.
    pub(super) probes: u64,
}

impl InPrograms {
    /// Of baton's process `pid`.
    pub(super) fn of(pid: u32) -> Result<Self> {
        /// `BPF_PROG_TYPE_KPROBE`, which uprobes are, too (include/uapi/linux/bpf.h).
        const PROBE: u64 = 2;
        let all = descriptors(pid, |info| {
            let runs = if field(info, "prog_type:") == Some(PROBE) { field(info, "run_cnt:")? } else { 0 };
            Some((field(info, "prog_id:")?, Self { nanoseconds: field(info, "run_time_ns:")?, probes: runs }))
        })?;
        Ok(all.values().fold(Self::default(), |sum, one| Self {
            nanoseconds: sum.nanoseconds + one.nanoseconds,
            probes: sum.probes + one.probes,
        }))
    }
}

/// What the descriptors of process `pid` say, by the id of what they are for: it may be open more than once.
fn descriptors<T>(pid: u32, of: impl Fn(&str) -> Option<(u64, T)>) -> Result<BTreeMap<u64, T>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).with_context(|| format!("failed to list {directory}"))?;
    let mut all = BTreeMap::new();
    for entry in entries {
        // A descriptor may be closed while we look.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        all.extend(of(&info));
    }
    Ok(all)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Milliseconds from the start of `baton exec` until its command runs, which it does when everything is attached.
pub(super) fn start_times(baton: &Path, times: usize) -> Result<Vec<f64>> {
    let cgroup = Cgroup::new("bench-start")?;
    let mut command = Command::new(baton);
    command.args(["exec", "--headers", HEADERS, "--", "date", "+%s%N"]);
    let one = || {
        let begun = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let printed = process::read(&mut cgroup.wrap(&command))?;
        let running: u128 = printed.trim().parse().context("`date +%s%N` printed no number")?;
        Ok(running.saturating_sub(begun.as_nanos()) as f64 / 1e6)
    };
    (0..times).map(|_| one()).collect()
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_by_name() {
        let info = "pos:\t0\nmap_type:\t1\nmap_id:\t42\nmemlock:\t81920\n";
        assert_eq!(field(info, "memlock:"), Some(81920));
        assert_eq!(field("VmRSS:\t   1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(field(info, "prog_id:"), None);
    }
}
