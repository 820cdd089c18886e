//! Workloads that Kubernetes labels choose.

use super::Daemon;
use crate::cli::Run;
use crate::control::cgroup;
use crate::control::kubernetes::Kubernetes;
use crate::control::kubernetes::report::{Notice, Notices, REASONS};
use crate::control::plan::Plan;
use crate::control::socket::Listener;
use crate::datapath::workload::Desired;
use crate::observe::names::Names;
use crate::observe::{self, metrics};

/// The pods of this node, and what is known of their workloads.
pub(super) struct Pods {
    kubernetes: Kubernetes,
    /// What they want, as of the last look.
    desired: Vec<Desired>,
    notices: Notices,
    /// Whether some workload could not be attached.
    failed: bool,
}

impl Pods {
    /// Begins to follow the pods, if that is asked for.
    pub(super) async fn begin(arguments: &Run, plan: &Plan) -> anyhow::Result<Option<Self>> {
        if !arguments.kubernetes {
            return Ok(None);
        }
        let named = arguments.cgroup_root.clone().or_else(|| plan.kubernetes.cgroup_root.clone());
        let root = named.map_or_else(cgroup::mount, Ok)?;
        cgroup::check(&root)?;
        let node = arguments.node.clone().or_else(|| std::env::var("NODE_NAME").ok());
        let kubernetes = Kubernetes::begin(node.as_deref(), root).await?;
        Ok(Some(Self { kubernetes, desired: Vec::new(), notices: Notices::default(), failed: false }))
    }

    /// The pods that should be workloads, and are not.
    pub(super) fn outside(&self) -> metrics::Pods {
        let count = |reason| (reason, self.notices.iter().filter(|notice| notice.reason == reason).count());
        metrics::Pods { waiting: self.kubernetes.waiting(), notices: REASONS.map(count).to_vec() }
    }

    /// The names that the cluster has for what flow events show.
    pub(super) fn names(&self) -> Names {
        self.kubernetes.names()
    }
}

/// Waits until pods changed; for ever where nobody asked for them.
pub(super) async fn changed(pods: &mut Option<Pods>) -> anyhow::Result<()> {
    match pods {
        Some(pods) => pods.kubernetes.changed().await,
        None => std::future::pending().await,
    }
}

impl Daemon {
    /// `configured` workloads and the pods'.
    pub(super) fn wanted(&self, configured: Vec<Desired>) -> Vec<Desired> {
        let pods = self.pods.iter().flat_map(|pods| pods.desired.iter().cloned());
        let mut all = configured;
        for pod in pods {
            if all.iter().all(|other| other.cgroup != pod.cgroup) {
                all.push(pod);
            }
        }
        all
    }

    /// Asks labels and annotations what they want now. Returns what stands in the way
    /// of some; `None` if not all is known yet.
    pub(super) fn choose_pods(&mut self) -> Option<Vec<Notice>> {
        let pods = self.pods.as_mut().filter(|pods| pods.kubernetes.is_complete())?;
        let wanted = pods.kubernetes.wanted(&self.plan);
        pods.desired = wanted.workloads;
        Some(wanted.notices)
    }

    /// Does what labels and annotations want now.
    pub(super) fn follow_pods(&mut self, listener: &mut Listener) -> anyhow::Result<()> {
        let Some(mut notices) = self.choose_pods() else { return Ok(()) };
        let all = self.wanted(self.plan.workloads(&self.arguments.cgroups));
        self.detach_others(&all)?;
        let before = self.workloads.newest();
        let failures = self.attach_each(self.missing(all));
        if self.workloads.newest() > before {
            self.switch_on_since(before)?;
        }
        let Some(pods) = &mut self.pods else { return Ok(()) };
        pods.failed = !failures.is_empty();
        notices.extend(failures.into_iter().filter_map(|(name, why)| pods.kubernetes.notice(&name, why)));
        for notice in pods.notices.news(notices) {
            observe::say(&format!("{} {}: {}", notice.kind.to_lowercase(), notice.object(), notice.text));
            listener.tell(&told(&notice))?;
            pods.kubernetes.publish(&notice);
        }
        self.health.set_ready(!pods.kubernetes.is_lost());
        Ok(())
    }

    /// Attaches what can be; returns the names of the others, with the reasons.
    fn attach_each(&mut self, new: Vec<Desired>) -> Vec<(String, String)> {
        let mut failures = Vec::new();
        for workload in new {
            let name = workload.name.clone();
            if let Err(error) = self.workloads.attach(&mut self.datapath, workload) {
                failures.push((name, format!("{error:#}")));
            }
        }
        failures
    }

    /// What time brings: pods whose cgroups are late, and an API server that is lost.
    pub(super) fn look_for_pods(&mut self, listener: &mut Listener) -> anyhow::Result<()> {
        let Some(pods) = &mut self.pods else { return Ok(()) };
        self.health.set_ready(pods.kubernetes.is_complete() && !pods.kubernetes.is_lost());
        if !pods.failed && !pods.kubernetes.is_waiting() {
            return Ok(());
        }
        pods.kubernetes.look_again()?;
        self.follow_pods(listener)
    }

    /// Tells a watcher that is new what is wrong at this time.
    pub(super) fn tell_again(&self, listener: &mut Listener) -> anyhow::Result<()> {
        for notice in self.pods.iter().flat_map(|pods| pods.notices.iter()) {
            listener.tell_newest(&told(notice))?;
        }
        Ok(())
    }
}

/// A notice as watchers get it; see docs/FLOWS.md.
fn told(notice: &Notice) -> serde_json::Value {
    serde_json::json!({
        "time": format!("{:.6}", jiff::Timestamp::now()),
        "kind": "notice",
        "object": notice.kind.to_lowercase(),
        "workload": notice.object(),
        "reason": notice.reason,
        "message": notice.text,
    })
}
