//! A Kubernetes of one node on this machine: real etcd, API server, controllers, scheduler, containerd and kubelet.
//!
//! There is no kube-proxy: pods reach each other by their addresses. A pod with `hostNetwork` reaches the API server at
//! `127.0.0.1` and [`Cluster::api_port`]; [`Pod::reaching_the_api`] tells it so.

mod access;
mod agent;
mod chain;
mod component;
mod image;
mod load;
mod place;
mod pod;
mod traces;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub use access::NODE;
pub use agent::Agent;
pub use chain::{Chain, Hop, PORT};
pub use component::Component;
pub use image::Image;
pub use load::{Answer, Load, Outcome};
pub use pod::{Class, Pod, namespace};
pub use traces::Traces;

use crate::process::{self, Finished, Running};
use crate::programs::{command, require_root, succeed};
use crate::wait;
use access::Access;
use component::{Plan, Ports, binary};
use place::Place;

/// What the slowest step of a cluster may take on a busy machine with two cores.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A running cluster. Nothing of it is left after drop.
#[derive(Debug)]
pub struct Cluster {
    running: BTreeMap<Component, Running>,
    starts: u32,
    access: Access,
    ports: Ports,
    // Last: it ends what is still there.
    place: Place,
}

impl Cluster {
    /// Starts all components and waits until the node is ready for pods.
    pub fn start() -> Result<Self> {
        require_root()?;
        // Before anything is changed on this machine.
        binary(Component::Kubelet.name())?;
        let (place, ports) = (Place::new()?, Ports::choose()?);
        let access = Access::new(place.files(), ports.api)?;
        let mut cluster = Self { running: BTreeMap::new(), starts: 0, access, ports, place };
        for component in [Component::Etcd, Component::ApiServer, Component::Containerd] {
            cluster.spawn(component)?;
        }
        // While the API server starts.
        cluster.load_image(Image::pause()?)?;
        cluster.load_image(Image::busybox()?)?;
        for component in [Component::ApiServer, Component::Controllers, Component::Scheduler, Component::Kubelet] {
            cluster.start_component(component)?;
        }
        Ok(cluster)
    }

    /// Starts a component, unless it runs, and waits until it works.
    pub fn start_component(&mut self, component: Component) -> Result<()> {
        if !self.running.contains_key(&component) {
            self.spawn(component)?;
        }
        match component {
            Component::Etcd | Component::ApiServer => self.wait_for_api(),
            Component::Kubelet => self.wait_for_node(),
            Component::Containerd => self.until("containerd", |cluster| cluster.ctr(["version"]).map(drop)),
            // They work off what has gathered, whenever they are there.
            Component::Controllers | Component::Scheduler => Ok(()),
        }
    }

    /// Ends a component with SIGTERM.
    pub fn stop_component(&mut self, component: Component) -> Result<()> {
        let mut running = self.running.remove(&component).with_context(|| format!("{component:?} does not run"))?;
        running.terminate().map(drop)
    }

    /// Ends a component with SIGKILL.
    pub fn kill_component(&mut self, component: Component) -> Result<()> {
        let mut running = self.running.remove(&component).with_context(|| format!("{component:?} does not run"))?;
        running.signal(nix::sys::signal::Signal::SIGKILL)?;
        running.wait(Duration::from_secs(10)).map(drop)
    }

    /// Ends a component with SIGTERM, starts it again, and waits until it works.
    pub fn restart_component(&mut self, component: Component) -> Result<()> {
        self.stop_component(component)?;
        self.start_component(component)
    }

    fn spawn(&mut self, component: Component) -> Result<()> {
        let plan = Plan { place: &self.place, access: &self.access, ports: &self.ports };
        let command = plan.command(component)?;
        self.starts += 1;
        let log = self.place.files().join(&format!("{}.{}.log", component.name(), self.starts));
        self.running.insert(component, Running::spawn(command, log)?);
        Ok(())
    }

    /// Whether all components still run.
    pub fn check(&mut self) -> Result<()> {
        for component in Component::ALL {
            let Some(running) = self.running.get_mut(&component) else {
                bail!("{} does not run", component.name());
            };
            if let Some(status) = running.ended()? {
                bail!("{} ended with {status}:\n{}", component.name(), running.last_words());
            }
        }
        Ok(())
    }

    /// The end of what a component has written since it was started last.
    pub fn logs(&self, component: Component) -> String {
        self.running.get(&component).map(Running::last_words).unwrap_or_default()
    }

    fn wait_for_api(&mut self) -> Result<()> {
        self.until("the API server", |cluster| {
            let ready = cluster.kubectl(["get", "--raw", "/readyz"])?;
            ensure!(ready == "ok", "{ready}");
            Ok(())
        })
    }

    /// The node object alone tells little: after the kubelet was killed it says `Ready` for 40 s more.
    fn wait_for_node(&mut self) -> Result<()> {
        self.until("the node", |cluster| {
            let health = cluster.ports.kubelet_health;
            TcpStream::connect((Ipv4Addr::LOCALHOST, health)).context("the kubelet does not listen")?;
            cluster.kubectl(["wait", "--for=condition=Ready", &format!("node/{NODE}"), "--timeout=30s"]).map(drop)
        })
    }

    /// Repeats a command until it succeeds, as long as the components run that were started.
    fn until(&mut self, what: &str, attempt: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let mut last = String::new();
        wait::until(what, LIMIT, || {
            for (component, running) in &mut self.running {
                if let Some(status) = running.ended()? {
                    bail!("{} ended with {status}:\n{}", component.name(), running.last_words());
                }
            }
            match attempt(self) {
                Ok(()) => Ok(Some(())),
                Err(error) => {
                    last = format!("{error:#}");
                    Ok(None)
                }
            }
        })
        .with_context(|| format!("the last attempt: {last}"))
    }

    /// Runs kubectl as the cluster's administrator and returns what it prints.
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        checked(self.try_kubectl(arguments, b"")?)
    }

    /// Runs kubectl with an input; its failure is an answer, too.
    pub fn try_kubectl<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Result<Finished> {
        let mut kubectl = Command::new(binary("kubectl")?);
        kubectl.args(arguments).env("KUBECONFIG", &self.access.admin).env("HOME", self.place.files().path());
        process::run(kubectl, input, LIMIT)
    }

    /// Makes or changes objects; YAML, or JSON.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        checked(self.try_kubectl(["apply", "-f", "-"], manifest.as_bytes())?)
            .with_context(|| format!("in {manifest}"))
            .map(drop)
    }

    /// An object, as the API server has it.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Value> {
        let printed = self.kubectl(["get", "--namespace", namespace, kind, name, "--output=json"])?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Makes an image known to the node.
    pub fn load_image(&mut self, image: Image) -> Result<()> {
        let file = self.place.files().join("image.tar");
        image.write(&file)?;
        self.load_archive(&file)?;
        Ok(std::fs::remove_file(file)?)
    }

    /// Makes the images of an OCI archive known to the node.
    pub fn load_archive(&mut self, archive: &Path) -> Result<()> {
        self.until("containerd", |cluster| cluster.ctr(["version"]).map(drop))?;
        self.ctr([OsStr::new("image"), OsStr::new("import"), archive.as_os_str()])
            .with_context(|| format!("failed to load {}", archive.display()))
            .map(drop)
    }

    fn ctr<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let mut ctr = command("ctr")?;
        let plan = Plan { place: &self.place, access: &self.access, ports: &self.ports };
        ctr.arg("--address").arg(plan.socket()).args(["--namespace", "k8s.io", "--connect-timeout", "1s"]);
        ctr.args(arguments);
        succeed(ctr, "ctr")
    }

    /// The API server's port on 127.0.0.1.
    pub fn api_port(&self) -> u16 {
        self.ports.api
    }

    /// The file with the certificate of the API server's authority.
    pub fn authority(&self) -> &Path {
        &self.access.authority
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.access.admin
    }

    /// The cgroup v2 directory below which the kubelet makes `kubepods`.
    pub fn cgroup_root(&self) -> PathBuf {
        self.place.unified().to_owned()
    }

    /// Ends every process of every pod with SIGKILL, and all sandboxes, as a node does that loses its power.
    pub fn kill_pods(&self) -> Result<()> {
        let pods = self.cgroup_root().join("kubepods/cgroup.kill");
        std::fs::write(&pods, "1").with_context(|| format!("failed to write to {}", pods.display()))
    }

    /// Makes the kubelet run a pod that the API server does not ask for.
    pub fn run_static(&self, pod: &Pod) -> Result<()> {
        let file = self.place.files().join(component::STATIC_PODS).join(format!("{}.json", pod.name()));
        // The kubelet must not find a part of it.
        let part = self.place.files().write("static-pod", pod.manifest().to_string())?;
        std::fs::rename(&part, &file).with_context(|| format!("failed to make {}", file.display()))
    }

    /// Takes such a pod away, and waits until the API server has forgotten it.
    pub fn end_static(&self, namespace: &str, pod: &Pod) -> Result<()> {
        std::fs::remove_file(self.place.files().join(component::STATIC_PODS).join(format!("{}.json", pod.name())))?;
        let mirror = format!("{}-{NODE}", pod.name());
        wait::until("the end of a static pod", LIMIT, || Ok(self.get(namespace, "pod", &mirror).is_err().then_some(())))
    }

    /// A command that runs on the node: it sees the kubelet's and the containers' mounts.
    pub fn on_node(&self, program: &str) -> Result<Command> {
        self.place.inside(program)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once, so that nothing starts what another one misses.
        self.place.kill();
    }
}

fn checked(finished: Finished) -> Result<String> {
    ensure!(finished.code == 0, "kubectl ended with {}: {}", finished.code, finished.stderr.trim());
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}
