//! The servers, where clients run, and baton.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bench::programs::Tools;
use crate::bench::{case, launch};
use crate::cgroup::Cgroup;
use crate::process::Service;
use crate::wait;

/// Bytes of a large body.
pub(super) const LARGE: u64 = 1 << 30;

/// Who of the two that talk is in a workload of baton's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// No baton runs.
    Without,
    /// Neither: baton has another workload.
    Neither,
    Server,
    Client,
}

impl Side {
    pub(super) const ALL: [Self; 4] = [Self::Without, Self::Neither, Self::Server, Self::Client];

    pub(super) const fn has_baton(self) -> bool {
        !matches!(self, Self::Without)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Without => "no baton",
            Self::Neither => "not selected",
            Self::Server => "the server is selected",
            Self::Client => "the client is selected",
        }
    }
}

/// What a server listens on: that of the workload, and that outside of it.
pub(super) struct Ports {
    selected: u16,
    other: u16,
}

impl Ports {
    pub(super) fn of(&self, side: Side) -> u16 {
        if side == Side::Server { self.selected } else { self.other }
    }
}

/// The services end before their cgroups go.
pub(super) struct Stage<'a> {
    tools: &'a Tools<'a>,
    baton: &'a Path,
    pub(super) redis: Ports,
    pub(super) bulk: Ports,
    /// A file of [`LARGE`] bytes.
    pub(super) file: PathBuf,
    _services: Vec<Service>,
    workload: Cgroup,
    others: Cgroup,
}

impl<'a> Stage<'a> {
    pub(super) fn new(tools: &'a Tools<'a>, baton: &'a Path) -> Result<Self> {
        let file = tools.scratch.join("large");
        File::create(&file)
            .and_then(|created| created.set_len(LARGE))
            .with_context(|| format!("failed to make {}", file.display()))?;
        let (workload, others) = (Cgroup::new("bench-workload")?, Cgroup::new("bench-others")?);
        let mut services = Vec::new();
        let mut both = |name: &str, command: &dyn Fn(u16) -> Command| -> Result<Ports> {
            let [selected, other] = wait::free_ports()?;
            services.push(launch(tools, &workload, name, &command(selected), selected)?);
            services.push(launch(tools, &others, name, &command(other), other)?);
            Ok(Ports { selected, other })
        };
        let redis = both("redis", &|port| {
            let mut command = Command::new("redis-server");
            command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &port.to_string()]);
            command
        })?;
        let bulk = both("bulk", &|port| {
            let mut command = Command::new(&tools.peer);
            command.args(["bench-peer", "bulk", "--port", &port.to_string()]);
            command
        })?;
        Ok(Self { tools, baton, redis, bulk, file, _services: services, workload, others })
    }

    /// Starts baton for the workload, and waits until it is attached.
    pub(super) fn daemon(&self) -> Result<Service> {
        let [health] = wait::free_ports()?;
        let mut command = Command::new(self.baton);
        command.args(["run", "--headers", case::HEADERS, "--health", &format!("127.0.0.1:{health}")]);
        command.arg("--socket").arg(self.tools.scratch.join("baton.sock"));
        command.arg("--cgroup").arg(self.workload.path());
        launch(self.tools, &self.others, "baton", &command, health)
    }

    /// The client's command, where it is to run.
    pub(super) fn client(&self, side: Side, command: &Command) -> Command {
        if side == Side::Client { self.workload.wrap(command) } else { self.others.wrap(command) }
    }
}
