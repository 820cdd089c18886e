//! Incidents 9 and 11: coverage begins at once, and ends at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{Daemon, Exec};
use baton_tests::cgroup::Cgroup;
use baton_tests::probe::Probe;
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::wait;

/// "At once": what reading a configuration may take.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The pause of a client between two requests, and how long it may take until baton finds one.
const REST: Duration = Duration::from_millis(400);
const TAKEN_IN: Duration = Duration::from_secs(20);

#[test]
fn incident_09_connections_older_than_the_daemon_are_covered() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let cgroup = Cgroup::new()?;
    let app = relay::python_threads(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let mut probe = Probe::kept(app.address(), &recorder);
    let before = probe.relay(Some("before"))?;
    ensure!(before.carried()?.is_none(), "propagated without baton");
    let daemon = Daemon::start(&[cgroup.path()])?;
    for value in [Some("one"), None, Some("two")] {
        let request = probe.relay(value)?;
        ensure!(request.connection == before.connection, "the relay opened a new connection");
        ensure!(request.carried()? == value, "{:?} instead of {value:?}\n{}", request.carried()?, daemon.output());
    }
    daemon.stop().map(drop)
}

#[test]
fn incident_09_the_first_request_of_a_process_is_covered() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let cgroup = Cgroup::new()?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    for launch in [Launch::In(&cgroup), Launch::Exec(&Exec::default())] {
        for _ in 0..5 {
            let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&launch)?;
            let first = Probe::fresh(app.address(), &recorder).is_propagated()?;
            ensure!(first, "the first request of a process was lost\n{}", daemon.output());
        }
    }
    daemon.stop().map(drop)
}

#[test]
fn incident_11_switching_off_stops_at_once_and_on_again_works() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let cgroup = Cgroup::new()?;
    let app = relay::python_threads(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    let mut kept = Probe::kept(app.address(), &recorder);
    let mut fresh = Probe::fresh(app.address(), &recorder);
    for _ in 0..2 {
        wait::until("propagation on new connections", AT_ONCE, || Ok(fresh.is_propagated()?.then_some(())))?;
        // A connection that was open before is taken in when it rests.
        wait::until("propagation on an old connection", TAKEN_IN, || {
            std::thread::sleep(REST);
            Ok(kept.is_propagated()?.then_some(()))
        })?;
        for _ in 0..50 {
            ensure!(kept.is_propagated()? && fresh.is_propagated()?, "lost\n{}", daemon.output());
        }
        daemon.reload(&[])?;
        wait::until("propagation to end", AT_ONCE, || Ok((!kept.is_propagated()?).then_some(())))?;
        for _ in 0..200 {
            let injected = kept.is_propagated()? || fresh.is_propagated()?;
            ensure!(!injected, "switched off, yet injecting\n{}", daemon.output());
        }
        daemon.reload(&[cgroup.path()])?;
    }
    daemon.stop().map(drop)
}
