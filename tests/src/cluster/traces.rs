//! What a cluster could leave on a machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::component::Component;
use super::place::{SYSCTLS, legacy_hierarchies};
use crate::cgroup;
use crate::programs::{find, succeed};
use crate::wait;

/// Where kubelet, containerd, runc and CNI plugins keep files unless they are told otherwise.
const FOLDERS: [&str; 11] = [
    "/run/netns",
    "/run/containerd",
    "/run/runc",
    "/run/flannel",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/usr/libexec/kubernetes",
    "/opt/containerd",
];

/// What there is at one moment, each thing as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// Looks at the machine.
    pub fn now() -> Result<Self> {
        // Another run's are that one's to remove.
        let own = format!("baton-test-{}-", std::process::id());
        let mut lines = BTreeSet::new();
        let mut add = |kind: &str, what: &str| lines.insert(format!("{kind} {what}"));
        for process in entries(Path::new("/proc")) {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            // The kernel cuts names after 15 characters.
            let ours = |component: Component| component.name().starts_with(name.trim());
            let shim = name.starts_with("containerd-shim");
            if !name.is_empty() && (shim || Component::ALL.into_iter().any(ours)) {
                add("process", &format!("{process} {}", name.trim()));
            }
        }
        let ours = |line: &&str| line.contains(&own) || FOLDERS.iter().any(|folder| line.contains(folder));
        for line in fs::read_to_string("/proc/self/mounts")?.lines().filter(ours) {
            add("mount", line);
        }
        for hierarchy in legacy_hierarchies()?.into_iter().chain([cgroup::mount("cgroup2")?]) {
            for entry in entries(&hierarchy).iter().filter(|entry| entry.starts_with(&own) || *entry == "kubepods") {
                add("cgroup", &format!("{}/{entry}", hierarchy.display()));
            }
        }
        let bridge = format!("bt-{}-", std::process::id());
        let device = |name: &&String| name.starts_with(&bridge) || name.starts_with("veth");
        for interface in entries(Path::new("/sys/class/net")).iter().filter(device) {
            add("interface", interface);
        }
        for folder in FOLDERS {
            if Path::new(folder).exists() {
                add("folder", folder);
            }
            for entry in entries(Path::new(folder)) {
                add("file", &format!("{folder}/{entry}"));
            }
        }
        for file in entries(&std::env::temp_dir()).iter().filter(|file| file.starts_with(&own)) {
            add("scratch", file);
        }
        for name in SYSCTLS {
            let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
            add("sysctl", &format!("{name}={}", value.trim()));
        }
        // Without the program, nothing that we start could have made a rule.
        if let Ok(save) = find("iptables-save") {
            let rules = succeed(Command::new(save), "iptables-save")?;
            for rule in rules.lines().filter(|line| line.starts_with("-A")) {
                add("rule", rule);
            }
        }
        Ok(Self(lines))
    }

    /// Waits until the machine is as it was: the kernel takes down network namespaces a little after their last process.
    pub fn wait_until_again(&self, limit: Duration) -> Result<()> {
        let again = wait::until("the machine as it was", limit, || Ok((Self::now()? == *self).then_some(())));
        if let Err(error) = again {
            let now = Self::now()?;
            let new: Vec<_> = now.0.difference(&self.0).collect();
            let gone: Vec<_> = self.0.difference(&now.0).collect();
            bail!("{error}: left behind {new:#?}, no longer there {gone:#?}");
        }
        Ok(())
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
