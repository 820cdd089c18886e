//! Three services in pods, without baton.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::baton::HEADERS;
use baton_tests::cluster::{Chain, Cluster, Component, Load, namespace};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn a_chain_answers_through_pod_addresses(cluster: &mut Cluster) -> Result<()> {
    let chain = chain(cluster)?;
    let mut client = chain.client();
    for _ in 0..10 {
        let hops = chain.ask(&mut client, &[(HEADERS[0], "dev1")])?;
        let names: Vec<_> = hops.iter().map(|hop| hop.pod.as_str()).collect();
        ensure!(names == ["gateway", "orders", "stock"], "{names:?}");
        let carried: Vec<Vec<_>> = hops.iter().map(|hop| hop.values(HEADERS[0]).collect()).collect();
        ensure!(carried == [vec!["dev1"], vec![], vec![]], "somebody copies headers: {carried:?}");
    }
    ensure!(client.reconnects() == 0, "connections were not kept");
    cluster.delete_namespace(chain.namespace())
}

pub(crate) fn a_pod_that_is_made_anew_joins_its_chain(cluster: &mut Cluster) -> Result<()> {
    let mut chain = chain(cluster)?;
    let name = chain.pods()[1].name().to_owned();
    let before = cluster.pod_uid(chain.namespace(), &name)?;
    chain.recreate(cluster, 1)?;
    ensure!(cluster.pod_uid(chain.namespace(), &name)? != before, "it is the same pod");
    ensure!(chain.ask(&mut chain.client(), &[])?.len() == 3);
    cluster.delete_namespace(chain.namespace())
}

pub(crate) fn pods_answer_while_the_api_server_is_away(cluster: &mut Cluster) -> Result<()> {
    answers_without(cluster, Component::ApiServer)
}

pub(crate) fn pods_answer_while_the_kubelet_is_away(cluster: &mut Cluster) -> Result<()> {
    answers_without(cluster, Component::Kubelet)
}

/// Kills a component and starts it again under load, of which no request fails.
fn answers_without(cluster: &mut Cluster, component: Component) -> Result<()> {
    let chain = chain(cluster)?;
    let load = Load::start(&chain, 2);
    load.wait_for_more(100, LIMIT)?;
    cluster.kill_component(component)?;
    load.wait_for_more(200, LIMIT)?;
    cluster.start_component(component)?;
    load.wait_for_more(100, LIMIT)?;
    let outcome = load.stop()?;
    outcome.require_no_failure()?;
    ensure!(outcome.answers.iter().all(|answer| answer.is_untouched()), "somebody copies headers");
    cluster.check()?;
    cluster.delete_namespace(chain.namespace())
}

fn chain(cluster: &Cluster) -> Result<Chain> {
    let namespace = namespace("chain");
    cluster.create_namespace(&namespace, &[])?;
    Chain::start(cluster, &namespace)
}
