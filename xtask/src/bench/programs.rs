//! The programs under test. Each asks its backend for `/relay` and answers with what that says.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::scratch::Scratch;
use crate::{process, workspace};

/// A program that relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// Does nothing but relay: one thread and one connection to the backend per client connection
    Relay,
    /// Flask under gunicorn (gthread) that relays with requests
    Flask,
    /// FastAPI on uvicorn (uvloop) that relays with httpx
    Fastapi,
    /// Go's net/http, server and client
    Go,
    /// Express on Node.js that relays with http.get
    Express,
    /// The JDK's HTTP server and client
    Java,
}

/// Who passes on what an inbound request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forwarding {
    /// Not the program.
    Nobody,
    /// The program's own code copies this header.
    Code(&'static str),
    /// OpenTelemetry's auto-instrumentation of the program's language, with spans sent to a collector on this port.
    OpenTelemetry { collector: Option<u16> },
}

/// What programs are started with.
pub(super) struct Tools<'a> {
    /// This executable's release build.
    pub(super) peer: PathBuf,
    /// The virtual environment with the Python programs' packages.
    pub(super) python: PathBuf,
    /// The directory with the Node.js program's packages.
    pub(super) node: PathBuf,
    /// Where programs that are compiled are put.
    pub(super) scratch: &'a Scratch,
}

impl<'a> Tools<'a> {
    /// What is installed for tests, too.
    pub(super) fn usual(scratch: &'a Scratch) -> Self {
        Self { peer: workspace::release("xtask"), python: workspace::venv(), node: workspace::node(), scratch }
    }

    /// With OpenTelemetry's packages, which are kept apart.
    pub(super) fn observed(scratch: &'a Scratch) -> Self {
        Self { python: workspace::observed_venv(), node: workspace::observed_node(), ..Self::usual(scratch) }
    }

    /// The command that starts what answers requests with the value of one of their headers.
    pub(super) fn backend(&self, port: u16) -> Command {
        let mut command = Command::new(&self.peer);
        command.args(["bench-peer", "backend", "--port", &port.to_string()]);
        command
    }
}

impl Program {
    /// The command that starts it on `port`, with a backend on another one of the same machine.
    pub(super) fn command(self, tools: &Tools<'_>, port: u16, backend: u16, forwarding: Forwarding) -> Result<Command> {
        let mut command = match self {
            Self::Relay => relay(tools, port, backend, forwarding),
            Self::Flask => flask(tools, port, forwarding),
            Self::Fastapi => fastapi(tools, port, forwarding),
            Self::Go => Command::new(go(tools)?),
            Self::Express => express(tools, forwarding),
            Self::Java => java(tools)?,
        };
        command.env("BACKEND", format!("http://127.0.0.1:{backend}")).env("PORT", port.to_string());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("NODE_ENV", "production");
        match forwarding {
            Forwarding::Nobody => {}
            Forwarding::Code(header) => {
                command.env("FORWARD", header);
            }
            Forwarding::OpenTelemetry { collector } => observe(&mut command, collector),
        }
        Ok(command)
    }
}

/// The settings of OpenTelemetry's SDKs: traces only, and the propagators that carry `traceparent` and `baggage`.
fn observe(command: &mut Command, collector: Option<u16>) {
    command.env("OTEL_SERVICE_NAME", "relay").env("OTEL_PROPAGATORS", "tracecontext,baggage");
    command.env("OTEL_METRICS_EXPORTER", "none").env("OTEL_LOGS_EXPORTER", "none");
    // Nothing looks for a cloud around the machine.
    command.env("OTEL_NODE_RESOURCE_DETECTORS", "none");
    match collector {
        None => command.env("OTEL_TRACES_EXPORTER", "none"),
        Some(port) => command
            .env("OTEL_TRACES_EXPORTER", "otlp")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}")),
    };
}

fn relay(tools: &Tools<'_>, port: u16, backend: u16, forwarding: Forwarding) -> Command {
    let mut command = Command::new(&tools.peer);
    command.args(["bench-peer", "relay", "--port", &port.to_string(), "--backend", &format!("127.0.0.1:{backend}")]);
    if let Forwarding::Code(header) = forwarding {
        command.args(["--forward", header]);
    }
    command
}

/// A program of the virtual environment, under OpenTelemetry's agent where that is asked for.
fn python(tools: &Tools<'_>, name: &str, forwarding: Forwarding) -> Command {
    let program = tools.python.join("bin").join(name);
    if !matches!(forwarding, Forwarding::OpenTelemetry { .. }) {
        return Command::new(program);
    }
    let mut command = Command::new(tools.python.join("bin/opentelemetry-instrument"));
    command.arg(program);
    command
}

fn flask(tools: &Tools<'_>, port: u16, forwarding: Forwarding) -> Command {
    let mut command = python(tools, "gunicorn", forwarding);
    command.args(["--worker-class", "gthread", "--workers", "1", "--threads", "8", "--log-level", "warning"]);
    command.args(["--bind", &format!("127.0.0.1:{port}"), "--chdir"]);
    command.arg(sources()).arg("relay_flask:app");
    command
}

fn fastapi(tools: &Tools<'_>, port: u16, forwarding: Forwarding) -> Command {
    let mut command = python(tools, "uvicorn", forwarding);
    command.args(["relay_fastapi:app", "--loop", "uvloop", "--http", "h11", "--log-level", "warning"]);
    command.args(["--port", &port.to_string(), "--app-dir"]).arg(sources());
    command
}

fn express(tools: &Tools<'_>, forwarding: Forwarding) -> Command {
    let mut command = Command::new("node");
    if matches!(forwarding, Forwarding::OpenTelemetry { .. }) {
        command.args(["--require", "@opentelemetry/auto-instrumentations-node/register"]);
    }
    command.arg(sources().join("relay_express.js")).env("NODE_PATH", tools.node.join("node_modules"));
    command
}

fn go(tools: &Tools<'_>) -> Result<PathBuf> {
    let program = tools.scratch.join("relay-go");
    if !program.is_file() {
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(&program).arg(sources().join("relay.go"));
        build.env("GOCACHE", workspace::root().join("target/go-cache")).env("GO111MODULE", "off");
        process::read(&mut build).context("Go could not build the relay")?;
    }
    Ok(program)
}

fn java(tools: &Tools<'_>) -> Result<Command> {
    let classes = tools.scratch.join("java");
    if !classes.join("Relay.class").is_file() {
        let mut build = Command::new("javac");
        build.arg("-d").arg(&classes).arg(sources().join("Relay.java"));
        process::read(&mut build).context("javac could not compile the relay")?;
    }
    let mut command = Command::new("java");
    command.arg("-cp").arg(classes).arg("Relay");
    Ok(command)
}

/// Where the programs' sources are.
fn sources() -> PathBuf {
    workspace::root().join("xtask/bench")
}
