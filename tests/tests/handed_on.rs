//! Threads that go on to something else while the request is open that they have read, or were started for.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
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

/// What `shared_pool.py` calls while it serves a request with a header in this way.
fn calls_of(via: &str, attribution: &str) -> Result<Vec<Recorded>> {
    let recorder = Recorder::echoing_targets()?;
    let exec = Exec::default().option("--attribution", attribution);
    let app = relay::shared_pool(&recorder.url())?.start(&Launch::Exec(&exec))?;
    let mut client = Client::new(app.address(), false);
    if via == "grow" {
        client.get("/relay?id=left&n=1&via=later", &[(HEADERS[0], "bob")])?;
    }
    client.get(&format!("/relay?id=first&n=1&via={via}"), &[(HEADERS[0], "alice")])?;
    app.stop()?;
    Ok(recorder.take())
}

/// Those of them that belong to no request, or to an answered one, carry nothing; where what is likely is enough
/// they carry what is wrong: the application does here what it is to do.
fn others_carry_nothing(via: &str, begin: &str) -> Result<()> {
    let others = |attribution: &str| -> Result<Vec<Recorded>> {
        Ok(calls_of(via, attribution)?.into_iter().filter(|call| call.head.target.starts_with(begin)).collect())
    };
    let certain = others("strict")?;
    ensure!(!certain.is_empty(), "{via}: no calls of {begin}");
    certain.iter().try_for_each(carries_nothing)?;
    let likely = others("balanced")?;
    ensure!(likely.iter().any(|call| call.carried().is_ok_and(|carried| carried.is_some())), "{via}: {likely:?}");
    Ok(())
}

/// The pool's thread was started for a request that is still open when the timer uses it, and starts curl for it.
#[test]
fn a_pool_that_a_timer_uses_too() -> Result<()> {
    others_carry_nothing("pool", "/background")
}

/// The job waits in the queue until another request starts a thread.
#[test]
fn a_job_that_an_answered_request_has_left() -> Result<()> {
    others_carry_nothing("grow", "/after")
}

/// The timer sends the first request on a connection that a request's thread has opened.
#[test]
fn a_connection_that_another_thread_takes() -> Result<()> {
    others_carry_nothing("connect", "/background")
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
        // One that the thread reads itself.
        Client::new(app.address(), false).get(&format!("/relay?id=own-{number}&n=1"), &[(HEADERS[0], "own")])?;
        let own = recorder.take();
        ensure!(own.len() == 1 && own[0].carried()? == Some("own"), "{own:?}");
        late.write_all(b"body")?;
        ensure!(late.read(&mut [0; 4096])? > 0, "no answer");
        wait::until("the late request's call", LIMIT, || Ok((recorder.count() > 0).then_some(())))?;
    }
    app.stop()?;
    Ok(())
}

/// Puma's reactor still watches a connection for a while that it has given back to a thread.
#[test]
fn threads_that_read_what_an_event_loop_watches() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::puma(&recorder.url(), 2)?.start(&Launch::Exec(&Exec::default()))?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let address = app.address();
                scope.spawn(move || {
                    let mut kept = Client::new(address, true);
                    for number in 0..24 {
                        kept.get(&format!("/relay?id={client}-{number}&n=1"), &[])?;
                        if number % 4 == client % 4 {
                            std::thread::sleep(IDLE);
                        }
                    }
                    Ok::<_, anyhow::Error>(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })?;
    recorder.take();
    let mut kept = Client::new(app.address(), true);
    for _ in 0..20 {
        kept.get("/relay?id=last&n=1", &[(HEADERS[0], "last")])?;
    }
    app.stop()?;
    let calls = recorder.take();
    let carried: Vec<_> = calls.iter().map(|call| call.carried()).collect::<Result<_>>()?;
    ensure!(carried.iter().filter(|carried| **carried == Some("last")).count() >= 18, "{carried:?}");
    Ok(())
}
