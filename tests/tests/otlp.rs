//! `baton run --otlp`: hops of services that make no spans appear in the traces of those that do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::Daemon;
use baton_tests::cgroup::Cgroup;
use baton_tests::collector::{Collector, Span, SpanKind};
use baton_tests::load::Client;
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::wait;

const LIMIT: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Two services in workloads of their own, one after the other, in front of a backend that belongs to nobody.
struct Chain {
    _back: App,
    front: App,
    daemon: Daemon,
    collector: Collector,
    cgroups: [Cgroup; 2],
    _recorder: Recorder,
}

impl Chain {
    fn start() -> Result<Self> {
        let (recorder, cgroups) = (Recorder::echoing_targets()?, [Cgroup::new()?, Cgroup::new()?]);
        let collector = Collector::start()?;
        let back = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroups[1]))?;
        let front = relay::c(&format!("http://{}", back.address()), Backend::Kept)?.start(&Launch::In(&cgroups[0]))?;
        let options = ["--otlp", collector.url()];
        let fields = [("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=secret")];
        let daemon = Daemon::start_with(&[cgroups[0].path(), cgroups[1].path()], &options, &fields)?;
        Ok(Self { _back: back, front, daemon, collector, cgroups, _recorder: recorder })
    }

    /// Sends a request that belongs to `trace`, which is recorded if `flags` is `01`.
    fn send(&self, trace: &str, flags: &str) -> Result<()> {
        let traceparent = format!("00-{trace}-{PARENT}-{flags}");
        let mut client = Client::new(self.front.address(), false);
        client.get("/relay?id=it&n=1", &[("traceparent", &traceparent)]).map(drop)
    }

    /// The spans of `trace`, when there are four of them.
    fn trace(&self, trace: &str) -> Result<Option<Vec<Span>>> {
        let errors = self.collector.errors();
        ensure!(errors.is_empty(), "{errors:?}");
        let spans: Vec<Span> = self.collector.spans().into_iter().filter(|span| span.trace == trace).collect();
        Ok((spans.len() >= 4).then_some(spans))
    }

    /// Sends requests in traces that begin with `prefix` until one of them is there as a whole.
    fn until_traced(&self, prefix: &str) -> Result<Vec<Span>> {
        let mut sent = 0;
        wait::until("a whole trace", LIMIT, || {
            sent += 1;
            self.send(&format!("{prefix}{sent:0width$}", width = TRACE.len() - prefix.len()), "01")?;
            let traces = (1..=sent).map(|count| format!("{prefix}{count:0width$}", width = TRACE.len() - prefix.len()));
            traces.map(|trace| self.trace(&trace)).find_map(Result::transpose).transpose()
        })
        .with_context(|| self.daemon.output())
    }

    fn name(&self, hop: usize) -> Result<&str> {
        self.cgroups[hop].path().file_name().and_then(|name| name.to_str()).context("a name")
    }
}

fn one<'a>(spans: &'a [Span], service: &str, kind: SpanKind) -> Result<&'a Span> {
    let mut found = spans.iter().filter(|span| span.resource["service.name"] == service && span.kind == kind);
    let span = found.next().with_context(|| format!("no {kind:?} span of {service}: {spans:?}"))?;
    ensure!(found.next().is_none(), "two {kind:?} spans of {service}: {spans:?}");
    Ok(span)
}

#[test]
fn hops_are_spans_of_their_trace() -> Result<()> {
    let chain = Chain::start()?;
    let spans = chain.until_traced("a")?;
    ensure!(spans.len() == 4, "{spans:?}");
    let span = |hop, kind| one(&spans, chain.name(hop)?, kind);
    let (front, call) = (span(0, SpanKind::Server)?, span(0, SpanKind::Client)?);
    let (back, last) = (span(1, SpanKind::Server)?, span(1, SpanKind::Client)?);
    let parents = [&front.parent, &call.parent, &back.parent, &last.parent];
    ensure!(parents == [PARENT, &front.id, &call.id, &back.id], "{spans:?}");
    ensure!(front.start <= call.start && call.start <= back.start && back.start <= last.start, "{spans:?}");
    ensure!(back.end <= front.end && spans.iter().all(|span| !span.failed), "{spans:?}");
    for span in &spans {
        ensure!(span.attributes["http.request.method"] == "GET", "{span:?}");
        ensure!(span.attributes["http.response.status_code"] == "200", "{span:?}");
        ensure!(!span.attributes["url.path"].contains('?'), "{span:?}");
    }
    ensure!(front.attributes["server.port"] == chain.front.address().port().to_string(), "{front:?}");
    ensure!(call.attributes["baton.verdict"] == "injected", "{call:?}");
    ensure!(chain.collector.field("x-api-key").as_deref() == Some("secret"), "no header field of the environment");
    ensure!(!chain.daemon.output().contains("secret"), "a secret was told: {}", chain.daemon.output());
    ensure!(chain.daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}

#[test]
fn a_busy_collector_is_asked_again() -> Result<()> {
    let chain = Chain::start()?;
    chain.until_traced("a")?;
    chain.collector.be_busy(2);
    chain.until_traced("b")?;
    ensure!(chain.collector.refused() == 2, "{} batches were refused", chain.collector.refused());
    Ok(())
}

/// Whoever has decided that a trace is not recorded gets no spans for it; and what is in no trace gets none.
#[test]
fn what_nobody_records_has_no_spans() -> Result<()> {
    let chain = Chain::start()?;
    chain.until_traced("a")?;
    chain.send(TRACE, "00")?;
    Client::new(chain.front.address(), false).get("/relay?id=it&n=1", &[])?;
    let spans = chain.until_traced("b")?;
    ensure!(spans.len() == 4, "{spans:?}");
    let others: Vec<Span> =
        chain.collector.spans().into_iter().filter(|span| !span.trace.starts_with(['a', 'b'])).collect();
    ensure!(others.is_empty(), "{others:?}");
    Ok(())
}

/// A collector that is not there costs nothing but its spans, and is found out about.
#[test]
fn without_a_collector_all_else_goes_on() -> Result<()> {
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let gone = Collector::start()?.url().to_owned();
    let daemon = Daemon::start_with(&[cgroup.path()], &["--otlp", &gone], &[])?;
    wait::until("a warning", LIMIT, || {
        let mut client = Client::new(app.address(), false);
        let traceparent = format!("00-{TRACE}-{PARENT}-01");
        client.get("/relay?id=it&n=1", &[("traceparent", &traceparent)])?;
        let forwarded = recorder.take().iter().all(|request| request.head.values("traceparent").eq([&traceparent]));
        ensure!(forwarded, "a request without its header");
        Ok(daemon.output().contains(&gone).then_some(()))
    })
    .with_context(|| daemon.output())?;
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}
