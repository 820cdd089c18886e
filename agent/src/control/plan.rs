//! What the command line and the configuration ask for, together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::cli::Policy;
use crate::config::addresses::{Addresses, Range};
use crate::config::headers::Headers;
use crate::config::{Attribution, Config, KubernetesConfig, WorkloadConfig};
use crate::datapath::hook::ReadHook;
use crate::datapath::workload::Desired;
use crate::failure::Failure;

/// What is to be loaded and attached.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The headers that some workload may carry.
    pub(crate) headers: Headers,
    /// Bits of those that workloads carry which say nothing else.
    pub(crate) carried: u64,
    /// Context slots.
    pub(crate) contexts: u32,
    /// Longest time that a context is current.
    pub(crate) max_age: Duration,
    /// How sure it must be which request caused another, in workloads that do not say.
    pub(crate) attribution: Attribution,
    /// What Kubernetes annotations may do.
    pub(crate) kubernetes: KubernetesConfig,
    /// What must see reads.
    pub(crate) hook: Option<ReadHook>,
    /// Whether nothing may be inserted, whatever else is asked for.
    pub(crate) is_observing: bool,
    egress: Vec<IpNet>,
    ingress: Vec<IpNet>,
    workloads: Vec<WorkloadConfig>,
}

impl Plan {
    /// Reads the configuration, if one is named, and lets flags take the place
    /// of its keys.
    ///
    /// # Errors
    /// [`Failure::Usage`] or [`Failure::Configuration`].
    pub(crate) fn make(policy: &Policy) -> Result<Self, Failure> {
        let config = policy.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let named = !policy.headers.is_empty() || !policy.presets.is_empty();
        let (names, presets) =
            if named { (&policy.headers, &policy.presets) } else { (&config.headers, &config.presets) };
        let named = Headers::resolve(names, presets)?;
        let own = if policy.observe { Headers::usual().with(&named) } else { named };
        let headers = own.with(&config.kubernetes.allow.headers()?);
        headers.table()?;
        let carried = headers.bits_of(&own).unwrap_or_default();
        tracing::info!(
            file = ?policy.config,
            headers = headers.of_bits(u64::MAX).len(),
            workloads = config.workloads.len(),
            observe = policy.observe,
            "configuration read"
        );
        tracing::debug!(headers = headers.of_bits(carried).join(","), "headers that are carried");
        let either = |flags: &[IpNet], keys: &[Range]| if flags.is_empty() { ranges(keys) } else { flags.to_vec() };
        Ok(Self {
            headers,
            carried,
            contexts: config.limits.contexts,
            max_age: config.limits.max_age(),
            attribution: policy.attribution.unwrap_or(config.attribution),
            hook: policy.hook,
            is_observing: policy.observe,
            egress: either(&policy.egress, &config.egress),
            ingress: either(&policy.ingress, &config.ingress),
            kubernetes: config.kubernetes,
            workloads: config.workloads,
        })
    }

    /// Address policy of workloads that have none of their own.
    pub(crate) fn addresses(&self) -> Addresses {
        self.permitted(Addresses::new(&self.egress, &self.ingress))
    }

    /// `wanted`, as far as it is permitted: who only observes sends headers nowhere.
    pub(crate) fn permitted(&self, wanted: Addresses) -> Addresses {
        if self.is_observing { Addresses::only(Vec::new(), wanted.ingress().to_vec()) } else { wanted }
    }

    /// A workload in `cgroup` that has no settings of its own.
    pub(crate) fn workload(&self, cgroup: &Path, name: Option<&str>) -> Desired {
        let last = cgroup.file_name().map(|name| name.to_string_lossy().into_owned());
        Desired {
            cgroup: cgroup.to_owned(),
            name: name.map(str::to_owned).or(last).unwrap_or_else(|| cgroup.display().to_string()),
            names: self.carried,
            addresses: self.addresses(),
            attribution: self.attribution,
        }
    }

    /// The workloads of the configuration, and `cgroups`.
    pub(crate) fn workloads(&self, cgroups: &[PathBuf]) -> Vec<Desired> {
        let configured = self.workloads.iter().map(|workload| {
            let egress = workload.egress.as_deref().map_or_else(|| self.egress.clone(), ranges);
            let ingress = workload.ingress.as_deref().map_or_else(|| self.ingress.clone(), ranges);
            Desired {
                addresses: self.permitted(Addresses::new(&egress, &ingress)),
                attribution: workload.attribution.unwrap_or(self.attribution),
                ..self.workload(&workload.cgroup, workload.name.as_deref())
            }
        });
        let named = cgroups.iter().map(|cgroup| self.workload(cgroup, None));
        let mut all: Vec<Desired> = Vec::new();
        for desired in named.chain(configured) {
            if all.iter().all(|other| other.cgroup != desired.cgroup) {
                all.push(desired);
            }
        }
        all
    }
}

fn ranges(ranges: &[Range]) -> Vec<IpNet> {
    ranges.iter().map(|range| range.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_observes_looks_for_all_and_sends_nowhere() {
        let range = "203.0.113.0/24".parse().expect("legal");
        let policy = Policy {
            observe: true,
            headers: vec!["x-own".to_owned()],
            egress: vec![range],
            ingress: vec![range],
            ..Policy::default()
        };
        let mut plan = Plan::make(&policy).expect("legal");
        assert_eq!(plan.carried.count_ones() as usize, plan.headers.of_bits(u64::MAX).len());
        for name in ["x-own", "traceparent", "ot-baggage-*", "x-telepresence-id"] {
            assert!(plan.headers.of_bits(plan.carried).contains(&name), "{name}");
        }
        plan.workloads = vec![WorkloadConfig {
            cgroup: "/a".into(),
            name: None,
            egress: Some(vec![Range(range)]),
            ingress: None,
            attribution: None,
        }];
        for workload in plan.workloads(&["/b".into()]) {
            assert!(workload.addresses.egress().is_empty(), "{workload:?}");
            assert_eq!(workload.addresses.ingress(), [range]);
        }
    }
}
