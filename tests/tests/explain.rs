//! `baton explain`: a request's journey over several workloads, and where it lost its context.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch, Program};
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::Client;
use baton_tests::process::{self, Finished, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const HEADER: &str = "x-telepresence-id";
/// What the first of two services is asked for, and not the second: baton may begin to watch between the two.
const FRONT: &str = "/relay";

/// Two services in workloads of their own, one after the other, in front of a backend.
struct Chain {
    _back: App,
    front: App,
    daemon: Daemon,
    _recorder: Recorder,
    cgroups: [Cgroup; 2],
}

impl Chain {
    fn start(front: impl FnOnce(&str) -> Result<Program>) -> Result<Self> {
        let (recorder, cgroups) = (Recorder::echoing_targets()?, [Cgroup::new()?, Cgroup::new()?]);
        let back = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroups[1]))?;
        let front = front(&format!("http://{}", back.address()))?.start(&Launch::In(&cgroups[0]))?;
        let daemon = Daemon::start(&[cgroups[0].path(), cgroups[1].path()])?;
        Ok(Self { _back: back, front, daemon, _recorder: recorder, cgroups })
    }

    /// The name of the first service's workload.
    fn front_workload(&self) -> Result<&str> {
        let name = self.cgroups[0].path().file_name().context("a directory's name")?;
        name.to_str().context("a name in UTF-8")
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

/// One request among thousands in a second: more than are told otherwise.
#[test]
fn a_request_is_found_in_a_flood() -> Result<()> {
    const CLIENTS: usize = 2;
    let chain = Chain::start(|back| relay::c(back, Backend::Kept))?;
    let (address, is_over) = (chain.front.address(), AtomicBool::new(false));
    std::thread::scope(|scope| -> Result<()> {
        let flood = || -> Result<()> {
            let mut client = Client::new(address, true);
            while !is_over.load(Ordering::Relaxed) {
                client.get("/relay?id=flood&n=1", &[])?;
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(flood)).collect();
        let explained = chain.explain(&["--path", FRONT, "--value", "dev-seven", "--json"], "dev-seven", "");
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        let finished = explained?;
        let journey = journey(&finished)?;
        ensure!(finished.code == 0 && !journey["calls"][0]["next"].is_null(), "{journey}");
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
    let finished =
        chain.explain(&["--path", FRONT, "--header", HEADER, "--value", "dev-seven", "--json"], "dev-seven", "")?;
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
    let options = ["--path", FRONT, "--header", HEADER, "--value", "dev-seven"];
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

/// Explanations in JSON, with full values, while eight clients send requests whose values say to whom they belong.
fn explained_among_many(query: &str) -> Result<Vec<Value>> {
    const CLIENTS: usize = 8;
    const PACE: Duration = Duration::from_millis(20);
    let chain = Chain::start(|back| relay::python_threads(back, Backend::Kept))?;
    let is_over = AtomicBool::new(false);
    let client = |number: usize| {
        let mut client = Client::new(chain.front.address(), true);
        for count in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let id = format!("of-{number}-{count}");
            client.get(&format!("/relay?id={id}&n=2{query}"), &[(HEADER, &id)])?;
            // With more, some flow events would be left out.
            std::thread::sleep(PACE);
        }
        Ok(())
    };
    let client = &client;
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || -> Result<()> { client(number) })).collect();
        let explain = || {
            let mut explain = baton::command(["explain", "--json", "--show-values", "--pod"])?;
            explain.arg(chain.front_workload()?).arg("--socket").arg(chain.daemon.socket());
            journey(&process::run(explain, b"", LIMIT)?)
        };
        let journeys: Result<Vec<Value>> = (0..5).map(|_| explain()).collect();
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        journeys
    })
}

#[test]
fn a_journey_among_many_has_its_own_calls_alone() -> Result<()> {
    for journey in explained_among_many("")? {
        let value = journey["inbound"]["values"][HEADER].as_str().context("a value")?;
        let calls = journey["calls"].as_array().context("calls")?;
        ensure!(calls.len() == 2 && journey["perhaps"] == Value::Array(Vec::new()), "{journey}");
        for (number, call) in calls.iter().enumerate() {
            let path = format!("/out/{value}/{}", number + 1);
            ensure!(call["outbound"]["path"] == path && call["joined_by"] == "connection", "{journey}");
            let next = &call["next"];
            ensure!(next["inbound"]["path"] == path && next["inbound"]["values"][HEADER] == value, "{journey}");
            ensure!(next["calls"].as_array().is_some_and(|calls| calls.len() == 1), "{journey}");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_certain_among_many_is_said_to_be_so() -> Result<()> {
    for journey in explained_among_many("&via=pool")? {
        ensure!(journey["calls"] == Value::Array(Vec::new()), "{journey}");
        let perhaps = journey["perhaps"].as_array().context("what is not certain")?;
        ensure!(!perhaps.is_empty() && perhaps.iter().all(|call| call["outbound"]["verdict"] == "lost"), "{journey}");
        // Where each of them led to is certain all the same.
        ensure!(perhaps.iter().all(|call| call["next"]["inbound"]["path"] == call["outbound"]["path"]), "{journey}");
    }
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
    // A journey that began before is not whole.
    wait::until("the recording to begin", LIMIT, || {
        send(chain.front.address(), Some("other"), "")?;
        // It is made when the recording begins.
        Ok(std::fs::metadata(&file).is_ok_and(|file| file.len() > 0).then_some(()))
    })
    .with_context(|| record.output())?;
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
