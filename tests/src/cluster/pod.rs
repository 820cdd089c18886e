//! Namespaces and pods: what the tests make of them, and what they ask about them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::access::NODE;
use super::{Cluster, LIMIT};
use crate::scratch::serial;
use crate::wait;

/// A quality-of-service class, which the kubelet derives from requests and limits, and which decides about the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No requests, no limits.
    BestEffort,
    /// Requests without limits.
    Burstable,
    /// Limits that equal the requests.
    Guaranteed,
}

/// A pod of one container.
#[derive(Clone, Debug)]
pub struct Pod {
    namespace: String,
    name: String,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    container: Value,
    specification: Value,
}

impl Pod {
    /// A pod of this image; for `image` see [`super::Image::reference`].
    pub fn new(namespace: &str, name: &str, image: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Map::new(),
            annotations: Map::new(),
            container: json!({"name": "main", "image": image, "imagePullPolicy": "Never", "env": []}),
            specification: json!({"terminationGracePeriodSeconds": 2, "enableServiceLinks": false}),
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.into());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// Runs something else than the image says.
    #[must_use]
    pub fn command(mut self, command: &[&str]) -> Self {
        self.container["command"] = json!(command);
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        if let Some(variables) = self.container["env"].as_array_mut() {
            variables.push(json!({"name": name, "value": value}));
        }
        self
    }

    /// Gives it the requests and limits of a class.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        let amounts = json!({"cpu": "50m", "memory": "64Mi"});
        self.container["resources"] = match class {
            Class::BestEffort => json!({}),
            Class::Burstable => json!({"requests": amounts}),
            Class::Guaranteed => json!({"requests": amounts, "limits": amounts}),
        };
        self
    }

    /// Sets a field of the container, such as `securityContext`.
    #[must_use]
    pub fn container(mut self, field: &str, value: Value) -> Self {
        self.container[field] = value;
        self
    }

    /// Sets a field of the pod's specification, such as `hostPID`.
    #[must_use]
    pub fn specification(mut self, field: &str, value: Value) -> Self {
        self.specification[field] = value;
        self
    }

    /// Puts it on the node's network and tells it where the API server is.
    #[must_use]
    pub fn reaching_the_api(self, cluster: &Cluster) -> Self {
        let port = cluster.api_port().to_string();
        self.specification("hostNetwork", json!(true))
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", &port)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object to apply.
    pub fn manifest(&self) -> Value {
        let mut specification = self.specification.clone();
        specification["containers"] = json!([self.container]);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": self.namespace,
                "labels": self.labels, "annotations": self.annotations,
            },
            "spec": specification,
        })
    }
}

/// A name for a namespace that no other test has.
pub fn namespace(purpose: &str) -> String {
    format!("{purpose}-{}", serial())
}

impl Cluster {
    /// Makes a namespace with labels, and waits until pods can be made in it.
    pub fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: Map<_, Value> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let metadata = json!({"name": name, "labels": labels});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string())?;
        // A pod is refused until its service account has a token.
        wait::until("the namespace's service account", LIMIT, || {
            let account = self.get(name, "serviceaccount", "default");
            Ok(account.is_ok_and(|account| account["secrets"].is_array()).then_some(()))
        })
    }

    /// Deletes a namespace with everything in it, without waiting for that: it takes a minute on a busy machine.
    pub fn delete_namespace(&self, name: &str) -> Result<()> {
        self.kubectl(["delete", "namespace", name, "--wait=false"]).map(drop)
    }

    /// Sets labels (`key=value`) or removes them (`key-`). Returns when the API server had done it.
    pub fn label(&self, namespace: &str, object: &str, labels: &[&str]) -> Result<Instant> {
        let fixed = ["label", "--overwrite", "--namespace", namespace, object];
        self.kubectl(fixed.iter().chain(labels))?;
        Ok(Instant::now())
    }

    /// Makes pods, all with one request, and waits until their containers run.
    pub fn run(&self, pods: &[Pod]) -> Result<()> {
        self.request(pods)?;
        for namespace in namespaces(pods) {
            let names = pods.iter().filter(|pod| pod.namespace == namespace).map(|pod| format!("pod/{}", pod.name));
            self.wait_ready(namespace, &names.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Makes pods, all with one request.
    pub fn request(&self, pods: &[Pod]) -> Result<()> {
        let items: Vec<Value> = pods.iter().map(Pod::manifest).collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
    }

    /// Waits until objects (`pod/NAME`, or `pod --selector=…` in two words) are ready.
    pub fn wait_ready<S: AsRef<str>>(&self, namespace: &str, objects: &[S]) -> Result<()> {
        let fixed = ["wait", "--for=condition=Ready", "--timeout=100s", "--namespace", namespace];
        let ready = self.kubectl(fixed.into_iter().chain(objects.iter().map(AsRef::as_ref)));
        ready.map(drop).with_context(|| {
            let described = self.kubectl(["describe", "pods", "--namespace", namespace]);
            format!("the pods of {namespace}:\n{}", described.unwrap_or_default())
        })
    }

    /// Deletes pods and waits until they are gone.
    pub fn delete(&self, pods: &[Pod]) -> Result<()> {
        for namespace in namespaces(pods) {
            let names = pods.iter().filter(|pod| pod.namespace == namespace).map(Pod::name);
            let fixed = ["delete", "pod", "--timeout=100s", "--namespace", namespace];
            self.kubectl(fixed.into_iter().chain(names))?;
        }
        Ok(())
    }

    /// Deletes a pod and makes it anew.
    pub fn recreate(&self, pod: &Pod) -> Result<()> {
        let pods = std::slice::from_ref(pod);
        self.delete(pods)?;
        self.run(pods)
    }

    /// The address of a pod.
    pub fn pod_ip(&self, namespace: &str, name: &str) -> Result<IpAddr> {
        wait::until("the pod's address", LIMIT, || {
            let pod = self.get(namespace, "pod", name)?;
            Ok(pod["status"]["podIP"].as_str().and_then(|address| address.parse().ok()))
        })
    }

    /// The UID of a pod, which is part of its cgroup's name.
    pub fn pod_uid(&self, namespace: &str, name: &str) -> Result<String> {
        let pod = self.get(namespace, "pod", name)?;
        Ok(pod["metadata"]["uid"].as_str().context("a pod without UID")?.to_owned())
    }

    /// The phase of a pod, when it is one of these.
    pub fn wait_for_end(&self, namespace: &str, name: &str, limit: Duration) -> Result<String> {
        wait::until("the end of a pod", limit, || {
            let pod = self.get(namespace, "pod", name)?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            Ok(matches!(phase, "Succeeded" | "Failed").then(|| phase.to_owned()))
        })
    }

    /// What a pod's container has written.
    pub fn pod_logs(&self, namespace: &str, name: &str) -> Result<String> {
        self.kubectl(["logs", "--namespace", namespace, name])
    }

    /// Runs a command in a pod's container and returns what it prints.
    pub fn exec(&self, namespace: &str, name: &str, command: &[&str]) -> Result<String> {
        let fixed = ["exec", "--namespace", namespace, name, "--"];
        self.kubectl(fixed.iter().chain(command))
    }

    /// Runs a pod to its end and returns what it has written.
    pub fn run_to_end(&self, pod: Pod) -> Result<String> {
        let pod = pod.specification("restartPolicy", json!("Never")).specification("nodeName", json!(NODE));
        self.request(std::slice::from_ref(&pod))?;
        let phase = self.wait_for_end(&pod.namespace, &pod.name, LIMIT)?;
        let logs = self.pod_logs(&pod.namespace, &pod.name)?;
        anyhow::ensure!(phase == "Succeeded", "{} ended as {phase}:\n{logs}", pod.name);
        Ok(logs)
    }
}

fn namespaces(pods: &[Pod]) -> Vec<&str> {
    let mut names: Vec<&str> = pods.iter().map(|pod| pod.namespace.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_what_was_asked_for() {
        let pod = Pod::new("ns", "one", "test.local/hop:1")
            .label("baton.dev/propagation", "enabled")
            .class(Class::Guaranteed)
            .env("A", "1")
            .specification("hostPID", json!(true));
        let manifest = pod.manifest();
        assert_eq!(manifest["metadata"]["labels"]["baton.dev/propagation"], "enabled");
        assert_eq!(manifest["spec"]["hostPID"], true);
        let container = &manifest["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"], container["resources"]["requests"]);
        assert_eq!(container["env"][0], json!({"name": "A", "value": "1"}));
    }
}
