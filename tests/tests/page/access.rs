//! Who may ask for the page, and what it says to browsers.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::http::{self, Head};
use baton_tests::process;
use baton_tests::wait;

use crate::shown::address;

const LIMIT: Duration = Duration::from_secs(20);

/// A daemon with a page, and a workload in which nothing runs.
struct Alone {
    daemon: Daemon,
    page: SocketAddr,
    _cgroup: Cgroup,
}

impl Alone {
    fn start(arguments: &[&str]) -> Result<Self> {
        let cgroup = Cgroup::new()?;
        let daemon = Daemon::named(&[("shop", cgroup.path())], arguments)?;
        let page = address(&daemon)?;
        let page: SocketAddr = page.trim_start_matches("http://").trim_end_matches('/').parse()?;
        let page = SocketAddr::from(([127, 0, 0, 1], page.port()));
        Ok(Self { daemon, page, _cgroup: cgroup })
    }

    /// The response to a request with these lines.
    fn ask(&self, line: &str, fields: &str) -> Result<(Head, BufReader<TcpStream>)> {
        let mut stream = TcpStream::connect(self.page)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(format!("{line} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n").as_bytes())?;
        let mut stream = BufReader::new(stream);
        let head = http::read_head(&mut stream)?.with_context(|| format!("no response to {line}"))?;
        Ok((Head::response(head)?, stream))
    }

    fn status(&self, line: &str, fields: &str) -> Result<u16> {
        Ok(self.ask(line, fields)?.0.status)
    }

    /// Connections to the control socket.
    fn watchers(&self) -> Result<usize> {
        let path = self.daemon.socket().display().to_string();
        // The state 03 is SS_CONNECTED (include/uapi/linux/net.h).
        let is_one = |line: &&str| line.ends_with(&path) && line.split_whitespace().nth(5) == Some("03");
        Ok(std::fs::read_to_string("/proc/net/unix")?.lines().filter(is_one).count())
    }
}

#[test]
fn only_its_own_names_are_answered() -> Result<()> {
    let page = Alone::start(&["--listen", "127.0.0.1:0", "--listen-host", "baton.example.org"])?;
    let port = page.page.port();
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "LOCALHOST",
        "baton.example.org",
        &format!("localhost:{port}"),
        "localhost:1",
    ] {
        let status = page.status("GET /", &format!("Host: {host}\r\n"))?;
        ensure!(status == 200, "{host}: {status}");
    }
    for host in ["example.org", "localhost.example.org", "10.0.0.1", &format!("example.org:{port}"), "a@localhost", ""]
    {
        for path in ["/", "/events", "/losses/1", "/page.js", "/nothing"] {
            let (head, _) = page.ask(&format!("GET {path}"), &format!("Host: {host}\r\n"))?;
            ensure!(head.status == 421, "{host} {path}: {}", head.status);
            ensure!(head.says("cache-control", "no-store"), "{:?}", head.fields);
        }
    }
    ensure!(page.status("GET /", "")? != 200, "no host at all");
    ensure!(page.status("GET /", "Host: localhost\r\nHost: example.org\r\n")? != 200, "two hosts");
    ensure!(page.status("GET http://example.org/", "Host: localhost\r\n")? == 421, "another host in the target");
    Ok(())
}

#[test]
fn nothing_can_be_changed_and_every_response_is_strict() -> Result<()> {
    let page = Alone::start(&["--listen", "127.0.0.1:0"])?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for path in ["/", "/events", "/losses/1", "/nothing"] {
            let status = page.status(&format!("{method} {path}"), "Host: localhost\r\nContent-Length: 0\r\n")?;
            ensure!(status == 405, "{method} {path}: {status}");
        }
    }
    let expected = [
        ("/", 200),
        ("/page.css", 200),
        ("/page.js", 200),
        ("/reasons.json", 200),
        ("/events", 200),
        ("/losses/1", 404),
        ("/losses/x", 400),
        ("/../etc/passwd", 404),
    ];
    for (path, status) in expected {
        let (head, _) = page.ask(&format!("GET {path}"), "Host: localhost\r\n")?;
        ensure!(head.status == status, "{path}: {}", head.status);
        let policy = head.values("content-security-policy").next().unwrap_or_default();
        ensure!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "),
            "{policy}"
        );
        for part in ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
            ensure!(policy.contains(part), "{path}: {policy}");
        }
        ensure!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            ensure!(head.values(name).eq([value]), "{path}: {name}: {:?}", head.fields);
        }
    }
    // A page of another site may link to this one, but not read what it reads.
    for (path, status) in [("/", 200), ("/events", 403), ("/losses/1", 403)] {
        let found = page.status(&format!("GET {path}"), "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n")?;
        ensure!(found == status, "{path}: {found}");
    }
    Ok(())
}

#[test]
fn the_daemon_is_watched_only_while_somebody_looks_and_not_by_too_many() -> Result<()> {
    let page = Alone::start(&["--listen", "127.0.0.1:0"])?;
    ensure!(page.status("GET /", "Host: localhost\r\n")? == 200 && page.watchers()? == 0, "it is watched at once");
    let mut open = Vec::new();
    for number in 0..16 {
        let (head, stream) = page.ask("GET /events", "Host: localhost\r\n")?;
        ensure!(head.status == 200 && head.says("content-type", "text/event-stream"), "{number}: {head:?}");
        open.push(stream);
    }
    // None of them reads.
    wait::until("one watcher for all", LIMIT, || Ok((page.watchers()? == 1).then_some(())))?;
    let (head, _) = page.ask("GET /events", "Host: localhost\r\n")?;
    ensure!(head.status == 503 && head.values("retry-after").count() == 1, "{head:?}");
    open.pop();
    wait::until("a place for another", LIMIT, || {
        Ok((page.status("GET /events", "Host: localhost\r\n")? == 200).then_some(()))
    })?;
    ensure!(page.daemon.stop()? == 0, "the status after SIGTERM");
    Ok(())
}

#[test]
fn others_are_warned_of_and_an_address_that_is_taken_is_named() -> Result<()> {
    let page = Alone::start(&["--listen", "0.0.0.0:0"])?;
    ensure!(page.daemon.output().contains("can read the page, without a password"), "{}", page.daemon.output());
    ensure!(page.status("GET /", "Host: example.org\r\n")? == 421, "any name is answered");
    let quiet = Alone::start(&["--listen", "127.0.0.1:0"])?;
    ensure!(!quiet.daemon.output().contains("password"), "{}", quiet.daemon.output());

    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (arguments, status, words) in [
        (&["--listen", address.as_str()][..], 74, "choose another --listen"),
        (&["--listen", "everywhere"], 64, "127.0.0.1:9641"),
        (&["--listen-host", "baton.example.org"], 64, "--listen"),
        (&["--listen", "0", "--listen-host", "http://a"], 64, "without a port"),
    ] {
        let mut run = baton::command(["run"])?;
        run.args(arguments).arg("--socket").arg(page.daemon.socket().with_extension("other"));
        let finished = process::run(run, b"", LIMIT)?;
        ensure!(finished.code == status && finished.stderr.contains(words), "{arguments:?}: {finished:?}");
        ensure!(finished.stderr.trim().lines().count() == 1, "{finished:?}");
    }
    Ok(())
}

#[test]
fn the_control_socket_is_for_its_owner_alone() -> Result<()> {
    let page = Alone::start(&["--listen", "127.0.0.1:0"])?;
    let socket = std::fs::metadata(page.daemon.socket())?;
    ensure!((socket.mode() & 0o777, socket.uid()) == (0o600, 0), "{:o} {}", socket.mode(), socket.uid());
    Ok(())
}
