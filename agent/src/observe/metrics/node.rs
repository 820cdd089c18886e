//! Metrics of the node: the daemon itself, and what all workloads have counted together. Every counter is there from the
//! start, with 0, so that a first loss is a change that Prometheus sees.

use std::fmt;
use std::time::UNIX_EPOCH;

use baton_common::flow::{Reason, counter};
use prometheus_client::registry::Unit;

use super::Snapshot;
use super::exposition::Exposition;

/// Writes all of them.
pub(super) fn write(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    daemon(out, snapshot)?;
    requests(out, snapshot)?;
    watching(out, snapshot)?;
    programs(out, snapshot)
}

fn daemon(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION")), ("kernel", snapshot.kernel.as_str())];
    out.info("build", "The version of baton, and the kernel that it runs on", [version])?;
    let started = snapshot.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.seconds("start_time", "When the daemon was started, since 1970", started.as_secs_f64())?;
    out.gauge("ready", "1 if /readyz answers that all is attached and known", snapshot.ready.into())?;
    out.gauge(
        "self_test_passed",
        "0 if connections that are open already cannot be taken in; if more of the self-test fails, baton does not start",
        snapshot.tested.into(),
    )?;
    out.gauge(
        "stream_verdict_cure",
        "1 if received data passes through the stream verdict, which this kernel needs",
        snapshot.cured.into(),
    )?;
    let (attached, limit) = snapshot.attached;
    out.gauge("workloads", "Workloads that are attached", attached as u64)?;
    out.gauge("workloads_limit", "Workloads that can be attached at once", limit.into())?;
    if let Some(pods) = &snapshot.pods {
        out.gauge("pods_waiting", "Pods that are to be workloads and have no cgroup yet", pods.waiting as u64)?;
        let notices = pods.notices.iter().map(|(reason, count)| ([("reason", *reason)], *count as u64));
        out.gauges("notices", "Pods and namespaces with which something is wrong, by reason", notices)?;
    }
    let (limit, peak) = snapshot.contexts;
    out.gauge("contexts_limit", "Accepted connections whose requests can be followed at once", limit.into())?;
    out.gauge("contexts_peak", "Most accepted connections that were followed at once", peak.into())
}

fn requests(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let total = &snapshot.total;
    out.counter("inbound_requests", "Inbound requests of all workloads", total.get(counter::INBOUND))?;
    let verdicts = total.all_outbound().map(|(verdict, count)| ([("verdict", verdict)], count));
    out.counters("outbound_requests", "Outbound requests of all workloads, by verdict", None, verdicts)?;
    let by_reason = |count: fn(&super::Counts, Reason) -> u64| {
        Reason::ALL.iter().map(move |reason| ([("reason", reason.name())], count(total, *reason)))
    };
    let help = "Outbound requests of all workloads that lost their context, by reason";
    out.counters("losses", help, None, by_reason(super::Counts::lost))?;
    let help = "Accepted connections of all workloads, or requests on them, that were not followed, by reason";
    out.counters("inbound_not_followed", help, None, by_reason(super::Counts::not_followed))?;
    out.counter(
        "lines_dropped",
        "Inbound requests of which a header line was illegal or too long and was not carried",
        total.get(counter::LINES_DROPPED),
    )?;
    out.counter(
        "connections_not_enrolled",
        "Opened connections that the kernel would not let baton follow",
        total.get(counter::NOT_ENROLLED),
    )
}

fn watching(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let (total, watching) = (&snapshot.total, &snapshot.watching);
    out.gauge("watchers", "Clients that are sent flow events", watching.watchers as u64)?;
    out.counter("flow_events", "Flow events of requests that were sent to whoever watched", watching.told)?;
    out.counter(
        "flow_events_dropped",
        "Flow events that found the buffer full while somebody watched",
        total.get(counter::EVENTS_DROPPED),
    )?;
    out.counter(
        "flow_events_skipped",
        "Flow events that were more than are sent in one second while somebody watched",
        total.get(counter::EVENTS_SKIPPED),
    )?;
    out.counter("watcher_events_missed", "Flow events that a watcher missed because it did not read", watching.missed)
}

fn programs(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let hooks = snapshot.programs.iter().map(|program| [("hook", program.hook), ("program", program.name.as_str())]);
    out.info("hook", "Programs in the kernel, and what they are attached to", hooks)?;
    let misses = snapshot.programs.iter().map(|program| ([("program", program.name.clone())], program.misses));
    let help = "Runs of a program that the kernel left out, since another thread was within it on the same processor";
    out.counters("program_misses", help, None, misses)?;
    let runs = || {
        let of = |program: &'_ super::Loaded| program.runs.map(|runs| (program.name.clone(), runs));
        snapshot.programs.iter().filter_map(of).map(|(name, runs)| ([("program", name)], runs))
    };
    let counts = runs().map(|(labels, (count, _))| (labels, count));
    out.counters("program_runs", "Runs of a program while the kernel counted them", None, counts)?;
    let times = runs().map(|(labels, (_, time))| (labels, time.as_secs_f64()));
    out.counters("program_run", "Time in a program while the kernel counted it", Some(&Unit::Seconds), times)
}
