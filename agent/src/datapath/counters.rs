//! What the kernel side has counted for one workload.

use std::ops::{Add, AddAssign};

use anyhow::{Context as _, bail};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::util::nr_cpus;
use baton_common::flow::{Reason, Verdict, counter};

use super::bpf;
use super::load::Datapath;

/// Stands in counters where a verdict does, see [`counter::NOT_LOOKED_AT`].
const NOT_LOOKED_AT: &str = "not-looked-at";

/// Counters of a workload, or of several together; see [`counter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts([u64; counter::COUNT]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; counter::COUNT])
    }
}

impl Counts {
    /// The counter `index` of [`counter`].
    pub(crate) const fn get(&self, index: usize) -> u64 {
        self.0[index]
    }

    /// Outbound requests with this verdict.
    pub(crate) fn outbound(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Injected => self.get(counter::INJECTED),
            Verdict::AlreadyPresent => self.get(counter::ALREADY_PRESENT),
            Verdict::NothingToInsert => self.get(counter::NOTHING_TO_INSERT),
            Verdict::Lost => Reason::ALL.iter().map(|reason| self.lost(*reason)).sum(),
        }
    }

    /// All outbound requests, by what became of them. The last ones have no verdict: they were only counted.
    pub(crate) fn all_outbound(&self) -> [(&'static str, u64); Verdict::ALL.len() + 1] {
        let [injected, present, nothing, lost] = Verdict::ALL.map(|verdict| (verdict.name(), self.outbound(verdict)));
        [injected, present, nothing, lost, (NOT_LOOKED_AT, self.get(counter::NOT_LOOKED_AT))]
    }

    /// Outbound requests that were lost for this reason.
    pub(crate) const fn lost(&self, reason: Reason) -> u64 {
        self.get(counter::OUTBOUND_LOST + reason as usize)
    }

    /// Accepted connections, or requests on them, that were not followed for this reason.
    pub(crate) const fn not_followed(&self, reason: Reason) -> u64 {
        self.get(counter::INBOUND_LOST + reason as usize)
    }

    #[cfg(test)]
    pub(crate) fn of(counts: &[(usize, u64)]) -> Self {
        let mut all = Self::default();
        counts.iter().for_each(|(index, count)| all.0[*index] = *count);
        all
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }
}

impl Add<&Self> for Counts {
    type Output = Self;

    fn add(mut self, other: &Self) -> Self {
        self += other;
        self
    }
}

impl Datapath {
    /// What was counted under the workload index `workload`, on all processors.
    ///
    /// # Errors
    /// If the kernel does not let it be read.
    pub(crate) fn counters(&self, workload: u32) -> anyhow::Result<Counts> {
        let processors = processors()?;
        let mut values = vec![0; counter::COUNT * processors];
        bpf::read_each(self.counter_map()?.fd(), first(workload)?, processors, &mut values)
            .context("failed to read a workload's counters")?;
        let mut counts = Counts::default();
        let sums = values.chunks_exact(processors).map(|each| each.iter().sum());
        counts.0.iter_mut().zip(sums).for_each(|(count, sum)| *count = sum);
        Ok(counts)
    }

    /// One of a workload's counters.
    ///
    /// # Errors
    /// As [`Self::counters`].
    pub(crate) fn counter(&mut self, workload: u32, index: usize) -> anyhow::Result<u64> {
        let counters: PerCpuArray<&mut MapData, u64> = self.map("COUNTERS")?;
        Ok(counters.get(&(first(workload)? + u32::try_from(index)?), 0)?.iter().sum())
    }

    /// Sets what was counted under the workload index `workload` to 0. Nothing must count there meanwhile.
    ///
    /// # Errors
    /// If the kernel does not let it be written.
    pub(super) fn reset_counters(&self, workload: u32) -> anyhow::Result<()> {
        let count = u32::try_from(counter::COUNT)?;
        bpf::clear_each(self.counter_map()?.fd(), first(workload)?, count, processors()?)
            .context("failed to reset a workload's counters")
    }

    fn counter_map(&self) -> anyhow::Result<&MapData> {
        match self.ebpf.map("COUNTERS") {
            Some(Map::PerCpuArray(map)) => Ok(map),
            _ => bail!("the object has no counters"),
        }
    }
}

/// Where a workload's counters begin.
fn first(workload: u32) -> anyhow::Result<u32> {
    Ok(workload * u32::try_from(counter::COUNT)?)
}

fn processors() -> anyhow::Result<usize> {
    nr_cpus().map_err(|(_, error)| error).context("failed to count processors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_the_sum_of_all_reasons() {
        let some = Counts::of(&[
            (counter::OUTBOUND_LOST + Reason::NoContext as usize, 2),
            (counter::OUTBOUND_LOST + Reason::Unreadable as usize, 3),
            (counter::INJECTED, 7),
        ]);
        let all = some.clone() + &some;
        assert_eq!((all.outbound(Verdict::Lost), all.outbound(Verdict::Injected)), (10, 14));
        assert_eq!((all.lost(Reason::NoContext), all.not_followed(Reason::NoContext)), (4, 0));
    }
}
