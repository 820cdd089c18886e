//! Every outbound request of an unmodified thread-per-request application carries exactly its own inbound request's
//! headers, or none where that had none: at least 20,000 inbound requests per application, 0 wrong, 0 lost.
//!
//! `BATON_TEST_SCALE=10` sends a tenth, as for guests and in CI; `BATON_TEST_PLAIN=1` checks the applications without baton.

use std::time::Instant;

use anyhow::{Result, ensure};
use baton_tests::app::{App, Launch, Program, without_baton};
use baton_tests::baton::Exec;
use baton_tests::fpm::{self, Listen, Pool};
use baton_tests::load::{self, Cell};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend, Worker};
use baton_tests::verdict::Tally;

/// Inbound requests per application.
const REQUESTS: usize = 20_004;
const CELLS: [(usize, bool); 6] = [(1, false), (1, true), (8, false), (8, true), (64, false), (64, true)];

/// Drives all cells against one application; `requests` are spread over them.
fn drive(name: &str, requests: usize, program: impl FnOnce(&str) -> Result<Program>) -> Result<()> {
    drive_behind(name, requests, |recorder, launch| Ok((program(&recorder.url())?.start(launch)?, None)))
}

/// As [`drive`], for an application that requests may come to by way of another one.
fn drive_behind(
    name: &str,
    requests: usize,
    start: impl FnOnce(&Recorder, &Launch<'_>) -> Result<(App, Option<App>)>,
) -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let exec = Exec::default();
    let (app, front) = start(&recorder, &Launch::under_test(&exec))?;
    let address = front.as_ref().unwrap_or(&app).address();
    let mut total = Tally::default();
    let begin = Instant::now();
    for (clients, keep_alive) in CELLS {
        let cell = Cell::new(clients, load::scaled(requests / CELLS.len()), keep_alive);
        let start = Instant::now();
        let report = load::run(address, &cell)?;
        let tally = Tally::of(&report.sent, &recorder.take());
        eprintln!(
            "{name}: {clients} clients, keep-alive {keep_alive}: {} requests in {:.1?}, {} reconnects: {}",
            cell.requests,
            start.elapsed(),
            report.reconnects,
            tally.counts(),
        );
        total.add(tally);
    }
    eprintln!("{name}: {:.1?}", begin.elapsed());
    let errors = recorder.errors();
    ensure!(errors.is_empty(), "{name}: damaged requests: {errors:?}");
    if without_baton() {
        ensure!(total.correct == 0 && total.is_safe(), "{name} is no relay: {total}");
        return Ok(());
    }
    // With the summary at the end of baton exec, which counts losses by reason.
    let output = app.stop()?;
    ensure!(total.is_perfect(), "{name}: {total}\n{output}");
    ensure!(output.contains("requests"), "{name}: no summary at the end of baton exec:\n{output}");
    Ok(())
}

#[test]
fn python_threads() -> Result<()> {
    drive("python threads", REQUESTS, |url| relay::python_threads(url, Backend::Fresh))
}

#[test]
fn python_threads_with_kept_backend_connections() -> Result<()> {
    drive("python threads, kept", REQUESTS, |url| relay::python_threads(url, Backend::Kept))
}

#[test]
fn gunicorn_sync() -> Result<()> {
    drive("gunicorn sync", REQUESTS, |url| relay::gunicorn(url, Worker::Sync, Backend::Fresh))
}

#[test]
fn gunicorn_threads_with_sessions() -> Result<()> {
    drive("gunicorn gthread", REQUESTS, |url| relay::gunicorn(url, Worker::Threads, Backend::Kept))
}

#[test]
fn java() -> Result<()> {
    drive("java", REQUESTS, relay::java)
}

#[test]
fn php() -> Result<()> {
    drive("php", REQUESTS, |url| relay::php(url, 1))
}

#[test]
fn php_with_workers() -> Result<()> {
    drive("php workers", REQUESTS, |url| relay::php(url, 8))
}

/// nginx opens a connection for each request, and workers come and go.
#[test]
fn php_fpm_over_tcp() -> Result<()> {
    let pool = Pool { listen: Listen::Tcp, keep: false, manager: "dynamic", workers: 8, requests: 50 };
    drive_behind("php-fpm, TCP", REQUESTS, |recorder, launch| fpm_behind_nginx(&pool, recorder, launch))
}

/// nginx keeps connections, and each worker serves one after the other.
#[test]
fn php_fpm_over_a_unix_socket() -> Result<()> {
    let pool = Pool { listen: Listen::Unix, keep: true, manager: "static", workers: 8, requests: 0 };
    drive_behind("php-fpm, Unix", REQUESTS, |recorder, launch| fpm_behind_nginx(&pool, recorder, launch))
}

fn fpm_behind_nginx(pool: &Pool, recorder: &Recorder, launch: &Launch<'_>) -> Result<(App, Option<App>)> {
    let (app, front) = fpm::start(&recorder.url(), pool, launch, &Launch::Plain)?;
    if !without_baton() {
        fpm::wait_for_support(front.address(), recorder)?;
    }
    Ok((app, Some(front)))
}

#[test]
fn ruby() -> Result<()> {
    drive("ruby", REQUESTS, relay::ruby)
}

#[test]
fn c() -> Result<()> {
    drive("c", REQUESTS, |url| relay::c(url, Backend::Fresh))
}

#[test]
fn c_with_kept_backend_connections() -> Result<()> {
    drive("c, kept", REQUESTS, |url| relay::c(url, Backend::Kept))
}
