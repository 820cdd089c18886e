//! `cargo xtask chart`: the Helm chart, and the plain manifest that is rendered from it. deploy/chart.py does the work,
//! because Helm is a library for Python.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{self, Purpose};
use crate::{process, say, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only compare deploy/baton.yaml with what the chart renders
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::for_purpose(Purpose::Chart))?;
    if arguments.check {
        return check();
    }
    say::result(&python(&["--write"])?);
    Ok(())
}

/// Fails unless the chart has no mistake that can be found without a cluster, and the manifest is fresh.
pub(crate) fn check() -> Result<()> {
    say::note(&python(&[])?);
    Ok(())
}

fn python(arguments: &[&str]) -> Result<String> {
    // -B: no compiled copies in the working tree.
    let mut command = Command::new(workspace::venv().join("bin/python"));
    command.arg("-B").arg(deploy("chart.py")).arg(deploy("helm/baton")).arg(deploy("baton.yaml")).args(arguments);
    let printed = process::read(&mut command).context("the Helm chart has mistakes")?;
    Ok(printed.trim().to_owned())
}

fn deploy(name: &str) -> PathBuf {
    workspace::root().join("deploy").join(name)
}

/// What the plain manifest asks a cluster for, to the last privilege: whoever changes that must change it here, too.
#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize as _;
    use serde_json::{Value, json};

    use super::deploy;

    fn objects() -> Vec<Value> {
        let text = fs::read_to_string(deploy("baton.yaml")).expect("the manifest");
        let documents = serde_norway::Deserializer::from_str(&text);
        documents.map(|document| Value::deserialize(document).expect("YAML")).collect()
    }

    fn object(kind: &str) -> Value {
        objects().into_iter().find(|object| object["kind"] == kind).expect("an object of this kind")
    }

    #[test]
    fn the_agent_may_list_watch_and_report_and_nothing_else() {
        let kinds: Vec<Value> = objects().iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "DaemonSet"]);
        assert_eq!(
            object("ClusterRole")["rules"],
            json!([
                { "apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"] },
                { "apiGroups": [""], "resources": ["services"], "verbs": ["list"] },
                { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"] },
            ])
        );
    }

    #[test]
    fn the_container_has_exactly_these_privileges() {
        let pod = &object("DaemonSet")["spec"]["template"]["spec"];
        assert_eq!((&pod["hostPID"], &pod["hostNetwork"], &pod["hostIPC"]), (&json!(true), &Value::Null, &Value::Null));
        assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({
                "runAsUser": 0,
                "runAsGroup": 0,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"], "add": ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE"] },
                "seccompProfile": { "type": "RuntimeDefault" },
                "appArmorProfile": { "type": "Unconfined" },
            })
        );
    }

    #[test]
    fn the_container_sees_exactly_these_places() {
        let pod = &object("DaemonSet")["spec"]["template"]["spec"];
        assert_eq!(
            pod["containers"][0]["volumeMounts"],
            json!([
                { "name": "config", "mountPath": "/etc/baton", "readOnly": true },
                { "name": "run", "mountPath": "/run/baton" },
                { "name": "cgroup", "mountPath": "/sys/fs/cgroup", "readOnly": true },
                { "name": "bpf", "mountPath": "/sys/fs/bpf" },
            ])
        );
        assert_eq!(
            pod["volumes"],
            json!([
                { "name": "config", "configMap": { "name": "baton" } },
                { "name": "run", "emptyDir": {} },
                { "name": "cgroup", "hostPath": { "path": "/sys/fs/cgroup", "type": "Directory" } },
                { "name": "bpf", "hostPath": { "path": "/sys/fs/bpf", "type": "Directory" } },
            ])
        );
    }

    #[test]
    fn the_chart_installs_this_version() {
        let text = fs::read_to_string(deploy("helm/baton/Chart.yaml")).expect("the chart");
        let chart: Value = serde_norway::from_str(&text).expect("YAML");
        assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
        let image = format!("baton:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(object("DaemonSet")["spec"]["template"]["spec"]["containers"][0]["image"], image);
    }
}
