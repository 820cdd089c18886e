//! Real traffic while something goes wrong: no request fails, and no byte changes. `BATON_FAULTS=all` runs the long
//! forms (docs/FAULTS.md).

mod hostile;
mod limits;
mod neighbours;
mod pressure;
mod restarts;
mod segments;
mod sockets;
mod surroundings;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::Daemon;
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::exchange::{Exchanges, Outcome, Shape};
use baton_tests::random::Random;

/// Whether the long forms are wanted.
fn long() -> bool {
    std::env::var("BATON_FAULTS").is_ok_and(|value| value == "all")
}

/// One of two, for the short and the long form.
fn either<T>(short: T, all: T) -> T {
    if long() { all } else { short }
}

/// Says, after a time, that it is over.
fn after(time: Duration) -> impl Fn() -> bool + Sync {
    let end = Instant::now() + time;
    move || Instant::now() > end
}

/// An application of `faults.c` in a cgroup of its own, with its backend and judge.
struct Workload {
    app: App,
    exchanges: Exchanges,
    cgroup: Cgroup,
    random: Random,
}

impl Workload {
    fn start(variables: &[(&str, &str)]) -> Result<Self> {
        let (cgroup, exchanges, random) = (Cgroup::new()?, Exchanges::new()?, Random::of_this_run());
        let app = exchanges.program(variables)?.start(&Launch::In(&cgroup))?;
        Ok(Self { app, exchanges, cgroup, random })
    }

    /// Starts the application again, with other variables.
    fn restart(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.app = self.exchanges.program(variables)?.start(&Launch::In(&self.cgroup))?;
        Ok(())
    }

    /// Load for a time, or until `done`; nothing of it may fail.
    fn load(&mut self, clients: usize, shape: &Shape, done: impl Fn() -> bool + Sync) -> Result<Outcome> {
        self.exchanges.load(self.app.address(), clients, shape, &mut self.random, done);
        let outcome = self.exchanges.outcome()?;
        eprintln!("{outcome}");
        outcome.flawless()?;
        Ok(outcome)
    }

    /// So many exchanges more.
    fn exchanges(&mut self, clients: usize, shape: &Shape, count: usize) -> Result<Outcome> {
        let end = self.exchanges.count() + count;
        self.exchanges.load(self.app.address(), clients, shape, &mut self.random, || self.exchanges.count() >= end);
        let outcome = self.exchanges.outcome()?;
        eprintln!("{outcome}");
        outcome.flawless()?;
        Ok(outcome)
    }

    /// A few exchanges on new connections, in which headers must be carried.
    fn still_carries(&mut self) -> Result<()> {
        let before = self.exchanges.outcome()?.carried;
        let after = self.exchanges(4, &Shape { keep: false, ..Shape::PLAIN }, 100)?;
        ensure!(after.carried > before, "nothing is carried any more: {after}");
        Ok(())
    }

    /// Ends the application, then the daemon; nothing is left.
    fn end(self, daemon: Daemon, before: &Objects) -> Result<()> {
        drop(self.app);
        ensure!(daemon.stop()? == 0, "the status after SIGTERM");
        nothing_new_since(before)
    }
}
