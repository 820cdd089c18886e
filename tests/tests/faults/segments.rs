//! Segments that overlap: TCP may send bytes again together with what comes next. Programs that nobody changed download
//! over such connections; what they had not read yet must not arrive twice.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use baton_tests::baton::Daemon;
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::process::Running;
use baton_tests::programs::{command, python};
use baton_tests::random::Random;
use baton_tests::recorder::pattern;
use baton_tests::rewind::rewind;
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use nix::sys::signal::Signal;

use super::either;

/// Reads with blocking calls.
const BLOCKING: &str = "import shutil, sys, urllib.request as r; shutil.copyfileobj(r.urlopen(sys.argv[1]), open(sys.argv[2], 'wb'), 1000)";

#[test]
fn blocking_download() -> Result<()> {
    download(|url, file| {
        let mut command = Command::new(python()?);
        command.args(["-c", BLOCKING, url]).arg(file);
        Ok(command)
    })
}

#[test]
fn non_blocking_download() -> Result<()> {
    download(|url, file| {
        let mut command = command("curl")?;
        command.args(["--silent", "--show-error", url, "--output"]).arg(file);
        Ok(command)
    })
}

fn download(client: impl Fn(&str, &Path) -> Result<Command>) -> Result<()> {
    let (before, cgroup, files) = (Objects::now()?, Cgroup::new()?, Scratch::new()?);
    let daemon = Daemon::start(&[cgroup.path()])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (url, file) = (format!("http://{}/", listener.local_addr()?), files.join("body"));
    let mut random = Random::of_this_run();
    for round in 0..either(4, 100) {
        let client = cgroup.wrap(&client(&url, &file)?);
        let mut client = Running::spawn(client, files.join("client"))?;
        let (stream, _) = listener.accept()?;
        let sent = serve(stream, &client, &mut random).with_context(|| format!("download {round}"))?;
        let status = client.wait(Duration::from_secs(20))?;
        ensure!(status.success(), "{status}: {}", client.last_words());
        let body = std::fs::read(&file)?;
        let (same, sent) = (body.iter().zip(&sent).take_while(|(a, b)| a == b).count(), sent.len());
        ensure!(same == sent && body.len() == sent, "{same} of {sent} bytes are right, {} came", body.len());
    }
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    nothing_new_since(&before)
}

/// When the client stands still: what it has not read waits in its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// From before the first segment until after the second: all of both waits.
    Always,
    /// Once the first has been sent, of which it may have read nothing, a part or all, until after the second.
    BetweenSegments,
    /// The same, but the second comes when it may read or wait.
    WhileRewound,
}

impl Stands {
    fn of(number: usize) -> Self {
        match number {
            0 => Self::Always,
            1 => Self::BetweenSegments,
            _ => Self::WhileRewound,
        }
    }
}

/// Sends a body in segments that overlap, to a client that stands still now and then; returns the body.
fn serve(mut stream: TcpStream, client: &Running, random: &mut Random) -> Result<Vec<u8>> {
    stream.set_nodelay(true)?;
    let mut request = BufReader::new(stream.try_clone()?).lines();
    while !request.next().context("a request")??.is_empty() {}
    drop(request);
    let body = pattern(200_000);
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let mut sent = 0;
    while sent < body.len() {
        let stands = Stands::of(random.below(3));
        if stands == Stands::Always {
            stand(client)?;
        }
        let more = (sent + 1 + random.below(5000)).min(body.len());
        stream.write_all(&body[sent..more])?;
        if stands != Stands::Always {
            stand(client)?;
        }
        let back = random.below(6000).min(more);
        // A client that read meanwhile could send a packet to nobody, and would be told that there is no connection.
        stream = rewind(stream, u32::try_from(back)?)?;
        if stands == Stands::WhileRewound {
            client.signal(Signal::SIGCONT)?;
        }
        sent = (more + random.below(5000)).min(body.len());
        stream.write_all(&body[more - back..sent])?;
        if stands != Stands::WhileRewound {
            client.signal(Signal::SIGCONT)?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(body)
}

/// Stops the client and waits until it stands.
fn stand(client: &Running) -> Result<()> {
    client.signal(Signal::SIGSTOP)?;
    let stat = format!("/proc/{}/stat", client.pid());
    wait::until("the client to stand still", Duration::from_secs(5), || {
        let state = std::fs::read_to_string(&stat)?;
        Ok(state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')).then_some(()))
    })
}
