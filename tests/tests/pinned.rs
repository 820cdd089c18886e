//! `baton run --pin-dir`, as in a container: without a guard, without CAP_SYS_ADMIN, and with workloads in another
//! network namespace. It is killed, started again, reloaded and ended; no connection breaks and none loses a byte.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::Daemon;
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::byte_exactness::call;
use baton_tests::cgroup::Cgroup;
use baton_tests::load::{self, Cell, Report};
use baton_tests::namespace;
use baton_tests::pins::Pins;
use baton_tests::probe::Probe;
use baton_tests::recorder::{Recorder, Reply, bodies};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::verdict::Tally;
use baton_tests::wait;
use baton_tests::wire::{Script, Wire};

const LIMIT: Duration = Duration::from_secs(30);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Kills a daemon; all of it, as there is no other process.
fn kill(daemon: Daemon) -> Result<()> {
    let task = format!("/proc/{0}/task/{0}/children", daemon.pid());
    let children = std::fs::read_to_string(task)?;
    ensure!(children.is_empty(), "it has children: {children}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    let capabilities = u64::from_str_radix(capabilities.trim(), 16)?;
    ensure!(capabilities & (1 << 21) == 0, "it has CAP_SYS_ADMIN");
    daemon.kill()
}

/// Ends a daemon; nothing of it is left.
fn end(daemon: Daemon, pins: &Pins, before: &Objects) -> Result<()> {
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    ensure!(pins.is_empty(), "a pin is left");
    nothing_new_since(before)
}

fn until_members(pins: &Pins, what: &str, fits: impl Fn(usize) -> bool) -> Result<()> {
    wait::until(what, LIMIT, || Ok(fits(pins.members()?).then_some(())))
}

/// Load through a relay, all of which must be answered on the connections that it began on.
fn check(report: &Report, recorder: &Recorder) -> Result<Tally> {
    ensure!(report.reconnects == 0, "{} connections broke", report.reconnects);
    let errors = recorder.errors();
    ensure!(errors.is_empty(), "damaged requests: {errors:?}");
    let tally = Tally::of(&report.sent, &recorder.take());
    ensure!(tally.is_safe(), "{tally}");
    Ok(tally)
}

/// Kills the daemon again and again while 64 clients send requests.
fn killed_under_load(app: impl FnOnce(&str) -> Result<App>, cell: &Cell, cgroup: &Cgroup) -> Result<()> {
    let (before, pins) = (Objects::now()?, Pins::new()?);
    let recorder = Recorder::echoing_targets()?;
    let app = app(&recorder.url())?;
    let mut daemon = Daemon::confined(&[cgroup.path()], &pins)?;
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(app.address(), cell));
        for _ in 0..3 {
            let seen = recorder.count();
            wait::until("traffic", LIMIT, || Ok((recorder.count() > seen + 1500 || load.is_finished()).then_some(())))?;
            kill(daemon)?;
            daemon = Daemon::confined(&[cgroup.path()], &pins)?;
        }
        kill(daemon)?;
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    })?;
    let tally = check(&report, &recorder)?;
    ensure!(tally.correct > 0 && tally.lost > 0, "not in mid-traffic: {tally}");
    // What is left takes part again.
    let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
    let tally = check(&load::run(app.address(), &Cell::new(8, 400, cell.keep_alive))?, &recorder)?;
    ensure!(tally.correct > 0, "{tally}");
    drop(app);
    end(daemon, &pins, &before)
}

#[test]
fn kept_connections_survive_when_all_of_baton_is_killed() -> Result<()> {
    let cgroup = Cgroup::new()?;
    let start = |url: &str| relay::python_threads(url, Backend::Kept)?.start(&Launch::In(&cgroup));
    namespace::within(&[], || killed_under_load(start, &Cell::new(64, 16000, true), &cgroup))
}

#[test]
fn blocking_connections_survive_when_all_of_baton_is_killed() -> Result<()> {
    let cgroup = Cgroup::new()?;
    let start = |url: &str| relay::c(url, Backend::Kept)?.start(&Launch::In(&cgroup));
    namespace::within(&[], || killed_under_load(start, &Cell::new(64, 60000, true), &cgroup))
}

#[test]
fn fresh_connections_survive_when_all_of_baton_is_killed() -> Result<()> {
    let cgroup = Cgroup::new()?;
    let start = |url: &str| relay::c(url, Backend::Fresh)?.start(&Launch::In(&cgroup));
    namespace::within(&[], || killed_under_load(start, &Cell::new(64, 16000, false), &cgroup))
}

/// Runs a case of `wire_held.py`, with `strike` while it holds still. Returns its answer.
fn held(app: &App, case: &str, server: SocketAddr, strike: impl FnOnce() -> Result<()>) -> Result<String> {
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

/// A case plain; with the daemon killed, and started again, in the middle of it; with the daemon ended in the middle
/// of it: the same answer.
fn survives(case: &str, server: SocketAddr, cgroup: &Cgroup) -> Result<()> {
    let (before, pins) = (Objects::now()?, Pins::new()?);
    let app = relay::wire()?.start(&Launch::In(cgroup))?;
    let plain = held(&app, case, server, || Ok(()))?;
    let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
    let mut next = None;
    let killed = held(&app, case, server, || {
        kill(daemon)?;
        next = Some(Daemon::confined(&[cgroup.path()], &pins)?);
        Ok(())
    })?;
    ensure!(plain == killed, "{case}: {plain:?} became {killed:?}");
    let Some(daemon) = next else { anyhow::bail!("no daemon was started") };
    let ended = held(&app, case, server, || {
        ensure!(daemon.stop()? == 0, "the status after SIGTERM");
        Ok(())
    })?;
    ensure!(plain == ended, "{case}: {plain:?} became {ended:?}");
    drop(app);
    end(Daemon::confined(&[cgroup.path()], &pins)?, &pins, &before)
}

#[test]
fn a_download_with_unread_data_survives() -> Result<()> {
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let recorder = Recorder::start(bodies)?;
        survives("held_download", recorder.address(), &cgroup)
    })
}

#[test]
fn an_upload_survives() -> Result<()> {
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let wire = Wire::start(Script::silent().after(b"<END>", OK))?;
        survives("held_upload", wire.address(), &cgroup)?;
        let streams = wire.take(3)?;
        let bodies = streams
            .iter()
            .map(|stream| baton_tests::wire::find(&stream.bytes, b"\r\n\r\n").map(|end| &stream.bytes[end..]));
        let bodies: Vec<_> = bodies.collect();
        ensure!(bodies.iter().all(|body| body.is_some() && *body == bodies[0]), "the body changed");
        Ok(())
    })
}

#[test]
fn a_half_sent_head_survives() -> Result<()> {
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let wire = Wire::start(Script::silent().after(b"\r\n\r\n", OK))?;
        survives("held_head", wire.address(), &cgroup)?;
        let streams = wire.take(3)?;
        ensure!(streams.iter().all(|stream| *stream == streams[0]), "{streams:?}");
        Ok(())
    })
}

/// A relay that blocks in its reads, on one kept connection to a backend that can be told to hold its answers.
struct Held {
    app: App,
    recorder: Recorder,
    hold: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Held {
    fn start(cgroup: &Cgroup) -> Result<Self> {
        let hold = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let (holds, asks) = (Arc::clone(&hold), Arc::clone(&asked));
        let recorder = Recorder::start(move |head| {
            asks.fetch_add(1, Ordering::SeqCst);
            while holds.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            Reply::ok(head.target.as_bytes())
        })?;
        let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(cgroup))?;
        Ok(Self { app, recorder, hold, asked })
    }

    /// A request whose answer comes only after `strike`.
    fn during(&self, probe: &mut Probe<'_>, strike: impl FnOnce() -> Result<()>) -> Result<bool> {
        self.hold.store(true, Ordering::SeqCst);
        let seen = self.asked.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            let request = scope.spawn(|| probe.is_propagated());
            let struck =
                wait::until("the request", LIMIT, || Ok((self.asked.load(Ordering::SeqCst) > seen).then_some(())))
                    .and_then(|()| strike());
            self.hold.store(false, Ordering::SeqCst);
            let answer = request.join().map_err(|_| anyhow::anyhow!("the request panicked"))?;
            struck?;
            answer
        })
    }
}

#[test]
fn a_blocking_reader_survives_and_its_connection_is_taken_over() -> Result<()> {
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let (before, pins) = (Objects::now()?, Pins::new()?);
        let held = Held::start(&cgroup)?;
        let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
        let mut probe = Probe::kept(held.app.address(), &held.recorder);
        ensure!(probe.is_propagated()?, "{}", daemon.output());
        // It sleeps in its read meanwhile.
        let mut next = None;
        held.during(&mut probe, || {
            kill(daemon)?;
            next = Some(Daemon::confined(&[cgroup.path()], &pins)?);
            Ok(())
        })?;
        let Some(daemon) = next else { anyhow::bail!("no daemon was started") };
        // The connection blocks, and was open before this daemon: only a member can be adopted.
        wait::until("adoption", LIMIT, || {
            std::thread::sleep(Duration::from_millis(300));
            Ok(probe.is_propagated()?.then_some(()))
        })?;
        held.during(&mut probe, || daemon.reload(&[]))?;
        until_members(&pins, "no members", |members| members == 0)?;
        ensure!(!probe.is_propagated()?, "it goes on after it was switched off");
        end(daemon, &pins, &before)
    })
}

#[test]
fn a_blocking_reader_is_left_alone_at_the_end() -> Result<()> {
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let (before, pins) = (Objects::now()?, Pins::new()?);
        let held = Held::start(&cgroup)?;
        let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
        let mut probe = Probe::kept(held.app.address(), &held.recorder);
        ensure!(probe.is_propagated()?, "{}", daemon.output());
        held.during(&mut probe, || {
            ensure!(daemon.stop()? == 0, "the status after SIGTERM");
            ensure!(pins.members()? == 1, "the reader's connection has left");
            Ok(())
        })?;
        ensure!(!probe.is_propagated()?, "it goes on without the daemon");
        // One that is not to follow this workload lets it go.
        let daemon = Daemon::confined(&[], &pins)?;
        until_members(&pins, "no members", |members| members == 0)?;
        ensure!(!probe.is_propagated()?, "it is not selected");
        end(daemon, &pins, &before)
    })
}

#[test]
fn idle_connections_leave_when_their_workload_is_switched_off() -> Result<()> {
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let (before, pins) = (Objects::now()?, Pins::new()?);
        let recorder = Recorder::echoing_targets()?;
        let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
        let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
        let mut probes: Vec<_> = (0..20).map(|_| Probe::kept(app.address(), &recorder)).collect();
        for probe in &mut probes {
            ensure!(probe.is_propagated()?, "{}", daemon.output());
        }
        ensure!(pins.members()? == 20, "{} members", pins.members()?);
        daemon.reload(&[])?;
        until_members(&pins, "no members", |members| members == 0)?;
        for probe in &mut probes {
            ensure!(!probe.is_propagated()?, "it goes on after it was switched off");
        }
        daemon.reload(&[cgroup.path()])?;
        let mut fresh = Probe::fresh(app.address(), &recorder);
        wait::until("new connections", LIMIT, || Ok(fresh.is_propagated()?.then_some(())))?;
        end(daemon, &pins, &before)
    })
}

#[test]
fn two_daemons_do_not_share_a_directory() -> Result<()> {
    let (before, pins, cgroup) = (Objects::now()?, Pins::new()?, Cgroup::new()?);
    let daemon = Daemon::confined(&[cgroup.path()], &pins)?;
    let Err(error) = Daemon::confined(&[cgroup.path()], &pins) else { anyhow::bail!("two daemons run") };
    ensure!(error.to_string().contains("another baton uses it"), "{error}");
    end(daemon, &pins, &before)
}
