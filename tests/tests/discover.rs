//! `baton discover`: which headers services pass on by themselves, and what they need.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::{self, Daemon};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::Client;
use baton_tests::process::{self, Finished, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(40);

/// What the client sends.
const FIELDS: [(&str, &str); 5] = [
    ("x-request-id", "of-the-client"),
    ("x-correlation-id", "of-the-client"),
    ("x-telepresence-id", "dev-seven"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "a=b"),
];

/// A service that passes `x-request-id` on, makes `x-correlation-id` anew and drops the rest; and one behind it that
/// passes on nothing.
struct Chain {
    front: App,
    _back: App,
    recorder: Recorder,
    cgroups: [Cgroup; 2],
}

impl Chain {
    fn start() -> Result<Self> {
        let (recorder, cgroups) = (Recorder::echoing_targets()?, [Cgroup::new()?, Cgroup::new()?]);
        let back = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroups[1]))?;
        let url = format!("http://{}", back.address());
        let front = relay::forwarding(&url, &["x-request-id"], "x-correlation-id")?.start(&Launch::In(&cgroups[0]))?;
        Ok(Self { front, _back: back, recorder, cgroups })
    }

    fn name(&self, number: usize) -> String {
        self.cgroups[number].path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn send(&self) -> Result<()> {
        Client::new(self.front.address(), false).get("/relay?id=it&n=2", &FIELDS).map(drop)
    }

    /// What `discover` says, while requests come in.
    fn run(&self, discover: Command) -> Result<Finished> {
        let scratch = Scratch::new()?;
        let mut discover = Running::spawn(discover, scratch.join("output"))?;
        let status = wait::until("a report", LIMIT, || {
            self.send()?;
            discover.ended()
        })
        .with_context(|| discover.output())?;
        Ok(Finished { code: process::code(status), stdout: discover.output().into_bytes(), stderr: String::new() })
    }
}

fn discover(options: &[&str]) -> Result<Command> {
    let mut discover = baton::command(["discover"])?;
    discover.args(options);
    Ok(discover)
}

/// The JSON object in what a command has said.
fn report(finished: &Finished) -> Result<Value> {
    let output = std::str::from_utf8(&finished.stdout)?;
    ensure!(finished.code == 0, "{output}");
    let object = output.lines().find(|line| line.starts_with('{')).with_context(|| output.to_owned())?;
    Ok(serde_json::from_str(object)?)
}

/// The workload `name` in `report`.
fn workload<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let all = report["workloads"].as_array().context("no workloads")?;
    all.iter().find(|workload| workload["name"] == name).with_context(|| report.to_string())
}

#[test]
fn who_only_observes_learns_what_is_passed_on_and_inserts_nothing() -> Result<()> {
    let before = Objects::now()?;
    let chain = Chain::start()?;
    let mut command = discover(&["--for", "4s", "--json"])?;
    for cgroup in &chain.cgroups {
        command.arg("--cgroup").arg(cgroup.path());
    }
    let report = report(&chain.run(command)?)?;

    let front = workload(&report, &chain.name(0))?;
    let inbound = front["inbound"].as_u64().context("a count")?;
    for (name, _) in FIELDS {
        ensure!(inbound > 0 && front["headers"][name] == inbound, "{name}: {front}");
    }
    let hop = &front["hops"][0];
    ensure!(hop["workload"] == chain.name(1).as_str() && hop["path"] == "/relay", "{hop}");
    let expected = [
        ("x-request-id", "always"),
        ("x-correlation-id", "always"),
        ("x-telepresence-id", "never"),
        ("traceparent", "never"),
        ("tracestate", "never"),
    ];
    for (name, forwarded) in expected {
        let passed = &hop["headers"][name];
        ensure!(passed["forwarded"] == forwarded && passed["had"] != 0, "{name}: {hop}");
        let changed = if name == "x-correlation-id" { &passed["kept"] } else { &Value::from(0) };
        ensure!(passed["changed"] == *changed, "{name}: {hop}");
    }
    ensure!(front["needs"] == serde_json::json!(["traceparent", "tracestate", "x-telepresence-id"]), "{front}");
    // Nobody watches what is behind the other one: it is known that something lacks there, and not what.
    let back = workload(&report, &chain.name(1))?;
    let hop = &back["hops"][0];
    ensure!(hop["path"] == "/out/it/*" && hop["workload"].is_null(), "{hop}");
    ensure!(hop["headers"]["x-request-id"]["forwarded"] == "unknown", "{hop}");
    ensure!(back["needs"] == serde_json::json!(["x-correlation-id", "x-request-id"]), "{back}");
    ensure!(report["suggestion"]["options"] == "--preset default", "{report}");

    let sent = chain.recorder.take();
    let inserted =
        sent.iter().find(|request| FIELDS.iter().any(|(name, _)| request.head.values(name).next().is_some()));
    ensure!(inserted.is_none(), "{inserted:?}");
    ensure!(chain.recorder.errors().is_empty(), "{:?}", chain.recorder.errors());
    drop(chain);
    nothing_new_since(&before)
}

#[test]
fn a_running_daemon_and_a_recording_say_the_same() -> Result<()> {
    let (scratch, chain) = (Scratch::new()?, Chain::start()?);
    let daemon = Daemon::start(&[chain.cgroups[0].path(), chain.cgroups[1].path()])?;
    let file = scratch.join("recorded");
    let mut record = baton::command(["record", "--for", "1h", "--output"])?;
    record.arg(&file).arg("--socket").arg(daemon.socket());
    let mut record = Running::spawn(record, scratch.join("words"))?;
    let mut command = discover(&["--for", "3s", "--pod", &chain.name(0), "--socket"])?;
    command.arg(daemon.socket());
    let finished = chain.run(command)?;
    let text = String::from_utf8(finished.stdout)?;
    ensure!(finished.code == 0, "{text}");
    let says = |what: &[&str]| text.lines().any(|line| what.iter().all(|word| line.contains(word)));
    ensure!(says(&["→", &chain.name(1), "GET /relay"]), "{text}");
    ensure!(says(&["x-telepresence-id", "never passed on (0 of "]), "{text}");
    ensure!(says(&["traceparent", "never passed on (0 of "]), "{text}");
    ensure!(says(&["baton run --headers traceparent,x-telepresence-id"]), "{text}");
    ensure!(says(&["--set 'config.headers={traceparent,x-telepresence-id}'"]), "{text}");
    ensure!(says(&["only the headers that the daemon looks for are seen"]), "{text}");
    ensure!(!text.lines().any(|line| line.starts_with(&chain.name(1))), "of another workload: {text}");

    ensure!(process::code(record.terminate()?) == 0, "{}", record.output());
    let mut command = discover(&["--json", "--from"])?;
    command.arg(&file);
    let recorded = report(&process::run(command, b"", LIMIT)?)?;
    let front = workload(&recorded, &chain.name(0))?;
    ensure!(front["hops"][0]["headers"]["x-telepresence-id"]["forwarded"] == "never", "{front}");
    ensure!(front["needs"] == serde_json::json!(["traceparent", "x-telepresence-id"]), "{front}");
    daemon.stop().map(drop)
}

#[test]
fn what_cannot_be_discovered_is_said() -> Result<()> {
    let scratch = Scratch::new()?;
    let status = |options: &[&str], from: Option<&Path>| {
        let mut command = discover(options)?;
        command.args(from.map(|path| ["--from".as_ref(), path.as_os_str()]).into_iter().flatten());
        process::run(command, b"", LIMIT)
    };
    let finished = status(&[], Some(&scratch.write("nothing", "")?))?;
    ensure!(finished.code == 1 && finished.stderr.contains("no request was seen"), "{finished:?}");
    let finished = status(&["--cgroup", "/no/such/cgroup"], None)?;
    ensure!(finished.code == 66 && finished.stderr.contains("/no/such/cgroup"), "{finished:?}");
    let finished = status(&["--cgroup", "/a", "--headers", "cookie"], None)?;
    ensure!(finished.code == 64 && finished.stderr.contains("never carried"), "{finished:?}");
    let finished = status(&["--cgroup", "/a"], Some(Path::new("/b")))?;
    ensure!(finished.code == 64, "{finished:?}");
    Ok(())
}
