//! `baton exec` as a command: what it runs behaves as if it were alone.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{Exec, HEADERS};
use baton_tests::cgroup;
use baton_tests::flows::{self, Flow};
use baton_tests::load::{self, Cell};
use baton_tests::probe::Probe;
use baton_tests::process::{self, Finished, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::verdict::Tally;
use baton_tests::wait;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn exec(command: &Command, stdin: &[u8]) -> Result<Finished> {
    process::run(Exec::default().wrap(command)?, stdin, LIMIT)
}

#[test]
fn stdin_stdout_and_stderr_are_the_commands_own() -> Result<()> {
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let finished = exec(&shell("cat; echo from the command >&2"), &input)?;
    ensure!(finished.code == 0 && finished.stdout == input, "{} bytes came", finished.stdout.len());
    ensure!(finished.stderr.contains("from the command\n"), "{}", finished.stderr);
    Ok(())
}

#[test]
fn arguments_environment_and_directory_are_passed_on() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut command = shell("printf '%s|' \"$@\" \"$OWN\" \"$PWD\"");
    command.args(["sh", "a b", "", "--headers", "--"]).env("OWN", "value").current_dir(scratch.path());
    let finished = exec(&command, b"")?;
    let expected = format!("a b||--headers|--|value|{}|", scratch.path().display());
    ensure!(finished.stdout == expected.as_bytes(), "{}", String::from_utf8_lossy(&finished.stdout));
    Ok(())
}

#[test]
fn the_exit_status_is_the_commands() -> Result<()> {
    let scratch = Scratch::new()?;
    let not_executable = scratch.write("file", "text")?;
    for (command, expected) in [
        (shell("exit 0"), 0),
        (shell("exit 7"), 7),
        (shell("kill -TERM $$"), 143),
        (shell("kill -KILL $$"), 137),
        (Command::new("/no/such/program"), 127),
        (Command::new(not_executable), 126),
    ] {
        let finished = exec(&command, b"")?;
        ensure!(finished.code == expected, "{command:?}: {} instead of {expected}: {}", finished.code, finished.stderr);
    }
    Ok(())
}

#[test]
fn signals_are_forwarded() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2] {
        let name = signal.as_str().trim_start_matches("SIG");
        let scratch = Scratch::new()?;
        let script = format!("trap 'echo got it; exit 9' {name}; echo listening; while :; do sleep 0.05; done");
        let mut baton = Running::spawn(Exec::default().wrap(&shell(&script))?, scratch.join("output"))?;
        wait::until("the command", LIMIT, || Ok(baton.output().contains("listening").then_some(())))?;
        baton.signal(signal)?;
        let code = process::code(baton.wait(LIMIT)?);
        ensure!(code == 9 && baton.output().contains("got it"), "{name}: {code}\n{}", baton.output());
    }
    Ok(())
}

#[test]
fn the_command_has_a_cgroup_of_its_own_that_is_removed() -> Result<()> {
    let before = cgroup::all()?;
    let finished = exec(&shell("grep ^0:: /proc/self/cgroup"), b"")?;
    let inside = String::from_utf8_lossy(&finished.stdout).trim().trim_start_matches("0::").to_owned();
    let directory = cgroup::mount("cgroup2")?.join(inside.trim_start_matches('/'));
    ensure!(!before.contains(&directory), "{} was there before", directory.display());
    ensure!(cgroup::all()? == before, "{} was left behind", directory.display());
    Ok(())
}

#[test]
fn children_of_the_command_are_covered() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let mut inner = relay::python_threads(&recorder.url(), Backend::Fresh)?;
    let mut outer = shell("\"$@\" & wait $!");
    outer.arg("sh").arg(inner.command.get_program()).args(inner.command.get_args());
    baton_tests::baton::copy_surroundings(&inner.command, &mut outer);
    inner.command = outer;
    let app = inner.start(&Launch::Exec(&Exec::default()))?;
    ensure!(Probe::fresh(app.address(), &recorder).is_propagated()?, "{}", app.output());
    Ok(())
}

#[test]
fn new_threads_and_forks_inherit_where_likely_is_enough() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    for attribution in ["strict", "balanced"] {
        let exec = Exec::default().option("--attribution", attribution);
        let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&exec))?;
        for query in ["&via=thread", "&via=fork"] {
            let report = load::run(app.address(), &Cell { query, ..Cell::new(1, 60, true) })?;
            let tally = Tally::of(&report.sent, &recorder.take());
            let is_right =
                if attribution == "strict" { tally.correct == 0 && tally.lost > 0 } else { tally.is_perfect() };
            ensure!(tally.is_safe() && is_right, "{attribution}, {query}, one client: {tally}");
        }
        app.stop()?;
    }
    Ok(())
}

#[test]
fn programs_that_are_started_inherit() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default()))?;
    for query in ["&via=curl", "&via=shell", "&via=subshell"] {
        let report = load::run(app.address(), &Cell { query, ..Cell::new(1, 60, true) })?;
        let tally = Tally::of(&report.sent, &recorder.take());
        ensure!(tally.is_perfect(), "{query}, one client: {tally}");
    }
    // With more requests open at once a loss is allowed, a wrong value is not.
    for query in ["&via=thread", "&via=curl", "&via=pool"] {
        let (clients, requests) = if query == "&via=curl" { (8, 200) } else { (32, 3000) };
        let report = load::run(app.address(), &Cell { query, ..Cell::new(clients, requests, true) })?;
        let tally = Tally::of(&report.sent, &recorder.take());
        eprintln!("{query}, {clients} clients: {}", tally.counts());
        ensure!(tally.is_safe(), "{query}: {tally}");
    }
    Ok(())
}

#[test]
fn flow_events_tell_of_every_request() -> Result<()> {
    let scratch = Scratch::new()?;
    let file = scratch.join("flows");
    let recorder = Recorder::echoing_targets()?;
    let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default().flows(&file)))?;
    let report = load::run(app.address(), &Cell::new(8, 300, true))?;
    app.stop()?;
    let flows = flows::read(&file)?;
    let outbound: usize = report.sent.iter().map(|sent| sent.fan_out).sum();
    let carried: usize = report.sent.iter().filter(|sent| !sent.carried.is_empty()).map(|sent| sent.fan_out).sum();
    let count = |is: &dyn Fn(&Flow) -> bool| flows.iter().filter(|flow| is(flow)).count();
    ensure!(count(&|flow| flow.kind == "inbound") == 300, "{} inbound", count(&|flow| flow.kind == "inbound"));
    ensure!(count(&|flow| flow.kind == "outbound") == outbound, "not {outbound} outbound");
    ensure!(count(&|flow| flow.is("injected")) == carried, "{} injected", count(&|flow| flow.is("injected")));
    let answers = |kind: &str| count(&|flow: &Flow| flow.answers.as_deref() == Some(kind));
    ensure!((answers("inbound"), answers("outbound")) == (300, outbound), "responses are missing");
    // The outbound requests that one inbound request caused have one context.
    let mut ids = std::collections::BTreeMap::new();
    for flow in &flows {
        check_schema(flow)?;
        if flow.is("injected") {
            let cause = flows.iter().find(|cause| cause.kind == "inbound" && cause.context == flow.context);
            let cause = cause.with_context(|| format!("no inbound request for {flow:?}"))?;
            ensure!(cause.time <= flow.time && cause.tid == flow.tid, "{flow:?} joined to {cause:?}");
            let id = flow.path.split('/').nth(2).unwrap_or_default().to_owned();
            let first = ids.entry(flow.context.clone()).or_insert_with(|| id.clone());
            ensure!(*first == id, "one context for {first} and {id}");
        }
    }
    Ok(())
}

fn check_schema(flow: &Flow) -> Result<()> {
    let rfc3339 = flow.time.get(10..11) == Some("T") && flow.time.ends_with('Z') && flow.time.starts_with("20");
    let inbound = flow.kind == "inbound" && flow.verdict.is_none() && flow.reason.is_none();
    let response = flow.kind == "response" && flow.verdict.is_none() && flow.status == Some(200);
    let verdicts = ["injected", "already-present", "nothing-to-insert", "lost"];
    let outbound = flow.kind == "outbound" && verdicts.contains(&flow.verdict.as_deref().unwrap_or_default());
    let reason = flow.reason.is_some() == flow.is("lost");
    let names = flow.headers.iter().all(|name| HEADERS.contains(&name.as_str()));
    let peer = flow.peer.parse::<std::net::SocketAddr>().is_ok();
    let filled = flow.pid > 0
        && flow.tid > 0
        && [&flow.workload, &flow.comm, &flow.runtime, &flow.method].iter().all(|text| !text.is_empty());
    ensure!(rfc3339 && (inbound || outbound || response) && reason && names && peer && filled, "{flow:?}");
    Ok(())
}

#[test]
fn the_summary_comes_last_in_text_or_json() -> Result<()> {
    let finished = exec(&shell("echo last words >&2"), b"")?;
    let (before, summary) = finished.stderr.split_once("last words\n").context("the command's own words")?;
    ensure!(!summary.trim().is_empty() && summary.trim().lines().all(|line| !line.is_empty()), "{before}|{summary}");
    let json = process::run(Exec::default().flag("--json").wrap(&shell("true"))?, b"", LIMIT)?;
    let line = json.stderr.trim().lines().last().context("no summary")?;
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).with_context(|| line.to_owned())?;
    Ok(())
}
