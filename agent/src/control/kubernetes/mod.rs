//! The pods of this node whose namespaces or own labels ask for propagation.

mod api;
mod choice;
mod names;
mod object;
mod reflected;
pub(crate) mod report;
mod tree;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::Client;

use self::api::Cluster;
use self::choice::Choice;
use self::object::Object;
use self::report::Notice;
use self::tree::Tree;
use super::plan::Plan;
use crate::datapath::workload::Desired;
use crate::failure::Failure;
use crate::observe::names::Names;

/// How long a pod may be without a cgroup before that is worth telling: its
/// images are pulled before the kubelet makes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the cluster wants of this node.
pub(crate) struct Kubernetes {
    client: Client,
    node: String,
    cluster: Cluster,
    tree: Tree,
    /// What flow events show.
    names: Names,
    /// Since when pods are waited for, by id.
    waiting: HashMap<String, Instant>,
}

/// Which pods are workloads, and what stands in the way of others.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The workloads.
    pub(crate) workloads: Vec<Desired>,
    /// What is wrong.
    pub(crate) notices: Vec<Notice>,
}

impl Kubernetes {
    /// Begins to follow the cluster and the cgroup tree below `root`.
    ///
    /// # Errors
    /// [`Failure::Usage`] without a node's name; otherwise if there is no way
    /// to the API server, or inotify is exhausted.
    pub(crate) async fn begin(node: Option<&str>, root: PathBuf) -> anyhow::Result<Self> {
        let node = node.filter(|node| !node.is_empty()).ok_or_else(|| {
            Failure::Usage(
                "--kubernetes needs this node's name: set NODE_NAME from spec.nodeName, or use --node".into(),
            )
        })?;
        let client = api::connect().await?;
        tracing::info!(node, root = %root.display(), "follows the pods of this node");
        let names = Names::default();
        names::follow(client.clone(), node.to_owned(), names.clone());
        Ok(Self {
            cluster: Cluster::watch(&client, node),
            client,
            node: node.to_owned(),
            tree: Tree::open(&root)?,
            names,
            waiting: HashMap::new(),
        })
    }

    /// The names that the cluster has for what flow events show.
    pub(crate) fn names(&self) -> Names {
        self.names.clone()
    }

    /// Waits until pods, namespaces or cgroups changed.
    ///
    /// # Errors
    /// If the cgroup tree cannot be followed any more.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = self.cluster.changed() => Ok(()),
            seen = self.tree.changed() => seen,
        }
    }

    /// Whether all is known that the API server says.
    pub(crate) const fn is_complete(&self) -> bool {
        self.cluster.is_complete()
    }

    /// Whether the API server is out of reach for some time already.
    pub(crate) fn is_lost(&self) -> bool {
        self.cluster.is_lost()
    }

    /// Pods whose cgroups have not come.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a pod is waited for whose cgroup has not come, or the kubelet's
    /// directory is not found.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Looks for the kubelet's directory again, where it may have an unusual name.
    ///
    /// # Errors
    /// If the root of the tree cannot be watched.
    pub(crate) fn look_again(&mut self) -> anyhow::Result<()> {
        if self.tree.is_found() { Ok(()) } else { self.tree.walk() }
    }

    /// What is wanted now. Only to be asked when all is known.
    pub(crate) fn wanted(&mut self, plan: &Plan) -> Wanted {
        let namespaces: HashMap<&str, &Object> =
            self.cluster.all.iter().map(|namespace| (namespace.name.as_str(), namespace)).collect();
        let mut wanted = Wanted::default();
        let mut waiting = HashMap::new();
        for pod in self.cluster.here.iter() {
            let namespace = namespaces.get(pod.namespace.as_str()).copied();
            match choice::choose(plan, namespace, pod) {
                Choice::Off => {}
                Choice::Refused(problem) => {
                    let object = namespace.filter(|_| problem.of_namespace).unwrap_or(pod);
                    wanted.notices.push(Notice::about(object, report::REFUSED, problem.text));
                }
                Choice::On(settings) => match self.tree.directory(pod.cgroup_id()) {
                    Some(directory) => wanted.workloads.push(Desired {
                        cgroup: directory.to_owned(),
                        name: pod.full_name(),
                        names: settings.names,
                        addresses: settings.addresses,
                        attribution: settings.attribution,
                    }),
                    None => {
                        let since = self.waiting.get(&pod.uid).copied().unwrap_or_else(Instant::now);
                        if since.elapsed() > PATIENCE {
                            wanted.notices.push(Notice::about(pod, report::NOT_ENROLLED, self.missing(pod)));
                        }
                        waiting.insert(pod.uid.clone(), since);
                    }
                },
            }
        }
        self.waiting = waiting;
        self.settle_claims(&mut wanted);
        wanted
    }

    /// Of pods that claim one directory, which a static pod's annotation makes possible, none gets it.
    fn settle_claims(&self, wanted: &mut Wanted) {
        let mut claims: HashMap<&PathBuf, usize> = HashMap::new();
        wanted.workloads.iter().for_each(|workload| *claims.entry(&workload.cgroup).or_default() += 1);
        let contested: Vec<PathBuf> =
            claims.into_iter().filter(|(_, count)| *count > 1).map(|(path, _)| path.clone()).collect();
        let (refused, settled): (Vec<_>, Vec<_>) =
            std::mem::take(&mut wanted.workloads).into_iter().partition(|one| contested.contains(&one.cgroup));
        wanted.workloads = settled;
        let why = |one: &Desired| format!("another pod claims its cgroup directory {}, too", one.cgroup.display());
        wanted.notices.extend(refused.iter().filter_map(|one| self.notice(&one.name, why(one))));
    }

    fn missing(&self, pod: &Object) -> String {
        let root = self.tree.root().display();
        let why = if self.tree.is_found() {
            format!(
                "no cgroup v2 directory of pod {} was found below {root}; its containers may be waiting",
                pod.cgroup_id()
            )
        } else {
            format!(
                "no kubepods directory was found below {root}: name it with `kubernetes.cgroup_root`, or does this node's kubelet use cgroup v1?"
            )
        };
        format!("not enrolled: {why}")
    }

    /// Tells the owner of a namespace or pod what is wrong.
    pub(crate) fn publish(&self, notice: &Notice) {
        report::publish(&self.client, &self.node, notice);
    }

    /// The pod of the workload called `name`, for a notice about it.
    pub(crate) fn notice(&self, name: &str, text: String) -> Option<Notice> {
        let pod = self.cluster.here.iter().find(|pod| pod.full_name() == name)?;
        Some(Notice::about(pod, report::NOT_ENROLLED, format!("not enrolled: {text}")))
    }
}
