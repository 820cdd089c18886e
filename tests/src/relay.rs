//! The relaying applications of `tests/apps`, as ready programs.
//!
//! Each serves `/relay?id=ID&n=K`: it calls `/out/ID/1` … `K` of its backend, one after the other,
//! and answers with the length of each reply, one a line.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use crate::app::Program;
use crate::programs::{Go, compile_c, compile_go, compile_java, find, python, source};
use crate::scratch::Scratch;

/// How an application holds its connections to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A new connection per call.
    Fresh,
    /// A connection per thread, kept alive.
    Kept,
}

/// The class of gunicorn's workers.
#[derive(Clone, Copy, Debug)]
pub enum Worker {
    /// One request at a time per process.
    Sync,
    /// A pool of threads per process.
    Threads,
}

fn program(command: Command, url: &str, backend: Backend) -> Result<Program> {
    let mut program = Program::new(command)?;
    program.command.env("BACKEND", url);
    if backend == Backend::Kept {
        program.command.env("BACKEND_KEEP_ALIVE", "1");
    }
    Ok(program)
}

/// Python: ThreadingHTTPServer and http.client.
pub fn python_threads(url: &str, backend: Backend) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/threads.py"));
    program(command, url, backend)
}

/// Python: a relay that passes the headers `forward` on by itself, and sends `own` with a value of its own.
pub fn forwarding(url: &str, forward: &[&str], own: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/forwarding.py")).env("FORWARD", forward.join(",")).env("OWN", own);
    program(command, url, Backend::Fresh)
}

/// Python: raw sockets that peek at heads, and throw them away afterwards if `discard`.
pub fn peeking(url: &str, discard: bool) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/peeking.py")).env("DISCARD", if discard { "1" } else { "0" });
    program(command, url, Backend::Fresh)
}

/// Python: as [`peeking`], and reads each head into so many pieces of memory.
pub fn reading_into_pieces(url: &str, pieces: usize) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/peeking.py")).env("PIECES", pieces.to_string());
    program(command, url, Backend::Fresh)
}

/// Python: one thread that serves two requests at a time.
pub fn event_loop(url: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/event_loop.py"));
    program(command, url, Backend::Fresh)
}

/// Python: threads and connections that requests and a timer share; it serves `/relay` in ways of its own.
pub fn shared_pool(url: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/shared_pool.py"));
    program(command, url, Backend::Fresh)
}

/// Python: `/CASE` calls the backend in a way that loses headers; see `apps/python/losing.py`.
pub fn losing(url: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/losing.py"));
    program(command, url, Backend::Fresh)
}

/// Python: aiohttp, which calls the backend for each message of a WebSocket.
pub fn websocket(url: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/websocket.py"));
    program(command, url, Backend::Fresh)
}

/// Node.js: http and http.request.
pub fn node(url: &str) -> Result<Program> {
    let mut command = Command::new(find("node")?);
    command.arg(source("node/relay.js")).env("CLIENT", "request");
    program(command, url, Backend::Kept)
}

/// Ruby: Puma with so many threads, and Net::HTTP.
pub fn puma(url: &str, threads: u32) -> Result<Program> {
    let mut command = Command::new(find("puma")?);
    command.arg("-C").arg(source("ruby/puma_config.rb")).env("THREADS", threads.to_string());
    program(command, url, Backend::Kept)
}

/// Python: a server on asyncio's streams that is nobody's framework.
pub fn streams(url: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/streams.py"));
    program(command, url, Backend::Fresh)
}

/// Python: one thread that calls out while it answers, and afterwards.
pub fn answering(url: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/answering.py"));
    program(command, url, Backend::Fresh)
}

/// Python: gunicorn with Flask and requests.
pub fn gunicorn(url: &str, worker: Worker, backend: Backend) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.args(["-m", "gunicorn", "--log-level", "warning", "--chdir"]).arg(source("python"));
    match worker {
        Worker::Sync => command.args(["--workers", "4", "--worker-class", "sync"]),
        Worker::Threads => command.args(["--workers", "2", "--worker-class", "gthread", "--threads", "32"]),
    };
    let mut program = program(command, url, backend)?;
    program.command.args(["--bind", &format!("127.0.0.1:{}", program.port), "flask_app:app"]);
    Ok(program)
}

/// Java: HttpServer with a pool of threads and HttpURLConnection, which keeps connections for any thread.
pub fn java(url: &str) -> Result<Program> {
    let classes = Scratch::new()?;
    let mut command = Command::new(find("java")?);
    // Head and body go in two writes: without this Nagle and delayed acknowledgements cost 40 ms a response.
    command.args(["-Dsun.net.httpserver.nodelay=true", "-Xmx256m", "-cp"]);
    command.arg(compile_java("Relay", &[], &classes)?).arg("Relay");
    let mut program = program(command, url, Backend::Kept)?;
    program.files = classes;
    Ok(program)
}

/// nginx as a reverse proxy, an event loop.
pub fn nginx(backend: SocketAddr) -> Result<Program> {
    nginx_with("proxy.conf", &backend.to_string())
}

/// nginx with a configuration of `tests/apps/nginx`, for the backend at this address.
pub fn nginx_with(config: &str, backend: &str) -> Result<Program> {
    let mut program = Program::new(Command::new(find("nginx")?))?;
    let template = std::fs::read_to_string(source("nginx").join(config))?;
    let config = template
        .replace("@FILES@", &program.files.path().display().to_string())
        .replace("@BACKEND@", backend)
        .replace("@PORT@", &program.port.to_string());
    let config = program.files.write("nginx.conf", config)?;
    program.command.arg("-p").arg(program.files.path()).arg("-c").arg(config);
    Ok(program)
}

/// Python: `/case/NAME?port=P` talks to a raw TCP server in the ways that programs do; see `apps/python/wire.py`.
pub fn wire() -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/wire.py"));
    Program::new(command)
}

/// PHP's built-in server with curl; `workers` processes if more than one.
pub fn php(url: &str, workers: u32) -> Result<Program> {
    let mut program = program(Command::new(find("php")?), url, Backend::Fresh)?;
    if workers > 1 {
        program.command.env("PHP_CLI_SERVER_WORKERS", workers.to_string());
    }
    program.command.args(["-S", &format!("127.0.0.1:{}", program.port)]).arg(source("php/relay.php"));
    Ok(program)
}

/// Ruby: WEBrick and Net::HTTP.
pub fn ruby(url: &str) -> Result<Program> {
    let mut command = Command::new(find("ruby")?);
    command.arg(source("ruby/relay.rb"));
    program(command, url, Backend::Fresh)
}

/// C: a blocking thread per connection.
pub fn c(url: &str, backend: Backend) -> Result<Program> {
    let files = Scratch::new()?;
    let mut program = program(Command::new(compile_c("relay", &files)?), url, backend)?;
    program.files = files;
    Ok(program)
}

/// C: an event loop that hands a connection to a thread after a request with `via=hand`.
pub fn handing(url: &str) -> Result<Program> {
    let files = Scratch::new()?;
    let mut program = program(Command::new(compile_c("handing", &files)?), url, Backend::Kept)?;
    program.files = files;
    Ok(program)
}

/// Go: net/http, with connections to the backend that are kept.
pub fn go(url: &str, build: Go) -> Result<Program> {
    let files = Scratch::new()?;
    let mut program = program(Command::new(compile_go("relay", build, &files)?), url, Backend::Kept)?;
    program.files = files;
    Ok(program)
}

/// Java: an event loop over a Selector, which calls the backend between two requests' steps.
pub fn java_loop(url: &str) -> Result<Program> {
    let classes = Scratch::new()?;
    let mut command = Command::new(find("java")?);
    command.args([
        "-Xmx64m",
        "-Dhttp.keepAlive=false",
        "-cp",
        &compile_java("SelectorLoop", &[], &classes)?,
        "SelectorLoop",
    ]);
    let mut program = program(command, url, Backend::Kept)?;
    program.files = classes;
    Ok(program)
}

/// Go: one goroutine that serves two requests at a time.
pub fn go_loop(url: &str) -> Result<Program> {
    let files = Scratch::new()?;
    let mut program = program(Command::new(compile_go("event_loop", Go::Plain, &files)?), url, Backend::Kept)?;
    program.files = files;
    Ok(program)
}
