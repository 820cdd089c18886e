//! Those who watch a busy workload: whatever they cannot be shown is counted, to the last request.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::Daemon;
use baton_tests::cgroup::Cgroup;
use baton_tests::load::{self, Cell, Client};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// What is sent until a watcher sees it. It makes no outbound request.
const PROBE: &str = "/probe";

/// Resident memory that the daemon may have, whoever watches.
const MEMORY: u64 = 60 << 20;

/// A watcher, as `baton watch` is one.
struct Watcher {
    lines: BufReader<UnixStream>,
    shown: u64,
    missed: u64,
}

impl Watcher {
    fn connect(daemon: &Daemon) -> Result<Self> {
        let stream = UnixStream::connect(daemon.socket()).context("the daemon's socket")?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Self { lines: BufReader::with_capacity(1 << 16, stream), shown: 0, missed: 0 })
    }

    /// Reads what there is. Returns whether a probe was in it, which does not count.
    fn read(&mut self) -> Result<bool> {
        let (mut line, mut probed) = (String::new(), false);
        loop {
            match self.lines.read_line(&mut line) {
                Ok(0) => anyhow::bail!("the daemon ended"),
                Ok(_) => probed |= self.count(&serde_json::from_str(&line)?),
                // What was read of a line stays in it.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if line.is_empty() {
                        return Ok(probed);
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            line.clear();
        }
    }

    fn count(&mut self, event: &Value) -> bool {
        match event["kind"].as_str() {
            Some("inbound" | "outbound") if event["path"] == PROBE => return true,
            Some("inbound" | "outbound") => self.shown += 1,
            Some("missed") => self.missed += event["count"].as_u64().unwrap_or(0),
            _ => {}
        }
        false
    }

    /// Reads until so many requests were shown or counted.
    fn read_all(&mut self, requests: u64) -> Result<()> {
        let start = Instant::now();
        while self.shown + self.missed < requests && start.elapsed() < LIMIT {
            self.read()?;
        }
        // Whatever comes now is too much.
        self.read()?;
        let (shown, missed) = (self.shown, self.missed);
        ensure!(shown + missed == requests, "{shown} shown and {missed} missed, of {requests}");
        ensure!(shown > 0 && missed > 0, "{shown} shown and {missed} missed: the case says nothing");
        Ok(())
    }
}

#[test]
fn what_is_shown_and_what_is_missed_are_all_requests() -> Result<()> {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 80_000;
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    // The daemon admits them in this order.
    let (mut stalled, mut reader) = (Watcher::connect(&daemon)?, Watcher::connect(&daemon)?);
    let start = Instant::now();
    while !reader.read()? {
        ensure!(start.elapsed() < LIMIT, "a watcher never saw anything");
        Client::new(app.address(), false).get(&format!("{PROBE}?id=none&n=0"), &[])?;
    }
    let report = std::thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| load::run(app.address(), &Cell::new(CLIENTS, REQUESTS, true)));
        while !load.is_finished() {
            reader.read()?;
        }
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    })?;
    let events = report.sent.iter().map(|request| 1 + request.fan_out as u64).sum();
    reader.read_all(events).context("a watcher that reads")?;
    stalled.read_all(events).context("a watcher that did not read")?;
    let memory = daemon.memory()?;
    ensure!(memory < MEMORY, "the daemon has {memory} bytes");
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}
