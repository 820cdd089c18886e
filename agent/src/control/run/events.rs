//! Flow events for those who watch.

use baton_common::flow::counter;
use tokio::net::UnixStream;

use super::Daemon;
use crate::control::socket::Listener;
use crate::observe::event::Reader;

/// Most flow events of a workload in a second on one processor, of requests that lost nothing, and of losses: what
/// people can use, and what costs a busy workload little.
const MOST: u32 = 2000;

/// The same while somebody looks for one request among many: about what the daemon can read.
const MORE: u32 = 20_000;

impl Daemon {
    /// Somebody watches from now on.
    pub(super) fn add_watcher(
        &mut self,
        listener: &mut Listener,
        reader: &mut Reader,
        watcher: UnixStream,
    ) -> anyhow::Result<()> {
        // What was skipped until now is not missing for this one.
        self.tell_skipped(listener)?;
        if !listener.is_watched() {
            reader.begin();
        }
        listener.add(watcher);
        self.set_wanted(listener)
    }

    /// Lets the kernel side send as many flow events as those who watch want.
    pub(super) fn set_wanted(&mut self, listener: &Listener) -> anyhow::Result<()> {
        self.datapath.want_events(match (listener.is_watched(), listener.wants_more()) {
            (false, _) => 0,
            (true, false) => MOST,
            (true, true) => MORE,
        })
    }

    /// Tells who watches how many flow events are missing since the last time.
    pub(super) fn tell_skipped(&mut self, listener: &mut Listener) -> anyhow::Result<()> {
        let counters = [counter::EVENTS_SKIPPED, counter::EVENTS_DROPPED];
        let skipped = self.workloads.sum(&mut self.datapath, &counters)?;
        listener.miss(skipped.saturating_sub(self.skipped));
        self.skipped = skipped;
        Ok(())
    }
}
