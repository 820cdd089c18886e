//! Attaches workloads: the link, the cgroup's id, the address policy.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::CgroupSkbAttachType;
use aya::programs::cgroup_skb::CgroupSkbLinkId;
use aya::programs::links::CgroupAttachMode;
use aya::programs::sock_ops::SockOpsLinkId;
use baton_common::policy::{AddressKey, MAX_WORKLOADS, Workload};

use super::counters::Counts;
use super::load::Datapath;
use super::pod::Raw;
use super::totals::Totals;
use crate::config::Attribution;
use crate::config::addresses::Addresses;
use crate::control::cgroup;

/// Index of the self-test's own sockets; the workloads have those below it.
pub(crate) const SELF_TEST: u32 = MAX_WORKLOADS as u32 - 1;

/// What a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Desired {
    /// Its cgroup v2 directory.
    pub(crate) cgroup: PathBuf,
    /// Its name in flow events.
    pub(crate) name: String,
    /// Bits of the header names that it carries.
    pub(crate) names: u64,
    /// Its address policy.
    pub(crate) addresses: Addresses,
    /// How sure it must be which request caused another.
    pub(crate) attribution: Attribution,
}

/// A workload that is attached.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What it is.
    pub(crate) desired: Desired,
    /// Its index in the kernel side's tables.
    pub(crate) index: u32,
    /// Number of the time that it was switched on, unique in this process.
    pub(crate) generation: u32,
    id: u64,
    enrols: SockOpsLinkId,
    answers: CgroupSkbLinkId,
}

/// All attached workloads.
#[derive(Debug, Default)]
pub(crate) struct Workloads {
    attached: Vec<Attached>,
    generations: u32,
    totals: Totals,
}

impl Workloads {
    /// All attached workloads.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Attached> {
        self.attached.iter()
    }

    /// Number of the last time that a workload was attached.
    pub(crate) const fn newest(&self) -> u32 {
        self.generations
    }

    /// The name of the workload with `index`.
    pub(crate) fn name(&self, index: u32) -> &str {
        self.attached.iter().find(|workload| workload.index == index).map_or("", |workload| &workload.desired.name)
    }

    /// What all workloads have counted since this process began, those that are gone included.
    ///
    /// # Errors
    /// If the kernel does not let it be read.
    pub(crate) fn total(&self, datapath: &Datapath) -> anyhow::Result<Counts> {
        self.totals.all(datapath)
    }

    /// Some counters of all workloads together, as [`Self::total`] has them.
    ///
    /// # Errors
    /// As [`Self::total`].
    pub(crate) fn sum(&self, datapath: &mut Datapath, counters: &[usize]) -> anyhow::Result<u64> {
        self.totals.sum(datapath, counters)
    }

    /// What the attached workloads have counted, by name. Who is attached with other settings goes on counting.
    ///
    /// # Errors
    /// As [`Self::total`].
    pub(crate) fn counts(&mut self, datapath: &Datapath) -> anyhow::Result<BTreeMap<String, Counts>> {
        self.forget_gone();
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for workload in &self.attached {
            let name = &workload.desired.name;
            let before = || self.totals.before(name).cloned().unwrap_or_default();
            *counts.entry(name.clone()).or_insert_with(before) += &datapath.counters(workload.index)?;
        }
        Ok(counts)
    }

    fn forget_gone(&mut self) {
        self.totals.keep(|name| self.attached.iter().any(|workload| workload.desired.name == name));
    }

    /// Attaches to a workload. It is not followed before it is switched on.
    pub(crate) fn attach(&mut self, datapath: &mut Datapath, desired: Desired) -> anyhow::Result<()> {
        let id = cgroup::check(&desired.cgroup)?;
        let index = (0..SELF_TEST)
            .find(|index| self.attached.iter().all(|workload| workload.index != *index))
            .with_context(|| format!("{SELF_TEST} workloads are attached, which is the most there can be"))?;
        self.totals.give(datapath, index)?;
        {
            let mut addresses = addresses(datapath)?;
            for (bits, key) in desired.addresses.keys(index as u16) {
                addresses.insert(&Key::new(bits, Raw(key)), 1, 0).context("failed to set the address policy")?;
            }
        }
        let directory = File::open(&desired.cgroup)
            .with_context(|| format!("failed to open the cgroup {}", desired.cgroup.display()))?;
        // A bpf_link always shares the directory with others, and takes no flag.
        let answers = datapath
            .cgroup_skb()?
            .attach(&directory, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)
            .with_context(|| format!("failed to attach cgroup_skb to {}", desired.cgroup.display()))?;
        let enrols = datapath
            .sock_ops()?
            .attach(&directory, CgroupAttachMode::Single)
            .with_context(|| format!("failed to attach sock_ops to {}", desired.cgroup.display()))?;
        self.generations += 1;
        tracing::info!(workload = desired.name, cgroup = %desired.cgroup.display(), index, "attached");
        self.attached.push(Attached { desired, index, generation: self.generations, id, enrols, answers });
        Ok(())
    }

    /// Switches on what was attached after `before` was the newest.
    pub(crate) fn switch_on(&mut self, datapath: &mut Datapath, before: u32) -> anyhow::Result<()> {
        self.forget_gone();
        for workload in self.attached.iter().filter(|workload| workload.generation > before) {
            let attribution = workload.desired.attribution.into();
            let settings = Workload {
                names: workload.desired.names,
                enabled: 1,
                generation: workload.generation,
                attribution,
                reserved: 0,
            };
            datapath.set_workload(workload.index, settings)?;
            datapath.cgroups()?.insert(workload.id, workload.index, 0).context("failed to select the cgroup")?;
            tracing::info!(workload = workload.desired.name, attribution = ?workload.desired.attribution, "switched on");
        }
        Ok(())
    }

    /// Switches all off: nothing is inserted or read from this moment on.
    pub(crate) fn switch_off(&self, datapath: &mut Datapath) {
        for workload in &self.attached {
            // Writes to array and hash maps of this process cannot fail for
            // keys that are there.
            let _ = datapath.set_workload(workload.index, Workload::default());
            let _ = datapath.cgroups().map(|mut cgroups| cgroups.remove(&workload.id));
        }
    }

    /// Switches the workload in `directory` off and detaches from it.
    pub(crate) fn detach(&mut self, datapath: &mut Datapath, directory: &Path) -> anyhow::Result<()> {
        let Some(position) = self.attached.iter().position(|workload| workload.desired.cgroup == directory) else {
            return Ok(());
        };
        let workload = self.attached.remove(position);
        datapath.set_workload(workload.index, Workload::default())?;
        self.totals.part(datapath, workload.index, &workload.desired.name)?;
        // The directory may be gone already, and with it the link's target.
        let _ = datapath.cgroups()?.remove(&workload.id);
        datapath.sock_ops()?.detach(workload.enrols).context("failed to detach sock_ops")?;
        datapath.cgroup_skb()?.detach(workload.answers).context("failed to detach cgroup_skb")?;
        let mut addresses = addresses(datapath)?;
        for (bits, key) in workload.desired.addresses.keys(workload.index as u16) {
            let _ = addresses.remove(&Key::new(bits, Raw(key)));
        }
        tracing::info!(workload = workload.desired.name, "detached");
        Ok(())
    }
}

pub(super) fn addresses(datapath: &mut Datapath) -> anyhow::Result<LpmTrie<&mut MapData, Raw<AddressKey>, u32>> {
    datapath.map("ADDRESSES")
}
