//! A contender that runs: the program, and what brings the header on.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::contest::{Contender, Contest};
use super::sidecar::{self, Ways};
use crate::bench::case::under;
use crate::bench::daemon::{self, InPrograms};
use crate::bench::launch;
use crate::bench::peer::Measured;
use crate::bench::programs::{Forwarding, Tools};
use crate::cgroup::Cgroup;
use crate::process::{self, Service};
use crate::wait;

/// The header that is carried. OpenTelemetry carries no other one that holds what one likes.
pub(super) const HEADER: &str = "baggage";

/// What all contenders share.
pub(super) struct Arena<'a> {
    pub(super) tools: Tools<'a>,
    pub(super) baton: std::path::PathBuf,
    /// Where the load generator, the backends and the collector run.
    pub(super) peers: Cgroup,
    pub(super) collector: u16,
}

/// One measurement's load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
    /// Requests a second; as many as go if none.
    pub(super) rate: Option<f64>,
}

/// The services end before their cgroup goes.
pub(super) struct Entry {
    pub(super) contender: Contender,
    /// Milliseconds from the start of everything to the first connection that is accepted.
    pub(super) start_ms: f64,
    services: Vec<Service>,
    cgroup: Cgroup,
    port: u16,
}

impl Arena<'_> {
    /// Starts what answers requests with the header that they carry.
    pub(super) fn backend(&self, body: usize) -> Result<(Service, u16)> {
        let [port] = wait::free_ports()?;
        let mut command = self.tools.backend(port);
        command.args(["--header", HEADER, "--body", &body.to_string()]);
        Ok((launch(&self.tools, &self.peers, "backend", &command, port)?, port))
    }

    /// Starts a contender and waits until it listens.
    pub(super) fn enter(&self, contest: &Contest, contender: Contender, backend: u16) -> Result<Entry> {
        let [port, inner, outer] = wait::free_ports()?;
        let cgroup = Cgroup::new(&format!("bench-entry-{port}"))?;
        let (begun, mut services) = (Instant::now(), Vec::new());
        let forwarding = match contender {
            Contender::Nothing | Contender::Baton | Contender::Haproxy | Contender::Envoy => Forwarding::Nobody,
            Contender::Code => Forwarding::Code(HEADER),
            Contender::OpenTelemetry => Forwarding::OpenTelemetry { collector: None },
            Contender::OpenTelemetryExporting => Forwarding::OpenTelemetry { collector: Some(self.collector) },
        };
        let command = |port, backend| contest.program.command(&self.tools, port, backend, forwarding);
        match contender {
            Contender::Haproxy | Contender::Envoy => {
                services.push(launch(&self.tools, &cgroup, "program", &command(inner, outer)?, inner)?);
                let ways = Ways { inbound: [port, inner], outbound: [outer, backend] };
                let proxy = if contender == Contender::Envoy { sidecar::envoy } else { sidecar::haproxy };
                services.push(launch(&self.tools, &cgroup, "proxy", &proxy(&self.tools, ways)?, port)?);
            }
            Contender::Baton => {
                let program = under(&self.baton, &[HEADER, "traceparent"].join(","), &command(port, backend)?);
                services.push(launch(&self.tools, &cgroup, "program", &program, port)?);
            }
            _ => services.push(launch(&self.tools, &cgroup, "program", &command(port, backend)?, port)?),
        }
        let start_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok(Entry { contender, start_ms, services, cgroup, port })
    }

    /// One measurement of a contender.
    pub(super) fn measure(&self, contest: &Contest, entry: &mut Entry, load: Load) -> Result<Measured> {
        let shape = contest.shape;
        let mut command = Command::new(&self.tools.peer);
        command.args(["bench-peer", "load", "--header", HEADER, "--target", &format!("127.0.0.1:{}", entry.port)]);
        command.args(["--connections", &shape.connections.to_string(), "--lines", &shape.lines.to_string()]);
        command.args(["--seconds", &load.seconds.to_string(), "--warm-up-seconds", &load.warm_up.to_string()]);
        command.args(shape.fresh.then_some("--fresh"));
        command.args(load.rate.map(|rate| format!("--rate={rate}")));
        command.arg("--observe").arg(entry.cgroup.path());
        let printed = process::read(&mut self.peers.wrap(&command))
            .with_context(|| format!("{} with {}", contest.title, entry.contender.name()))?;
        for service in &mut entry.services {
            service.check_alive()?;
        }
        serde_json::from_str(&printed).context("the load generator printed no measurement")
    }
}

impl Entry {
    /// What the kernel has counted in baton's programs; none for another contender.
    pub(super) fn in_programs(&self) -> Result<Option<InPrograms>> {
        let baton = self.services.first().filter(|_| self.contender == Contender::Baton);
        baton.map(|baton| InPrograms::of(baton.pid())).transpose()
    }

    /// Resident memory of everything that was started for it, in bytes.
    pub(super) fn memory(&self) -> u64 {
        daemon::resident_of_all(self.cgroup.path())
    }
}
