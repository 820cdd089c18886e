//! A workload that sends and is sent whatever may confuse a parser, beside one that behaves well.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use baton_tests::baton::{Daemon, HEADERS};
use baton_tests::bpf::Objects;
use baton_tests::exchange::Shape;
use baton_tests::random::Random;

use super::{Workload, after, either};

/// What heads are made of, and what looks like it.
const WORDS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"CONNECT ",
    b"/",
    b"/a?b=c",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/2.0",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\n\n",
    b"\r",
    b"\0",
    b": ",
    b":",
    b" ",
    b"\t",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 3, 4\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"0\r\n\r\n",
    b"5;a=b\r\nabcde\r\n",
    b"ffffffffffffffffff\r\n",
    b"x-telepresence-id: other\r\n",
    b"X-TELEPRESENCE-ID",
    b"traceparent: ",
    b" folded\r\n",
    b"\xff\xfe\x80",
    b"n\xc3\xa4me: v\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"\x16\x03\x01",
];

/// Bytes that are sent, of one of several kinds.
fn bytes(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    match random.below(9) {
        0 => (0..random.below(5000)).for_each(|_| bytes.push(random.number() as u8)),
        1 => {
            // A request line of 16 KiB and about that.
            let length = 16_384 - 40 + random.below(80);
            bytes.extend(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length)).bytes());
        }
        2 => {
            bytes.extend(b"GET / HTTP/1.1\r\n");
            for number in 0..10_000 {
                bytes.extend(format!("a{number}: b\r\n").bytes());
            }
            bytes.extend(b"\r\n");
        }
        3 => {
            bytes.extend(b"GET / HTTP/1.1\r\n");
            for _ in 0..random.below(40) {
                (0..1 + random.below(20)).for_each(|_| bytes.push(random.number() as u8));
                bytes.extend(b": v\r\n");
            }
            bytes.extend(b"\r\n");
        }
        // Three whose body is the mark that ends what is sent: heads without doubt, and with what some parsers dislike.
        4 => bytes.extend(b"POST / HTTP/1.1\r\nContent-Length: 15\r\nx-folded: a\r\n b\r\n\tc\r\n\r\n"),
        5 => bytes.extend(b"GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\n\r\n"),
        6 => bytes.extend(b"POST / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\nContent-Length: 15\r\n\r\n"),
        7 => bytes.extend(b"POST /right HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n"),
        _ => {}
    }
    if bytes.is_empty() || random.below(3) == 0 {
        for _ in 0..random.below(300) {
            bytes.extend(*random.one_of(WORDS).unwrap_or(&&b"\0"[..]));
        }
    }
    // As it is, or with some bytes changed.
    for _ in 0..random.below(3) * random.below(4) {
        let at = random.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = random.number() as u8;
        }
    }
    bytes
}

/// Judges what arrived of `sent`: headers may be added to the first head only, if it is one without doubt.
fn judge(sent: &[u8], arrived: &[u8], lines: &str) -> Result<bool> {
    if sent == arrived {
        return Ok(false);
    }
    // RFC 9112 §2.2: empty lines before a request line are ignored.
    let empty = sent.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let (sent, arrived) = (&sent[empty..], arrived.get(empty..).context("cut off")?);
    // The blank line; or the first line that begins with a carriage return, where what was written ended with that. (Its
    // line feed would have followed, had it not been for the hostility.)
    let ends = [&b"\r\n\r\n"[..], b"\r\n\r"].map(|end| sent.windows(end.len()).position(|window| window == end));
    let at_end = |end: usize| arrived == [&sent[..end + 2], lines.as_bytes(), &sent[end + 2..]].concat();
    let end = ends
        .into_iter()
        .flatten()
        .find(|end| at_end(*end))
        .with_context(|| format!("{} became {}", sent.escape_ascii(), arrived.escape_ascii()))?;
    let head = &sent[..end + 2];
    // What stands in fields is the application's affair, a carriage return alone included; lines that end with a line
    // feed alone, or another first line, are not heads.
    let bare = head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'));
    let first = head.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    ensure!(!bare && is_request_line(first), "added to what is no request: {}", sent[..end.min(300)].escape_ascii());
    Ok(true)
}

/// Whether a line is a method, a target, and a version of HTTP/1. Which bytes a target has is the application's affair.
fn is_request_line(line: &[u8]) -> bool {
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')).count();
    let target = line.get(method..).and_then(|rest| rest.strip_prefix(b" "));
    let version = line.len().checked_sub(11).map(|at| &line[at..]);
    method > 0
        && target.is_some_and(|target| target.len() > 11 && target[0] != b' ')
        && version.is_some_and(|version| {
            version.starts_with(b" HTTP/1.") && version[8].is_ascii_digit() && version.ends_with(b"\r\n")
        })
}

/// What arrived on a connection, and what was answered.
type Exchange = (Vec<u8>, Vec<u8>);

/// A peer that keeps what arrives, by connection, and answers with hostile bytes.
struct Peer {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Exchange>>>,
    stopping: Arc<AtomicBool>,
}

impl Peer {
    fn start(mut random: Random) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, arrived, stopping) =
            (listener.local_addr()?, Arc::<Mutex<Vec<Exchange>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stop) = (Arc::clone(&arrived), Arc::clone(&stopping));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // One at a time: an exchange is over before its client begins the next one. The last 8 bytes are the
                // exchange's number.
                let (kept, answer) = (Arc::clone(&kept), bytes(&mut random));
                std::thread::spawn(move || {
                    let mut came = Vec::new();
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    let mut buffer = [0; 16_384];
                    while !came.ends_with(END) {
                        match stream.read(&mut buffer) {
                            Ok(count) if count > 0 => came.extend_from_slice(&buffer[..count]),
                            _ => break,
                        }
                    }
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push((came, answer.clone()));
                    // The client compares.
                    let _ = stream.write_all(&answer);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(Self { address, arrived, stopping })
    }

    /// Takes what arrived with this mark.
    fn take(&self, mark: &[u8]) -> Option<Exchange> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let at = arrived.iter().position(|(came, _)| came.ends_with(mark))?;
        Some(arrived.swap_remove(at))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// Ends what is sent.
const END: &[u8] = b"<END>";

/// One connection through the hostile workload: as the body of a request with headers, or as it is. Whether something
/// was added.
fn attack(app: SocketAddr, peer: &Peer, number: usize, random: &mut Random) -> Result<bool> {
    let mark = [format!("<{number:08}>").as_bytes(), END].concat();
    let sent = [bytes(random), mark.clone()].concat();
    let [first, second] = HEADERS;
    let lines = format!("{first}: hostile-{number}\r\n{second}: 00-{number:032x}-{number:016x}-01\r\n");
    let mut stream = TcpStream::connect(app)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let as_body = random.below(3) > 0;
    if as_body {
        let head = format!("POST /body HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {}\r\n\r\n", sent.len());
        stream.write_all(head.as_bytes())?;
    }
    let pieces = 1 + random.below(4);
    for piece in sent.chunks(sent.len().div_ceil(pieces)) {
        stream.write_all(piece)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("attack {number}"))?;
    let Some((arrived, answered)) = peer.take(&mark) else { bail!("attack {number} did not arrive") };
    ensure!(answer == answered, "the answer {} became {}", answered.escape_ascii(), answer.escape_ascii());
    judge(&sent, &arrived, if as_body { &lines } else { "" })
}

#[test]
fn a_hostile_workload_confuses_nobody() -> Result<()> {
    let before = Objects::now()?;
    let (mut good, mut random) = (Workload::start(&[])?, Random::of_this_run());
    let peer = Peer::start(Random::new(random.number()))?;
    let hostile = Workload::start(&[("PASS", "1"), ("CUT", &peer.address.port().to_string())])?;
    let daemon = Daemon::start(&[good.cgroup.path(), hostile.cgroup.path()])?;
    good.still_carries()?;
    let (resident, lost) = (daemon.memory()?, good.exchanges.outcome()?.lost);
    let (attacks, added) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = after(Duration::from_secs(either(12, 120)));
    let app = hostile.app.address();
    let mut load_random = Random::new(random.number());
    std::thread::scope(|scope| -> Result<()> {
        let shape = Shape { largest: 20_000, keep: false, ..Shape::PLAIN };
        let (exchanges, address, done) = (&good.exchanges, good.app.address(), &done);
        scope.spawn(move || exchanges.load(address, 4, &shape, &mut load_random, done));
        let attackers: Vec<_> = (0..6)
            .map(|_| {
                let (mut random, peer, attacks, added) = (Random::new(random.number()), &peer, &attacks, &added);
                scope.spawn(move || -> Result<()> {
                    while !done() {
                        let number = attacks.fetch_add(1, Ordering::Relaxed);
                        let was = attack(app, peer, number, &mut random)?;
                        added.fetch_add(usize::from(was), Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        attackers.into_iter().try_for_each(|attacker| attacker.join().map_err(|_| anyhow::anyhow!("a panic"))?)
    })?;
    let outcome = good.exchanges.outcome()?;
    eprintln!(
        "{} attacks, {} with headers; beside them {outcome}",
        attacks.into_inner(),
        added.load(Ordering::Relaxed)
    );
    outcome.flawless()?;
    ensure!(outcome.lost == lost, "the other workload lost headers: {outcome}");
    ensure!(added.into_inner() > 100, "hardly anything was ever added: the judge saw nothing");
    let grown = daemon.memory()?.saturating_sub(resident);
    ensure!(grown < 8 << 20, "the daemon has grown by {grown} bytes");
    drop(hostile);
    good.end(daemon, &before)
}

#[test]
fn the_judge_of_hostile_bytes() -> Result<()> {
    let (head, lines) = (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest"[..], "a: b\r\n");
    ensure!(!judge(head, head, lines)?);
    ensure!(judge(head, b"GET / HTTP/1.1\r\nHost: a\r\na: b\r\n\r\nrest", lines)?);
    ensure!(judge(head, b"GET / HTTP/1.1\r\na: b\r\nHost: a\r\n\r\nrest", lines).is_err());
    for first in
        ["GET /", "GET  / HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/2.0", "GET HTTP/1.1", " HTTP/1.1", "GET / HTTP/1.1 "]
    {
        ensure!(!is_request_line(format!("{first}\r\n").as_bytes()), "{first}");
    }
    ensure!(is_request_line(b"M-SEARCH * HTTP/1.0\r\n") && is_request_line(b"GET /\xff HTTP/1.1\r\n"));
    ensure!(judge(b"GET /\r\n\r\n", b"GET /\r\na: b\r\n\r\n", lines).is_err());
    ensure!(judge(b"GET / HTTP/1.1\nb: c\r\n\r\n", b"GET / HTTP/1.1\nb: c\r\na: b\r\n\r\n", lines).is_err());
    Ok(())
}
