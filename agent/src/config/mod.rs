//! The configuration: one YAML file, which flags add to.

pub(crate) mod addresses;
pub(crate) mod headers;
mod kubernetes;
pub(crate) mod presets;

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_common::policy::attribution;
use serde::Deserialize;

use self::addresses::Range;
pub(crate) use self::kubernetes::{Allow, KubernetesConfig};

use crate::failure::Failure;

/// The configuration file. Unknown keys are refused.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Header names to carry; a `*` ends a prefix.
    pub(crate) headers: Vec<String>,
    /// Presets to carry.
    pub(crate) presets: Vec<String>,
    /// Destinations that may get headers, added to the default ones.
    pub(crate) egress: Vec<Range>,
    /// Sources that headers are taken from; all where empty.
    pub(crate) ingress: Vec<Range>,
    /// How sure it must be which request caused another.
    pub(crate) attribution: Attribution,
    /// The workloads of `baton run`.
    pub(crate) workloads: Vec<WorkloadConfig>,
    /// What `baton run --kubernetes` does.
    pub(crate) kubernetes: KubernetesConfig,
    /// Limits.
    pub(crate) limits: Limits,
}

/// One workload.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadConfig {
    /// Its cgroup v2 directory.
    pub(crate) cgroup: PathBuf,
    /// Its name in flow events; the directory's name if not given.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Destinations, in place of those of the whole configuration.
    #[serde(default)]
    pub(crate) egress: Option<Vec<Range>>,
    /// Sources, in place of those of the whole configuration.
    #[serde(default)]
    pub(crate) ingress: Option<Vec<Range>>,
    /// In place of that of the whole configuration.
    #[serde(default)]
    pub(crate) attribution: Option<Attribution>,
}

/// How sure it must be which request caused another.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attribution {
    /// Certain
    #[default]
    Strict,
    /// Likely: what an event loop does in one go after it has read a request counts as caused by that
    Balanced,
}

impl From<Attribution> for u32 {
    fn from(attribution: Attribution) -> Self {
        match attribution {
            Attribution::Strict => attribution::STRICT,
            Attribution::Balanced => attribution::BALANCED,
        }
    }
}

/// Limits of the whole node.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Accepted connections whose requests are followed at once; 4.4 KB of
    /// kernel memory each.
    pub(crate) contexts: u32,
    /// Seconds after which an unanswered request is not current any more.
    pub(crate) max_age_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { contexts: 8192, max_age_seconds: 900 }
    }
}

impl Limits {
    /// Longest time that a context is current.
    pub(crate) const fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Failure::Configuration`] says what is wrong and where.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Configuration(format!("cannot read the configuration {}: {error}", path.display()))
        })?;
        Self::parse(&text).map_err(|why| Failure::Configuration(format!("{}: {why}", path.display())))
    }

    /// Reads and checks a file's content.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let read = serde_norway::from_str::<Self>(text);
        let config = read.map_err(|error| format!("{error}; see `Configuration` in the README"))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=65536).contains(&self.limits.contexts) {
            return Err(format!("limits.contexts is {}: choose 1 to 65536", self.limits.contexts));
        }
        if self.limits.max_age_seconds == 0 {
            return Err("limits.max_age_seconds is 0: choose at least 1".to_owned());
        }
        let mut seen: Vec<&Path> = Vec::new();
        for workload in &self.workloads {
            if seen.contains(&workload.cgroup.as_path()) {
                return Err(format!("the workload {} is there twice: leave one out", workload.cgroup.display()));
            }
            seen.push(&workload.cgroup);
        }
        let headers = headers::Headers::resolve(&self.headers, &self.presets).map_err(|why| why.to_string())?;
        let allowed = self.kubernetes.allow.headers().map_err(|why| format!("kubernetes.allow: {why}"))?;
        headers.with(&allowed).table().map_err(|why| why.to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_read() {
        let config = Config::parse(
            "headers: [x-telepresence-id, \"ot-baggage-*\"]\npresets: [w3c]\negress: [203.0.113.0/24]\ningress: [10.0.0.0/8]\nattribution: strict\nworkloads:\n  - cgroup: /sys/fs/cgroup/shop\n    name: shop\n    attribution: balanced\n",
        )
        .expect("legal");
        assert_eq!(config.workloads[0].name.as_deref(), Some("shop"));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(
            (config.attribution, config.workloads[0].attribution),
            (Attribution::Strict, Some(Attribution::Balanced))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "header: [a]",
            "egress: [10.0.0.0/99]",
            "headers: [cookie]",
            "limits: {contexts: 0}",
            "limits: {max_age_seconds: 0}",
            "workloads: [{cgroup: /a}, {cgroup: /a}]",
            "presets: [nosuch]",
            "attribution: sure",
            "kubernetes: {allow: {headers: [cookie]}}",
            "kubernetes: {allowed: {}}",
        ] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }
}
