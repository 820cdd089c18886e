//! baton in the cluster: the same chain, with labels.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use baton_tests::baton::HEADERS;
use baton_tests::cluster::{Agent, Chain, Cluster, Component, Load, Pod, namespace};
use baton_tests::pods::LABEL;
use baton_tests::wait;

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
        for (verb, resource, may) in [
            ("list", "pods", true),
            ("watch", "namespaces", true),
            ("create", "events.events.k8s.io", true),
            ("get", "secrets", false),
            ("create", "pods", false),
            ("patch", "pods", false),
            ("list", "nodes", false),
            ("create", "pods/exec", false),
            ("patch", "events.events.k8s.io", false),
        ] {
            ensure!(agent.may(cluster, verb, resource)? == may, "{verb} {resource}: {}", !may);
        }
        Ok(())
    })
}

pub(crate) fn a_labelled_namespace_carries_and_another_is_untouched(cluster: &mut Cluster) -> Result<()> {
    with_agent(cluster, |cluster, _| {
        let (on, off) = (chain(cluster, ENABLED)?, chain(cluster, &[])?);
        ensure!(carried(&on)? == [true, true, true], "in a labelled namespace");
        ensure!(carried(&off)? == [true, false, false], "in another namespace");
        cluster.delete_namespace(on.namespace())?;
        // Off and on again while it is used, without a failed request.
        let load = Load::start(&off, 2);
        load.wait_for_more(50, LIMIT)?;
        let moment = cluster.label("", &format!("namespace/{}", off.namespace()), &[&format!("{LABEL}=enabled")])?;
        // Connections between the hops are new: nobody keeps them open across a change here.
        load.wait_for_more(50, LIMIT)?;
        let outcome = load.stop()?;
        outcome.require_no_failure()?;
        wait::until("propagation", EFFECT, || Ok((carried(&off)? == [true, true, true]).then_some(())))?;
        ensure!(moment.elapsed() < LIMIT);
        let load = Load::start(&off, 2);
        load.wait_for("propagation under load", Instant::now(), EFFECT, |answer| answer.is_propagated())?;
        let moment = cluster.label("", &format!("namespace/{}", off.namespace()), &[&format!("{LABEL}-")])?;
        load.wait_for("the end of it", moment, EFFECT, |answer| answer.is_untouched())?;
        load.stop()?.require_no_failure()?;
        cluster.delete_namespace(off.namespace())
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
        let image = baton_tests::cluster::Image::HOP;
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
