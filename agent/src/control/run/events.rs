//! Flow events for those who watch.

use baton_common::flow::counter;

use super::Daemon;
use crate::control::socket::Listener;

/// Most flow events of a workload in a second on one processor, of requests that lost nothing, and of losses: what
/// people can use, and what costs a busy workload little.
const MOST: u32 = 2000;

impl Daemon {
    /// Somebody watches now.
    pub(super) fn begin_events(&mut self) -> anyhow::Result<()> {
        self.skipped = self.count_skipped()?;
        self.datapath.want_events(MOST)
    }

    /// Tells who watches how many flow events are missing since the last time.
    pub(super) fn tell_skipped(&mut self, listener: &mut Listener) -> anyhow::Result<()> {
        if !listener.is_watched() {
            return Ok(());
        }
        let skipped = self.count_skipped()?;
        // Workloads that are gone took theirs along.
        let new = skipped.saturating_sub(self.skipped);
        self.skipped = skipped;
        if new > 0 {
            listener.miss(new);
        }
        Ok(())
    }

    fn count_skipped(&mut self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for workload in self.workloads.iter() {
            for counter in [counter::EVENTS_SKIPPED, counter::EVENTS_DROPPED] {
                sum += self.datapath.counter(workload.index, counter)?;
            }
        }
        Ok(sum)
    }
}
