//! What the cost of a request may depend on, and a program that relays under such a condition.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bench::launch;
use crate::bench::peer::REQUEST_LINES;
use crate::bench::programs::{Forwarding, Program, Tools};
use crate::cgroup::Cgroup;
use crate::process::Service;
use crate::wait;

/// One way in which a relay and baton are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    pub(super) name: &'static str,
    /// What relays.
    program: Program,
    /// Header lines of a request.
    pub(super) lines: usize,
    /// Headers that baton is to carry.
    headers: usize,
    /// Connections of the workload that do nothing.
    idle: usize,
    /// Workloads of the daemon.
    workloads: usize,
    /// Whether load generator and relay share one processor.
    pub(super) on_one_processor: bool,
    /// Whether each request has a connection of its own.
    pub(super) fresh: bool,
    /// Requests a second; as many as go if none.
    pub(super) rate: Option<u32>,
}

const USUAL: Condition = Condition {
    name: "usual",
    program: Program::Relay,
    lines: REQUEST_LINES,
    headers: 2,
    idle: 0,
    workloads: 1,
    on_one_processor: false,
    fresh: false,
    rate: None,
};

/// The conditions that are compared with the first. The others have a column each.
pub(super) const COMPARED: usize = 9;

pub(super) const CONDITIONS: [Condition; 15] = [
    USUAL,
    Condition { name: "5 header lines", lines: 5, ..USUAL },
    Condition { name: "30 header lines", lines: 30, ..USUAL },
    Condition { name: "1 configured header", headers: 1, ..USUAL },
    Condition { name: "64 configured headers", headers: 64, ..USUAL },
    Condition { name: "4000 idle connections", idle: 4000, ..USUAL },
    Condition { name: "100 workloads", workloads: 100, ..USUAL },
    Condition { name: "relay and load generator on one processor", on_one_processor: true, ..USUAL },
    Condition { name: "500 requests a second", rate: Some(500), ..USUAL },
    Condition { name: "the relay, a connection for each request", fresh: true, ..USUAL },
    Condition { name: "Flask", program: Program::Flask, ..USUAL },
    Condition { name: "FastAPI", program: Program::Fastapi, ..USUAL },
    Condition { name: "Express", program: Program::Express, ..USUAL },
    Condition { name: "Go", program: Program::Go, ..USUAL },
    Condition { name: "Java", program: Program::Java, ..USUAL },
];

/// The services end before their cgroups go.
pub(super) struct Stage {
    pub(super) port: u16,
    /// Where baton tells its metrics.
    pub(super) metrics: u16,
    services: Vec<Service>,
    pub(super) workload: Cgroup,
    _others: Vec<Cgroup>,
    _baton: Cgroup,
}

impl Condition {
    /// Starts the program, and baton for it.
    pub(super) fn start(&self, tools: &Tools<'_>, baton: &Path, backend: u16) -> Result<Stage> {
        let [port, metrics] = wait::free_ports()?;
        let workload = Cgroup::new(&format!("bench-workload-{port}"))?;
        let others = (1..self.workloads).map(|number| Cgroup::new(&format!("bench-other-{port}-{number}")));
        let others = others.collect::<Result<Vec<_>>>()?;
        let own = Cgroup::new(&format!("bench-baton-{port}"))?;
        let mut run = Command::new(baton);
        run.args(["run", "--headers", &self.headers(), "--health", &format!("127.0.0.1:{metrics}")]);
        run.arg("--socket").arg(tools.scratch.join(&format!("baton-{port}.sock")));
        for cgroup in [&workload].into_iter().chain(&others) {
            run.arg("--cgroup").arg(cgroup.path());
        }
        let mut services = vec![launch(tools, &own, "baton", &run, metrics)?];
        let program = self.program.command(tools, port, backend, Forwarding::Nobody)?;
        services.push(launch(tools, &workload, "program", &self.placed(&program), port)?);
        if self.idle > 0 {
            let [idle] = wait::free_ports()?;
            let mut command = Command::new(&tools.peer);
            command.args(["bench-peer", "idle", "--port", &idle.to_string(), "--connections", &self.idle.to_string()]);
            services.push(launch(tools, &workload, "idle", &command, idle)?);
        }
        Ok(Stage { port, metrics, services, workload, _others: others, _baton: own })
    }

    /// The command, on the first processor alone if so wished.
    pub(super) fn placed(&self, command: &Command) -> Command {
        let mut placed =
            if self.on_one_processor { Command::new("taskset") } else { Command::new(command.get_program()) };
        if self.on_one_processor {
            placed.args(["--cpu-list", "0"]).arg(command.get_program());
        }
        placed.args(command.get_args());
        placed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        placed
    }

    /// As `--headers` wants them.
    fn headers(&self) -> String {
        let others = (2..self.headers).map(|number| format!("x-shop-propagated-{number}"));
        let wanted = ["x-telepresence-id", "traceparent"].into_iter().take(self.headers).map(str::to_owned);
        wanted.chain(others).collect::<Vec<_>>().join(",")
    }
}

impl Stage {
    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.services.iter_mut().try_for_each(Service::check_alive)
    }
}
