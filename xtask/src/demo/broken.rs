//! `cargo xtask demo --break`: a chain that loses headers, to practise finding out where.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use super::chain::{Chain, How};
use super::client::Client;
use super::programs::{Programs, Service};
use super::{HEADERS, show, title};
use crate::cgroup::Cgroup;
use crate::process::{self, Service as Running};
use crate::say;
use crate::scratch::Scratch;
use crate::{interrupt, wait};

/// Loading the programs takes time on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Between two requests.
const PAUSE: Duration = Duration::from_secs(1);

/// How the explanation ends when it has found what is broken here.
const CAUSE: &str = "lost in orders, ";

/// Runs the broken chain: until somebody interrupts, or with `explain` until its explanation is there.
pub(super) fn run(baton: &Path, programs: &Programs, client: &Client, scratch: &Scratch, explain: bool) -> Result<()> {
    if !geteuid().is_root() {
        bail!("this demo needs root, as `baton run` does: run it with sudo");
    }
    let services = programs.broken();
    let cgroups = services.iter().map(|service| Cgroup::new(&format!("demo-{}", service.name)));
    let cgroups = cgroups.collect::<Result<Vec<_>>>()?;
    let mut chain = Chain::start(&services, How::In(&cgroups), scratch)?;
    let mut daemon = Daemon::start(baton, &services, &cgroups, scratch)?;

    say::result(&title("baton's demo, broken: three services, and headers that do not arrive"));
    say::result("");
    show(&chain.hops(client, "/order/1", &HEADERS)?, client);
    if explain {
        return told(&chain, client, &daemon.explain(baton));
    }
    let socket = daemon.socket.display();
    say::result("\n     Where are they lost, and why? Ask in another terminal:\n");
    say::result(&format!("{}\n", shown(&daemon.explain(baton))));
    say::result("     Or see all losses:\n");
    say::result(&format!("{} watch --socket {socket} --verdict lost\n", baton.display()));
    say::result("     docs/DEBUGGING.md tells how to read the answers. A request is sent each second. Ctrl-C ends it.");
    for number in 2.. {
        daemon.process.check_alive()?;
        chain.check_alive()?;
        chain.hops(client, &format!("/order/{number}"), &HEADERS)?;
        let next = Instant::now() + PAUSE;
        wait::until("the next request", PAUSE * 2, || Ok((Instant::now() >= next).then_some(())))?;
    }
    Ok(())
}

/// Lets `baton explain` tell of requests until it has seen one.
fn told(chain: &Chain, client: &Client, explain: &Command) -> Result<()> {
    say::result(&format!("\n     Where are they lost, and why?\n\n$ {}", shown(explain)));
    let mut again = Command::new(explain.get_program());
    again.args(explain.get_args());
    let text = std::thread::scope(|scope| {
        let explanation = scope.spawn(move || process::read(&mut again));
        let mut number = 2;
        while !explanation.is_finished() {
            chain.hops(client, &format!("/order/{number}"), &HEADERS)?;
            number += 1;
        }
        explanation.join().unwrap_or_else(|_| bail!("the explanation broke off"))
    })?;
    interrupt::check()?;
    say::result(&text);
    if !text.contains(CAUSE) {
        bail!("this does not name the hop that loses the headers, orders");
    }
    Ok(())
}

/// The command as one types it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The running `baton run`.
#[derive(Debug)]
struct Daemon {
    process: Running,
    socket: PathBuf,
}

impl Daemon {
    /// Starts it for these services, and waits until all is attached.
    fn start(baton: &Path, services: &[Service], cgroups: &[Cgroup], scratch: &Scratch) -> Result<Self> {
        let (config, output) = (scratch.join("baton.yaml"), scratch.join("baton.out"));
        let (socket, log) = (scratch.join("baton.sock"), scratch.join("baton.log"));
        let mut text = format!("headers: [{}]\nworkloads:\n", HEADERS.map(|(name, _)| name).join(", "));
        for (service, cgroup) in services.iter().zip(cgroups) {
            text.push_str(&format!("  - cgroup: {}\n    name: {}\n", cgroup.path().display(), service.name));
        }
        fs::write(&config, text).with_context(|| format!("failed to write {}", config.display()))?;
        let mut command = Command::new(baton);
        command.arg("run").arg("--config").arg(&config).arg("--socket").arg(&socket);
        command.stdout(File::create(&output).with_context(|| format!("failed to create {}", output.display()))?);
        let mut process = Running::start("baton", &mut command, &log)?;
        wait::until("waiting for `baton run` to be ready", START, || {
            process.check_alive()?;
            Ok(fs::read_to_string(&output)?.lines().any(|line| line == "ready").then_some(()))
        })?;
        Ok(Self { process, socket })
    }

    /// What asks it for the headers.
    fn explain(&self, baton: &Path) -> Command {
        let mut command = Command::new(baton);
        command.arg("explain").arg("--socket").arg(&self.socket);
        command.args(["--header", HEADERS[0].0, "--value", HEADERS[0].1]);
        command
    }
}
