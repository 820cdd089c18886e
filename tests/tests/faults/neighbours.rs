//! Other products' programs on the same cgroup, and on the same sockets: both keep working.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::free_port;
use baton_tests::baton::Daemon;
use baton_tests::bpf::Objects;
use baton_tests::exchange::Shape;
use baton_tests::foreign::{CONNECT4, EGRESS, Program, SOCK_OPS, Sockmap};
use baton_tests::metrics::Scrape;

use super::{Workload, after};

const FRESH: Shape = Shape { keep: false, ..Shape::PLAIN };
const LOSSES: &str = "baton_losses_total";
const NOT_ENROLLED: &str = "baton_connections_not_enrolled_total";

/// Programs that come before baton, and others that come after it.
#[test]
fn other_programs_on_the_same_cgroup() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let programs =
        || [SOCK_OPS, EGRESS, CONNECT4].map(|kind| Program::counting(workload.cgroup.path(), kind)).into_iter();
    let mut others: Vec<_> = programs().collect::<Result<_>>()?;
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    others.extend(programs().collect::<Result<Vec<_>>>()?);
    let outcome = workload.load(16, &FRESH, after(Duration::from_secs(2)))?;
    ensure!(outcome.carried > 0 && outcome.lost == 0, "{outcome}");
    for (number, other) in others.iter().enumerate() {
        ensure!(other.runs()? >= outcome.exchanges as u64, "program {number} ran {} times", other.runs()?);
    }
    // They leave before baton, and baton goes on.
    drop(others);
    workload.still_carries()?;
    workload.end(daemon, &before)
}

/// What another product's SOCKHASH holds is left to it, and counted.
#[test]
fn sockets_of_another_sockmap_that_was_first() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let other = Sockmap::on(workload.cgroup.path())?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let daemon = Daemon::start_with(&[workload.cgroup.path()], &["--health", &address.to_string()], &[])?;
    let outcome = workload.load(16, &FRESH, after(Duration::from_secs(2)))?;
    let (seen, scrape) = (other.messages.runs()?, Scrape::of(address)?);
    let (refused, told) =
        (scrape.sum(NOT_ENROLLED, &[]), scrape.sum(LOSSES, &[("reason", "owned-by-another-sockmap")]));
    ensure!(outcome.carried == 0 && outcome.lost > 0, "a connection of another sockmap was changed: {outcome}");
    ensure!(seen >= outcome.exchanges as u64, "the other saw {seen} messages: {outcome}");
    ensure!(refused >= outcome.exchanges as u64, "{refused} connections were counted: {outcome}");
    ensure!(told == refused, "{refused} connections were counted, {told} losses have the reason");
    drop(other);
    workload.still_carries()?;
    workload.end(daemon, &before)
}

/// The other one cannot have what baton has.
#[test]
fn sockets_of_another_sockmap_that_comes_later() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    workload.still_carries()?;
    let other = Sockmap::on(workload.cgroup.path())?;
    let outcome = workload.load(16, &FRESH, after(Duration::from_secs(2)))?;
    ensure!(outcome.carried > 0 && outcome.lost == 0, "{outcome}");
    drop(other);
    workload.still_carries()?;
    workload.end(daemon, &before)
}
