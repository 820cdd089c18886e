//! The programs of a cluster, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::json;

use super::access::{Access, NODE};
use super::image::PAUSE;
use super::place::Place;
use crate::app::free_port;

/// The folder with the pods that the kubelet runs on its own.
pub(super) const STATIC_PODS: &str = "static-pods";

/// A part of a cluster that runs for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The container runtime.
    Containerd,
    /// The controllers, which make pods of DaemonSets, tokens of service accounts, and the like.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The node's agent.
    Kubelet,
}

impl Component {
    /// All, in the order in which they are started.
    pub const ALL: [Self; 6] =
        [Self::Etcd, Self::ApiServer, Self::Containerd, Self::Controllers, Self::Scheduler, Self::Kubelet];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::Containerd => "containerd",
            Self::Controllers => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
        }
    }
}

/// Loopback ports, except for the kubelet's.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    etcd_peer: u16,
    pub(super) api: u16,
    controllers: u16,
    scheduler: u16,
    kubelet: u16,
    pub(super) kubelet_health: u16,
}

impl Ports {
    pub(super) fn choose() -> Result<Self> {
        Ok(Self {
            etcd: free_port()?,
            etcd_peer: free_port()?,
            api: free_port()?,
            controllers: free_port()?,
            scheduler: free_port()?,
            kubelet: free_port()?,
            kubelet_health: free_port()?,
        })
    }
}

/// Where a program of Kubernetes is: in `$BATON_KUBERNETES`, which `cargo xtask test` sets.
pub(super) fn binary(name: &str) -> Result<PathBuf> {
    let Some(directory) = std::env::var_os("BATON_KUBERNETES") else {
        bail!(
            "BATON_KUBERNETES is not set, so there is no Kubernetes to start: `cargo xtask test` sets it, and \
             `cargo xtask cluster build` prints what to set it to"
        );
    };
    let binary = Path::new(&directory).join(name);
    if !binary.is_file() {
        bail!("{} is missing: `cargo xtask cluster build` builds it", binary.display());
    }
    Ok(binary)
}

/// What commands are made of.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) place: &'a Place,
    pub(super) access: &'a Access,
    pub(super) ports: &'a Ports,
}

impl Plan<'_> {
    pub(super) fn command(&self, component: Component) -> Result<Command> {
        match component {
            Component::Etcd => self.etcd(),
            Component::ApiServer => self.api_server(),
            Component::Containerd => self.containerd(),
            Component::Controllers => self.controllers(),
            Component::Scheduler => self.scheduler(),
            Component::Kubelet => self.kubelet(),
        }
    }

    /// The address of the container runtime's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.place.files().join("containerd.sock")
    }

    fn etcd(&self) -> Result<Command> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let mut etcd = self.place.outside("etcd")?;
        etcd.arg("--data-dir").arg(self.place.files().join("etcd"));
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &format!("default={peer}")]);
        Ok(etcd)
    }

    fn api_server(&self) -> Result<Command> {
        let access = self.access;
        let mut server = self.place.outside(binary("kube-apiserver")?)?;
        server.arg(format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd));
        server.arg(format!("--secure-port={}", self.ports.api));
        server.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]);
        // The node's name is known to no name server.
        server.arg("--kubelet-preferred-address-types=InternalIP");
        server.args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=Node,RBAC"]);
        server.args(["--allow-privileged=true", "--service-account-issuer=https://kubernetes.default.svc"]);
        for (flag, file) in [
            ("--cert-dir", &self.place.files().join("certificates")),
            ("--tls-cert-file", &access.server.certificate),
            ("--tls-private-key-file", &access.server.key),
            ("--kubelet-client-certificate", &access.client.certificate),
            ("--kubelet-client-key", &access.client.key),
            ("--service-account-signing-key-file", &access.accounts),
            ("--service-account-key-file", &access.accounts),
            ("--token-auth-file", &access.tokens),
        ] {
            server.arg(flag).arg(file);
        }
        Ok(server)
    }

    fn controllers(&self) -> Result<Command> {
        let mut controllers = self.place.outside(binary("kube-controller-manager")?)?;
        controllers.arg("--kubeconfig").arg(&self.access.admin);
        controllers.arg("--service-account-private-key-file").arg(&self.access.accounts);
        controllers.arg("--root-ca-file").arg(&self.access.authority);
        controllers.arg(format!("--secure-port={}", self.ports.controllers));
        controllers.args(["--bind-address=127.0.0.1", "--port=0", "--leader-elect=false"]);
        controllers.arg("--flex-volume-plugin-dir").arg(self.place.files().join("volume-plugins"));
        Ok(controllers)
    }

    fn scheduler(&self) -> Result<Command> {
        let mut scheduler = self.place.outside(binary("kube-scheduler")?)?;
        scheduler.arg("--kubeconfig").arg(&self.access.admin);
        scheduler.arg(format!("--secure-port={}", self.ports.scheduler));
        scheduler.args(["--bind-address=127.0.0.1", "--port=0", "--leader-elect=false"]);
        Ok(scheduler)
    }

    fn containerd(&self) -> Result<Command> {
        let configuration = self.place.files().write("containerd.toml", self.containerd_configuration()?)?;
        let mut containerd = self.place.inside("containerd")?;
        containerd.arg("--config").arg(configuration);
        Ok(containerd)
    }

    fn kubelet(&self) -> Result<Command> {
        let files = self.place.files();
        let configuration = files.write("kubelet.json", self.kubelet_configuration()?)?;
        let mut kubelet = self.place.inside(binary("kubelet")?)?;
        kubelet.arg("--config").arg(configuration).arg("--kubeconfig").arg(&self.access.kubelet);
        kubelet.args(["--hostname-override", NODE, "--node-ip", &self.place.bridge().address(), "--v=2"]);
        kubelet.args(["--container-runtime=remote", "--container-runtime-endpoint"]);
        kubelet.arg(format!("unix://{}", self.socket().display()));
        kubelet.arg("--volume-plugin-dir").arg(files.join("volume-plugins"));
        Ok(kubelet)
    }

    fn containerd_configuration(&self) -> Result<String> {
        let (files, bridge) = (self.place.files(), self.place.bridge());
        std::fs::create_dir_all(files.join("cni"))?;
        let network = json!({"cniVersion": "0.4.0", "name": "test", "plugins": [{
            "type": "bridge", "bridge": bridge.name(), "isGateway": true, "ipMasq": false,
            "ipam": {
                "type": "host-local", "ranges": [[{"subnet": bridge.subnet()}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        }]});
        files.write("cni/10-test.conflist", network.to_string())?;
        // restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE (a container, some virtual machines) cannot lower
        // the sandbox's score, and no sandbox would start.
        Ok(format!(
            r#"version = 2
root = "{files}/containerd"
state = "/run/containerd"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{PAUSE}"
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{files}/cni"
"#,
            files = files.path().display(),
            socket = self.socket().display(),
        ))
    }

    fn kubelet_configuration(&self) -> Result<String> {
        let static_pods = self.place.files().join(STATIC_PODS);
        std::fs::create_dir_all(&static_pods)?;
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": self.place.bridge().address(), "port": self.ports.kubelet, "readOnlyPort": 0,
            "healthzBindAddress": "127.0.0.1", "healthzPort": self.ports.kubelet_health,
            "cgroupDriver": "cgroupfs", "cgroupRoot": self.place.cgroup_root()?, "enforceNodeAllocatable": [],
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": false},
                "x509": {"clientCAFile": self.access.authority},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "staticPodPath": static_pods, "fileCheckFrequency": "1s",
            // Nothing on this machine is the cluster's to keep in order.
            "failSwapOn": false, "makeIPTablesUtilChains": false, "resolvConf": "",
            "evictionHard": {"memory.available": "100Mi"}, "imageGCHighThresholdPercent": 100,
            "featureGates": {"LocalStorageCapacityIsolation": false},
            "serializeImagePulls": false,
        });
        Ok(configuration.to_string())
    }
}
