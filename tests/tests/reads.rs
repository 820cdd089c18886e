//! Reads that do not take, or do not return, what is in the connection.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use anyhow::{Result, bail, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{Exec, HEADERS};
use baton_tests::flows;
use baton_tests::probe::Probe;
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;

#[test]
fn a_head_that_is_peeked_at_first_counts_once() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::peeking(&recorder.url(), false)?.start(&Launch::Exec(&Exec::default()))?;
    let mut probe = Probe::kept(app.address(), &recorder);
    for value in [Some("one"), None, Some("two")] {
        let request = probe.relay(value)?;
        ensure!(request.carried()? == value, "{:?} instead of {value:?}", request.carried()?);
    }
    Ok(())
}

#[test]
fn heads_in_pieces_of_memory_are_read_whole_or_not_at_all() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    for (pieces, is_read) in [(2, true), (8, true), (9, false), (10, false)] {
        let (scratch, value) = (Scratch::new()?, format!("in-{pieces}"));
        let file = scratch.join("flows");
        let launch = Launch::Exec(&Exec::default().flows(&file));
        let app = relay::reading_into_pieces(&recorder.url(), pieces)?.start(&launch)?;
        let request = Probe::kept(app.address(), &recorder).relay(Some(&value))?;
        app.stop()?;
        ensure!(request.carried()? == is_read.then_some(value.as_str()), "{pieces}: {:?}", request.head);
        let flows = flows::read(&file)?;
        let unreadable =
            flows.iter().any(|flow| flow.kind == "inbound" && flow.reason.as_deref() == Some("unreadable"));
        ensure!(unreadable != is_read, "{pieces}: {flows:?}");
    }
    Ok(())
}

/// The end of the stream is then read along with the request.
#[test]
fn clients_that_end_their_side_with_the_request() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default()))?;
    for number in 0..20 {
        let (value, mut stream) = (format!("ended-{number}"), TcpStream::connect(app.address())?);
        let head = format!("GET /relay?id=ended&n=1 HTTP/1.1\r\nHost: a\r\n{}: {value}\r\n\r\n", HEADERS[0]);
        stream.write_all(head.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let [request] = &recorder.take()[..] else { bail!("not one request") };
        ensure!(request.carried()? == Some(&value), "request {number}: {:?}", request.head);
    }
    Ok(())
}

#[test]
fn what_is_in_the_buffer_of_a_discarding_read_is_not_a_request() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::peeking(&recorder.url(), true)?.start(&Launch::Exec(&Exec::default()))?;
    for mut probe in [Probe::kept(app.address(), &recorder), Probe::fresh(app.address(), &recorder)] {
        for value in ["one", "two"] {
            let request = probe.relay(Some(value))?;
            ensure!(request.carried()?.is_none_or(|carried| carried == value), "{:?}", request.head);
        }
    }
    Ok(())
}
