//! What is measured: the programs of each case, with and without baton.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::process::Service;
use crate::scratch::Scratch;
use crate::{wait, workspace};

/// How long a program may take until it listens.
pub(super) const START: Duration = Duration::from_secs(30);

const HEADERS: &str = "x-telepresence-id,traceparent";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Case {
    /// A relay that does nothing else, under `baton exec`
    Relay,
    /// The same relay, unselected, while baton has another workload
    Unselected,
    /// Flask under gunicorn (gthread) that relays with requests, under `baton exec`
    Flask,
}

impl Case {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Relay => "(a) a relay that does nothing else",
            Self::Unselected => "(b) the same relay, unselected",
            Self::Flask => "(c) Flask under gunicorn",
        }
    }

    /// The part of the throughput without baton that is to be kept.
    pub(super) fn target(self) -> f64 {
        match self {
            Self::Relay => 0.92,
            Self::Unselected => 0.995,
            Self::Flask => 0.98,
        }
    }

    /// Whether headers are to arrive at the backend while baton is on.
    pub(super) fn is_selected(self) -> bool {
        self != Self::Unselected
    }

    /// Starts the programs of one run and waits until they listen.
    pub(super) fn start(self, bench: &Bench<'_>, on: bool) -> Result<Stage> {
        let [port, idle_port] = wait::free_ports()?;
        let baton = bench.baton.as_ref().filter(|_| on);
        let mut stage = Stage { port, services: Vec::new(), baton: None };
        if let Some(baton) = baton.filter(|_| !self.is_selected()) {
            let idle = bench.relay(idle_port);
            let service = bench.launch("idle", under(baton, &idle), idle_port)?;
            stage.baton = Some(service.pid());
            stage.services.push(service);
        }
        let program = match self {
            Self::Relay | Self::Unselected => bench.relay(port),
            Self::Flask => bench.flask(port),
        };
        match baton.filter(|_| self.is_selected()) {
            Some(baton) => {
                let service = bench.launch("program", under(baton, &program), port)?;
                stage.baton = Some(service.pid());
                stage.services.push(service);
            }
            None => stage.services.push(bench.launch("program", program, port)?),
        }
        Ok(stage)
    }
}

/// What all runs share.
pub(super) struct Bench<'a> {
    /// This executable's release build.
    pub(super) peer: PathBuf,
    /// None when both sides are measured without baton.
    pub(super) baton: Option<PathBuf>,
    pub(super) backend_port: u16,
    pub(super) scratch: &'a Scratch,
}

/// The running programs of one run.
pub(super) struct Stage {
    pub(super) port: u16,
    /// What is under test, and baton: their CPU time is counted.
    pub(super) services: Vec<Service>,
    /// Baton's process.
    pub(super) baton: Option<u32>,
}

impl Bench<'_> {
    fn relay(&self, port: u16) -> Command {
        let mut command = Command::new(&self.peer);
        let backend = format!("127.0.0.1:{}", self.backend_port);
        command.args(["bench-peer", "relay", "--port", &port.to_string(), "--backend", &backend]);
        command
    }

    fn flask(&self, port: u16) -> Command {
        let mut command = Command::new(workspace::venv().join("bin/python"));
        command.args(["-m", "gunicorn", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]);
        command.args(["--log-level", "warning", "--bind", &format!("127.0.0.1:{port}"), "--chdir"]);
        command.arg(workspace::root().join("xtask/bench")).arg("relay_flask:app");
        command.env("BACKEND", format!("http://127.0.0.1:{}", self.backend_port));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn launch(&self, name: &str, mut command: Command, port: u16) -> Result<Service> {
        let log = self.scratch.join(&format!("{name}.log"));
        let mut service = Service::start(name, command.stdout(Stdio::null()), &log)?;
        wait::until_listening(&mut service, port, START)?;
        Ok(service)
    }
}

/// The same command under `baton exec`.
fn under(baton: &PathBuf, program: &Command) -> Command {
    let mut command = Command::new(baton);
    command.args(["exec", "--headers", HEADERS, "--"]);
    command.arg(program.get_program()).args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}
