//! Segments that overlap: TCP may send bytes again together with what comes next. Programs that nobody changed download
//! over such connections; what they had not read yet must not arrive twice.
//!
//! They write into a pipe that the test empties or not: so it decides what waits on their sockets. (A signal would
//! interrupt their reads, see the README's known limits.)

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
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
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::either;

/// Reads with blocking calls.
const BLOCKING: &str = "import shutil, sys, urllib.request as r; shutil.copyfileobj(r.urlopen(sys.argv[1]), open(sys.argv[2], 'wb', 0), 1000)";

/// Bytes that a client may hold back: it waits until it has as many to write.
const AT_ONCE: usize = 1000;

/// Bytes of a body. All of it has room in the queue of a client that does not read, which would not acknowledge more.
const BODY: usize = 50_000;

/// What the pipe holds before a client waits: a page, the least that there is.
const PIPE: i32 = 4096;

const MOST: Duration = Duration::from_secs(20);

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
        command.args(["--silent", "--show-error", "--no-buffer", url, "--output"]).arg(file);
        Ok(command)
    })
}

fn download(client: impl Fn(&str, &Path) -> Result<Command>) -> Result<()> {
    let (before, cgroup, files) = (Objects::now()?, Cgroup::new()?, Scratch::new()?);
    let daemon = Daemon::start(&[cgroup.path()])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    let mut random = Random::of_this_run();
    for round in 0..either(10, 400) {
        let pipe = files.join(&format!("pipe-{round}"));
        let mut client = Client::start(&files, &pipe, |pipe| Ok(cgroup.wrap(&client(&url, pipe)?)))?;
        let (stream, _) = listener.accept()?;
        let came = serve(stream, &mut client, &mut random).and_then(|()| client.end());
        came.with_context(|| format!("download {round}: {}", client.running.last_words()))?;
    }
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    nothing_new_since(&before)
}

/// Sends a body in segments that overlap.
fn serve(mut stream: TcpStream, client: &mut Client, random: &mut Random) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut request = BufReader::new(stream.try_clone()?).lines();
    while !request.next().context("a request")??.is_empty() {}
    drop(request);
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let body = pattern(BODY);
    let mut sent = 0;
    while sent < BODY {
        let more = (sent + 1 + random.below(5000)).min(BODY);
        stream.write_all(&body[sent..more])?;
        // All that was sent has been read, a part, or only what goes into the pipe.
        let (taken, can) = (client.taken.len(), more - more % AT_ONCE);
        match random.below(3) {
            0 => client.take(can)?,
            1 if can > taken => client.take(taken + random.below(can - taken))?,
            _ => {}
        }
        // A client that reads could send a packet to nobody, and would be told that there is no connection.
        client.settle()?;
        let back = random.below(6000).min(more);
        stream = rewind(stream, u32::try_from(back)?)?;
        sent = (more + random.below(5000)).min(BODY);
        stream.write_all(&body[more - back..sent])?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

/// A program that downloads into a pipe.
struct Client {
    running: Running,
    pipe: File,
    taken: Vec<u8>,
}

impl Client {
    fn start(files: &Scratch, pipe: &Path, command: impl Fn(&Path) -> Result<Command>) -> Result<Self> {
        mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let out = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(pipe)?;
        fcntl(&out, FcntlArg::F_SETPIPE_SZ(PIPE))?;
        let log: PathBuf = files.join("client");
        Ok(Self { running: Running::spawn(command(pipe)?, log)?, pipe: out, taken: Vec::new() })
    }

    /// Takes what the client has got, until it is so many bytes.
    fn take(&mut self, bytes: usize) -> Result<()> {
        wait::until("the client to write what it was sent", MOST, || {
            while self.taken.len() < bytes {
                let mut some = vec![0; bytes - self.taken.len()];
                match self.pipe.read(&mut some) {
                    // It has not opened the pipe yet.
                    Ok(0) => return Ok(None),
                    Ok(read) => self.taken.extend_from_slice(&some[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(Some(()))
        })
    }

    /// Waits until the client sleeps, in a call that waits for bytes or for room in the pipe.
    fn settle(&self) -> Result<()> {
        let process = PathBuf::from(format!("/proc/{}", self.running.pid()));
        wait::until("the client to sleep", MOST, || {
            let state = std::fs::read_to_string(process.join("stat"))?;
            let sleeps = state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'));
            Ok(sleeps.then_some(()))
        })
    }

    /// Waits for the client's end, and judges what it has got.
    fn end(&mut self) -> Result<()> {
        let body = pattern(BODY);
        let all = self.take(BODY);
        let same = self.taken.iter().zip(&body).take_while(|(one, other)| one == other).count();
        ensure!(same == BODY, "{same} of {BODY} bytes are right, {} came ({all:?})", self.taken.len());
        let status = self.running.wait(MOST)?;
        ensure!(status.success(), "{status}");
        let mut rest = Vec::new();
        self.pipe.read_to_end(&mut rest)?;
        ensure!(rest.is_empty(), "{} bytes too many came", rest.len());
        Ok(())
    }
}
