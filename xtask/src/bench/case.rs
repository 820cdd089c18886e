//! What is measured: the programs of each case, with and without baton.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::programs::{Forwarding, Program, Tools};
use super::{START, launch};
use crate::cgroup::Cgroup;
use crate::process::Service;
use crate::wait;

/// Requests a second in the cases that are about watching.
const WATCHED_RATE: u32 = 20_000;

/// What baton carries in all cases.
pub(super) const HEADERS: &str = "x-telepresence-id,traceparent";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Case {
    /// A relay that does nothing else, under `baton exec`
    Relay,
    /// The same relay, unselected, while `baton run` has another workload
    Unselected,
    /// Flask under gunicorn (gthread) that relays with requests, under `baton exec`
    Flask,
    /// FastAPI on uvicorn (uvloop) that relays with httpx, under `baton exec`
    Fastapi,
    /// Go's net/http, server and client, under `baton exec`
    Go,
    /// Express on Node.js that relays with http.get, under `baton exec`, which refuses it
    Express,
    /// The relay under `baton run`, with a client that watches against none
    Watched,
    /// The same with a client that watches and does not read
    Stalled,
}

impl Case {
    pub(super) const ALL: [Self; 8] = [
        Self::Relay,
        Self::Unselected,
        Self::Flask,
        Self::Fastapi,
        Self::Go,
        Self::Express,
        Self::Watched,
        Self::Stalled,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Relay => "(a) a relay that does nothing else",
            Self::Unselected => "(b) the same relay, unselected",
            Self::Flask => "(c) Flask under gunicorn",
            Self::Fastapi => "(d) FastAPI on uvicorn",
            Self::Go => "(e) Go's net/http",
            Self::Express => "(f) Express on Node.js",
            Self::Watched => "(g) the relay at 20,000 requests/s, watched",
            Self::Stalled => "(h) the relay at 20,000 requests/s, watched by a client that stalls",
        }
    }

    /// The part of the throughput without baton, or without a watching client, that is to be kept.
    pub(super) fn target(self) -> f64 {
        match self {
            Self::Relay => 0.92,
            Self::Unselected => 0.995,
            Self::Flask | Self::Watched | Self::Stalled => 0.98,
            Self::Fastapi | Self::Express => 0.95,
            Self::Go => 0.93,
        }
    }

    /// Whether the program runs with propagation on.
    pub(super) fn is_selected(self) -> bool {
        self != Self::Unselected
    }

    /// Whether headers are to arrive at the backend while baton is on.
    pub(super) fn carries(self) -> bool {
        self.is_selected() && self != Self::Express
    }

    /// Whether baton is there on both sides, and on one of them a client that watches.
    pub(super) fn is_watched(self) -> bool {
        matches!(self, Self::Watched | Self::Stalled)
    }

    /// Starts the programs of one run and waits until they listen.
    pub(super) fn start(self, bench: &Bench<'_>, on: bool) -> Result<Stage> {
        let [port] = wait::free_ports()?;
        let program = match self {
            Self::Relay | Self::Unselected | Self::Watched | Self::Stalled => Program::Relay,
            Self::Flask => Program::Flask,
            Self::Fastapi => Program::Fastapi,
            Self::Go => Program::Go,
            Self::Express => Program::Express,
        };
        let program = program.command(&bench.tools, port, bench.backend_port, Forwarding::Nobody)?;
        let mut stage = Stage {
            port,
            services: Vec::new(),
            baton: None,
            cgroup: Cgroup::new(&format!("bench-program-{port}"))?,
            rate: self.is_watched().then_some(WATCHED_RATE),
            idle: None,
        };
        match bench.baton.as_deref().filter(|_| on || self.is_watched()) {
            Some(baton) if self.is_watched() => {
                let workload = stage.cgroup.path().to_owned();
                let daemon = bench.daemon(&stage.cgroup, baton, &workload, port)?;
                stage.baton = Some(daemon.pid());
                stage.services.push(daemon);
                stage.services.push(launch(&bench.tools, &stage.cgroup, "program", &program, port)?);
                if on {
                    stage.services.push(bench.client(self, baton, port)?);
                }
            }
            Some(baton) if self.is_selected() => {
                stage.services.push(launch(
                    &bench.tools,
                    &stage.cgroup,
                    "program",
                    &under(baton, HEADERS, &program),
                    port,
                )?);
                stage.baton = stage.services.first().map(Service::pid);
            }
            Some(baton) => {
                let idle = stage.idle.insert(Cgroup::new("bench-idle")?);
                stage.services.push(bench.daemon(&stage.cgroup, baton, idle.path(), port)?);
                stage.baton = stage.services.first().map(Service::pid);
                stage.services.push(launch(&bench.tools, &stage.cgroup, "program", &program, port)?);
            }
            None => stage.services.push(launch(&bench.tools, &stage.cgroup, "program", &program, port)?),
        }
        Ok(stage)
    }
}

/// What all runs share. The backend ends before its cgroup goes.
pub(super) struct Bench<'a> {
    pub(super) tools: Tools<'a>,
    /// None when both sides are measured without baton.
    pub(super) baton: Option<PathBuf>,
    backend_port: u16,
    _backend: Service,
    /// Where backend and load generator run.
    pub(super) cgroup: Cgroup,
}

/// The running programs of one run. The services end before their cgroups go.
pub(super) struct Stage {
    pub(super) port: u16,
    /// What is under test, and baton.
    pub(super) services: Vec<Service>,
    /// Baton's process.
    pub(super) baton: Option<u32>,
    /// Where they run: their CPU time is counted.
    pub(super) cgroup: Cgroup,
    /// Requests a second that the program is sent; as many as go if none.
    pub(super) rate: Option<u32>,
    /// The empty cgroup that baton has for a workload when the program is unselected.
    idle: Option<Cgroup>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(tools: Tools<'a>, baton: Option<PathBuf>) -> Result<Self> {
        let cgroup = Cgroup::new("bench-peers")?;
        let [backend_port] = wait::free_ports()?;
        let backend = launch(&tools, &cgroup, "backend", &tools.backend(backend_port), backend_port)?;
        Ok(Self { tools, baton, backend_port, _backend: backend, cgroup })
    }

    /// Starts `baton run` in `cgroup` with one workload and waits until it is attached.
    fn daemon(&self, cgroup: &Cgroup, baton: &Path, workload: &Path, port: u16) -> Result<Service> {
        let mut command = Command::new(baton);
        command.args(["run", "--headers", HEADERS, "--cgroup"]).arg(workload);
        command.arg("--socket").arg(self.socket(port));
        let said = self.tools.scratch.join(&format!("baton-{port}.out"));
        let stdout = File::create(&said).with_context(|| format!("failed to create {}", said.display()))?;
        let mut service = Service::start(
            "baton",
            cgroup.wrap(&command).stdout(stdout),
            &self.tools.scratch.join(&format!("baton-{port}.log")),
        )?;
        wait::until("waiting for `baton run` to be ready", START, || {
            service.check_alive()?;
            Ok(fs::read_to_string(&said)?.lines().any(|line| line == "ready").then_some(()))
        })?;
        Ok(service)
    }

    /// The control socket of the daemon that follows the program at `port`.
    fn socket(&self, port: u16) -> PathBuf {
        self.tools.scratch.join(&format!("baton-{port}.sock"))
    }

    /// Starts the client that watches the daemon of the program at `port`.
    fn client(&self, case: Case, baton: &Path, port: u16) -> Result<Service> {
        let mut command = if case == Case::Watched {
            let mut watch = Command::new(baton);
            watch.args(["watch", "--json"]);
            watch
        } else {
            let mut stall = Command::new(&self.tools.peer);
            stall.args(["bench-peer", "stall"]);
            stall
        };
        command.arg("--socket").arg(self.socket(port));
        let log = self.tools.scratch.join(&format!("client-{port}.log"));
        Service::start("client", self.cgroup.wrap(&command).stdout(Stdio::null()), &log)
    }
}

/// The same command under `baton exec`, which carries these headers.
pub(super) fn under(baton: &Path, headers: &str, program: &Command) -> Command {
    let mut command = Command::new(baton);
    command.args(["exec", "--headers", headers, "--"]);
    command.arg(program.get_program()).args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}
