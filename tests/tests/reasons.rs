//! Each loss is explained: real programs that cause one, and the reason in the flow events.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::{Launch, Program};
use baton_tests::baton::Exec;
use baton_tests::byte_exactness::call;
use baton_tests::flows::{self, Flow};
use baton_tests::load::{self, Cell};
use baton_tests::probe::Probe;
use baton_tests::recorder::{Recorder, Reply};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wire::{Script, Wire};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// The flow events of `program` under `exec` while `drive` uses it.
fn flows_of(program: Program, exec: Exec, drive: impl FnOnce(std::net::SocketAddr) -> Result<()>) -> Result<Vec<Flow>> {
    let scratch = Scratch::new()?;
    let file = scratch.join("flows");
    let app = program.start(&Launch::Exec(&exec.flows(&file)))?;
    drive(app.address())?;
    app.stop()?;
    flows::read(&file)
}

fn lost_by(flows: &[Flow], reason: &str) -> usize {
    flows.iter().filter(|flow| flow.is("lost") && flow.reason.as_deref() == Some(reason)).count()
}

fn inbound_with(flows: &[Flow], reason: &str) -> usize {
    flows.iter().filter(|flow| flow.kind == "inbound" && flow.reason.as_deref() == Some(reason)).count()
}

/// The flow events of a case of `wire.py` against a server with this script.
fn wire(case: &str, script: Script) -> Result<Vec<Flow>> {
    let server = Wire::start(script)?;
    flows_of(relay::wire()?, Exec::default(), |app| call(app, case, server.address(), "").map(drop))
}

#[test]
fn not_http1_and_pipelined() -> Result<()> {
    let flows = wire("not_http", Script::silent())?;
    ensure!(lost_by(&flows, "not-http1") == 7, "{flows:?}");
    let flows = wire("pipelined", Script::silent().after(b"\r\n\r\n", OK).repeat())?;
    ensure!(lost_by(&flows, "pipelined") > 0, "{flows:?}");
    Ok(())
}

#[test]
fn a_request_that_upgrades_its_connection_counts_once() -> Result<()> {
    let flows = wire("websocket", Script::silent().after(b"\r\n\r\n", SWITCHED).after(b"<END>", OK))?;
    let outbound: Vec<&Flow> = flows.iter().filter(|flow| flow.kind == "outbound").collect();
    ensure!(outbound.len() == 1 && outbound[0].is("injected"), "{outbound:?}");
    Ok(())
}

#[test]
fn answered_and_ambiguous() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    for (query, reason) in [("&via=background", "answered"), ("&via=thread", "ambiguous")] {
        let program = relay::python_threads(&recorder.url(), Backend::Fresh)?;
        let cell = Cell { query, ..Cell::new(1, 200, true) };
        let flows = flows_of(program, Exec::default(), |app| load::run(app, &cell).map(drop))?;
        ensure!(lost_by(&flows, reason) > 0, "{query}: no {reason}");
    }
    Ok(())
}

#[test]
fn expired() -> Result<()> {
    let recorder = Recorder::start(|head| {
        // The backend thinks for longer than a request's context is kept.
        std::thread::sleep(Duration::from_millis(1200));
        Reply::ok(head.target.as_bytes())
    })?;
    let scratch = Scratch::new()?;
    let config = scratch.write("baton.yaml", "limits: {max_age_seconds: 1}\n")?;
    let program = relay::c(&recorder.url(), Backend::Fresh)?;
    let flows = flows_of(program, Exec::default().option("--config", config), |app| {
        load::Client::new(app, false).get("/relay?id=slow&n=2", &[("x-telepresence-id", "slow")]).map(drop)
    })?;
    ensure!(flows.iter().filter(|flow| flow.is("injected")).count() == 1, "the first call came in time: {flows:?}");
    ensure!(lost_by(&flows, "expired") == 1, "{flows:?}");
    Ok(())
}

#[test]
fn ingress_denied_and_line_dropped() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    for (exec, value, reason) in [
        (Exec::default().option("--ingress", "10.0.0.0/8"), "fine", "ingress-denied"),
        (Exec::default(), "a\u{1}b", "line-dropped"),
    ] {
        let program = relay::c(&recorder.url(), Backend::Fresh)?;
        let flows = flows_of(program, exec, |app| Probe::fresh(app, &recorder).relay(Some(value)).map(drop))?;
        ensure!(inbound_with(&flows, reason) == 1, "{reason}: {flows:?}");
    }
    Ok(())
}

#[test]
fn unsupported_runtime() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let flows = flows_of(relay::event_loop(&recorder.url())?, Exec::default(), |app| {
        std::thread::scope(|scope| {
            let calls: Vec<_> = ["one", "two"]
                .map(|id| {
                    scope.spawn(move || {
                        load::Client::new(app, false).get(&format!("/relay?id={id}&n=1"), &[("x-telepresence-id", id)])
                    })
                })
                .into();
            for call in calls {
                call.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            Ok(())
        })
    })?;
    ensure!(lost_by(&flows, "unsupported-runtime") == 2, "{flows:?}");
    ensure!(
        recorder.take().iter().all(|request| request.head.values("x-telepresence-id").next().is_none()),
        "inserted"
    );
    Ok(())
}
