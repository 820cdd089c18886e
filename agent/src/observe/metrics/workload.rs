//! Metrics of each workload. They end when it is detached; the node's go on.

use std::fmt;

use baton_common::flow::{Reason, counter};

use super::exposition::Exposition;
use super::{Counts, Snapshot};

/// Writes all of them.
pub(super) fn write(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let each = |index: usize| {
        snapshot.workloads.iter().map(move |(name, counts)| ([("workload", name.as_str())], counts.get(index)))
    };
    out.counters("workload_inbound_requests", "Inbound requests", None, each(counter::INBOUND))?;
    let verdicts = snapshot.workloads.iter().flat_map(|(name, counts)| {
        counts.all_outbound().map(|(verdict, count)| ([("workload", name.as_str()), ("verdict", verdict)], count))
    });
    out.counters("workload_outbound_requests", "Outbound requests, by verdict", None, verdicts)?;
    let help = "Outbound requests that lost their context, by reason";
    out.counters("workload_losses", help, None, by_reason(snapshot, Counts::lost))?;
    let help = "Accepted connections, or requests on them, that were not followed, by reason";
    out.counters("workload_inbound_not_followed", help, None, by_reason(snapshot, Counts::not_followed))?;
    let help = "Inbound requests of which a header line was illegal or too long and was not carried";
    out.counters("workload_lines_dropped", help, None, each(counter::LINES_DROPPED))?;
    let help = "Opened connections that the kernel would not let baton follow";
    out.counters("workload_connections_not_enrolled", help, None, each(counter::NOT_ENROLLED))
}

/// By reason, but only those that a workload has: most have few.
fn by_reason(
    snapshot: &Snapshot,
    count: fn(&Counts, Reason) -> u64,
) -> impl Iterator<Item = ([(&'static str, &str); 2], u64)> {
    let workloads = snapshot.workloads.iter();
    let all = workloads.flat_map(move |(name, counts)| {
        Reason::ALL
            .iter()
            .map(move |reason| ([("workload", name.as_str()), ("reason", reason.name())], count(counts, *reason)))
    });
    all.filter(|(_, count)| *count > 0)
}
