//! Incidents 1 to 5: damaged or stalled traffic, headers twice or not at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use baton_tests::app::{Launch, Program};
use baton_tests::baton::{Exec, HEADERS};
use baton_tests::byte_exactness::Case;
use baton_tests::byte_exactness::Inserts::Exactly;
use baton_tests::byte_exactness::call;
use baton_tests::load::{Client, concurrently};
use baton_tests::recorder::{Recorder, bodies, pattern};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::serial;
use baton_tests::servers;
use baton_tests::wire::Script;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// The incident's clients stalled for 20 to 87 seconds.
const STALL: Duration = Duration::from_secs(10);
const SIZES: [usize; 12] = [1, 2, 10, 100, 1000, 4095, 4096, 65_535, 65_536, 300_000, 1 << 20, 5_000_000];

/// Eight clients download bodies of all sizes through a program, which is a client of the recorder.
fn download_through(program: impl FnOnce(&Recorder) -> Result<Program>, prefix: &str) -> Result<()> {
    let recorder = Recorder::start(bodies)?;
    let app = program(&recorder)?.start(&Launch::under_test(&Exec::default()))?;
    concurrently(8, |number| {
        let mut client = Client::new(app.address(), number % 2 == 0);
        for size in SIZES.iter().cycle().skip(number).take(2 * SIZES.len()) {
            let value = format!("value-{number}-{size}");
            let start = Instant::now();
            let (head, body) = client.get(&format!("{prefix}/body/{size}"), &[(HEADERS[0], &value)])?;
            ensure!(
                head.status == 200 && body == pattern(*size),
                "{size} bytes: status {}, {} came",
                head.status,
                body.len()
            );
            ensure!(start.elapsed() < STALL, "{size} bytes took {:?}", start.elapsed());
        }
        Ok(())
    })
    .with_context(|| app.output())?;
    for request in recorder.take() {
        request.carried()?;
    }
    ensure!(recorder.errors().is_empty(), "damaged requests");
    Ok(())
}

#[test]
fn incident_01_fionread_nginx_keeps_reading() -> Result<()> {
    download_through(|recorder| relay::nginx(recorder.address()), "")
}

#[test]
fn incident_01_fionread_java_keeps_reading() -> Result<()> {
    download_through(|recorder| relay::java(&recorder.url()), "/fetch?path=")
}

#[test]
fn incident_02_tls_stays_intact_under_load() -> Result<()> {
    let server = servers::tls()?;
    let app = relay::wire()?.start(&Launch::under_test(&Exec::default()))?;
    concurrently(8, |number| {
        for round in 0..6 {
            let case = ["tls_python", "tls_curl", "tls_openssl"][(number + round) % 3];
            let size = [1, 100, 16_000, 200_000, 1_000_000][(number + 2 * round) % 5];
            call(app.address(), case, server.address(), &format!("&size={size}"))?;
        }
        Ok(())
    })
    .with_context(|| app.output())
    .map(drop)
}

#[test]
fn incident_03_binary_protocols_stay_intact() -> Result<()> {
    let script = || Script::silent().after(b"<END>", OK);
    Case::new("binary", script(), Exactly(0)).connections(20).check()?;
    Case::new("yamux", script(), Exactly(0)).check()?;
    Case::new("http2", script(), Exactly(0)).check()
}

#[test]
fn incident_04_a_head_in_pieces_gets_its_headers_once() -> Result<()> {
    Case::new("head_in_pieces", Script::silent().after(b"\r\n\r\n", OK), Exactly(5)).connections(5).check()
}

#[test]
fn incident_04_an_own_header_stays_alone_wherever_it_stands() -> Result<()> {
    Case::new("own_header", Script::silent().after(b"\r\n\r\n", OK), Exactly(0)).connections(45).check()
}

#[test]
fn incident_05_large_heads_python() -> Result<()> {
    large_heads(|url| relay::python_threads(url, Backend::Fresh))
}

#[test]
fn incident_05_large_heads_c() -> Result<()> {
    large_heads(|url| relay::c(url, Backend::Fresh))
}

/// Inbound heads of 100 bytes to 16 KiB, the wanted header first, in the middle and last, whole and in pieces.
fn large_heads(program: impl FnOnce(&str) -> Result<Program>) -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = program(&recorder.url())?.start(&Launch::under_test(&Exec::default()))?;
    for size in [100, 500, 1023, 1024, 1025, 2048, 4096, 8192, 12_000, 16_000, 16_383, 16_384] {
        for place in [Place::First, Place::Middle, Place::Last] {
            for pieces in [1, 2, 3, 10] {
                large_head(app.address(), &recorder, size, place, pieces)
                    .with_context(|| format!("{size} bytes, {place:?}, {pieces} pieces"))?;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Place {
    First,
    Middle,
    Last,
}

fn large_head(relay: SocketAddr, recorder: &Recorder, size: usize, place: Place, pieces: usize) -> Result<()> {
    let value = format!("v{}", serial());
    let message = head_of(size, place, &value);
    ensure!(message.len() == size, "the head has {} bytes", message.len());
    let pieces: Vec<&[u8]> = message.chunks(size.div_ceil(pieces)).collect();
    let (head, _) = Client::new(relay, false).send_pieces(&pieces)?;
    ensure!(head.status == 200, "status {}", head.status);
    let requests = recorder.take();
    let request = requests.first().context("no outbound request")?;
    ensure!(request.carried()? == Some(&value), "{:?} instead of {value}", request.carried()?);
    Ok(())
}

/// A head of exactly so many bytes.
fn head_of(size: usize, place: Place, value: &str) -> Vec<u8> {
    let start = "GET /relay?id=a&n=1 HTTP/1.1\r\n";
    let wanted = format!("{}: {value}\r\n", HEADERS[0]);
    let end = "Connection: close\r\n\r\n";
    let room = size - start.len() - wanted.len() - end.len();
    let (before, after) = match place {
        Place::First => (0, room),
        Place::Middle => (room / 2, room - room / 2),
        Place::Last => (room, 0),
    };
    [start, &filler(before), &wanted, &filler(after), end].concat().into_bytes()
}

/// Header lines of exactly so many bytes together (none below six).
fn filler(room: usize) -> String {
    let mut lines = String::new();
    while lines.len() < room {
        let left = room - lines.len();
        let line = if left > 1000 { 900 } else { left };
        // "F:" and the line end take four bytes.
        lines.push_str(&format!("F:{}\r\n", "f".repeat(line.saturating_sub(4))));
    }
    lines
}
