//! What all workloads have counted since this process began, those that are gone included: it never falls.

use std::collections::HashMap;

use super::counters::Counts;
use super::load::Datapath;

/// What counters were before their index was given to another workload.
#[derive(Debug, Default)]
pub(super) struct Totals {
    past: Counts,
    /// Indices below it were given to a workload at some time.
    given: u32,
    /// What was counted under a workload's name before it was attached as it is now.
    named: HashMap<String, Counts>,
}

impl Totals {
    /// Nothing is counted under `index` now, and its next workload begins with 0.
    pub(super) fn give(&mut self, datapath: &Datapath, index: u32) -> anyhow::Result<()> {
        if index < self.given {
            // With what came late: programs that ran when its last workload was switched off.
            self.past += &datapath.counters(index)?;
            datapath.reset_counters(index)?;
        }
        self.given = self.given.max(index + 1);
        Ok(())
    }

    /// The workload called `name` leaves `index`. What it has counted stays there until that is given again.
    pub(super) fn part(&mut self, datapath: &Datapath, index: u32, name: &str) -> anyhow::Result<()> {
        let counts = datapath.counters(index)?;
        *self.named.entry(name.to_owned()).or_default() += &counts;
        Ok(())
    }

    /// Forgets the names of workloads that are gone for good.
    pub(super) fn keep(&mut self, is_attached: impl Fn(&str) -> bool) {
        self.named.retain(|name, _| is_attached(name));
    }

    /// What was counted under `name` before.
    pub(super) fn before(&self, name: &str) -> Option<&Counts> {
        self.named.get(name)
    }

    /// All counters together.
    pub(super) fn all(&self, datapath: &Datapath) -> anyhow::Result<Counts> {
        let mut sum = self.past.clone();
        for index in 0..self.given {
            sum += &datapath.counters(index)?;
        }
        Ok(sum)
    }

    /// Some counters together.
    pub(super) fn sum(&self, datapath: &mut Datapath, counters: &[usize]) -> anyhow::Result<u64> {
        let mut sum = counters.iter().map(|counter| self.past.get(*counter)).sum();
        for index in 0..self.given {
            for counter in counters {
                sum += datapath.counter(index, *counter)?;
            }
        }
        Ok(sum)
    }
}
