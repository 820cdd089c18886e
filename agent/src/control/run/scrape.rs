//! What metrics say of the daemon.

use super::Daemon;
use crate::control::scrape::Question;
use crate::control::socket::Listener;
use crate::datapath::probe;
use crate::datapath::workload::SELF_TEST;
use crate::failure::chain;
use crate::observe::metrics::Snapshot;

impl Daemon {
    /// Answers somebody who scrapes. That the kernel does not answer is that one's problem, and not the daemon's.
    pub(super) fn answer(&mut self, question: Question, listener: &Listener) {
        let snapshot = self.snapshot(listener);
        if let Err(error) = &snapshot {
            tracing::warn!(error = chain(error.as_ref()), "no metrics");
        }
        // It may have gone meanwhile.
        let _ = question.send(snapshot);
    }

    fn snapshot(&mut self, listener: &Listener) -> anyhow::Result<Snapshot> {
        Ok(Snapshot {
            started: self.started,
            kernel: probe::kernel_version().trim_start_matches("Linux ").to_owned(),
            ready: self.health.is_ready(),
            tested: !self.datapath.is_cured() || self.datapath.is_cut(),
            cured: self.datapath.is_cured(),
            programs: self.datapath.loaded()?,
            contexts: self.datapath.slots()?,
            total: self.workloads.total(&self.datapath)?,
            workloads: self.workloads.counts(&self.datapath)?,
            attached: (self.workloads.iter().count(), SELF_TEST),
            pods: self.pods.as_ref().map(super::pods::Pods::outside),
            watching: listener.watching(),
        })
    }
}
