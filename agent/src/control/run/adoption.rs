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
    /// When the first look began.
    since: Option<Instant>,
}

impl Adoption {
    /// First pauses.
    const FIRST: Duration = Duration::from_millis(25);

    /// For so long, pauses do not grow: a label is to have its effect within a second, and each look finds a connection
    /// that is in constant use between two messages with some likelihood only.
    const EAGER: Duration = Duration::from_secs(1);

    /// Longest pause: after it, what is left is left.
    const LAST: Duration = Duration::from_secs(30);

    /// Pauses are so many times longer than a look takes, which grows with the number of connections.
    const REST: u32 = 10;

    /// After a look that began at `start`: the next one is due later.
    fn again(&mut self, start: Instant) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(start);
        let grown = if now - since < Self::EAGER { Self::FIRST } else { self.pause * 2 };
        if self.left.is_empty() || grown > Self::LAST {
            *self = Self::default();
        } else {
            let pause = grown.max((now - start) * Self::REST).min(Self::LAST);
            (self.due, self.pause) = (Some(now + pause), pause);
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
            // What was taken in may turn out not to be between two messages.
            if adopted.left + adopted.taken > 0 {
                self.adoption.left.push(workload.generation);
            }
            if adopted.hidden > 0 && self.adoption.pause.is_zero() {
                observe::say(&format!(
                    "the open connections of {} processes of {} are not followed until they are opened anew: it takes CAP_SYS_PTRACE to look at them",
                    adopted.hidden, workload.desired.name
                ));
            }
            tracing::debug!(workload = workload.desired.name, ?adopted, "open connections");
        }
        Ok(())
    }

    /// Adopts for workloads that were just switched on.
    pub(super) fn adopt_new(&mut self, generations: &[u32]) -> anyhow::Result<()> {
        let start = Instant::now();
        (self.adoption.pause, self.adoption.since) = (Duration::ZERO, None);
        self.adopt(generations)?;
        self.adoption.again(start);
        Ok(())
    }

    /// Looks again at connections that were in use, with growing pauses.
    pub(super) fn look_again(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let left = std::mem::take(&mut self.adoption.left);
        self.adopt(&left)?;
        self.adoption.again(start);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn left(since: Duration, pause: Duration) -> Adoption {
        Adoption { left: vec![1], since: Instant::now().checked_sub(since), pause, ..Adoption::default() }
    }

    #[test]
    fn pauses_grow_after_a_second() {
        let second = Duration::from_secs(1);
        for (mut adoption, expected) in [
            (left(Duration::ZERO, Duration::ZERO), Some(Adoption::FIRST)),
            (left(second / 2, Adoption::FIRST), Some(Adoption::FIRST)),
            (left(2 * second, second), Some(2 * second)),
            (left(2 * second, Adoption::LAST), None),
            (Adoption { since: Some(Instant::now()), ..Adoption::default() }, None),
        ] {
            adoption.again(Instant::now());
            assert_eq!(adoption.due.is_some().then_some(adoption.pause), expected);
        }
    }

    #[test]
    fn a_costly_look_is_followed_by_a_long_pause() {
        let (mut adoption, look) = (left(Duration::ZERO, Duration::ZERO), Duration::from_millis(40));
        adoption.again(Instant::now().checked_sub(look).expect("the machine runs for longer"));
        assert!(adoption.pause >= look * Adoption::REST, "{adoption:?}");
    }
}
