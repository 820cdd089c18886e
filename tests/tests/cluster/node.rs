//! What a pod finds on a node, and a node with many pods.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use baton_tests::cluster::{Class, Cluster, Image, LIMIT, Pod, namespace};
use baton_tests::wait;

/// A pod of each class has a cgroup v2 directory, with one for its sandbox and one for its container in it.
///
/// It is in the same place whether cgroup v2 is the only one or stands beside v1. Beside v1, kubelet 1.20 makes v1
/// directories only, and runc 1.1 the v2 ones when it creates the sandbox: the pod's, the sandbox's in it, and then it
/// moves the sandbox's process there, before that runs its program. Later containers get theirs in the same way.
/// (Seen with the tracepoints cgroup_mkdir and cgroup_attach_task: sandbox's directory to first container's program 170 ms.)
pub(crate) fn every_class_of_pods_has_a_cgroup_of_its_own(cluster: &mut Cluster) -> Result<()> {
    let namespace = namespace("classes");
    cluster.create_namespace(&namespace, &[])?;
    let classes = [(Class::Guaranteed, ""), (Class::Burstable, "burstable/"), (Class::BestEffort, "besteffort/")];
    let pod = |class: Class| Pod::new(&namespace, &format!("{class:?}").to_lowercase(), BUSYBOX).class(class);
    let pods = classes.map(|(class, _)| pod(class));
    cluster.run(&pods)?;
    for (pod, (class, folder)) in pods.iter().zip(classes) {
        let uid = cluster.pod_uid(&namespace, pod.name())?;
        let directory = cluster.cgroup_root().join(format!("kubepods/{folder}pod{uid}"));
        let found: Vec<_> = std::fs::read_dir(&directory)
            .with_context(|| format!("no cgroup for a pod of class {class:?}: {}", directory.display()))?
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .collect();
        ensure!(found.len() == 2, "{class:?}: {found:?}");
        for container in found {
            let members = std::fs::read_to_string(container.path().join("cgroup.procs"))?;
            ensure!(members.lines().count() == 1, "{class:?}: {}: {members:?}", container.path().display());
        }
    }
    cluster.delete_namespace(&namespace)
}

/// As client libraries do it: with the service account's token, and with its authority's certificate.
pub(crate) fn a_pod_reaches_the_api_server_and_trusts_it(cluster: &mut Cluster) -> Result<()> {
    const PROGRAM: &str = "\
import json, os, ssl, urllib.request
folder = '/var/run/secrets/kubernetes.io/serviceaccount/'
address = os.environ['KUBERNETES_SERVICE_HOST'] + ':' + os.environ['KUBERNETES_SERVICE_PORT']
def ask(path, body=None):
    headers = {'Authorization': 'Bearer ' + open(folder + 'token').read(), 'Content-Type': 'application/json'}
    request = urllib.request.Request('https://' + address + path, body, headers)
    return json.load(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + 'ca.crt')))
print('reached:', 'gitVersion' in ask('/version'))
review = {'apiVersion': 'authorization.k8s.io/v1', 'kind': 'SelfSubjectAccessReview',
          'spec': {'resourceAttributes': {'verb': 'list', 'resource': 'pods'}}}
review = ask('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', json.dumps(review).encode())
print('may list pods:', review['status']['allowed'])
";
    let namespace = namespace("client");
    cluster.create_namespace(&namespace, &[])?;
    let pod = Pod::new(&namespace, "client", Image::HOP).reaching_the_api(cluster);
    let written = cluster.run_to_end(pod.command(&["python3", "-c", PROGRAM]))?;
    ensure!(written == "reached: True\nmay list pods: False\n", "{written}");
    cluster.delete_namespace(&namespace)
}

/// Many pods at once, deleted at once: no container's cgroup stays.
///
/// A pod's own directory does stay, empty, where cgroup v1 is mounted, too: only runc knows of cgroup v2 there. It makes
/// the directory on the way to the sandbox's, and the kubelet, which removes it elsewhere, does not look there.
pub(crate) fn pods_in_a_burst(cluster: &mut Cluster) -> Result<()> {
    let namespace = namespace("burst");
    cluster.create_namespace(&namespace, &[])?;
    let pods: Vec<_> = (0..20).map(|number| Pod::new(&namespace, &format!("pod-{number}"), BUSYBOX)).collect();
    cluster.run(&pods)?;
    let uids = pods.iter().map(|pod| cluster.pod_uid(&namespace, pod.name())).collect::<Result<Vec<_>>>()?;
    let directories: Vec<_> =
        uids.iter().map(|uid| cluster.cgroup_root().join(format!("kubepods/besteffort/pod{uid}"))).collect();
    for directory in &directories {
        ensure!(containers(directory) == 2, "{}: {} containers", directory.display(), containers(directory));
    }
    cluster.delete(&pods)?;
    wait::until("no cgroup of a container that is gone", LIMIT, || {
        Ok(directories.iter().all(|directory| containers(directory) == 0).then_some(()))
    })?;
    cluster.delete_namespace(&namespace)
}

/// How many cgroups there are in a pod's; none if that is gone.
fn containers(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

const BUSYBOX: &str = "test.local/busybox:1";
