//! Incidents 6, 7, 8, 10, 12 and 13: a header, or a value, where it does not belong.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch, Program};
use baton_tests::baton::{Exec, HEADERS};
use baton_tests::flows;
use baton_tests::load::{self, Cell, target};
use baton_tests::namespace;
use baton_tests::probe::Probe;
use baton_tests::recorder::{Recorder, Reply};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::verdict::Tally;
use baton_tests::wait;

/// Load on a relay that must be perfect.
fn perfect(app: &App, recorder: &Recorder, cell: &Cell) -> Result<()> {
    let report = load::run(app.address(), cell)?;
    let tally = Tally::of(&report.sent, &recorder.take());
    ensure!(tally.is_perfect(), "{tally}\n{}", app.output());
    Ok(())
}

#[test]
fn incident_06_the_same_ports_in_two_network_namespaces() -> Result<()> {
    let pod = || {
        let backend = SocketAddr::from((Ipv4Addr::LOCALHOST, 25_080));
        let recorder = Recorder::start_at(backend, |head| Reply::ok(head.target.as_bytes()))?;
        let program = relay::python_threads(&recorder.url(), Backend::Kept)?.on_port(25_081);
        let app = program.start(&Launch::Exec(&Exec::default()))?;
        perfect(&app, &recorder, &Cell::new(8, 2000, true))?;
        perfect(&app, &recorder, &Cell::new(8, 1000, false))
    };
    load::concurrently(2, |_| namespace::within(&[], pod)).map(drop)
}

#[test]
fn incident_06_two_workloads_side_by_side() -> Result<()> {
    load::concurrently(2, |_| {
        let recorder = Recorder::echoing_targets()?;
        let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::Exec(&Exec::default()))?;
        perfect(&app, &recorder, &Cell::new(8, 3000, true))
    })
    .map(drop)
}

#[test]
fn incident_07_background_calls_after_the_response_carry_nothing() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default()))?;
    let cell = Cell { query: "&via=background", ..Cell::new(8, 300, true) };
    let report = load::run(app.address(), &cell)?;
    let calls: usize = report.sent.iter().map(|sent| 2 * sent.fan_out).sum();
    wait::until("the background calls", Duration::from_secs(20), || Ok((recorder.count() >= calls).then_some(())))?;
    let (during, after): (Vec<_>, Vec<_>) =
        recorder.take().into_iter().partition(|request| request.head.target.starts_with("/out/"));
    let tally = Tally::of(&report.sent, &during);
    ensure!(tally.is_perfect(), "during: {tally}");
    for request in after {
        ensure!(request.carried()?.is_none(), "after the answer: {:?}", request.head);
    }
    Ok(())
}

#[test]
fn incident_08_a_full_map_is_reported_and_never_wrong() -> Result<()> {
    let scratch = Scratch::new()?;
    let (config, flows_file) = (scratch.write("baton.yaml", "limits: {contexts: 8}\n")?, scratch.join("flows"));
    let exec = Exec::default().option("--config", config).flows(&flows_file);
    // A slow backend, so that more requests are open than the map holds.
    let recorder = Recorder::start(|head| {
        std::thread::sleep(Duration::from_millis(10));
        Reply::ok(head.target.as_bytes())
    })?;
    let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&exec))?;
    let report = load::run(app.address(), &Cell::new(64, 3000, true))?;
    let tally = Tally::of(&report.sent, &recorder.take());
    ensure!(tally.is_safe(), "{tally}");
    ensure!(tally.lost > 0 && tally.correct > 0, "the map was not filled: {tally}");
    let output = app.stop()?;
    ensure!(output.contains("contexts-full"), "the summary does not tell:\n{output}");
    let flows = flows::read(&flows_file)?;
    let full = flows.iter().filter(|flow| flow.reason.as_deref() == Some("contexts-full")).count();
    ensure!(full > 0, "no flow event tells that the map was full");
    Ok(())
}

#[test]
fn incident_10_an_unselected_neighbour_is_never_touched() -> Result<()> {
    let scratch = Scratch::new()?;
    let flows_file = scratch.join("flows");
    let exec = Exec::default().flows(&flows_file);
    let (selected_backend, neighbour_backend) = (Recorder::echoing_targets()?, Recorder::echoing_targets()?);
    let selected = relay::c(&selected_backend.url(), Backend::Kept)?.start(&Launch::Exec(&exec))?;
    let mut neighbour = relay::c(&neighbour_backend.url(), Backend::Kept)?.start(&Launch::Plain)?;
    let cell = Cell::new(8, 2000, true);
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(neighbour.address(), &cell));
        perfect(&selected, &selected_backend, &cell)?;
        load.join().map_err(|_| anyhow::anyhow!("the neighbour's load panicked"))?
    })?;
    let tally = Tally::of(&report.sent, &neighbour_backend.take());
    ensure!(tally.correct == 0 && tally.is_safe(), "the neighbour's requests were changed: {tally}");
    selected.stop()?;
    let pid = neighbour.process().pid().as_raw().unsigned_abs();
    let seen = flows::read(&flows_file)?.into_iter().find(|flow| flow.pid == pid);
    ensure!(seen.is_none(), "a flow event of the neighbour: {seen:?}");
    Ok(())
}

#[test]
fn incident_12_reused_connections_never_show_an_earlier_value() -> Result<()> {
    reuse(|url| relay::python_threads(url, Backend::Kept))?;
    reuse(|url| relay::c(url, Backend::Kept))?;
    reuse(relay::java)
}

fn reuse(program: impl FnOnce(&str) -> Result<Program>) -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = program(&recorder.url())?.start(&Launch::Exec(&Exec::default()))?;
    let mut probe = Probe::kept(app.address(), &recorder);
    let mut connections = Vec::new();
    for value in [Some("first"), None, Some("second"), Some("third"), None, None, Some("first"), None] {
        let request = probe.relay(value)?;
        ensure!(request.carried()? == value, "{:?} instead of {value:?}", request.carried()?);
        connections.push(request.connection);
    }
    connections.dedup();
    ensure!(connections.len() == 1, "the relay did not reuse its connection: {connections:?}");
    Ok(())
}

#[test]
fn incident_13_logs_and_flows_show_no_values() -> Result<()> {
    const SECRET: &str = "jane.doe@example.org-4111111111111111";
    let scratch = Scratch::new()?;
    let flows_file = scratch.join("flows");
    let recorder = Recorder::echoing_targets()?;
    let mut program = relay::c(&recorder.url(), Backend::Fresh)?;
    program.command.env("RUST_LOG", "trace").env("BATON_LOG", "trace");
    let app = program.start(&Launch::Exec(&Exec::default().flows(&flows_file)))?;
    let request = Probe::fresh(app.address(), &recorder).relay_fields(&[(HEADERS[0], SECRET)])?;
    ensure!(request.carried()? == Some(SECRET), "it was not propagated");
    let output = app.stop()?;
    ensure!(!output.contains(SECRET), "the log shows the value:\n{output}");
    let flows = std::fs::read_to_string(&flows_file).context("no flows")?;
    ensure!(flows.contains(&target("", 1)[..5]) && !flows.contains(SECRET), "the flow events show the value:\n{flows}");
    Ok(())
}
