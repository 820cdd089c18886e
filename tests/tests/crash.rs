//! `kill -9` of baton in mid-traffic: no connection breaks, no byte is lost or changed, nothing is left behind.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::{Daemon, Exec};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::byte_exactness::call;
use baton_tests::cgroup::{self, Cgroup};
use baton_tests::load::{self, Cell};
use baton_tests::recorder::{Recorder, bodies};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::verdict::Tally;
use baton_tests::wait;
use baton_tests::wire::{Script, Wire};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(20);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_go_on_when_the_daemon_is_killed() -> Result<()> {
    let before = Objects::now()?;
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::python_threads(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    let tally = kill_during_load(&app, &recorder, || daemon.kill())?;
    ensure!(tally.correct > 0 && tally.lost > 0, "not in mid-traffic: {tally}");
    nothing_new_since(&before)
}

#[test]
fn requests_go_on_when_baton_exec_is_killed() -> Result<()> {
    let (before, cgroups) = (Objects::now()?, cgroup::all()?);
    let recorder = Recorder::echoing_targets()?;
    let mut app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::Exec(&Exec::default()))?;
    let baton = app.process().pid();
    let command = app.process().descendants();
    ensure!(!command.is_empty(), "baton exec has no child");
    kill_during_load(&app, &recorder, || Ok(kill(baton, Signal::SIGKILL)?))?;
    nothing_new_since(&before)?;
    for process in command {
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
    wait::until("no cgroup", LIMIT, || Ok((cgroup::all()? == cgroups).then_some(())))
}

/// Load, all of which must be answered, with `strike` in the middle of it.
fn kill_during_load(app: &App, recorder: &Recorder, strike: impl FnOnce() -> Result<()>) -> Result<Tally> {
    let cell = Cell::new(8, 6000, true);
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(app.address(), &cell));
        wait::until("traffic", LIMIT, || Ok((recorder.count() > 2000).then_some(())))?;
        strike()?;
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    })?;
    ensure!(report.reconnects == 0, "{} connections broke", report.reconnects);
    let errors = recorder.errors();
    ensure!(errors.is_empty(), "damaged requests: {errors:?}");
    let tally = Tally::of(&report.sent, &recorder.take());
    ensure!(tally.is_safe(), "{tally}");
    Ok(tally)
}

/// Runs a case of `wire_held.py`, with `strike` while it holds still. Returns its answer.
fn held(app: &App, case: &str, server: std::net::SocketAddr, strike: impl FnOnce() -> Result<()>) -> Result<String> {
    let scratch = Scratch::new()?;
    let go = scratch.join("go");
    let waiting = PathBuf::from(format!("{}.waiting", go.display()));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| call(app.address(), case, server, &format!("&go={}", go.display())));
        wait::until("the transfer to stop", LIMIT, || {
            ensure!(!call.is_finished(), "the case ended early");
            Ok(waiting.exists().then_some(()))
        })?;
        let struck = strike();
        scratch.write("go", "")?;
        let answer = call.join().map_err(|_| anyhow::anyhow!("the call panicked"))?;
        struck?;
        answer
    })
}

/// A case plain, and with the daemon killed in the middle of it: the same answer.
fn survives(case: &str, server: std::net::SocketAddr) -> Result<()> {
    let before = Objects::now()?;
    let cgroup = Cgroup::new()?;
    let app = relay::wire()?.start(&Launch::In(&cgroup))?;
    let plain = held(&app, case, server, || Ok(()))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    let killed = held(&app, case, server, || daemon.kill())?;
    ensure!(plain == killed, "{case}: {plain:?} became {killed:?}");
    nothing_new_since(&before)
}

#[test]
fn a_download_with_unread_data_survives() -> Result<()> {
    let recorder = Recorder::start(bodies)?;
    survives("held_download", recorder.address())
}

#[test]
fn an_upload_survives() -> Result<()> {
    // The recorder checks the length; the bytes are compared below.
    let wire = Wire::start(Script::silent().after(b"<END>", OK))?;
    survives("held_upload", wire.address())?;
    same_streams(&wire)
}

#[test]
fn a_half_sent_head_survives() -> Result<()> {
    let wire = Wire::start(Script::silent().after(b"\r\n\r\n", OK))?;
    survives("held_head", wire.address())?;
    let streams = wire.take(2)?;
    let [plain, killed] = streams.as_slice() else { anyhow::bail!("{} connections", streams.len()) };
    ensure!(plain == killed, "{:?} became {:?}", plain.bytes.escape_ascii(), killed.bytes.escape_ascii());
    Ok(())
}

#[test]
fn an_idle_connection_survives() -> Result<()> {
    let wire = Wire::start(Script::silent().after(b"\r\n\r\n", OK).repeat())?;
    survives("held_connection", wire.address())
}

/// The second of two uploads carries its headers at most, and otherwise the same bytes.
fn same_streams(wire: &Wire) -> Result<()> {
    let streams = wire.take(2)?;
    let [plain, killed] = streams.as_slice() else { anyhow::bail!("{} connections", streams.len()) };
    let body = |bytes: &[u8]| -> Result<Vec<u8>> {
        let end = baton_tests::wire::find(bytes, b"\r\n\r\n").context("no head")?;
        Ok(bytes[end..].to_vec())
    };
    ensure!(body(&plain.bytes)? == body(&killed.bytes)?, "the body changed");
    Ok(())
}
