//! Too little memory for the workload's sockets, and for the workload.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use baton_tests::app::without_baton;
use baton_tests::baton::Daemon;
use baton_tests::bpf::Objects;
use baton_tests::cgroup::{self, Cgroup};
use baton_tests::exchange::Shape;
use baton_tests::scratch::serial;
use baton_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Workload, after, either};

/// Memory of the application, and (where cgroup v1 counts it alone) of its sockets.
const MEMORY: &str = "100663296";
const SOCKETS: &str = "262144";

/// A limit on a process's memory: in its own cgroup, or beside it where memory belongs to cgroup v1.
struct Limited {
    /// The directory of cgroup v1, and where its processes go at the end.
    legacy: Option<PathBuf>,
}

impl Limited {
    fn new(cgroup: &Cgroup, process: i32) -> Result<Self> {
        let limit = cgroup.path().join("memory.max");
        if limit.exists() {
            std::fs::write(limit, MEMORY).context("failed to limit memory")?;
            return Ok(Self { legacy: None });
        }
        let text = std::fs::read_to_string("/proc/self/mounts")?;
        let mount = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut mount = mount.filter(|fields| fields.get(2) == Some(&"cgroup"));
        let mount = mount.find(|fields| fields.get(3).is_some_and(|options| options.split(',').any(|o| o == "memory")));
        let mount = mount.and_then(|fields| fields.get(1).map(PathBuf::from)).with_context(|| {
            format!(
                "no cgroup file system limits memory here: {} lacks memory.max",
                cgroup::mount("cgroup2").unwrap_or_default().display()
            )
        })?;
        let directory = mount.join(format!("baton-test-{}-{}", std::process::id(), serial()));
        std::fs::create_dir(&directory)?;
        let limited = Self { legacy: Some(directory.clone()) };
        std::fs::write(directory.join("memory.limit_in_bytes"), MEMORY).context("failed to limit memory")?;
        let sockets = directory.join("memory.kmem.tcp.limit_in_bytes");
        if sockets.exists() {
            std::fs::write(sockets, SOCKETS).context("failed to limit the memory of sockets")?;
        }
        std::fs::write(directory.join("cgroup.procs"), process.to_string())?;
        Ok(limited)
    }

    /// How often something did not get memory at once.
    fn pressure(&self, cgroup: &Cgroup) -> Result<u64> {
        let Some(directory) = &self.legacy else {
            let text = std::fs::read_to_string(cgroup.path().join("memory.events"))?;
            let counts = text.lines().filter_map(|line| line.strip_prefix("max ")?.parse::<u64>().ok());
            return Ok(counts.sum());
        };
        let mut failures = 0;
        for name in ["memory.failcnt", "memory.kmem.tcp.failcnt"] {
            let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
            failures += text.trim().parse::<u64>().unwrap_or_default();
        }
        Ok(failures)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let Some(directory) = &self.legacy else { return };
        let _ = wait::until("an empty cgroup", Duration::from_secs(10), || {
            // After a failure, the application has not ended yet.
            let members = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            for member in members.lines().filter_map(|line| line.parse().ok()) {
                let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            Ok(std::fs::remove_dir(directory).is_ok().then_some(()))
        });
    }
}

#[test]
fn sockets_that_get_too_little_memory() -> Result<()> {
    for variables in [&[][..], &[("NONBLOCK", "1")]] {
        let (before, mut workload) = (Objects::now()?, Workload::start(variables)?);
        // Without baton: whether the kernel alone gets along with so little.
        let enrolled = if without_baton() { Vec::new() } else { vec![workload.cgroup.path()] };
        let daemon = Daemon::start(&enrolled)?;
        let limited = Limited::new(&workload.cgroup, workload.app.process().pid().as_raw())?;
        let shape = Shape { modes: &["plain", "splice", "by_child"], largest: 150_000, keep: true, pause: 0 };
        let outcome = workload.load(16, &shape, after(Duration::from_secs(either(5, 60))))?;
        let pressure = limited.pressure(&workload.cgroup)?;
        eprintln!("{pressure} times without memory");
        ensure!(outcome.carried > 0 || without_baton(), "{outcome}");
        // What cgroup v1 does not give at once is not always counted.
        ensure!(limited.legacy.is_some() || pressure > 0, "no pressure: {outcome}");
        workload.end(daemon, &before)?;
        drop(limited);
    }
    Ok(())
}
