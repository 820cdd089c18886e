//! Connections that were open before their workload was switched on, and that are never idle for long: followed within a
//! second, and every byte arrives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use baton_tests::app::{Launch, Program};
use baton_tests::baton::{Daemon, HEADERS};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::{self, Cell};
use baton_tests::programs::Go;
use baton_tests::recorder::{Recorded, Recorder};
use baton_tests::relay::{self, Backend};
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

    /// When each of the connections that were open before began to carry headers.
    fn effects(&self) -> Result<Vec<Duration>> {
        let mut first: BTreeMap<u64, Option<Instant>> = BTreeMap::new();
        for request in &self.recorded {
            if request.at < self.ready {
                first.entry(request.connection).or_default();
            }
            if let Some(first) = first.get_mut(&request.connection)
                && request.head.values(HEADERS[0]).next().is_some()
            {
                first.get_or_insert(request.at);
            }
        }
        let last = self.recorded.iter().map(|request| request.at).max().context("no request")?;
        ensure!(last > self.ready + 2 * EFFECT, "the load ended {:?} after the start", last - self.ready);
        ensure!(first.len() >= 2, "{} connections to the backend", first.len());
        let missing = || format!("a connection was never followed: {}", self.tally);
        first.into_values().map(|at| Ok(at.with_context(missing)?.saturating_duration_since(self.ready))).collect()
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
