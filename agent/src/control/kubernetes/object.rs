//! What baton keeps of namespaces and pods: of each a few words.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

/// Labels with this key switch propagation on and off.
pub(crate) const LABEL: &str = "baton.dev/propagation";

/// Annotations that change a workload's settings.
pub(crate) mod annotation {
    /// Names, prefixes and presets of headers.
    pub(crate) const HEADERS: &str = "baton.dev/headers";
    /// Destinations.
    pub(crate) const EGRESS: &str = "baton.dev/egress";
    /// Sources.
    pub(crate) const INGRESS: &str = "baton.dev/trust-ingress";
    /// How sure it must be which request caused another.
    pub(crate) const ATTRIBUTION: &str = "baton.dev/attribution";
    /// All of them.
    pub(crate) const ALL: [&str; 4] = [HEADERS, EGRESS, INGRESS, ATTRIBUTION];
}

/// The kubelet's annotation of the pods that it reads from files and shows in
/// the API: their real id, which their cgroup is named after.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// A namespace or pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its namespace; empty for a namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) uid: String,
    /// What a static pod's cgroup is named after.
    pub(super) config_hash: Option<String>,
    /// The value of [`LABEL`].
    pub(crate) label: Option<String>,
    /// The annotations of [`annotation`] that it has.
    pub(crate) annotations: BTreeMap<&'static str, String>,
}

impl Object {
    /// What matters of `metadata`.
    pub(crate) fn of(metadata: ObjectMeta) -> Self {
        let given = metadata.annotations.unwrap_or_default();
        let annotations = annotation::ALL.into_iter().filter_map(|key| Some((key, given.get(key)?.clone())));
        Self {
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            config_hash: given.get(CONFIG_HASH).filter(|hash| is_config_hash(hash)).cloned(),
            label: metadata.labels.and_then(|mut labels| labels.remove(LABEL)),
            annotations: annotations.collect(),
        }
    }

    /// What its cgroup directory is named after.
    pub(crate) fn cgroup_id(&self) -> &str {
        self.config_hash.as_deref().unwrap_or(&self.uid)
    }

    /// How users call it.
    pub(crate) fn full_name(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// A static pod's id has no hyphens (pkg/kubelet/config/common.go, an MD5 sum),
/// so that no annotation can name the cgroup of a pod of the API server's.
fn is_config_hash(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_pod_is_found_by_its_hash_alone() {
        let pod = |hash: &str| {
            Object::of(ObjectMeta {
                uid: Some("0f4d7a4e-1f0b-4f5e-9a53-1f2f3b4c5d6e".to_owned()),
                annotations: Some([(CONFIG_HASH.to_owned(), hash.to_owned())].into()),
                ..ObjectMeta::default()
            })
        };
        assert_eq!(pod("0123456789abcdef0123456789abcdef").cgroup_id(), "0123456789abcdef0123456789abcdef");
        let other = "11111111-2222-3333-4444-555555555555";
        assert_ne!(pod(other).cgroup_id(), other, "an annotation names another pod's cgroup");
    }

    #[test]
    fn only_what_is_needed_is_kept() {
        let object = Object::of(ObjectMeta {
            name: Some("a".to_owned()),
            namespace: Some("n".to_owned()),
            labels: Some([(LABEL.to_owned(), "enabled".to_owned()), ("app".to_owned(), "a".to_owned())].into()),
            annotations: Some(
                [(annotation::EGRESS.to_owned(), "10.0.0.0/8".to_owned()), ("x".to_owned(), "y".to_owned())].into(),
            ),
            ..ObjectMeta::default()
        });
        assert_eq!((object.full_name().as_str(), object.label.as_deref()), ("n/a", Some("enabled")));
        assert_eq!(object.annotations.len(), 1);
    }
}
