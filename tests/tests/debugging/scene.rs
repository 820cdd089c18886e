//! A service that loses its headers, and what `baton explain` says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use baton_tests::app::{App, Launch, Program};
use baton_tests::baton::{self, Daemon, HEADERS};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::Client;
use baton_tests::process::{self, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// What the requests carry.
pub(crate) const HEADER: &str = HEADERS[0];
pub(crate) const VALUE: &str = "dev-seven";

/// What asks for them.
pub(crate) const OPTIONS: [&str; 4] = ["--header", HEADER, "--value", VALUE];

/// The workload `orders`, perhaps with `stock` behind it, and the daemon.
pub(crate) struct Scene {
    front: App,
    _others: Vec<App>,
    daemon: Daemon,
    _recorder: Recorder,
    _cgroups: Vec<Cgroup>,
}

impl Scene {
    /// `front` calls a service of the workload `stock`, which calls a backend that is in none.
    pub(crate) fn chain(front: impl FnOnce(&str) -> Result<Program>) -> Result<Self> {
        let (recorder, cgroups) = (Recorder::echoing_targets()?, vec![Cgroup::new()?, Cgroup::new()?]);
        let stock = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroups[1]))?;
        let front = front(&format!("http://{}", stock.address()))?.start(&Launch::In(&cgroups[0]))?;
        let daemon = daemon(&cgroups, "")?;
        Ok(Self { front, _others: vec![stock], daemon, _recorder: recorder, _cgroups: cgroups })
    }

    /// `front` calls a backend that is in no workload. `limits` is added to the configuration.
    pub(crate) fn alone(limits: &str, front: impl FnOnce(&str) -> Result<Program>) -> Result<Self> {
        Self::before(Recorder::echoing_targets()?, limits, front)
    }

    /// The same, with this backend.
    pub(crate) fn before(
        recorder: Recorder,
        limits: &str,
        front: impl FnOnce(&str) -> Result<Program>,
    ) -> Result<Self> {
        let cgroups = vec![Cgroup::new()?];
        let front = front(&recorder.url())?.start(&Launch::In(&cgroups[0]))?;
        let daemon = daemon(&cgroups, limits)?;
        Ok(Self { front, _others: Vec::new(), daemon, _recorder: recorder, _cgroups: cgroups })
    }

    /// Keeps another service, until the scene ends.
    pub(crate) fn and(mut self, other: App) -> Self {
        self._others.push(other);
        self
    }

    /// Where the first service listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Sends a request that carries the header.
    pub(crate) fn send(&self, target: &str) -> Result<()> {
        send(self.address(), target, Some(VALUE))
    }

    /// What `baton explain` says of what `request` sends: to a terminal while it happens, and in JSON of what
    /// `baton record` has kept.
    pub(crate) fn explain(&self, options: &[&str], mut request: impl FnMut() -> Result<()>) -> Result<Told> {
        let scratch = Scratch::new()?;
        let (file, socket) = (scratch.join("recorded"), self.daemon.socket());
        let mut record = baton::command(["record", "--output"])?;
        record.arg(&file).arg("--socket").arg(&socket);
        let mut record = Running::spawn(record, scratch.join("words"))?;
        let mut explain = baton::command(["explain"])?;
        explain.args(options).arg("--socket").arg(&socket);
        let mut explain = Running::spawn(explain, scratch.join("text"))?;
        wait::until("both to watch", LIMIT, || {
            Ok((file.exists() && explain.output().contains("waiting for a request")).then_some(()))
        })?;
        let mut ended = None;
        for _ in 0..5 {
            // The daemon may not have taken them in yet: then the next request is seen.
            request().with_context(|| self.front.output())?;
            ended = explain.wait(Duration::from_secs(5)).ok();
            if ended.is_some() {
                break;
            }
        }
        let text = explain.output();
        ensure!(process::code(ended.with_context(|| text.clone())?) == 0, "{text}");
        ensure!(process::code(record.terminate()?) == 0, "{}", record.output());
        Ok(Told { text, journey: journey(&file, options)? })
    }
}

fn daemon(cgroups: &[Cgroup], limits: &str) -> Result<Daemon> {
    let mut config = format!("headers: [{}]\n{limits}\nworkloads:\n", HEADERS.join(", "));
    for (cgroup, name) in cgroups.iter().zip(["orders", "stock"]) {
        config.push_str(&format!("  - cgroup: {}\n    name: {name}\n", cgroup.path().display()));
    }
    Daemon::configured(&config)
}

/// Sends a request, with the header if there is a value.
pub(crate) fn send(address: SocketAddr, target: &str, value: Option<&str>) -> Result<()> {
    let fields: Vec<_> = value.map(|value| (HEADER, value)).into_iter().collect();
    let (head, body) = Client::new(address, false).get(target, &fields)?;
    ensure!(head.status == 200, "{target}: {} {}", head.status, String::from_utf8_lossy(&body));
    Ok(())
}

/// What `baton explain` makes of a recorded file.
fn journey(file: &Path, options: &[&str]) -> Result<Value> {
    let mut explain = baton::command(["explain", "--json", "--from"])?;
    explain.arg(file).args(options);
    let finished = process::run(explain, b"", LIMIT)?;
    ensure!(finished.code == 0, "{}", finished.stderr);
    Ok(serde_json::from_slice(&finished.stdout)?)
}

/// Where and why headers were lost, and how that is explained.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) workload: &'static str,
    /// The path of the request that lost them.
    pub(crate) path: &'static str,
    pub(crate) reason: &'static str,
    /// Whether it is certain that the request caused it.
    pub(crate) is_certain: bool,
    /// Words of the explanation.
    pub(crate) why: &'static str,
    /// Words of the remedy.
    pub(crate) remedy: &'static str,
}

/// An explanation, as text and as JSON.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) journey: Value,
}

impl Told {
    /// That this is the first loss of the journey, in both.
    pub(crate) fn loses(&self, expected: &Loss) -> Result<()> {
        self.is_right(expected).with_context(|| format!("{expected:?}\n{}\n{}", self.text, self.journey))
    }

    fn is_right(&self, expected: &Loss) -> Result<()> {
        let Some((event, is_certain)) = first_loss(&self.journey) else { bail!("nothing is lost") };
        let is_loss = |event: &Value| {
            event["workload"] == expected.workload
                && event["path"] == expected.path
                && event["reason"] == expected.reason
        };
        ensure!(is_loss(event) && is_certain == expected.is_certain, "another loss: {event}");
        let lines: Vec<&str> = self.text.lines().collect();
        let words = format!("LOST HERE: {}", expected.reason);
        let at = lines.iter().position(|line| line.contains("LOST HERE")).context("no loss in the text")?;
        let line = |at: usize| lines.get(at).copied().unwrap_or_default();
        ensure!(line(at).contains(&words), "not {words}");
        if event["kind"] == "outbound" {
            ensure!(line(at).contains("perhaps:") != expected.is_certain, "how certain is it?");
            ensure!(line(at).contains(expected.path), "where?");
        }
        ensure!(line(at + 1).contains("why: ") && line(at + 1).contains(expected.why), "why?");
        ensure!(line(at + 2).contains("do:  ") && line(at + 2).contains(expected.remedy), "what to do?");
        let sure = if expected.is_certain { "Lost in" } else { "Perhaps lost in" };
        let is_conclusion = |line: &str| {
            line.starts_with(&format!("{sure} {}, ", expected.workload))
                && line.contains(&format!(": {}", expected.reason))
        };
        ensure!(lines.iter().any(|line| is_conclusion(line)), "no conclusion");
        Ok(())
    }

    /// That the text has all of these.
    pub(crate) fn says(&self, words: &[&str]) -> Result<()> {
        for words in words {
            ensure!(self.text.contains(words), "no {words:?}: {}", self.text);
        }
        Ok(())
    }

    /// That the hop behind the loss got none of the headers, and is the workload `stock`.
    pub(crate) fn reaches_stock_without(&self) -> Result<()> {
        let calls =
            ["calls", "perhaps"].into_iter().flat_map(|kind| self.journey[kind].as_array().into_iter().flatten());
        let mut behind = calls.map(|call| (&call["outbound"], &call["joined_by"], &call["next"]["inbound"]));
        let is_it = |(outbound, joined_by, inbound): (&Value, &Value, &Value)| {
            outbound["verdict"] == "lost"
                && *joined_by == "connection"
                && inbound["workload"] == "stock"
                && inbound["headers"] == Value::Array(Vec::new())
        };
        ensure!(behind.any(is_it), "stock is not reached: {}", self.journey);
        Ok(())
    }
}

/// The first loss at this hop or behind it, and whether it is certainly of this journey.
fn first_loss(hop: &Value) -> Option<(&Value, bool)> {
    let is_lost = |event: &Value| !event["reason"].is_null() && event["reason"] != "upgraded";
    for word in [&hop["given_up"], &hop["inbound"]] {
        if is_lost(word) {
            return Some((word, true));
        }
    }
    for (kind, is_certain) in [("calls", true), ("perhaps", false)] {
        for call in hop[kind].as_array().into_iter().flatten() {
            if is_lost(&call["outbound"]) {
                return Some((&call["outbound"], is_certain));
            }
            let behind = Some(&call["next"]).filter(|next| !next.is_null()).and_then(first_loss);
            if behind.is_some() {
                return behind;
            }
        }
    }
    None
}
