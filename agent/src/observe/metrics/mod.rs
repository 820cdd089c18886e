//! Metrics for Prometheus: what the daemon knows at one moment, as text.
//!
//! Labels have few values: workloads (at most as many as there can be), verdicts, reasons, programs. Nothing that traffic
//! says is one.

mod exposition;
mod node;
mod text;
mod workload;

use std::collections::BTreeMap;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use self::exposition::Exposition;
pub(crate) use self::text::Format;
use crate::datapath::counters::Counts;
use crate::datapath::statistics::Loaded;

/// What the daemon knows at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When this process began.
    pub(crate) started: SystemTime,
    /// The running kernel's release.
    pub(crate) kernel: String,
    /// As `/readyz` says.
    pub(crate) ready: bool,
    /// Whether all of the self-test has passed. Where a part has not that baton cannot do without, it does not start.
    pub(crate) tested: bool,
    /// Whether received data passes through the sockmap's own queue.
    pub(crate) cured: bool,
    /// All programs in the kernel.
    pub(crate) programs: Vec<Loaded>,
    /// Context slots, and how many were taken at once at most.
    pub(crate) contexts: (u32, u32),
    /// What all workloads have counted, those that are gone included.
    pub(crate) total: Counts,
    /// What the attached workloads have counted, by name.
    pub(crate) workloads: BTreeMap<String, Counts>,
    /// Workloads that are attached, and that there can be.
    pub(crate) attached: (usize, u32),
    /// Pods that stay out.
    pub(crate) pods: Option<Pods>,
    /// Those who watch.
    pub(crate) watching: Watching,
}

/// Pods that should be workloads, and are not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods {
    /// Whose cgroup directories have not come yet.
    pub(crate) waiting: usize,
    /// Notices that hold, by their reasons.
    pub(crate) notices: Vec<(&'static str, usize)>,
}

/// Flow events and those who are sent them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watching {
    /// Watchers that are connected.
    pub(crate) watchers: usize,
    /// Requests that were told to whoever was watching.
    pub(crate) told: u64,
    /// Requests that a watcher was not told, because it did not read; of all watchers together.
    pub(crate) missed: u64,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut out = Exposition(encoder);
        node::write(&mut out, self)?;
        workload::write(&mut out, self)
    }
}

/// All metrics as text.
pub(crate) fn encode(snapshot: Snapshot, format: Format) -> String {
    let mut registry = Registry::with_prefix("baton");
    registry.register_collector(Box::new(snapshot));
    let mut openmetrics = String::new();
    // Writing to a String does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut openmetrics, &registry);
    format.of(openmetrics)
}

#[cfg(test)]
mod tests;
