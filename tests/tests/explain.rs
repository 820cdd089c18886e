//! `baton explain`: a request's journey over several workloads, and where it lost its context.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch, Program};
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::{self, Cell, Client};
use baton_tests::process::{self, Finished, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const HEADER: &str = "x-telepresence-id";

/// Two services in workloads of their own, one after the other, in front of a backend.
struct Chain {
    _back: App,
    front: App,
    daemon: Daemon,
    _recorder: Recorder,
    _cgroups: [Cgroup; 2],
}

impl Chain {
    fn start(front: impl FnOnce(&str) -> Result<Program>) -> Result<Self> {
        let (recorder, cgroups) = (Recorder::echoing_targets()?, [Cgroup::new()?, Cgroup::new()?]);
        let back = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroups[1]))?;
        let front = front(&format!("http://{}", back.address()))?.start(&Launch::In(&cgroups[0]))?;
        let daemon = Daemon::start(&[cgroups[0].path(), cgroups[1].path()])?;
        Ok(Self { _back: back, front, daemon, _recorder: recorder, _cgroups: cgroups })
    }

    /// `baton explain` with `options`, while requests with and without a value come in.
    fn explain(&self, options: &[&str], value: &str, query: &str) -> Result<Finished> {
        let scratch = Scratch::new()?;
        let mut explain = baton::command(["explain"])?;
        explain.args(options).arg("--socket").arg(self.daemon.socket());
        let mut explain = Running::spawn(explain, scratch.join("output"))?;
        wait::until("an explanation", LIMIT, || {
            send(self.front.address(), None, query)?;
            send(self.front.address(), Some("other"), query)?;
            send(self.front.address(), Some(value), query)?;
            explain.ended()
        })
        .map(|status| Finished {
            code: process::code(status),
            stdout: explain.output().into_bytes(),
            stderr: String::new(),
        })
        .with_context(|| explain.output())
    }
}

/// One request among some ten thousand in a second: more than are told otherwise.
#[test]
fn a_request_is_found_in_a_flood() -> Result<()> {
    let chain = Chain::start(|back| relay::c(back, Backend::Kept))?;
    let scratch = Scratch::new()?;
    let mut explain = baton::command(["explain", "--json", "--value", "dev-seven", "--socket"])?;
    explain.arg(chain.daemon.socket());
    std::thread::scope(|scope| -> Result<()> {
        let address = chain.front.address();
        let load = scope.spawn(move || load::run(address, &Cell::new(4, 60_000, true)));
        let mut explain = Running::spawn(explain, scratch.join("output"))?;
        let mut sent = 0;
        while !load.is_finished() && explain.ended()?.is_none() {
            send(address, Some("dev-seven"), "")?;
            sent += 1;
        }
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        ensure!(explain.ended()?.is_some(), "not found among the others, sent {sent} times: {}", explain.output());
        Ok(())
    })
}

fn send(address: SocketAddr, value: Option<&str>, query: &str) -> Result<()> {
    let fields: Vec<_> = value.map(|value| (HEADER, value)).into_iter().collect();
    Client::new(address, false).get(&format!("/relay?id=it&n=1{query}"), &fields).map(drop)
}

/// The JSON object in what a command has said.
fn journey(finished: &Finished) -> Result<Value> {
    let output = std::str::from_utf8(&finished.stdout)?;
    let object = output.lines().find(|line| line.starts_with('{')).with_context(|| output.to_owned())?;
    Ok(serde_json::from_str(object)?)
}

#[test]
fn a_journey_that_keeps_its_context() -> Result<()> {
    let chain = Chain::start(|back| relay::c(back, Backend::Kept))?;
    let finished = chain.explain(&["--header", HEADER, "--value", "dev-seven", "--json"], "dev-seven", "")?;
    let journey = journey(&finished)?;
    ensure!(finished.code == 0, "{journey}");
    ensure!(journey["inbound"]["values"][HEADER] == "dev-… (9)" && journey["inbound"]["path"] == "/relay", "{journey}");
    ensure!(journey["response"]["status"] == 200, "{journey}");
    let call = &journey["calls"][0];
    ensure!(call["outbound"]["verdict"] == "injected" && call["response"]["status"] == 200, "{journey}");
    let next = &call["next"];
    ensure!(next["inbound"]["values"][HEADER] == "dev-… (9)", "{journey}");
    ensure!(next["inbound"]["peer"] == call["outbound"]["local"], "{journey}");
    ensure!(next["inbound"]["workload"] != journey["inbound"]["workload"], "{journey}");
    ensure!(next["calls"][0]["outbound"]["verdict"] == "injected" && next["calls"][0]["next"].is_null(), "{journey}");
    let empty = Value::Array(Vec::new());
    ensure!(journey["perhaps"] == empty && next["perhaps"] == empty, "{journey}");
    Ok(())
}

#[test]
fn a_journey_that_loses_its_context_says_where_and_why() -> Result<()> {
    let chain = Chain::start(|back| relay::python_threads(back, Backend::Fresh))?;
    let options = ["--header", HEADER, "--value", "dev-seven"];
    let finished = chain.explain(&options, "dev-seven", "&via=thread")?;
    let text = String::from_utf8(finished.stdout)?;
    ensure!(finished.code == 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let at =
        |what: &str| lines.iter().position(|line| line.contains(what)).with_context(|| format!("no {what:?}: {text}"));
    ensure!(at("carried x-telepresence-id: dev-… (9)")? < at("LOST HERE: ambiguous")?, "{text}");
    ensure!(at("LOST HERE")? < at("why: It is not certain which inbound request")?, "{text}");
    ensure!(at("why:")? < at("do:  Let the thread that reads")?, "{text}");
    // The hop behind it, joined by its connection.
    ensure!(at("LOST HERE")? < at("carried none of the configured headers")?, "{text}");
    ensure!(at("carried none")? < at("nothing to insert")?, "{text}");
    Ok(())
}

#[test]
fn a_request_that_does_not_come_is_explained_too() -> Result<()> {
    let chain = Chain::start(|back| relay::c(back, Backend::Kept))?;
    let finished = chain.explain(&["--header", "baggage", "--for", "2s"], "dev-seven", "")?;
    let text = String::from_utf8(finished.stdout)?;
    ensure!(finished.code == 1 && text.contains("no request with the header baggage was seen"), "{text}");
    ensure!(text.contains("they carried x-telepresence-id"), "{text}");
    Ok(())
}

#[test]
fn a_recorded_journey() -> Result<()> {
    let scratch = Scratch::new()?;
    let file = scratch.join("recorded");
    let chain = Chain::start(|back| relay::c(back, Backend::Kept))?;
    let mut record = baton::command(["record", "--output"])?;
    record.arg(&file).arg("--socket").arg(chain.daemon.socket());
    let mut record = Running::spawn(record, scratch.join("words"))?;
    wait::until("a recorded journey", LIMIT, || {
        send(chain.front.address(), Some("dev-seven"), "")?;
        Ok(explain(&file)?.filter(|journey| !journey["calls"][0]["next"].is_null()))
    })
    .with_context(|| record.output())?;
    ensure!(process::code(record.terminate()?) == 0, "{}", record.output());
    Ok(())
}

/// What a file explains, if it does.
fn explain(file: &Path) -> Result<Option<Value>> {
    let mut explain = baton::command(["explain", "--json", "--value", "dev-seven", "--from"])?;
    explain.arg(file);
    let finished = process::run(explain, b"", LIMIT)?;
    if finished.code == 0 { journey(&finished).map(Some) } else { Ok(None) }
}
