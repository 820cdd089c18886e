//! Makes what is attached what is desired, one workload at a time.

use std::path::PathBuf;

use super::Daemon;
use crate::control::cgroup;
use crate::control::guard::Guard;
use crate::control::plan::Plan;
use crate::datapath::workload::Desired;
use crate::observe::event::Reader;

impl Daemon {
    /// Reads the configuration again and does what it says.
    pub(super) fn try_reload(&mut self, reader: &mut Reader) -> anyhow::Result<()> {
        let plan = Plan::make(&self.arguments.policy)?;
        let desired = plan.workloads(&self.arguments.cgroups);
        for workload in &desired {
            cgroup::check(&workload.cgroup)?;
        }
        anyhow::ensure!(
            (plan.contexts, plan.max_age) == (self.plan.contexts, self.plan.max_age),
            "limits are set when baton starts: restart it to change them"
        );
        let table = plan.headers.table()?;
        let renamed = plan.headers != self.plan.headers;
        self.plan = plan;
        // What pods carry are bits of the table, too: the old ones must not meet the new table.
        self.choose_pods();
        let wanted = self.wanted(desired);
        self.detach_others(&wanted)?;
        if renamed {
            self.datapath.set_names(&table)?;
            reader.set_headers(&self.plan.headers);
        }
        self.attach(self.missing(wanted))
    }

    /// Attaches `new` workloads, switches them on and takes in their open connections.
    pub(super) fn attach(&mut self, new: Vec<Desired>) -> anyhow::Result<()> {
        let before = self.workloads.newest();
        for workload in new {
            self.workloads.attach(&mut self.datapath, workload)?;
        }
        self.switch_on_since(before)
    }

    /// Switches on the workloads that were attached after `before` was the newest.
    pub(super) fn switch_on_since(&mut self, before: u32) -> anyhow::Result<()> {
        self.renew_guard()?;
        self.workloads.switch_on(&mut self.datapath, before)?;
        let new: Vec<u32> = (before + 1..=self.workloads.newest()).collect();
        self.adopt_new(&new)
    }

    /// Detaches all workloads that are not `desired` as they are.
    pub(super) fn detach_others(&mut self, desired: &[Desired]) -> anyhow::Result<()> {
        let is_gone = |attached: &Desired| !desired.contains(attached);
        let gone: Vec<PathBuf> = self
            .workloads
            .iter()
            .filter(|attached| is_gone(&attached.desired))
            .map(|attached| attached.desired.cgroup.clone())
            .collect();
        for directory in &gone {
            self.workloads.detach(&mut self.datapath, directory)?;
            self.waiting = true;
        }
        if !gone.is_empty() {
            self.leaving.part(gone);
        }
        Ok(())
    }

    /// Those of `desired` that are not attached.
    pub(super) fn missing(&self, desired: Vec<Desired>) -> Vec<Desired> {
        let is_attached = |workload: &Desired| self.workloads.iter().any(|attached| attached.desired == *workload);
        desired.into_iter().filter(|workload| !is_attached(workload)).collect()
    }

    /// Starts a guard for what is held now, in place of the one before. What is
    /// pinned needs none.
    pub(super) fn renew_guard(&mut self) -> anyhow::Result<()> {
        if self.datapath.is_pinned() {
            return Ok(());
        }
        let guard = Guard::start(&mut self.datapath, &mut self.workloads, None)?;
        if let Some(old) = self.guard.replace(guard) {
            old.dismiss();
        }
        Ok(())
    }
}
