//! The program under test: `baton exec` around a command, and the daemon `baton run`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::pins::Pins;
use crate::process::Running;
use crate::programs::{require_root, workspace};
use crate::scratch::Scratch;
use crate::wait;

/// The headers that the tests propagate.
pub const HEADERS: [&str; 2] = ["x-telepresence-id", "traceparent"];

/// The executable: `$BATON_BIN`, or the release build of this workspace.
pub fn binary() -> Result<PathBuf> {
    let binary = match std::env::var_os("BATON_BIN") {
        Some(binary) => PathBuf::from(binary),
        None => workspace().join("target/release/baton"),
    };
    if !binary.is_file() {
        bail!(
            "{} is missing: `cargo xtask test` builds it, or `cargo build --release --package baton`",
            binary.display()
        );
    }
    Ok(binary)
}

/// `baton ARGUMENTS`.
pub fn command<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Result<Command> {
    require_root()?;
    let mut command = Command::new(binary()?);
    command.args(arguments.into_iter().map(Into::into));
    Ok(command)
}

/// `baton exec` with its options.
#[derive(Clone, Debug)]
pub struct Exec {
    options: Vec<OsString>,
}

impl Default for Exec {
    fn default() -> Self {
        Self::new().option("--headers", HEADERS.join(","))
    }
}

impl Exec {
    /// Without options; `default()` has `--headers` with [`HEADERS`].
    pub fn new() -> Self {
        Self { options: Vec::new() }
    }

    /// Adds an option with its value.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([name.into(), value.into()]);
        self
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.options.push(name.into());
        self
    }

    /// Writes flow events to a file.
    #[must_use]
    pub fn flows(self, file: &Path) -> Self {
        self.option("--flows", file)
    }

    /// `baton exec OPTIONS -- COMMAND`, with the command's environment and directory.
    pub fn wrap(&self, inner: &Command) -> Result<Command> {
        let mut outer = command(["exec"])?;
        outer.args(&self.options).arg("--").arg(inner.get_program()).args(inner.get_args());
        copy_surroundings(inner, &mut outer);
        Ok(outer)
    }
}

/// Copies a command's environment and directory to one that will start it.
pub fn copy_surroundings(inner: &Command, outer: &mut Command) {
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(directory) = inner.get_current_dir() {
        outer.current_dir(directory);
    }
}

/// A running `baton run` with a configuration file of its own.
#[derive(Debug)]
pub struct Daemon {
    process: Running,
    scratch: Scratch,
}

impl Daemon {
    /// Starts it for these cgroups and waits until it says that all is attached.
    pub fn start(cgroups: &[&Path]) -> Result<Self> {
        Self::spawn(command(["run"])?, &config(cgroups))
    }

    /// Starts it with this configuration and waits until it says that all is attached.
    pub fn configured(config: &str) -> Result<Self> {
        Self::spawn(command(["run"])?, config)
    }

    /// As [`start`](Self::start), with more options and variables of its environment.
    pub fn start_with(cgroups: &[&Path], options: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let mut run = command(["run"])?;
        run.args(options).envs(variables.iter().copied());
        Self::spawn(run, &config(cgroups))
    }

    /// The same as a container of Kubernetes has it: in this process's own network namespace, whatever that of the
    /// caller is, without CAP_SYS_ADMIN, and with a directory for what outlives it.
    pub fn confined(cgroups: &[&Path], pins: &Pins) -> Result<Self> {
        const CAPABILITIES: &str = "--bounding-set=-all,+bpf,+perfmon,+net_admin,+sys_ptrace";
        require_root()?;
        let mut run = crate::programs::command("nsenter")?;
        run.arg(format!("--net=/proc/{}/ns/net", std::process::id()));
        run.args(["setpriv", CAPABILITIES]).arg(binary()?).args(["run", "--pin-dir"]).arg(pins.directory());
        Self::spawn(run, &config(cgroups))
    }

    /// In this process's own network namespace, whatever that of the caller is.
    pub fn outside(cgroups: &[&Path]) -> Result<Self> {
        require_root()?;
        let mut run = crate::programs::command("nsenter")?;
        run.arg(format!("--net=/proc/{}/ns/net", std::process::id())).arg(binary()?).arg("run");
        Self::spawn(run, &config(cgroups))
    }

    /// The same for workloads with names, and with more arguments.
    pub fn named(workloads: &[(&str, &Path)], arguments: &[&str]) -> Result<Self> {
        let mut text = config(&[]).replace("workloads: []\n", "workloads:\n");
        for (name, cgroup) in workloads {
            text.push_str(&format!("  - {{name: {name}, cgroup: {}}}\n", cgroup.display()));
        }
        let mut run = command(["run"])?;
        run.args(arguments).env("NODE_NAME", "node-1");
        Self::spawn(run, &text)
    }

    fn spawn(run: Command, config: &str) -> Result<Self> {
        let mut daemon = Self::launch(run, config)?;
        daemon.until_ready()?;
        Ok(daemon)
    }

    /// Starts `run`, which is some form of `baton run`, with this configuration; waits for nothing.
    pub fn launch(mut run: Command, config: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let config = scratch.write("baton.yaml", config)?;
        run.arg("--config").arg(config).arg("--socket").arg(scratch.join("baton.sock"));
        let process = Running::spawn(run, scratch.join("baton.log"))?;
        Ok(Self { process, scratch })
    }

    /// Waits until it says that all is attached.
    pub fn until_ready(&mut self) -> Result<()> {
        wait::until("baton run to be ready", wait::START, || {
            if let Some(status) = self.process.ended()? {
                bail!("baton run ended with {status}:\n{}", self.process.last_words());
            }
            Ok(self.process.output().lines().any(|line| line.trim() == "ready").then_some(()))
        })
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// Replaces the workloads and makes it read its configuration again.
    pub fn reload(&self, cgroups: &[&Path]) -> Result<()> {
        self.scratch.write("baton.yaml", config(cgroups))?;
        self.process.signal(Signal::SIGHUP)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.context("no VmRSS")? * 1024)
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("baton.sock")
    }

    /// What it has written.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Kills it without a chance to clean up: what its guard process does then is part of what is tested.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(Duration::from_secs(10))?;
        Ok(())
    }

    /// Ends it with SIGTERM and returns its exit status.
    pub fn stop(mut self) -> Result<i32> {
        Ok(crate::process::code(self.process.terminate()?))
    }
}

/// The configuration of [`Daemon::start`].
pub fn config(cgroups: &[&Path]) -> String {
    let mut text = format!("headers: [{}]\n", HEADERS.join(", "));
    if cgroups.is_empty() {
        text.push_str("workloads: []\n");
        return text;
    }
    text.push_str("workloads:\n");
    for cgroup in cgroups {
        text.push_str(&format!("  - cgroup: {}\n", cgroup.display()));
    }
    text
}
