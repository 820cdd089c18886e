//! baton on the cluster's node, installed with its chart.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Cluster, LIMIT};
use crate::app::free_port;
use crate::bpf::elements;
use crate::programs::{command, python, succeed, workspace};
use crate::wait;

const NAMESPACE: &str = "kube-system";

/// What `cargo xtask test` calls the image that it writes.
const IMAGE: (&str, &str) = ("localhost/baton", "test");

/// The DaemonSet of an installed chart.
#[derive(Debug)]
pub struct Agent {
    manifest: String,
}

impl Agent {
    /// Installs the chart and waits until the agent is ready. On the node's network, since there is no way from pods
    /// to the API server.
    pub fn install(cluster: &mut Cluster) -> Result<Self> {
        let archive =
            std::env::var_os("BATON_IMAGE").map_or_else(|| workspace().join("target/baton-image.tar"), PathBuf::from);
        ensure!(archive.is_file(), "{} is missing: `cargo xtask test` writes it", archive.display());
        cluster.load_archive(&archive)?;
        let values = json!({
            "image": {"repository": IMAGE.0, "tag": IMAGE.1, "pullPolicy": "Never"},
            "hostNetwork": true,
            "health": {"address": "127.0.0.1", "port": free_port()?},
            "config": {"headers": crate::baton::HEADERS, "kubernetes": {"allow": {"headers": ["x-tenant-id"]}}},
            "extraEnv": [
                {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
                {"name": "KUBERNETES_SERVICE_PORT", "value": cluster.api_port().to_string()},
            ],
        });
        let mut chart = std::process::Command::new(python()?);
        chart.arg(workspace().join("deploy/chart.py")).arg(workspace().join("deploy/helm/baton"));
        chart.arg("--render").arg(values.to_string());
        let manifest = succeed(chart, "deploy/chart.py")?;
        cluster.apply(&manifest)?;
        let agent = Self { manifest };
        agent.wait_ready(cluster)?;
        Ok(agent)
    }

    /// Waits until the newest pod is ready.
    pub fn wait_ready(&self, cluster: &Cluster) -> Result<()> {
        let waited = cluster.kubectl([
            "rollout",
            "status",
            "daemonset/baton",
            "--namespace",
            NAMESPACE,
            &format!("--timeout={}s", LIMIT.as_secs()),
        ]);
        waited.map(drop).with_context(|| self.logs(cluster))
    }

    /// What the agent has written.
    pub fn logs(&self, cluster: &Cluster) -> String {
        let logs = cluster.kubectl(["logs", "--namespace", NAMESPACE, "daemonset/baton", "--tail=50"]);
        logs.unwrap_or_else(|error| format!("no log: {error:#}"))
    }

    /// `baton ARGUMENTS` in its container.
    pub fn exec(&self, cluster: &Cluster, arguments: &[&str]) -> Result<String> {
        let mut words = vec!["exec", "--namespace", NAMESPACE, "daemonset/baton", "--", "/usr/bin/baton"];
        words.extend(arguments);
        cluster.kubectl(words)
    }

    /// Its process.
    pub fn process(&self) -> Result<Pid> {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may be gone by now.
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            if words.first().is_some_and(|first| first.ends_with(b"baton")) && words.contains(&&b"--kubernetes"[..]) {
                return Ok(Pid::from_raw(pid));
            }
        }
        anyhow::bail!("no process of the agent")
    }

    /// Kills it, and waits until the kubelet has started another one that is ready.
    pub fn kill(&self, cluster: &Cluster) -> Result<()> {
        let before = self.process()?;
        kill(before, Signal::SIGKILL)?;
        wait::until("another agent", LIMIT, || Ok(self.process().ok().filter(|process| *process != before)))?;
        // The container's status lags behind.
        wait::until("a ready agent", LIMIT, || {
            let set = cluster.get(NAMESPACE, "daemonset", "baton")?;
            let pods = cluster.kubectl(["get", "pods", "--namespace", NAMESPACE, "--output=json"])?;
            let restarted = pods.contains("\"restartCount\": 1");
            Ok((restarted && set["status"]["numberReady"] == 1).then_some(()))
        })
        .with_context(|| self.logs(cluster))
    }

    /// Replaces its pod as an upgrade does.
    pub fn replace(&self, cluster: &Cluster) -> Result<()> {
        cluster.kubectl(["rollout", "restart", "daemonset/baton", "--namespace", NAMESPACE])?;
        self.wait_ready(cluster)
    }

    /// All that its ServiceAccount may do: resources, and the verbs for each. (Documents that everybody may read, such as
    /// the server's version, are left out.)
    pub fn rights(&self, cluster: &Cluster) -> Result<BTreeSet<(String, String)>> {
        let account = format!("system:serviceaccount:{NAMESPACE}:baton");
        let printed = cluster.kubectl(["auth", "can-i", "--list", "--no-headers", "--as", &account])?;
        // RESOURCES, NON-RESOURCE URLS, RESOURCE NAMES, VERBS; the first is empty for documents.
        let rows = printed.lines().filter(|line| !line.starts_with(' '));
        let right = |line: &str| {
            let (resource, rest) = line.split_once(' ')?;
            let verbs = rest.rsplit_once('[')?.1.trim_end().trim_end_matches(']');
            Some((resource.to_owned(), verbs.to_owned()))
        };
        Ok(rows.filter_map(right).collect())
    }

    /// Lets the API server check what it would be asked for: the chart's manifest, and the plain one.
    pub fn check_manifests(&self, cluster: &Cluster) -> Result<()> {
        let plain = std::fs::read_to_string(workspace().join("deploy/baton.yaml"))?;
        for manifest in [&self.manifest, &plain] {
            // kubectl itself is as old as the server, and knows less than the manifest says.
            let arguments = ["apply", "--dry-run=server", "--validate=false", "--filename", "-"];
            let finished = cluster.try_kubectl(arguments, manifest.as_bytes())?;
            ensure!(finished.code == 0, "the API server refuses it: {}", finished.stderr);
        }
        Ok(())
    }

    /// How many connections are in its map.
    pub fn members(&self) -> Result<usize> {
        elements(&PathBuf::from(format!("/proc/{}/root/sys/fs/bpf/baton/members", self.process()?)))
    }

    /// What the node's BPF file system holds of the agent. (The kernel puts files of its own there.)
    pub fn pins(cluster: &Cluster) -> Result<String> {
        let mut list = cluster.on_node("find")?;
        list.args(["/sys/fs/bpf", "-path", "/sys/fs/bpf/baton*"]);
        succeed(list, "find")
    }

    /// Removes all that the chart has made, and waits until its pod is gone.
    pub fn remove(&self, cluster: &Cluster) -> Result<()> {
        let mut delete = command("kubectl")?;
        delete.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["delete", "--filename", "-"]);
        let finished = crate::process::run(delete, self.manifest.as_bytes(), LIMIT)?;
        ensure!(finished.code == 0, "{finished:?}");
        wait::until("the end of the agent", LIMIT, || Ok(self.process().is_err().then_some(())))
    }
}
