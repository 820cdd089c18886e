//! Where a request comes from, or goes to, is not for headers; or not for baton.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use baton_tests::app::Launch;
use baton_tests::cgroup::Cgroup;
use baton_tests::load::Client;
use baton_tests::namespace;
use baton_tests::recorder::{Recorder, Reply};
use baton_tests::relay::{self, Backend};

use crate::scene::{HEADER, Loss, OPTIONS, Scene, VALUE, send};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

#[test]
fn the_destination_is_not_internal() -> Result<()> {
    namespace::within(&["203.0.113.5/32"], || {
        let recorder = Recorder::start_at(SocketAddr::from((PUBLIC, 0)), |head| Reply::ok(head.target.as_bytes()))?;
        let scene = Scene::before(recorder, "", |url| relay::c(url, Backend::Fresh))?;
        scene.explain(&OPTIONS, || scene.send("/relay?id=it&n=1"))?.loses(&Loss {
            workload: "orders",
            path: "/out/it/1",
            reason: "egress-denied",
            is_certain: true,
            why: "The destination is not internal",
            remedy: "`--egress`",
        })
    })
}

#[test]
fn the_source_is_not_trusted() -> Result<()> {
    let scene = Scene::alone("ingress: [10.0.0.0/8]", |url| relay::c(url, Backend::Fresh))?;
    scene.explain(&OPTIONS, || scene.send("/relay?id=it&n=1"))?.loses(&Loss {
        workload: "orders",
        path: "/relay",
        reason: "ingress-denied",
        is_certain: true,
        why: "from an address whose headers are not trusted",
        remedy: "`--ingress`",
    })
}

#[test]
fn a_value_is_too_long() -> Result<()> {
    let scene = Scene::alone("", |url| relay::c(url, Backend::Fresh))?;
    let told =
        scene.explain(&["--header", HEADER], || send(scene.address(), "/relay?id=it&n=1", Some(&"x".repeat(5000))))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/relay",
        reason: "line-dropped",
        is_certain: true,
        why: "is longer than baton keeps",
        remedy: "Let the sender shorten",
    })
}

#[test]
fn more_connections_are_open_than_contexts_are_kept() -> Result<()> {
    let scene = Scene::alone("limits: {contexts: 1}", |url| relay::c(url, Backend::Fresh))?;
    // One connection stays open, and the request comes on another.
    let mut first = Client::new(scene.address(), true);
    let told = scene.explain(&["--path", "/relay"], || {
        first.get("/first?id=first&n=1", &[])?;
        scene.send("/relay?id=it&n=1")
    })?;
    told.loses(&Loss {
        workload: "orders",
        path: "/relay",
        reason: "contexts-full",
        is_certain: true,
        why: "More connections with requests were open",
        remedy: "`limits.contexts`",
    })?;
    told.says(&["its headers are not known", "perhaps: GET /out/it/1", "The request above it was not understood"])
}

#[test]
fn a_service_on_the_way_is_not_switched_on() -> Result<()> {
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let between = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::In(&cgroup))?;
    let url = format!("http://{}", between.address());
    let scene = Scene::before(recorder, "", |_| relay::losing(&url))?.and(between);
    let told = scene.explain(&OPTIONS, || scene.send("/plain"))?;
    let call = &told.journey["calls"][0];
    ensure!(call["outbound"]["verdict"] == "injected" && call["next"].is_null(), "{}", told.journey);
    let directory = cgroup.path().display().to_string();
    told.says(&[
        "inserted x-telepresence-id",
        &format!("on this node, in the cgroup {directory}, which is not switched on"),
        "Nothing was lost, as far as baton sees.",
        &format!("switch it on: --cgroup {directory}"),
    ])
}

#[test]
fn the_header_never_came() -> Result<()> {
    let scene = Scene::alone("", |url| relay::c(url, Backend::Fresh))?;
    let mut open = Vec::new();
    let told = scene.explain(&["--pod", "orders"], || {
        let mut client = Client::new(scene.address(), true);
        client.get("/relay?id=it&n=1", &[])?;
        open.push(client);
        Ok(())
    })?;
    ensure!(told.journey["calls"][0]["outbound"]["verdict"] == "nothing-to-insert", "{}", told.journey);
    // This process is the client.
    let client = format!("[{}]), read by relay", std::process::id());
    told.says(&[
        "carried none of the configured headers",
        &client,
        "It came to orders without the headers: look at who sends",
        "one hop earlier",
    ])
}

/// Asked where the header is missing, it says where it was lost before.
#[test]
fn the_header_was_lost_one_hop_earlier() -> Result<()> {
    let scene = Scene::chain(relay::losing)?;
    let told = scene.explain(&["--pod", "stock"], || scene.send("/pool"))?;
    ensure!(told.journey["sent_by"]["reason"] == "no-context", "{}", told.journey);
    told.says(&["sent by orders", "LOST HERE: no-context", "Lost before, in orders: no-context."])?;
    // And where nothing was lost, it tells the whole journey.
    let told = scene.explain(&["--pod", "stock"], || scene.send("/plain"))?;
    ensure!(told.journey["inbound"]["workload"] == "orders", "{}", told.journey);
    ensure!(told.journey["inbound"]["values"][HEADER] == format!("{}… ({})", &VALUE[..4], VALUE.len()));
    told.says(&["Nothing was lost, as far as baton sees."])
}
