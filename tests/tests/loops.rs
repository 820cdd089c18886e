//! Event loops that cannot be followed: while nobody watches, their requests are only counted; who begins to watch is told
//! of each of them all the same.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::{App, Launch, Program, free_port};
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::flows::{self, Flow};
use baton_tests::load::Client;
use baton_tests::metrics::Scrape;
use baton_tests::process::Running;
use baton_tests::recorder::Recorder;
use baton_tests::relay;
use baton_tests::scratch::{Scratch, serial};
use baton_tests::wait;

const LIMIT: Duration = Duration::from_secs(20);
const REASON: &str = "unsupported-runtime";

/// What a daemon has counted of requests.
#[derive(Clone, Copy, Debug)]
struct Counts {
    inbound: u64,
    lost: u64,
    not_looked_at: u64,
    /// All outbound ones.
    outbound: u64,
}

/// An application that a daemon has for a workload, a client and a backend that keep their connections.
struct Stage {
    app: App,
    recorder: Recorder,
    client: Client,
    daemon: Daemon,
    metrics: SocketAddr,
    _cgroup: Cgroup,
}

impl Stage {
    fn start(program: impl FnOnce(&Recorder) -> Result<Program>) -> Result<Self> {
        let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
        let app = program(&recorder)?.start(&Launch::In(&cgroup))?;
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let daemon = Daemon::start_with(&[cgroup.path()], &["--health", &metrics.to_string()], &[])?;
        Ok(Self { client: Client::new(app.address(), true), app, recorder, daemon, metrics, _cgroup: cgroup })
    }

    /// A request that causes one to the backend. Returns whether that carries its header, and how its path begins.
    fn relay(&mut self, via: &str) -> Result<(bool, String)> {
        let id = format!("loop-{}", serial());
        let fields = [("x-telepresence-id", id.as_str())];
        let (head, body) = self.client.get(&format!("/relay?id={id}&n=1&via={via}"), &fields)?;
        ensure!(head.status == 200, "{}: {}", head.status, String::from_utf8_lossy(&body));
        self.check(&id)
    }

    /// The same with a request that must carry nothing.
    fn request(&mut self) -> Result<String> {
        let (carries, path) = self.relay("now")?;
        ensure!(!carries, "an event loop's request carries its header");
        Ok(path)
    }

    /// The same with a body, in several pieces.
    fn upload(&mut self) -> Result<String> {
        let id = format!("loop-{}", serial());
        let head = format!(
            "POST /relay?id={id}&n=1&via=now HTTP/1.1\r\nHost: a\r\nx-telepresence-id: {id}\r\nContent-Length: 3000\r\n\r\n"
        );
        let (first, rest) = head.as_bytes().split_at(20);
        let (head, body) = self.client.send_pieces(&[first, rest, &[b'a'; 1000], &[b'b'; 2000]])?;
        ensure!(head.status == 200, "{}: {}", head.status, String::from_utf8_lossy(&body));
        let (carries, path) = self.check(&id)?;
        ensure!(!carries, "an event loop's request carries its header");
        Ok(path)
    }

    fn check(&self, id: &str) -> Result<(bool, String)> {
        let caused = self.recorder.take();
        ensure!(caused.len() == 1 && caused[0].head.target == format!("/out/{id}/1"), "{caused:?}");
        let carried = caused[0].carried()?;
        ensure!(carried.is_none_or(|carried| carried == id), "{id} carries {carried:?}");
        Ok((carried.is_some(), format!("/out/{id}/")))
    }

    fn counts(&self) -> Result<Counts> {
        let scrape = Scrape::of(self.metrics)?;
        let outbound = |verdict| scrape.sum("baton_outbound_requests_total", &[("verdict", verdict)]);
        Ok(Counts {
            inbound: scrape.sum("baton_inbound_requests_total", &[]),
            lost: scrape.sum("baton_losses_total", &[("reason", REASON)]),
            not_looked_at: outbound("not-looked-at"),
            outbound: scrape.sum("baton_outbound_requests_total", &[]),
        })
    }

    /// Sends until a request is only counted, as all are from then on.
    fn until_only_counted(&mut self) -> Result<()> {
        wait::until("an event loop's requests to be only counted", LIMIT, || {
            let before = self.counts()?.not_looked_at;
            self.request()?;
            Ok((self.counts()?.not_looked_at > before).then_some(()))
        })
    }

    /// Sends requests of which each is only counted.
    fn only_counted(&mut self) -> Result<()> {
        self.count_only(40, |stage, number| if number % 2 == 0 { stage.upload() } else { stage.request() })
    }

    /// The same with so many that `send` sends.
    fn count_only(&mut self, requests: u64, mut send: impl FnMut(&mut Self, u64) -> Result<String>) -> Result<()> {
        let before = self.counts()?;
        for number in 0..requests {
            send(self, number)?;
        }
        let now = self.counts()?;
        let (inbound, outbound) = (now.inbound - before.inbound, now.outbound - before.outbound);
        let not_looked_at = now.not_looked_at - before.not_looked_at;
        ensure!([inbound, outbound, not_looked_at] == [requests; 3] && now.lost == before.lost, "{before:?} {now:?}");
        Ok(())
    }

    /// Watches, and checks what is told of requests that are sent meanwhile.
    fn watched(&mut self) -> Result<()> {
        let scratch = Scratch::new()?;
        let mut watch = baton::command(["watch", "--json", "--socket"])?;
        watch.arg(self.daemon.socket());
        let mut watch = Running::spawn(watch, scratch.join("watch"))?;
        wait::until("the watch to see a request", LIMIT, || {
            let path = self.request()?;
            Ok(watch.output().contains(&path).then_some(()))
        })?;
        let before = self.counts()?;
        let mut paths = Vec::new();
        for number in 0..30 {
            paths.push(if number % 3 == 0 { self.upload()? } else { self.request()? });
        }
        let now = self.counts()?;
        ensure!(now.lost == before.lost + 30 && now.not_looked_at == before.not_looked_at, "{before:?} {now:?}");
        ensure!(now.inbound == before.inbound + 30, "{before:?} {now:?}");
        let told = wait::until("the last request to be told", LIMIT, || {
            let lines = watch.output();
            let is_there = paths.last().is_some_and(|last| lines.contains(last));
            Ok(is_there.then_some(lines))
        })?;
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let requests = flows::parse(whole)?;
        let calls = |path: &String| {
            let call = |flow: &&Flow| flow.kind == "outbound" && flow.path.starts_with(path);
            requests.iter().filter(call).collect::<Vec<_>>()
        };
        for path in &paths {
            let calls = calls(path);
            ensure!(calls.len() == 1 && calls[0].reason.as_deref() == Some(REASON), "{path}: {calls:?}");
        }
        // An inbound request is told without its query; each comes before the call that it causes.
        let first = requests.iter().position(|flow| flow.kind == "outbound" && flow.path.starts_with(&paths[0]));
        let since = &requests[first.unwrap_or_default().saturating_sub(1)..];
        let inbound: Vec<&Flow> = since.iter().filter(|flow| flow.kind == "inbound").collect();
        ensure!(inbound.len() == paths.len(), "{} inbound requests were told: {inbound:?}", inbound.len());
        ensure!(inbound.iter().all(|flow| flow.headers == ["x-telepresence-id"]), "{inbound:?}");
        watch.terminate().map(drop)
    }

    /// Without a watcher, with one, and without again.
    fn judge(mut self) -> Result<()> {
        self.until_only_counted()?;
        self.only_counted()?;
        self.watched()?;
        self.until_only_counted()?;
        self.only_counted()?;
        ensure!(self.client.reconnects() == 0, "the client had to connect again");
        ensure!(self.daemon.stop()? == 0, "the status after SIGTERM");
        drop(self.app);
        Ok(())
    }
}

#[test]
fn node() -> Result<()> {
    Stage::start(|recorder| relay::node(&recorder.url()))?.judge()
}

#[test]
fn nginx() -> Result<()> {
    Stage::start(|recorder| relay::nginx_with("relay.conf", &recorder.address().to_string()))?.judge()
}

/// A thread takes connections over from the loop: one whose requests were only counted, and one that is new.
#[test]
fn a_connection_that_was_only_counted_has_no_context_any_more() -> Result<()> {
    let mut stage = Stage::start(|recorder| relay::handing(&recorder.url()))?;
    stage.until_only_counted()?;
    stage.count_only(20, |stage, _| stage.request())?;
    stage.relay("hand")?;
    for _ in 0..10 {
        let (carries, path) = stage.relay("now")?;
        ensure!(!carries, "{path} carries its header");
    }
    let given_up = |stage: &Stage| -> Result<u64> {
        let scrape = Scrape::of(stage.metrics)?;
        let labels = [("reason", "framing-lost")];
        Ok(scrape.sum("baton_inbound_not_followed_total", &labels) + scrape.sum("baton_losses_total", &labels))
    };
    ensure!(given_up(&stage)? == 2, "both connections are to be given up once: {}", given_up(&stage)?);

    stage.client = Client::new(stage.app.address(), true);
    stage.relay("hand")?;
    for _ in 0..10 {
        let (carries, path) = stage.relay("now")?;
        ensure!(carries, "{path} carries nothing");
    }
    ensure!(given_up(&stage)? == 2, "a connection was given up: {}", given_up(&stage)?);
    ensure!(stage.daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}
