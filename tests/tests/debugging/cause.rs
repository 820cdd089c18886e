//! What caused a request is not certain, or is over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::http::read_head;
use baton_tests::recorder::{Recorder, Reply};
use baton_tests::relay::{self, Backend};

use crate::scene::{HEADER, Loss, OPTIONS, Scene, VALUE};

#[test]
fn work_is_handed_to_a_thread_pool() -> Result<()> {
    let scene = Scene::chain(relay::losing)?;
    let told = scene.explain(&OPTIONS, || scene.send("/pool"))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/from-a-pool",
        reason: "no-context",
        is_certain: false,
        why: "another thread has handed the work to it",
        remedy: "let the thread that reads the request call out itself",
    })?;
    let (inbound, outbound) = (&told.journey["inbound"], &told.journey["perhaps"][0]["outbound"]);
    ensure!(inbound["pid"] == outbound["pid"] && inbound["tid"] != outbound["tid"], "{}", told.journey);
    told.says(&[&format!("thread {}", inbound["tid"]), &format!("thread {}", outbound["tid"])])?;
    told.reaches_stock_without()
}

#[test]
fn work_is_handed_to_a_new_thread() -> Result<()> {
    let scene = Scene::chain(relay::losing)?;
    let told = scene.explain(&OPTIONS, || scene.send("/thread"))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/from-a-thread",
        reason: "ambiguous",
        is_certain: false,
        why: "it was sent by a new thread, which may be one of a pool",
        remedy: "`attribution: balanced` follows new threads",
    })?;
    told.reaches_stock_without()
}

#[test]
fn a_call_goes_out_before_the_body_is_read() -> Result<()> {
    let body = vec![b'x'; 100_000];
    let scene = Scene::chain(relay::losing)?;
    let told = scene.explain(&OPTIONS, || {
        let mut client = TcpStream::connect(scene.address())?;
        client.set_read_timeout(Some(Duration::from_secs(30)))?;
        let length = body.len();
        write!(client, "POST /body HTTP/1.1\r\nHost: a\r\n{HEADER}: {VALUE}\r\nContent-Length: {length}\r\n\r\n")?;
        // More than the server's buffer takes: the rest is read after the call.
        client.write_all(&body)?;
        read_head(&mut std::io::BufReader::new(client)).map(drop)
    })?;
    told.loses(&Loss {
        workload: "orders",
        path: "/before-the-body",
        reason: "ambiguous",
        is_certain: false,
        why: "before its request's body was read",
        remedy: "when it has read all of it",
    })?;
    told.reaches_stock_without()
}

#[test]
fn an_event_loop_is_not_supported() -> Result<()> {
    let scene = Scene::chain(relay::node)?;
    let told = scene.explain(&OPTIONS, || scene.send("/relay?id=it&n=1"))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/out/it/1",
        reason: "unsupported-runtime",
        is_certain: false,
        why: "serves several requests in turns (an event loop)",
        remedy: "docs/ATTRIBUTION.md",
    })?;
    told.says(&["(node)"])?;
    told.reaches_stock_without()
}

#[test]
fn a_call_goes_out_after_the_answer() -> Result<()> {
    let scene = Scene::chain(|url| relay::python_threads(url, Backend::Fresh))?;
    let told = scene.explain(&OPTIONS, || scene.send("/relay?id=it&n=1&via=background"))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/after/it/1",
        reason: "answered",
        is_certain: false,
        why: "was answered before it was sent",
        remedy: "make it before the response is sent",
    })?;
    let before = &told.journey["calls"][0]["outbound"];
    ensure!(before["path"] == "/out/it/1" && before["verdict"] == "injected", "{}", told.journey);
    told.reaches_stock_without()
}

#[test]
fn a_request_takes_longer_than_its_context_is_kept() -> Result<()> {
    // The backend thinks for longer than that.
    let recorder = Recorder::start(|head| {
        std::thread::sleep(Duration::from_millis(1200));
        Reply::ok(head.target.as_bytes())
    })?;
    let scene = Scene::before(recorder, "limits: {max_age_seconds: 1}", |url| relay::c(url, Backend::Fresh))?;
    let told = scene.explain(&OPTIONS, || scene.send("/relay?id=it&n=2"))?;
    told.loses(&Loss {
        workload: "orders",
        path: "/out/it/2",
        reason: "expired",
        is_certain: true,
        why: "older than contexts are kept",
        remedy: "`limits.max_age_seconds`",
    })
}

#[test]
fn a_message_of_a_websocket_causes_a_call() -> Result<()> {
    const FIELDS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==";
    // The frame of "hi" as a client sends it, and that of "ok" as a server does (RFC 6455 §5.2).
    const HI: &[u8] = b"\x81\x82\0\0\0\0hi";
    const OK: &[u8] = b"\x81\x02ok";
    let scene = Scene::alone("", relay::websocket)?;
    let mut open = Vec::new();
    let told = scene.explain(&OPTIONS, || {
        let mut client = std::io::BufReader::new(TcpStream::connect(scene.address())?);
        client.get_ref().set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(client.get_mut(), "GET /talk HTTP/1.1\r\nHost: a\r\n{HEADER}: {VALUE}\r\n{FIELDS}\r\n\r\n")?;
        read_head(&mut client)?;
        client.get_mut().write_all(HI)?;
        let mut answer = [0; OK.len()];
        client.read_exact(&mut answer)?;
        ensure!(answer == OK, "{answer:?}");
        open.push(client);
        Ok(())
    })?;
    told.loses(&Loss {
        workload: "orders",
        path: "/of-a-message",
        reason: "no-context",
        is_certain: false,
        why: "changed to another protocol, such as WebSocket",
        remedy: "Copy the headers in the application, from the request that changed the connection",
    })?;
    told.says(&["(upgraded)"])
}
