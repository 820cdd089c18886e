//! Connections that were open before their workload was switched on, and that are never idle for long: followed within a
//! second, and every byte arrives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use baton_tests::app::{Launch, Program};
use baton_tests::baton::{self, Daemon, HEADERS};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::flows::{self, Flow};
use baton_tests::load::{self, Cell};
use baton_tests::probe::Probe;
use baton_tests::process::Running;
use baton_tests::programs::Go;
use baton_tests::recorder::{Recorded, Recorder};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::verdict::Tally;
use baton_tests::wait;

const LIMIT: Duration = Duration::from_secs(30);

/// From the moment that baton is ready until a connection's requests carry their headers.
const EFFECT: Duration = Duration::from_secs(1);

/// What became of load through a relay, in the middle of which baton began.
struct Joined {
    tally: Tally,
    recorded: Vec<Recorded>,
    ready: Instant,
}

/// Requests of a connection in constant use, beyond [`EFFECT`]. Of one that is used now and then the first request proves
/// what it is, and carries nothing.
const CONSTANT: usize = 10;

/// A connection that was open before baton began.
#[derive(Default)]
struct Seen {
    /// Its first request that carried a header.
    followed: Option<Instant>,
    /// How many requests it had when it should have been followed.
    late: usize,
}

impl Joined {
    /// Clients that send without a pause over kept connections, and a daemon that starts while they do.
    fn midway(program: impl FnOnce(&str) -> Result<Program>, requests: usize) -> Result<Self> {
        const CLIENTS: usize = 4;
        let (before, cgroup, recorder) = (Objects::now()?, Cgroup::new()?, Recorder::echoing_targets()?);
        let app = program(&recorder.url())?.start(&Launch::In(&cgroup))?;
        let (report, ready) = std::thread::scope(|scope| -> Result<_> {
            let load = scope.spawn(|| load::run(app.address(), &Cell::new(CLIENTS, requests, true)));
            wait::until("traffic", LIMIT, || Ok((recorder.count() > 500).then_some(())))?;
            let daemon = Daemon::start(&[cgroup.path()])?;
            let ready = Instant::now();
            let report = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
            ensure!(daemon.stop()? == 0, "the status after SIGTERM");
            Ok((report, ready))
        })?;
        app.stop()?;
        ensure!(report.reconnects == 0, "{} connections broke", report.reconnects);
        let errors = recorder.errors();
        ensure!(errors.is_empty(), "damaged requests: {errors:?}");
        let recorded = recorder.take();
        let tally = Tally::of(&report.sent, &recorded);
        ensure!(tally.is_safe(), "{tally}");
        nothing_new_since(&before)?;
        Ok(Self { tally, recorded, ready })
    }

    /// When each of the connections that were open before, and long enough after, began to carry headers.
    fn effects(&self) -> Result<Vec<Duration>> {
        let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
        for request in &self.recorded {
            if request.at < self.ready {
                seen.entry(request.connection).or_default();
            }
            if let Some(seen) = seen.get_mut(&request.connection) {
                seen.late += usize::from(request.at > self.ready + EFFECT);
                if request.head.values(HEADERS[0]).next().is_some() {
                    seen.followed.get_or_insert(request.at);
                }
            }
        }
        // Go prefers the connection that it used last: others may never be used again.
        let lasting: Vec<Seen> = seen.into_values().filter(|seen| seen.late >= CONSTANT).collect();
        ensure!(!lasting.is_empty(), "no connection was open for long enough after the start");
        let since = |seen: Seen| {
            let missing = || format!("a connection was not followed in {} late requests: {}", seen.late, self.tally);
            Ok(seen.followed.with_context(missing)?.saturating_duration_since(self.ready))
        };
        lasting.into_iter().map(since).collect()
    }
}

#[test]
fn connections_in_constant_use_are_followed_within_a_second() -> Result<()> {
    const REQUESTS: usize = 60_000;
    for build in [Go::Plain, Go::NewStripped] {
        let joined = Joined::midway(|url| relay::go(url, build), REQUESTS)?;
        let effects = joined.effects().with_context(|| format!("{build:?}"))?;
        ensure!(effects.iter().all(|effect| *effect < EFFECT), "{build:?}: {effects:?}");
        ensure!(joined.tally.correct > REQUESTS / 4, "{build:?}: {}", joined.tally);
    }
    Ok(())
}

/// Threads that sleep in blocking reads are left alone where they would not wake up again.
#[test]
fn blocking_connections_in_constant_use_lose_no_byte() -> Result<()> {
    Joined::midway(|url| relay::c(url, Backend::Kept), 60_000).map(drop)
}

/// What nothing goes into before a connection has proved itself is explained, as each loss is.
#[test]
fn the_first_request_of_a_connection_in_use_is_explained() -> Result<()> {
    let (scratch, recorder, others) = (Scratch::new()?, Recorder::echoing_targets()?, Recorder::echoing_targets()?);
    let (busy, quiet) = (Cgroup::new()?, Cgroup::new()?);
    let app = relay::go(&recorder.url(), Go::Plain)?.start(&Launch::In(&busy))?;
    let other = relay::c(&others.url(), Backend::Fresh)?.start(&Launch::In(&quiet))?;
    let daemon = Daemon::start(&[quiet.path()])?;
    let mut watch = baton::command(["watch", "--json", "--socket"])?;
    watch.arg(daemon.socket());
    let watch = Running::spawn(watch, scratch.join("output"))?;
    let seen = |wanted: &dyn Fn(&Flow) -> bool| {
        watch.output().lines().any(|line| flows::parse(line).is_ok_and(|flows| flows.iter().any(wanted)))
    };
    wait::until("the watch to begin", LIMIT, || {
        Probe::fresh(other.address(), &others).is_propagated()?;
        Ok(seen(&|flow| flow.is("injected")).then_some(()))
    })?;
    let unproven = |flow: &Flow| flow.is("lost") && flow.reason.as_deref() == Some("unproven");
    let traffic = |requests: usize| {
        let wanted = recorder.count() + requests;
        wait::until("traffic", LIMIT, || Ok((recorder.count() > wanted).then_some(())))
    };
    std::thread::scope(|scope| -> Result<()> {
        let load = scope.spawn(|| load::run(app.address(), &Cell::new(4, 30_000, true)));
        // On a machine that is busy otherwise, all connections may have been idle for long enough.
        while !seen(&unproven) && !load.is_finished() {
            daemon.reload(&[quiet.path()])?;
            traffic(500)?;
            daemon.reload(&[quiet.path(), busy.path()])?;
            traffic(1000)?;
        }
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?.map(drop)
    })?;
    ensure!(seen(&unproven), "no first request was lost for its connection's sake: {}", daemon.output());
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}
