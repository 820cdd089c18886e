//! Flow events for those who watch.

use std::collections::HashMap;

use baton_common::flow::counter;
use tokio::net::UnixStream;

use super::Daemon;
use crate::control::socket::Listener;
use crate::observe::event::Reader;

/// Most flow events of a workload in a second on one processor, of requests that lost nothing, and of losses: what
/// people can use, and what costs a busy workload little.
const MOST: u32 = 2000;

/// Flow events that were ever skipped, by the numbers of the times that workloads were switched on, as of the last look.
#[derive(Debug, Default)]
pub(super) struct Skipped(HashMap<u32, u64>);

impl Skipped {
    /// What is new since the last look. What a workload has when it is first seen is of one that had its place before.
    fn update(&mut self, now: HashMap<u32, u64>) -> u64 {
        let new = |(generation, count): (&u32, &u64)| {
            self.0.get(generation).map_or(0, |before| count.saturating_sub(*before))
        };
        let sum = now.iter().map(new).sum();
        self.0 = now;
        sum
    }
}

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
            self.datapath.want_events(MOST)?;
        }
        listener.add(watcher);
        Ok(())
    }

    /// Tells who watches how many flow events are missing since the last time.
    pub(super) fn tell_skipped(&mut self, listener: &mut Listener) -> anyhow::Result<()> {
        let mut now = HashMap::new();
        for workload in self.workloads.iter() {
            let mut count = 0;
            for counter in [counter::EVENTS_SKIPPED, counter::EVENTS_DROPPED] {
                count += self.datapath.counter(workload.index, counter)?;
            }
            now.insert(workload.generation, count);
        }
        listener.miss(self.skipped.update(now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_once() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.update([(1, 7), (2, 1)].into()), 0);
        assert_eq!(skipped.update([(1, 9), (2, 1)].into()), 2);
        // The second is gone, and a third has its place and its counters.
        assert_eq!(skipped.update([(1, 10), (3, 5)].into()), 1);
        assert_eq!(skipped.update([(1, 10), (3, 6)].into()), 1);
    }
}
