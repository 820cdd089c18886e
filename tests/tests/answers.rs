//! When a response is complete its request causes nothing more, and not before: whatever the response looks like, and
//! wherever its bytes are.

use std::io::{BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::Exec;
use baton_tests::bpf::{self, Objects};
use baton_tests::flows;
use baton_tests::http::{self, Head};
use baton_tests::load::Client;
use baton_tests::probe::Probe;
use baton_tests::recorder::Recorder;
use baton_tests::relay::Backend;
use baton_tests::scratch::Scratch;
use baton_tests::{relay, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// The requests `ids` on one connection, for each of which the server calls out twice. The client reads nothing before.
fn check(case: &str, address: IpAddr, ids: &[&str]) -> Result<()> {
    let scratch = Scratch::new()?;
    let file = scratch.join("flows");
    let recorder = Recorder::echoing_targets()?;
    let app = relay::answering(&recorder.url())?.start(&Launch::Exec(&Exec::default().flows(&file)))?;
    let mut client = BufReader::new(TcpStream::connect(SocketAddr::new(address, app.address().port()))?);
    client.get_ref().set_read_timeout(Some(wait::scaled(LIMIT)))?;
    for id in ids {
        let head = format!("GET /{case}?id={id} HTTP/1.1\r\nHost: a\r\nx-telepresence-id: {id}\r\n\r\n");
        client.get_mut().write_all(head.as_bytes())?;
        wait::until("both calls", LIMIT, || Ok((recorder.count() == 2).then_some(())))?;
        let mut calls = recorder.take();
        calls.sort_by(|one, other| one.head.target.cmp(&other.head.target));
        let carried = calls.iter().map(|call| call.carried()).collect::<Result<Vec<_>>>()?;
        ensure!(carried == [Some(*id), None], "{case} from {address}: {carried:?} for {id}");
        let mut status = 103;
        while status == 103 {
            let raw = http::read_head(&mut client)?.unwrap_or_default();
            let head = Head::response(raw)?;
            status = head.status;
            if status == 200 {
                http::read_response_body(&head, &mut client)?;
            }
        }
        ensure!(status == 200, "{case}: status {status}");
    }
    drop(client);
    app.stop()?;
    let lost: Vec<_> = flows::read(&file)?.into_iter().filter(|flow| flow.is("lost")).collect();
    ensure!(
        lost.len() == ids.len() && lost.iter().all(|flow| flow.reason.as_deref() == Some("answered")),
        "{case} from {address}: {lost:?}"
    );
    Ok(())
}

#[test]
fn a_chunked_response() -> Result<()> {
    check("chunked", Ipv4Addr::LOCALHOST.into(), &["first", "second"])?;
    check("chunked", Ipv6Addr::LOCALHOST.into(), &["first", "second"])
}

#[test]
fn an_interim_response() -> Result<()> {
    check("interim", Ipv4Addr::LOCALHOST.into(), &["first", "second"])
}

#[test]
fn a_response_in_two_parts() -> Result<()> {
    check("counted", Ipv4Addr::LOCALHOST.into(), &["first", "second"])
}

#[test]
fn a_body_that_is_sent_from_a_file() -> Result<()> {
    check("sendfile", Ipv4Addr::LOCALHOST.into(), &["first", "second"])
}

/// With IPsec packets leave where baton does not see them; here its program is detached.
#[test]
fn a_response_that_leaves_unseen() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let before = Objects::now()?;
    let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default()))?;
    ensure!(bpf::blind_to_packets_since(&before)? == 1, "one program sees packets leave");
    let mut probe = Probe::kept(app.address(), &recorder);
    for value in ["one", "two", "three"] {
        let request = probe.relay(Some(value))?;
        ensure!(request.carried()? == Some(value), "{value}: {:?}", request.head.fields);
    }
    let mut client = Client::new(app.address(), true);
    client.get("/relay?id=after&n=1&via=background", &[("x-telepresence-id", "after")])?;
    wait::until("the call after the answer", LIMIT, || Ok((recorder.count() == 2).then_some(())))?;
    let carried = recorder.take().iter().map(|call| Ok(call.carried()?.is_some())).collect::<Result<Vec<_>>>()?;
    ensure!(carried.iter().filter(|carried| **carried).count() == 1, "{carried:?}");
    Ok(())
}

#[test]
fn a_response_that_waits_for_its_reader() -> Result<()> {
    // One on each connection: after it the kernel may hold back the next response's beginning, too.
    check("waiting", Ipv4Addr::LOCALHOST.into(), &["only"])?;
    check("waiting", Ipv6Addr::LOCALHOST.into(), &["only"])
}
