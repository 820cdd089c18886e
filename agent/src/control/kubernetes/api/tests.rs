//! Against a fake API server that lists, watches, and misbehaves.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_tests::api_server::{ApiServer, Fault};
use kube::Config;

use super::*;

/// An API server that knows one namespace.
fn server() -> ApiServer {
    let server = ApiServer::start().expect("it starts");
    server.set_namespace("shop", &[], &[]);
    server
}

fn add(server: &ApiServer, name: &str) {
    server.set_pod(name, name, &[("baton.dev/propagation", "enabled")], &[]);
}

/// A cluster whose API server is `server`.
fn cluster(server: &ApiServer) -> Cluster {
    let config = Config::new(server.address().parse().expect("an address"));
    Cluster::watch(&Client::try_from(config).expect("a client"), "here")
}

/// Waits until the pods of `cluster` are `names`.
async fn until(cluster: &mut Cluster, names: &[&str]) {
    let wanted: BTreeSet<&str> = names.iter().copied().collect();
    let seen = |cluster: &Cluster| cluster.here.iter().map(|pod| pod.name.clone()).collect::<BTreeSet<_>>();
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !cluster.is_complete() || seen(cluster).iter().map(String::as_str).collect::<BTreeSet<_>>() != wanted {
            cluster.changed().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("after 30 s the pods are {:?}, not {wanted:?}", seen(cluster)));
}

#[tokio::test]
async fn pods_are_listed_and_followed() {
    let server = server();
    add(&server, "a");
    let mut cluster = cluster(&server);
    until(&mut cluster, &["a"]).await;
    add(&server, "b");
    until(&mut cluster, &["a", "b"]).await;
    server.remove_pod("a");
    until(&mut cluster, &["b"]).await;
    assert!(!cluster.is_lost());
    let asked = server.asked();
    assert!(
        asked.iter().filter(|query| query.contains("/pods?")).all(|query| query.contains("spec.nodeName%3Dhere")),
        "pods of other nodes were asked for: {asked:?}"
    );
    assert!(server.only_metadata(), "whole objects were asked for");
}

#[tokio::test]
async fn lists_of_many_pages_are_complete() {
    let server = server();
    let names: Vec<String> = (0..1203).map(|number| format!("pod-{number}")).collect();
    names.iter().for_each(|name| add(&server, name));
    let mut cluster = cluster(&server);
    until(&mut cluster, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn nothing_is_forgotten_while_the_server_is_away() {
    let server = server();
    add(&server, "a");
    let mut cluster = cluster(&server);
    until(&mut cluster, &["a"]).await;
    for fault in [Fault::Forbidden, Fault::Unavailable, Fault::Garbage, Fault::HangUp] {
        server.set_fault(Some(fault));
        server.end_watches();
        let before = server.failed();
        let changes = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                tokio::select! {
                    () = cluster.changed() => panic!("{fault:?} changed something"),
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
                if server.failed() > before {
                    return;
                }
            }
        });
        changes.await.unwrap_or_else(|_| panic!("{fault:?}: the server was not asked"));
        assert_eq!(cluster.here.iter().count(), 1, "{fault:?}");
        server.set_fault(None);
        add(&server, "b");
        until(&mut cluster, &["a", "b"]).await;
        server.remove_pod("b");
        until(&mut cluster, &["a"]).await;
    }
}

#[tokio::test]
async fn an_expired_watch_lists_anew_and_compares() {
    let server = server();
    add(&server, "a");
    add(&server, "b");
    let mut cluster = cluster(&server);
    until(&mut cluster, &["a", "b"]).await;
    // 410: what happened meanwhile is only to be had by listing.
    server.forget_history();
    server.end_watches();
    server.remove_pod("a");
    add(&server, "c");
    until(&mut cluster, &["b", "c"]).await;
}

#[tokio::test]
async fn nothing_counts_before_both_lists_are_complete() {
    let server = server();
    add(&server, "a");
    server.set_fault(Some(Fault::NoNamespaces));
    let mut cluster = cluster(&server);
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while server.failed() < 2 {
            tokio::select! {
                () = cluster.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    });
    waited.await.expect("namespaces are asked for");
    assert!(!cluster.is_complete());
    server.set_fault(None);
    until(&mut cluster, &["a"]).await;
}
