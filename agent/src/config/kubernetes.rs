//! What an operator lets Kubernetes annotations do on this node.

use std::path::PathBuf;

use serde::Deserialize;

use super::Attribution;
use super::addresses::Range;
use super::headers::Headers;
use crate::failure::Failure;

/// `kubernetes:` in the configuration.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KubernetesConfig {
    /// What annotations may widen. They may always narrow.
    pub(crate) allow: Allow,
    /// The cgroup v2 directory below which the pods' are, where it is not found.
    pub(crate) cgroup_root: Option<PathBuf>,
}

/// What annotations of namespaces and pods may ask for, beyond what this
/// configuration carries anyway.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Allow {
    /// Header names; a `*` ends a prefix.
    pub(crate) headers: Vec<String>,
    /// Presets.
    pub(crate) presets: Vec<String>,
    /// Destinations.
    pub(crate) egress: Vec<Range>,
    /// How sure it must be which request caused another.
    pub(crate) attribution: Vec<Attribution>,
}

impl Allow {
    /// The headers that annotations may add.
    ///
    /// # Errors
    /// [`Failure::Usage`] names the first one that cannot be carried.
    pub(crate) fn headers(&self) -> Result<Headers, Failure> {
        if self.headers.is_empty() && self.presets.is_empty() {
            return Ok(Headers::none());
        }
        Headers::resolve(&self.headers, &self.presets)
    }
}
