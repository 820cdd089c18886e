//! Threads that go on to something else while the request is open that they have read.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{Exec, HEADERS};
use baton_tests::load::Client;
use baton_tests::recorder::{Recorded, Recorder};
use baton_tests::{relay, wait};

const LIMIT: Duration = Duration::from_secs(20);

/// Puma hands a connection to its reactor that sends nothing for 200 ms.
const IDLE: Duration = Duration::from_millis(400);

fn carries_nothing(call: &Recorded) -> Result<()> {
    ensure!(call.carried()?.is_none(), "{} carries {:?}", call.head.target, call.carried()?);
    Ok(())
}

/// Puma's thread reads a head whose body is late, leaves the rest to the reactor, and goes on with a request that the
/// reactor has read.
#[test]
fn a_thread_that_does_not_wait_for_a_late_body() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::puma(&recorder.url(), 1)?.start(&Launch::Exec(&Exec::default()))?;
    let mut kept = Client::new(app.address(), true);
    for number in 0..4 {
        kept.get(&format!("/relay?id=before-{number}&n=1"), &[])?;
        // Twice what it takes until the reactor has it.
        std::thread::sleep(IDLE);
        let mut late = TcpStream::connect(app.address())?;
        let head = format!(
            "POST /relay?id=late-{number}&n=1 HTTP/1.1\r\nHost: a\r\n{}: late\r\nContent-Length: 4\r\n\r\n",
            HEADERS[0]
        );
        late.write_all(head.as_bytes())?;
        std::thread::sleep(IDLE);
        recorder.take();
        kept.get(&format!("/relay?id=other-{number}&n=1"), &[])?;
        recorder.take().iter().try_for_each(carries_nothing)?;
        late.write_all(b"body")?;
        ensure!(late.read(&mut [0; 4096])? > 0, "no answer");
        wait::until("the late request's call", LIMIT, || Ok((recorder.count() > 0).then_some(())))?;
    }
    app.stop()?;
    Ok(())
}
