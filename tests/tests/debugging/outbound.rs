//! The request that goes out is one to which nothing can be added.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use baton_tests::wire::{Script, Wire};
use baton_tests::{relay, servers};

use crate::scene::{Loss, OPTIONS, Scene, Told};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What is said of `/CASE` of the losing service, whose backend answers by `script`.
fn against(script: Script, case: &str) -> Result<Told> {
    let wire = Wire::start(script)?;
    towards(wire.address(), case)
}

/// The same with a server at this address.
fn towards(server: SocketAddr, case: &str) -> Result<Told> {
    let scene = Scene::alone("", |_| relay::losing(&format!("http://{server}")))?;
    scene.explain(&OPTIONS, || scene.send(case))
}

#[test]
fn a_call_goes_out_over_tls() -> Result<()> {
    let server = servers::tls()?;
    towards(server.address(), "/tls")?.loses(&Loss {
        workload: "orders",
        path: "",
        reason: "not-http1",
        is_certain: false,
        why: "it is TLS, HTTP/2",
        remedy: "a sidecar that adds TLS",
    })
}

#[test]
fn a_call_goes_out_by_http2() -> Result<()> {
    let server = relay::nginx_with("http2.conf", "")?.start(&baton_tests::app::Launch::Plain)?;
    let told = towards(server.address(), "/http2")?;
    told.loses(&Loss {
        workload: "orders",
        path: "",
        reason: "not-http1",
        is_certain: false,
        why: "HTTP/2 (gRPC, too)",
        remedy: "speak cleartext HTTP/1.1",
    })?;
    // By a program that the service has started.
    told.says(&["by curl[", "got by nginx["])
}

#[test]
fn lines_end_without_a_carriage_return() -> Result<()> {
    against(Script::silent().after(b"\n\n", OK), "/line-feeds")?.loses(&Loss {
        workload: "orders",
        path: "/line-feeds",
        reason: "not-http1",
        is_certain: false,
        why: "its lines end without a carriage return",
        remedy: "Mend the client",
    })
}

#[test]
fn a_head_is_too_large() -> Result<()> {
    let scene = Scene::alone("", relay::losing)?;
    scene.explain(&OPTIONS, || scene.send("/cookies"))?.loses(&Loss {
        workload: "orders",
        path: "/cookies",
        reason: "head-too-large",
        is_certain: false,
        why: "longer than 16 KiB",
        remedy: "mostly it is cookies",
    })
}

#[test]
fn a_request_has_two_lengths() -> Result<()> {
    against(Script::silent().after(b"abc", OK).after(b"\r\n\r\n", OK), "/twice")?.loses(&Loss {
        workload: "orders",
        path: "/two-lengths",
        reason: "framing-lost",
        is_certain: false,
        why: "Where messages begin and end on this connection is not known",
        remedy: "Content-Length that is wrong, or given twice",
    })
}

#[test]
fn requests_are_pipelined() -> Result<()> {
    against(Script::silent().after(b"/second", OK), "/pipelined")?.loses(&Loss {
        workload: "orders",
        path: "/first",
        reason: "pipelined",
        is_certain: false,
        why: "Several requests were sent or read at once",
        remedy: "Switch pipelining off",
    })
}

#[test]
fn a_send_buffer_is_small() -> Result<()> {
    let scene = Scene::chain(relay::losing)?;
    let told = scene.explain(&OPTIONS, || scene.send("/small-buffer"))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/small-buffer",
        reason: "queue-busy",
        is_certain: true,
        why: "its send buffer was nearly full",
        remedy: "SO_SNDBUF",
    })?;
    told.reaches_stock_without()
}

/// No loss, but a wrong value all the same.
#[test]
fn the_service_sends_the_header_itself() -> Result<()> {
    let scene = Scene::chain(relay::losing)?;
    let told = scene.explain(&OPTIONS, || scene.send("/own"))?;
    let call = &told.journey["calls"][0];
    ensure!(call["outbound"]["verdict"] == "already-present", "{}", told.journey);
    ensure!(call["next"]["inbound"]["values"]["x-telepresence-id"] == "of-t… (14)", "{}", told.journey);
    told.says(&[
        "carried x-telepresence-id: dev-… (9)",
        "has its own x-telepresence-id",
        "why: The application sends such headers itself",
        "do:  Nothing, if its values are right.",
        "carried x-telepresence-id: of-t… (14)",
    ])
}
