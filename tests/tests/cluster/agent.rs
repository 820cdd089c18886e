//! baton in the cluster: the same chain, with labels.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use baton_tests::baton::HEADERS;
use baton_tests::cluster::{Agent, Answer, Chain, Cluster, Component, Image, Load, NODE, Pod, namespace};
use baton_tests::pods::LABEL;
use baton_tests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// From a label's change to its effect.
const EFFECT: Duration = Duration::from_secs(1);

/// CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON and CAP_BPF (include/uapi/linux/capability.h).
const CAPABILITIES: u64 = 1 << 12 | 1 << 19 | 1 << 38 | 1 << 39;

/// The agent that all tests here share.
static AGENT: Mutex<Option<Agent>> = Mutex::new(None);

fn with_agent<T>(cluster: &mut Cluster, test: impl FnOnce(&mut Cluster, &Agent) -> Result<T>) -> Result<T> {
    let mut agent = AGENT.lock().unwrap_or_else(PoisonError::into_inner);
    if agent.is_none() {
        *agent = Some(Agent::install(cluster)?);
    }
    let agent = agent.as_ref().context("an agent")?;
    let done = test(cluster, agent);
    done.with_context(|| format!("the agent wrote:\n{}", agent.logs(cluster)))
}

fn chain(cluster: &Cluster, labels: &[(&str, &str)]) -> Result<Chain> {
    let namespace = namespace("carried");
    cluster.create_namespace(&namespace, labels)?;
    Chain::start(cluster, &namespace)
}

const ENABLED: &[(&str, &str)] = &[(LABEL, "enabled")];

/// Which hops get the header.
fn carried(chain: &Chain) -> Result<Vec<bool>> {
    let hops = chain.ask(&mut chain.client(), &[(HEADERS[0], "dev1")])?;
    Ok(hops.iter().map(|hop| hop.values(HEADERS[0]).eq(["dev1"])).collect())
}

pub(crate) fn the_chart_installs_an_agent_with_just_its_rights(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, agent| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.process()?))?;
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no capabilities")?;
        ensure!(u64::from_str_radix(set.trim(), 16)? == CAPABILITIES, "CapEff is {set}");
        let doctor = agent.exec(cluster, &["doctor"])?;
        ensure!(doctor.contains("baton can run here."), "{doctor}");
        // The last two are everybody's: to ask what one may do.
        let rights = [
            ("events.events.k8s.io", "create"),
            ("namespaces", "list watch"),
            ("pods", "list watch"),
            ("selfsubjectaccessreviews.authorization.k8s.io", "create"),
            ("selfsubjectrulesreviews.authorization.k8s.io", "create"),
            ("services", "list"),
        ];
        let rights: BTreeSet<_> = rights.map(|(what, verbs)| (what.to_owned(), verbs.to_owned())).into();
        let found = agent.rights(cluster)?;
        ensure!(found == rights, "it may do {found:#?}");
        agent.check_manifests(cluster)
    })
}

pub(crate) fn a_labelled_namespace_carries_and_another_is_untouched(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, agent| {
        let (on, off) = (chain(cluster, ENABLED)?, chain(cluster, &[])?);
        ensure!(carried(&on)? == [true, true, true], "in a labelled namespace");
        ensure!(carried(&off)? == [true, false, false], "in another namespace");
        cluster.delete(on.pods())?;
        wait::until("a map without the labelled pods", LIMIT, || Ok((agent.members()? == 0).then_some(())))?;
        let load = Load::start(&off, 2);
        load.wait_for_more(100, LIMIT)?;
        ensure!(agent.members()? == 0, "a connection of another namespace is in the map");
        load.stop()?.require_no_failure()?;
        cluster.delete_namespace(on.namespace())?;
        cluster.delete_namespace(off.namespace())
    })
}

/// The gateway's call of the second hop, as `baton record` in the agent's container has it.
pub(crate) fn flow_events_have_the_clusters_names(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, agent| {
        let chain = chain(cluster, ENABLED)?;
        let load = Load::start(&chain, 1);
        let recorded = agent.exec(cluster, &["record", "--for", "5s", "--output", "-"])?;
        load.stop()?.require_no_failure()?;
        let (gateway, orders) = (format!("{}/gateway", chain.namespace()), format!("{}/orders", chain.namespace()));
        let events: Vec<Value> = recorded.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut calls = events.iter().filter(|event| event["kind"] == "outbound" && event["workload"] == *gateway);
        ensure!(
            calls.any(|call| call["container"] == "main" && call["peer_name"] == *orders),
            "no call of {gateway} with its container's and its peer's name: {recorded}"
        );
        cluster.delete_namespace(chain.namespace())
    })
}

/// Off to on, off and on again, on connections that are never idle.
pub(crate) fn labels_have_their_effect_under_load(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, _| {
        let chain = chain(cluster, &[])?;
        let load = Load::start(&chain, 2);
        load.wait_for_more(50, LIMIT)?;
        for label in ["=enabled", "-", "=enabled", "=disabled"] {
            let (namespace, label) = (format!("namespace/{}", chain.namespace()), format!("{LABEL}{label}"));
            let moment = cluster.label("", &namespace, &[&label])?;
            let is_on = label.ends_with("enabled");
            let wanted = |answer: &Answer| if is_on { answer.is_propagated() } else { answer.is_untouched() };
            load.wait_for(&label, moment, EFFECT, wanted)?;
        }
        load.stop()?.require_no_failure()?;
        cluster.delete_namespace(chain.namespace())
    })
}

pub(crate) fn labels_and_annotations_of_pods(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, _| {
        let namespace = namespace("choice");
        cluster.create_namespace(&namespace, ENABLED)?;
        // The second hop opts out: it gets the header, and does not pass it on.
        let add = |pod: Pod| if pod.name() == "orders" { pod.label(LABEL, "disabled") } else { pod };
        let mut chain = Chain::start_with(cluster, &namespace, add)?;
        ensure!(carried(&chain)? == [true, true, false], "a pod that opts out");
        chain.recreate(cluster, 0)?;
        ensure!(carried(&chain)? == [true, true, false], "a pod that was made anew");
        let events = |cluster: &Cluster| cluster.kubectl(["get", "events", "--namespace", chain.namespace()]);
        cluster.kubectl([
            "annotate",
            "pod",
            "gateway",
            "--namespace",
            chain.namespace(),
            "baton.dev/headers=x-secret",
        ])?;
        wait::until("no propagation", EFFECT, || Ok((carried(&chain)? == [true, false, false]).then_some(())))?;
        wait::until("an event", LIMIT, || Ok(events(cluster)?.contains("x-secret").then_some(())))?;
        cluster.delete_namespace(chain.namespace())
    })
}

pub(crate) fn a_burst_of_pods_is_enrolled(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, _| {
        let namespace = namespace("burst");
        cluster.create_namespace(&namespace, ENABLED)?;
        let image = Image::HOP;
        let pods: Vec<Pod> = (0..50).map(|number| Pod::new(&namespace, &format!("pod-{number}"), image)).collect();
        cluster.run(&pods)?;
        let chain = Chain::start(cluster, &namespace)?;
        ensure!(carried(&chain)? == [true, true, true], "among fifty others");
        cluster.delete(&pods)?;
        ensure!(carried(&chain)? == [true, true, true], "when they are gone");
        cluster.delete_namespace(&namespace)
    })
}

pub(crate) fn nothing_is_lost_when_the_api_server_is_away(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, _| {
        let chain = chain(cluster, ENABLED)?;
        let load = Load::start(&chain, 2);
        load.wait_for_more(50, LIMIT)?;
        cluster.kill_component(Component::ApiServer)?;
        load.wait_for_more(200, LIMIT)?;
        cluster.start_component(Component::ApiServer)?;
        load.wait_for_more(50, LIMIT)?;
        let outcome = load.stop()?;
        outcome.require_no_failure()?;
        ensure!(outcome.answers.iter().all(|answer| answer.is_propagated()), "a header was lost");
        cluster.delete_namespace(chain.namespace())
    })
}

pub(crate) fn no_request_fails_when_the_agent_is_killed(cluster: &mut Cluster) -> Result<()> {
    survives(cluster, Agent::kill)
}

pub(crate) fn no_request_fails_when_the_agent_is_replaced(cluster: &mut Cluster) -> Result<()> {
    survives(cluster, Agent::replace)
}

fn survives(cluster: &mut Cluster, change: fn(&Agent, &Cluster) -> Result<()>) -> Result<()> {
    with_agent(cluster, |cluster, agent| {
        let chain = chain(cluster, ENABLED)?;
        let load = Load::start(&chain, 2);
        load.wait_for("propagation", Instant::now(), LIMIT, |answer| answer.is_propagated())?;
        change(agent, cluster)?;
        load.wait_for("propagation by the next agent", Instant::now(), LIMIT, |answer| answer.is_propagated())?;
        load.stop()?.require_no_failure()?;
        cluster.delete_namespace(chain.namespace())
    })
}

/// The kubelet before the agent: it starts all pods anew at once, the agent's among them. And the agent before the
/// kubelet: that starts anew beside an agent that runs.
pub(crate) fn a_node_starts_in_any_order(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, agent| {
        let mut chain = self::chain(cluster, ENABLED)?;
        ensure!(carried(&chain)? == [true, true, true], "before");
        cluster.kill_component(Component::Kubelet)?;
        cluster.kill_pods()?;
        cluster.start_component(Component::Kubelet)?;
        chain.find_again(cluster)?;
        wait::until("propagation after a power cut", LIMIT, || {
            Ok((carried(&chain)? == [true, true, true]).then_some(()))
        })?;
        agent.wait_ready(cluster)?;
        let process = agent.process()?;
        let load = Load::start(&chain, 2);
        load.wait_for_more(50, LIMIT)?;
        cluster.kill_component(Component::Kubelet)?;
        load.wait_for_more(50, LIMIT)?;
        cluster.start_component(Component::Kubelet)?;
        let another = self::chain(cluster, ENABLED)?;
        ensure!(carried(&another)? == [true, true, true], "pods that the new kubelet has started");
        cluster.delete_namespace(another.namespace())?;
        ensure!(agent.process()? == process, "the agent was started anew");
        let outcome = load.stop()?;
        outcome.require_no_failure()?;
        ensure!(outcome.answers.iter().all(|answer| answer.is_propagated()), "a header was lost");
        cluster.delete_namespace(chain.namespace())
    })
}

/// The API server knows them by another id than the kubelet, which names their cgroups.
pub(crate) fn a_static_pod_is_on(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, _| {
        let chain = chain(cluster, &[])?;
        let pod = Pod::new(chain.namespace(), "static", Image::HOP).label(LABEL, "enabled");
        cluster.run_static(&pod)?;
        let mirror = format!("{}-{NODE}", pod.name());
        wait::until("the API server's copy of a static pod", LIMIT, || {
            Ok(cluster.get(chain.namespace(), "pod", &mirror).ok().map(drop))
        })?;
        let longer = chain.behind(cluster.pod_ip(chain.namespace(), &mirror)?);
        wait::until("propagation by a static pod", LIMIT, || {
            let hops = longer.ask(&mut longer.client(), &[(HEADERS[0], "dev1")]);
            let Ok(hops) = hops else { return Ok(None) };
            let carried: Vec<_> = hops.iter().map(|hop| hop.values(HEADERS[0]).count()).collect();
            Ok((carried == [1, 1, 0, 0]).then_some(()))
        })?;
        cluster.end_static(chain.namespace(), &pod)?;
        cluster.delete_namespace(chain.namespace())
    })
}

pub(crate) fn the_agent_leaves_nothing(cluster: &mut Cluster) -> Result<()> {
    let agent = AGENT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let agent = match agent {
        Some(agent) => agent,
        None => Agent::install(cluster)?,
    };
    let pinned = Agent::pins(cluster)?;
    ensure!(pinned.contains("/sys/fs/bpf/baton"), "nothing is pinned while it runs: {pinned}");
    agent.remove(cluster)?;
    let left = Agent::pins(cluster)?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}
