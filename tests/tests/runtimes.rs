//! Support for language runtimes comes and goes with the processes that need it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{self, Daemon, Exec, HEADERS};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::{Client, concurrently};
use baton_tests::pins::Pins;
use baton_tests::probe::Probe;
use baton_tests::programs::{self, Go};
use baton_tests::recorder::Recorder;
use baton_tests::relay::Backend;
use baton_tests::scratch::Scratch;
use baton_tests::{flows, relay, wait};

const LIMIT: Duration = Duration::from_secs(20);
const REQUESTS: usize = 40;

/// Its goroutines, and the connection that it keeps to its backend, are older than baton.
#[test]
fn go_that_was_there_before() -> Result<()> {
    let before = Objects::now()?;
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    for build in [Go::Plain, Go::NewStripped] {
        let app = relay::go(&recorder.url(), build)?.start(&Launch::In(&cgroup))?;
        let mut client = Probe::kept(app.address(), &recorder);
        ensure!(client.relay(Some("early"))?.carried()?.is_none(), "without baton");
        let daemon = Daemon::start(&[cgroup.path()])?;
        // What was in use a moment ago is taken in when it is idle.
        wait::until("the first request that carries its header", LIMIT, || Ok(client.is_propagated()?.then_some(())))?;
        let connection = client.relay(Some("own"))?.connection;
        ensure!(connection == 0 || build != Go::Plain, "the backend's connection {connection} is not the first");
        ensure!(client.relay(None)?.carried()?.is_none(), "a value from nowhere");
        let found = examined(&cgroup)?;
        ensure!(found["runtime"] == "go" && found["reason"].is_null(), "{found}");
        let probes = found["probes"].as_array().map_or(0, Vec::len);
        ensure!(probes >= 4, "{found}");
        ensure!(daemon.stop()? == 0, "the status after SIGTERM");
        ensure!(!client.is_propagated()?, "it goes on without the daemon");
        app.stop()?;
    }
    nothing_new_since(&before)
}

/// What `baton doctor --pid` says of the process in `cgroup`.
fn examined(cgroup: &Cgroup) -> Result<serde_json::Value> {
    let id = std::fs::read_to_string(cgroup.path().join("cgroup.procs"))?;
    let doctor = baton::command(["doctor", "--json", "--pid", id.trim()])?;
    Ok(serde_json::from_str(&programs::succeed(doctor, "baton doctor --pid")?)?)
}

/// What the rights of a container suffice for: since 2025 kernels want CAP_SYS_ADMIN for the older way to attach.
#[test]
fn runtimes_without_cap_sys_admin() -> Result<()> {
    let before = Objects::now()?;
    let (recorder, pins) = (Recorder::echoing_targets()?, Pins::new()?);
    let url = recorder.url();
    for (name, program) in
        [("Go", relay::go(&url, Go::NewStripped)?), ("Python", relay::python_threads(&url, Backend::Fresh)?)]
    {
        let cgroup = Cgroup::new()?;
        let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
        let app = program.start(&Launch::In(&cgroup))?;
        let mut client = Probe::fresh(app.address(), &recorder);
        wait::until("the first request that carries its header", LIMIT, || Ok(client.is_propagated()?.then_some(())))
            .with_context(|| format!("{name}: {}", daemon.output()))?;
        ensure!(client.relay(None)?.carried()?.is_none(), "{name}: a value from nowhere");
        ensure!(!daemon.output().contains("not supported"), "{name}: {}", daemon.output());
        app.stop()?;
        ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    }
    nothing_new_since(&before)
}

/// A process that begins to run a Go program is found, also as the child of another.
#[test]
fn go_that_a_shell_starts() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let mut program = relay::go(&recorder.url(), Go::Stripped)?;
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg("trap 'kill $!' TERM; \"$0\" & wait; wait").arg(program.command.get_program());
    shell.envs(program.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program.command = shell;
    let app = program.start(&Launch::Exec(&Exec::default()))?;
    let mut client = Probe::fresh(app.address(), &recorder);
    wait::until("the first request that carries its header", LIMIT, || Ok(client.is_propagated()?.then_some(())))?;
    for _ in 0..50 {
        ensure!(client.is_propagated()?, "a header was lost");
    }
    app.stop()?;
    Ok(())
}

/// The virtual machine is known, and so is it which of its threads wait in epoll.
#[test]
fn an_event_loop_in_java() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::java_loop(&recorder.url())?.start(&Launch::Exec(&Exec::default()))?;
    carries_nothing(&mut Client::new(app.address(), true), &recorder)?;
    app.stop()?;
    Ok(())
}

/// Its thread waits in epoll when the virtual machine is found, and its first request is what wakes it.
#[test]
fn an_event_loop_in_java_that_was_there_before() -> Result<()> {
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::java_loop(&recorder.url())?.start(&Launch::In(&cgroup))?;
    // So that the loop does not come around for the connection.
    let mut client = Client::new(app.address(), true);
    carries_nothing(&mut client, &recorder)?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    carries_nothing(&mut client, &recorder)?;
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    app.stop()?;
    Ok(())
}

fn carries_nothing(client: &mut Client, recorder: &Recorder) -> Result<()> {
    carries_nothing_in(client, recorder, 2)
}

/// `each`: how many calls a request causes, one of them its own.
fn carries_nothing_in(client: &mut Client, recorder: &Recorder, each: usize) -> Result<()> {
    for number in 0..20 {
        let value = format!("value-{number}");
        client.get(&format!("/relay?id={number}&n=1"), &[(HEADERS[0], value.as_str())])?;
        let calls = recorder.take();
        ensure!(calls.len() == each, "{} calls instead of {each}", calls.len());
        for call in &calls {
            ensure!(call.carried()?.is_none(), "{} carries {:?}", call.head.target, call.carried()?);
        }
    }
    Ok(())
}

/// One goroutine that serves several connections is found out by its second request.
#[test]
fn an_event_loop_in_go() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let scratch = Scratch::new()?;
    let file = scratch.join("flows");
    let app = relay::go_loop(&recorder.url())?.start(&Launch::Exec(&Exec::default().flows(&file)))?;
    for round in 0..20 {
        concurrently(2, |client| {
            let value = format!("value-{round}-{client}");
            let target = format!("/relay?id={round}-{client}&n=1");
            Client::new(app.address(), false).get(&target, &[(HEADERS[0], value.as_str())])
        })?;
        let calls = recorder.take();
        ensure!(calls.len() == 2, "{} calls instead of two", calls.len());
        for call in &calls {
            ensure!(call.carried()?.is_none(), "{} carries {:?}", call.head.target, call.carried()?);
        }
    }
    app.stop()?;
    let flows = flows::read(&file)?;
    let lost: Vec<_> = flows.iter().filter(|flow| flow.is("lost")).map(|flow| flow.reason.as_deref()).collect();
    ensure!(lost.len() == 40 && lost.last() == Some(&Some("unsupported-runtime")), "{lost:?}");
    Ok(())
}

/// In Python a connection is read ahead of the task that serves it: what that task still does for a request that it has
/// answered is not the next one's.
#[test]
fn a_python_task_that_works_on_after_its_answer() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::streams(&recorder.url())?.start(&Launch::Exec(&Exec::default()))?;
    let mut fresh = Probe::fresh(app.address(), &recorder);
    wait::until("the first request that carries its header", LIMIT, || Ok(fresh.is_propagated()?.then_some(())))?;
    for via in ["late-task", "late"] {
        let mut client = Client::new(app.address(), true);
        for number in 0..REQUESTS {
            let value = format!("value-{number}");
            client.get(&format!("/relay?id={number}&n=1&via={via}"), &[(HEADERS[0], value.as_str())])?;
        }
        let mut calls = Vec::new();
        wait::until("the calls after the answers", LIMIT, || {
            calls.extend(recorder.take());
            Ok((calls.len() >= REQUESTS).then_some(()))
        })?;
        for call in &calls {
            ensure!(call.carried()?.is_none(), "{via}: {} carries {:?}", call.head.target, call.carried()?);
        }
    }
    app.stop()?;
    Ok(())
}

/// What an event loop does right after it has read a request carries that one's headers if what is likely is enough, and
/// nothing otherwise.
#[test]
fn an_event_loop_with_balanced_attribution() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app =
        relay::node(&recorder.url())?.start(&Launch::Exec(&Exec::default().option("--attribution", "balanced")))?;
    let mut client = Probe::kept(app.address(), &recorder);
    wait::until("the first request that carries its header", LIMIT, || Ok(client.is_propagated()?.then_some(())))?;
    for _ in 0..REQUESTS {
        ensure!(client.is_propagated()?, "a header was lost");
        ensure!(client.relay(None)?.carried()?.is_none(), "a value from nowhere");
    }
    app.stop()?;
    let app = relay::node(&recorder.url())?.start(&Launch::Exec(&Exec::default()))?;
    carries_nothing_in(&mut Client::new(app.address(), true), &recorder, 1)?;
    app.stop()?;
    Ok(())
}
