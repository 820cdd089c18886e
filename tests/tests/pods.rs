//! `baton run --kubernetes`: labels and annotations switch real workloads in real cgroups. The API server is a fake.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::api_server::{ApiServer, Fault};
use baton_tests::app::Launch;
use baton_tests::baton::HEADERS;
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::pods::{DISABLED, ENABLED, LABEL, Node, Pod, Tree, uid, until_propagated};
use baton_tests::probe::Probe;
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::wait;

/// From a label's change to its effect.
const EFFECT: Duration = Duration::from_secs(1);

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn labels_switch_pods_on_and_off() -> Result<()> {
    let before = Objects::now()?;
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let (one, other, out) = (Pod::start(&tree)?, Pod::start(&tree)?, Pod::start(&tree)?);
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("one", &one.uid, &[], &[]);
    api.set_pod("out", &out.uid, DISABLED, &[]);
    let node = Node::start(&api, &tree, "")?;
    node.until_health("/readyz", 200)?;
    ensure!(one.probe().is_propagated()?, "a pod in a namespace that is on: {}", node.output());
    ensure!(!other.probe().is_propagated()?, "a pod that the API server does not know");
    ensure!(!out.probe().is_propagated()?, "a pod that opts out");

    // On connections that stay open, too.
    let mut kept = one.kept();
    ensure!(kept.is_propagated()?, "a kept connection");
    api.set_namespace("shop", &[], &[]);
    until_propagated(&one, false, EFFECT)?;
    ensure!(!kept.is_propagated()?, "a kept connection after it was switched off");
    api.set_namespace("shop", DISABLED, &[]);
    api.set_pod("one", &one.uid, ENABLED, &[]);
    until_propagated(&one, true, EFFECT)?;
    wait::until("propagation on the kept connection", EFFECT, || Ok(kept.is_propagated()?.then_some(())))?;
    api.remove_pod("one");
    until_propagated(&one, false, EFFECT)?;
    api.set_pod("one", &one.uid, ENABLED, &[]);
    until_propagated(&one, true, EFFECT)?;
    ensure!(node.stop()? == 0, "the status after SIGTERM");
    nothing_new_since(&before)
}

#[test]
fn a_pod_that_comes_later_carries_from_its_first_request_on() -> Result<()> {
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    api.set_namespace("shop", ENABLED, &[]);
    let node = Node::start(&api, &tree, "")?;
    node.until_health("/readyz", 200)?;
    for round in 0..5 {
        // As it is in a cluster: the API server knows it, its directory comes, then its container.
        let (name, uid) = (format!("late-{round}"), uid());
        api.set_pod(&name, &uid, &[], &[]);
        let pod = tree.pod(&uid)?;
        let container = pod.child("container")?;
        let recorder = Recorder::echoing_targets()?;
        let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::In(&container))?;
        ensure!(Probe::fresh(app.address(), &recorder).is_propagated()?, "round {round}: {}", node.output());
        drop(app);
        api.remove_pod(&name);
    }
    node.stop().map(drop)
}

#[test]
fn annotations_narrow_and_widen() -> Result<()> {
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let pod = Pod::start(&tree)?;
    let node = Node::start(&api, &tree, "kubernetes: {allow: {headers: [x-tenant-id]}}\n")?;
    let all = [(HEADERS[0], "a"), (HEADERS[1], "b"), ("x-tenant-id", "c")];
    let carried = |names: &[&str]| -> Result<()> {
        let mut probe = pod.probe();
        wait::until(&format!("just {names:?}"), EFFECT, || {
            let request = probe.relay_fields(&all)?;
            let is_as_wanted = |(name, value): &(&str, &str)| {
                let found: Vec<&str> = request.head.values(name).collect();
                if names.contains(name) { found == [*value] } else { found.is_empty() }
            };
            Ok(all.iter().all(is_as_wanted).then_some(()))
        })
        .with_context(|| node.output())
    };
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("pod", &pod.uid, &[], &[]);
    node.until_health("/readyz", 200)?;
    carried(&HEADERS)?;
    api.set_pod("pod", &pod.uid, &[], &[("baton.dev/headers", "traceparent, x-tenant-id")]);
    carried(&[HEADERS[1], "x-tenant-id"])?;
    api.set_namespace("shop", ENABLED, &[("baton.dev/headers", HEADERS[0])]);
    carried(&[HEADERS[1], "x-tenant-id"])?;
    api.set_pod("pod", &pod.uid, &[], &[]);
    carried(&[HEADERS[0]])?;
    // Nothing goes to where the backend is.
    api.set_pod("pod", &pod.uid, &[], &[("baton.dev/egress", "10.0.0.0/8")]);
    carried(&[])?;
    // Nothing is taken from where the client is.
    api.set_pod("pod", &pod.uid, &[], &[("baton.dev/trust-ingress", "10.0.0.0/8")]);
    carried(&[])?;
    api.set_pod("pod", &pod.uid, &[], &[("baton.dev/trust-ingress", "127.0.0.1")]);
    carried(&[HEADERS[0]])?;
    node.stop().map(drop)
}

#[test]
fn a_bad_annotation_switches_nothing_on_and_is_reported() -> Result<()> {
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let (good, bad) = (Pod::start(&tree)?, Pod::start(&tree)?);
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("good", &good.uid, &[], &[]);
    api.set_pod("bad", &bad.uid, &[], &[("baton.dev/headers", "x-secret")]);
    let node = Node::start(&api, &tree, "")?;
    node.until_health("/readyz", 200)?;
    ensure!(good.probe().is_propagated()?, "the rest does not work");
    ensure!(!bad.probe().is_propagated()?, "it was switched on");
    let event = wait::until("an event on the pod", LIMIT, || Ok(api.events().into_iter().next()))?;
    ensure!(event["regarding"]["name"] == "bad" && event["regarding"]["uid"] == *bad.uid, "{event}");
    ensure!(event["note"].as_str().is_some_and(|note| note.contains("x-secret")), "{event}");
    let watch = node.watch()?;
    wait::until("a word about it in `baton watch`", LIMIT, || {
        Ok((watch.output().contains("\"notice\"") && watch.output().contains("x-secret")).then_some(()))
    })?;
    // On a namespace, once and not for each pod.
    api.set_pod("bad", &bad.uid, &[], &[]);
    until_propagated(&bad, true, EFFECT)?;
    api.set_namespace("shop", &[(LABEL, "on")], &[]);
    until_propagated(&bad, false, EFFECT)?;
    wait::until("an event on the namespace", LIMIT, || {
        let events = api.events();
        Ok(events.iter().any(|event| event["regarding"]["kind"] == "Namespace").then_some(()))
    })?;
    ensure!(api.events().len() == 2, "{:?}", api.events());
    node.stop().map(drop)
}

/// A directory belongs to the pod whose id it bears, and the id of static pods is an annotation.
#[test]
fn of_pods_that_claim_one_directory_none_gets_it() -> Result<()> {
    const HASH: &str = "0123456789abcdef0123456789abcdef";
    const CLAIM: &[(&str, &str)] = &[("kubernetes.io/config.hash", HASH)];
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let pod = Pod::start_as(&tree, HASH.to_owned())?;
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("static", &uid(), &[], CLAIM);
    let node = Node::start(&api, &tree, "")?;
    node.until_health("/readyz", 200)?;
    until_propagated(&pod, true, EFFECT)?;
    api.set_pod("another", &uid(), &[], CLAIM);
    until_propagated(&pod, false, EFFECT)?;
    wait::until("an event on each", LIMIT, || {
        let of = |name| api.events().iter().any(|event| event["regarding"]["name"] == name);
        Ok((of("static") && of("another")).then_some(()))
    })?;
    api.remove_pod("another");
    until_propagated(&pod, true, EFFECT)?;
    node.stop().map(drop)
}

/// What pods chose is kept as bits of a table of names, which is another one after a reload.
#[test]
fn a_reload_keeps_what_pods_chose() -> Result<()> {
    const ALLOW: &str = "kubernetes: {allow: {headers: [x-tenant-id]}}";
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let pod = Pod::start(&tree)?;
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("pod", &pod.uid, &[], &[("baton.dev/headers", "x-tenant-id")]);
    let node = Node::start(&api, &tree, &format!("{ALLOW}\n"))?;
    node.until_health("/readyz", 200)?;
    let sent = [("x-request-id", "r"), (HEADERS[0], "t"), ("x-tenant-id", "c"), ("x-new", "n")];
    for headers in ["x-request-id, x-new", "x-new", "x-tenant-id, x-request-id", HEADERS[0]] {
        node.reload(&format!("headers: [{headers}]\n{ALLOW}\n"))?;
        // The namespace's other pods carry what the node's configuration says: it is there when they do.
        let other = Pod::start(&tree)?;
        api.set_pod("other", &other.uid, &[], &[]);
        let names: Vec<&str> = headers.split(", ").collect();
        let (mut chosen, mut usual) = (pod.probe(), other.probe());
        wait::until(&format!("just {headers}"), LIMIT, || {
            let request = usual.relay_fields(&sent)?;
            let found = sent.iter().filter(|(name, _)| request.head.values(name).next().is_some());
            Ok((found.count() == names.len()).then_some(()))
        })
        .with_context(|| node.output())?;
        let request = chosen.relay_fields(&sent)?;
        let found: Vec<&str> =
            sent.iter().map(|(name, _)| *name).filter(|name| request.head.values(name).next().is_some()).collect();
        ensure!(found == ["x-tenant-id"], "after a reload with {headers}: {found:?}");
        api.remove_pod("other");
    }
    node.stop().map(drop)
}

#[test]
fn nothing_is_switched_off_while_the_api_server_is_away() -> Result<()> {
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let pod = Pod::start(&tree)?;
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("pod", &pod.uid, &[], &[]);
    let node = Node::start(&api, &tree, "")?;
    node.until_health("/readyz", 200)?;
    for fault in [Fault::Forbidden, Fault::Garbage] {
        api.set_fault(Some(fault));
        api.end_watches();
        // It says that it is not ready, and works.
        node.until_health("/readyz", 503)?;
        ensure!(node.health("/healthz")? == 200, "it is not healthy");
        ensure!(pod.probe().is_propagated()?, "{fault:?} switched it off");
        api.set_fault(None);
        api.set_pod("other", &uid(), &[], &[]);
        node.until_health("/readyz", 200)?;
        api.remove_pod("other");
    }
    node.stop().map(drop)
}

#[test]
fn without_lists_nothing_is_on_and_nothing_is_ready() -> Result<()> {
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let pod = Pod::start(&tree)?;
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("pod", &pod.uid, &[], &[]);
    api.set_fault(Some(Fault::NoNamespaces));
    let node = Node::start(&api, &tree, "")?;
    wait::until("several tries", LIMIT, || Ok((api.failed() > 2).then_some(())))?;
    ensure!(node.health("/readyz")? == 503 && node.health("/healthz")? == 200, "ready without lists");
    ensure!(!pod.probe().is_propagated()?, "on without lists");
    api.set_fault(None);
    until_propagated(&pod, true, Duration::from_secs(40))?;
    node.stop().map(drop)
}
