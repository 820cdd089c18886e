//! Connections that were open before their workload was switched on, and those
//! that shall leave.

use std::time::{Duration, Instant};

use super::{Daemon, borrowed};
use crate::control::cgroup;
use crate::datapath::adopt;
use crate::observe;

/// When connections are looked at again that were in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Adoption {
    /// The workloads that have some, by the numbers of the times that they were switched on.
    left: Vec<u32>,
    /// When the next look is due, if one is.
    due: Option<Instant>,
    /// Time before the last look.
    pause: Duration,
}

impl Adoption {
    /// First pause: a label is to have its effect within a second.
    const FIRST: Duration = Duration::from_millis(50);

    /// Longest pause: after it, what is left is left.
    const LAST: Duration = Duration::from_secs(30);

    /// After a look: the next one comes after twice the time.
    fn again(&mut self) {
        let pause = (self.pause * 2).max(Self::FIRST);
        if self.left.is_empty() || pause > Self::LAST {
            *self = Self::default();
        } else {
            (self.due, self.pause) = (Some(Instant::now() + pause), pause);
        }
    }

    /// Waits until the next look is due; for ever if none is.
    pub(super) async fn is_due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }
}

impl Daemon {
    /// Takes in the connections that were open before the workloads with these
    /// `generations` were selected.
    pub(super) fn adopt(&mut self, generations: &[u32]) -> anyhow::Result<()> {
        for workload in self.workloads.iter().filter(|workload| generations.contains(&workload.generation)) {
            let processes = cgroup::processes(&workload.desired.cgroup);
            if processes.is_empty() {
                continue;
            }
            self.tracker.look_at(&mut self.datapath, &processes)?;
            let adopted = adopt::adopt(&mut self.datapath, workload)?;
            if adopted.left > 0 {
                self.adoption.left.push(workload.generation);
            }
            if adopted.hidden > 0 && self.adoption.pause.is_zero() {
                observe::say(&format!(
                    "the open connections of {} processes of {} are not followed until they are opened anew: it takes CAP_SYS_PTRACE to look at them",
                    adopted.hidden, workload.desired.name
                ));
            }
            tracing::info!(workload = workload.desired.name, ?adopted, "open connections");
        }
        Ok(())
    }

    /// Adopts for workloads that were just switched on.
    pub(super) fn adopt_new(&mut self, generations: &[u32]) -> anyhow::Result<()> {
        self.adoption.pause = Duration::ZERO;
        self.adopt(generations)?;
        self.adoption.again();
        Ok(())
    }

    /// Looks again at connections that were in use, with growing pauses.
    pub(super) fn look_again(&mut self) -> anyhow::Result<()> {
        let left = std::mem::take(&mut self.adoption.left);
        self.adopt(&left)?;
        self.adoption.again();
        Ok(())
    }

    /// Lets sockets leave the SOCKHASH that do not speak HTTP/1, or whose
    /// workload was switched off.
    pub(super) fn let_leave(&mut self) -> anyhow::Result<()> {
        let mut to_leave = 0;
        for workload in self.workloads.iter() {
            to_leave += self.datapath.counter(workload.index, baton_common::flow::counter::TO_LEAVE)?;
        }
        if to_leave == self.to_leave && !self.waiting {
            return Ok(());
        }
        self.to_leave = to_leave;
        let cgroups = self.directories();
        self.waiting = self.leaving.pass(&mut self.datapath, &borrowed(&cgroups))? > 0;
        Ok(())
    }
}
