//! Pods without a cluster: real cgroups as a kubelet makes them, a fake API server, and a daemon that follows both.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::api_server::{ApiServer, Words};
use crate::app::{App, Launch, free_port};
use crate::baton::{HEADERS, command};
use crate::cgroup::Cgroup;
use crate::pins::Pins;
use crate::probe::Probe;
use crate::process::{self, Running};
use crate::recorder::Recorder;
use crate::relay::{self, Backend};
use crate::scratch::{Scratch, serial};
use crate::wait;

/// What labels are called.
pub const LABEL: &str = "baton.dev/propagation";

/// The directories that a kubelet makes: `ROOT/kubepods/burstable`.
#[derive(Debug)]
pub struct Tree {
    class: Cgroup,
    _kubepods: Cgroup,
    root: Cgroup,
}

impl Tree {
    /// Makes them below a fresh cgroup.
    pub fn new() -> Result<Self> {
        let root = Cgroup::new()?;
        let kubepods = root.child("kubepods")?;
        Ok(Self { class: kubepods.child("burstable")?, _kubepods: kubepods, root })
    }

    /// Makes the directory of a pod.
    pub fn pod(&self, uid: &str) -> Result<Cgroup> {
        self.class.child(&format!("pod{uid}"))
    }

    /// Where a daemon looks for pods.
    pub fn root(&self) -> &Cgroup {
        &self.root
    }
}

/// An id as the API server gives them.
pub fn uid() -> String {
    format!("0f4d7a4e-1f0b-4f5e-9a53-{:06x}{:06x}", std::process::id() & 0x00ff_ffff, serial() & 0x00ff_ffff)
}

/// A pod with one container, in which a C relay runs.
#[derive(Debug)]
pub struct Pod {
    /// Its id.
    pub uid: String,
    app: App,
    recorder: Recorder,
    _container: Cgroup,
    cgroup: Cgroup,
}

impl Pod {
    /// Makes the directory and starts the relay in a directory below it.
    pub fn start(tree: &Tree) -> Result<Self> {
        Self::start_as(tree, uid())
    }

    /// The same, with an id; for a static pod the hash of its manifest.
    pub fn start_as(tree: &Tree, uid: String) -> Result<Self> {
        let cgroup = tree.pod(&uid)?;
        let container = cgroup.child("container")?;
        let recorder = Recorder::echoing_targets()?;
        let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::In(&container))?;
        Ok(Self { uid, app, recorder, _container: container, cgroup })
    }

    /// A client of it that connects for each request.
    pub fn probe(&self) -> Probe<'_> {
        Probe::fresh(self.app.address(), &self.recorder)
    }

    /// A client of it that keeps its connection.
    pub fn kept(&self) -> Probe<'_> {
        Probe::kept(self.app.address(), &self.recorder)
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

/// `baton run --kubernetes` beside a fake API server.
#[derive(Debug)]
pub struct Node {
    process: Running,
    scratch: Scratch,
    health: SocketAddr,
}

impl Node {
    /// Starts it with more lines of configuration, and waits until programs are attached.
    pub fn start(api: &ApiServer, tree: &Tree, config: &str) -> Result<Self> {
        Self::start_with(api, tree, config, None)
    }

    /// The same as the DaemonSet does it, with a directory for what outlives it.
    pub fn pinned(api: &ApiServer, tree: &Tree, pins: &Pins) -> Result<Self> {
        Self::start_with(api, tree, "", Some(pins))
    }

    fn start_with(api: &ApiServer, tree: &Tree, config: &str, pins: Option<&Pins>) -> Result<Self> {
        let scratch = Scratch::new()?;
        let health = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let kubeconfig = scratch.write("kubeconfig", api.kubeconfig())?;
        let config = format!("headers: [{}]\n{config}", HEADERS.join(", "));
        let mut run = command(["run", "--kubernetes", "--node", "here", "--config"])?;
        run.arg(scratch.write("baton.yaml", config)?).arg("--socket").arg(scratch.join("baton.sock"));
        if let Some(pins) = pins {
            run.arg("--pin-dir").arg(pins.directory());
        }
        run.arg("--cgroup-root").arg(tree.root().path());
        run.arg("--health").arg(health.to_string()).env("KUBECONFIG", kubeconfig);
        let mut process = Running::spawn(run, scratch.join("baton.log"))?;
        wait::until("baton run to be attached", wait::START, || {
            if let Some(status) = process.ended()? {
                bail!("baton run ended with {status}:\n{}", process.last_words());
            }
            Ok(process.output().lines().any(|line| line.trim() == "ready").then_some(()))
        })?;
        Ok(Self { process, scratch, health })
    }

    /// Replaces its configuration and makes it read that.
    pub fn reload(&self, config: &str) -> Result<()> {
        self.scratch.write("baton.yaml", config)?;
        self.process.signal(Signal::SIGHUP)
    }

    /// Where it answers health probes and gives metrics.
    pub fn address(&self) -> SocketAddr {
        self.health
    }

    /// The status of the answer to a probe.
    pub fn health(&self, path: &str) -> Result<u16> {
        let mut stream = TcpStream::connect(self.health).context("nobody answers health probes")?;
        std::io::Write::write_all(&mut stream, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.with_context(|| format!("no status in {answer:?}"))
    }

    /// Waits for an answer with this status.
    pub fn until_health(&self, path: &str, status: u16) -> Result<()> {
        let what = format!("{path} to answer {status}");
        wait::until(&what, wait::START, || Ok((self.health(path)? == status).then_some(())))
            .with_context(|| self.output())
    }

    /// What `baton watch` prints, from now on.
    pub fn watch(&self) -> Result<Running> {
        let mut watch = command(["watch", "--json", "--socket"])?;
        watch.arg(self.scratch.join("baton.sock"));
        Running::spawn(watch, self.scratch.join(&format!("watch-{}", serial())))
    }

    /// The process's id.
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    /// What it has written.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Ends it with SIGTERM and returns its exit status.
    pub fn stop(mut self) -> Result<i32> {
        Ok(process::code(self.process.terminate()?))
    }
}

/// Waits until requests to `pod` carry their headers, or do so no more.
pub fn until_propagated(pod: &Pod, propagated: bool, limit: Duration) -> Result<()> {
    wait::until(if propagated { "propagation" } else { "no propagation" }, limit, || {
        Ok((pod.probe().is_propagated()? == propagated).then_some(()))
    })
}

/// The label that switches on.
pub const ENABLED: Words<'static> = &[(LABEL, "enabled")];

/// The label that switches off.
pub const DISABLED: Words<'static> = &[(LABEL, "disabled")];
