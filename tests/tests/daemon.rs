//! `baton run`, `baton watch` and `baton doctor`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::{self, Daemon};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::flows;
use baton_tests::probe::Probe;
use baton_tests::process::{self, Running};
use baton_tests::programs;
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// A C relay in a cgroup of its own, and its backend.
struct Workload {
    app: App,
    recorder: Recorder,
    cgroup: Cgroup,
}

impl Workload {
    fn start() -> Result<Self> {
        let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
        let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
        Ok(Self { app, recorder, cgroup })
    }

    fn is_propagated(&self) -> Result<bool> {
        Probe::fresh(self.app.address(), &self.recorder).is_propagated()
    }
}

#[test]
fn several_cgroups_and_an_end_without_traces() -> Result<()> {
    let before = Objects::now()?;
    let (one, two, other) = (Workload::start()?, Workload::start()?, Workload::start()?);
    let daemon = Daemon::start(&[one.cgroup.path(), two.cgroup.path()])?;
    ensure!(one.is_propagated()? && two.is_propagated()?, "{}", daemon.output());
    ensure!(!other.is_propagated()?, "a cgroup that is not selected");
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    ensure!(!one.is_propagated()? && !two.is_propagated()?, "it goes on without the daemon");
    nothing_new_since(&before)
}

#[test]
fn ready_as_json() -> Result<()> {
    let scratch = Scratch::new()?;
    let workload = Workload::start()?;
    let mut run = baton::command(["run", "--json", "--headers", "x-telepresence-id"])?;
    run.arg("--cgroup").arg(workload.cgroup.path()).arg("--socket").arg(scratch.join("socket"));
    let mut process = Running::spawn(run, scratch.join("output"))?;
    wait::until("the ready event", LIMIT, || {
        let output = process.output();
        let events = output.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        Ok(events.into_iter().any(|event| event["event"] == "ready").then_some(()))
    })
    .with_context(|| process.output())?;
    ensure!(workload.is_propagated()?, "ready, but not propagating");
    process.terminate().map(drop)
}

#[test]
fn watch_shows_flow_events() -> Result<()> {
    let scratch = Scratch::new()?;
    let workload = Workload::start()?;
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    let mut watch = baton::command(["watch", "--json", "--socket"])?;
    watch.arg(daemon.socket());
    let watch = Running::spawn(watch, scratch.join("output"))?;
    let injected = |line: &str| flows::parse(line).is_ok_and(|flows| flows.iter().any(|flow| flow.is("injected")));
    wait::until("a flow event", LIMIT, || {
        workload.is_propagated()?;
        Ok(watch.output().lines().any(injected).then_some(()))
    })
    .with_context(|| watch.output())?;
    daemon.stop().map(drop)
}

#[test]
fn no_descriptors_left_for_watchers_does_not_end_it() -> Result<()> {
    let scratch = Scratch::new()?;
    let workload = Workload::start()?;
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    let before = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let soft = before.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let soft = soft.split_whitespace().next().context("an empty limit")?;
    limit_descriptors(&daemon, "3")?;
    let mut watch = baton::command(["watch", "--json", "--socket"])?;
    watch.arg(daemon.socket());
    let watch = Running::spawn(watch, scratch.join("output"))?;
    wait::until("a word about it", LIMIT, || Ok(daemon.output().contains("failed to accept a watcher").then_some(())))
        .with_context(|| daemon.output())?;
    ensure!(workload.is_propagated()?, "{}", daemon.output());
    limit_descriptors(&daemon, soft)?;
    wait::until("a flow event", LIMIT, || {
        workload.is_propagated()?;
        Ok(watch.output().lines().any(|line| flows::parse(line).is_ok()).then_some(()))
    })
    .with_context(|| daemon.output())?;
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}

/// Lets the daemon open no descriptor from this number on.
fn limit_descriptors(daemon: &Daemon, soft: &str) -> Result<()> {
    let mut command = programs::command("prlimit")?;
    command.arg(format!("--pid={}", daemon.pid())).arg(format!("--nofile={soft}:"));
    let finished = process::run(command, b"", LIMIT)?;
    ensure!(finished.code == 0, "{finished:?}");
    Ok(())
}

#[test]
fn watch_without_a_daemon_says_so() -> Result<()> {
    let watch = baton::command(["watch", "--socket", "/nonexistent/baton.sock"])?;
    let finished = process::run(watch, b"", LIMIT)?;
    ensure!(finished.code != 0 && finished.stderr.trim().lines().count() == 1, "{finished:?}");
    Ok(())
}

#[test]
fn a_broken_configuration_on_reload_changes_nothing() -> Result<()> {
    let workload = Workload::start()?;
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    daemon.reload(&[std::path::Path::new("/no/such/cgroup")])?;
    wait::until("a word about it", LIMIT, || Ok(daemon.output().contains("/no/such/cgroup").then_some(())))?;
    for _ in 0..20 {
        ensure!(workload.is_propagated()?, "{}", daemon.output());
    }
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}

#[test]
fn doctor_reports_as_text_and_as_json() -> Result<()> {
    let before = Objects::now()?;
    let text = process::run(baton::command(["doctor"])?, b"", LIMIT)?;
    ensure!(text.code == 0 && !text.stdout.is_empty(), "{text:?}");
    let json = process::run(baton::command(["doctor", "--json"])?, b"", LIMIT)?;
    let report: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    ensure!(json.code == 0 && report.is_object(), "{report}");
    let hooks = report["read_hooks"].as_array().context("no word about the hooks for reads")?;
    let used: Vec<_> = hooks.iter().filter(|hook| hook["used"] == true).collect();
    ensure!(hooks.len() == 3 && used.len() == 1 && used[0]["missing"].is_null(), "not one that is used: {report}");
    nothing_new_since(&before)
}
