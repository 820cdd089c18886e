//! What is full, or very many: flow events that nobody takes, connections, threads, processes, ids that are used again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use baton_tests::baton::{self, Daemon};
use baton_tests::bpf::Objects;
use baton_tests::exchange::Shape;
use baton_tests::load::Client;
use baton_tests::process::Running;
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Workload, after, either};

const SMALL: Shape = Shape { largest: 500, ..Shape::PLAIN };
const FRESH: Shape = Shape { keep: false, ..SMALL };

/// Lets a stopped process go on, however the test ends.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: i32) -> Result<Self> {
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
        Ok(Self(Pid::from_raw(pid)))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// So many connections, or as many as a process may have here.
fn files(wanted: usize) -> Result<usize> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("failed to raise the limit of open files")?;
    let room = usize::try_from(most)?.saturating_sub(1000);
    if room < wanted {
        eprintln!("{room} instead of {wanted}: a process may have {most} open files");
    }
    Ok(wanted.min(room))
}

#[test]
fn a_daemon_that_stands_still_and_a_full_ring_buffer() -> Result<()> {
    let (before, scratch, mut workload) = (Objects::now()?, Scratch::new()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    let mut watch = baton::command(["watch", "--json", "--socket"])?;
    watch.arg(daemon.socket());
    let watch = Running::spawn(watch, scratch.join("watch"))?;
    wait::until("the watch to begin", wait::START, || {
        workload.still_carries()?;
        Ok(watch.output().contains("\"injected\"").then_some(()))
    })?;
    let carried = workload.exchanges.outcome()?.carried;
    {
        let _stopped = Stopped::new(daemon.pid())?;
        let outcome = workload.load(16, &FRESH, after(Duration::from_secs(6)))?;
        ensure!(outcome.carried > carried + 1000, "too little happened: {outcome}");
    }
    wait::until("word of what was missed", wait::START, || {
        workload.still_carries()?;
        Ok(watch.output().contains("\"missed\"").then_some(()))
    })?;
    drop(watch);
    workload.end(daemon, &before)
}

#[test]
fn contexts_that_are_all_taken() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let config = baton::config(&[workload.cgroup.path()]) + "limits: {contexts: 8}\n";
    let daemon = Daemon::configured(&config)?;
    let outcome = workload.load(64, &Shape { largest: 100_000, ..FRESH }, after(Duration::from_secs(5)))?;
    ensure!(outcome.carried > 0 && outcome.lost > 0, "they were not all taken: {outcome}");
    // Each is given back.
    let lost = outcome.lost;
    let outcome = workload.exchanges(2, &FRESH, 200)?;
    ensure!(outcome.lost == lost, "some are not given back: {outcome}");
    workload.end(daemon, &before)
}

#[test]
fn very_many_short_connections() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    workload.still_carries()?;
    let (resident, lost) = (daemon.memory()?, workload.exchanges.outcome()?.lost);
    // An exchange has two connections.
    let outcome = workload.exchanges(16, &FRESH, either(5000, 50_000))?;
    ensure!(outcome.lost == lost, "{outcome}");
    let grown = daemon.memory()?.saturating_sub(resident);
    ensure!(grown < 8 << 20, "the daemon has grown by {grown} bytes");
    workload.end(daemon, &before)
}

/// The application holds connections that say nothing; in the long form also more than baton has room for.
#[test]
fn very_many_idle_connections() -> Result<()> {
    let wanted = files(either(4000, 20_000))?;
    let stop = AtomicBool::new(false);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            let mut kept = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                kept.extend(listener.accept());
            }
            kept.len()
        });
        let held = (|| -> Result<()> {
            let (before, mut workload) = (Objects::now()?, Workload::start(&[("CUT", &address.port().to_string())])?);
            let daemon = Daemon::start(&[workload.cgroup.path()])?;
            for _ in 0..wanted / 1000 {
                let id = "POST /do/hold?id=none&up=1000&down=1&keep=0 HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
                let answer = Client::new(workload.app.address(), false).send(id.as_bytes())?;
                ensure!(answer.0.status == 200, "{:?}", String::from_utf8_lossy(&answer.1));
            }
            // The backend's judge knows nothing of these requests.
            workload.exchanges.forget()?;
            let outcome = workload.load(16, &Shape::PLAIN, after(Duration::from_secs(4)))?;
            ensure!(outcome.carried > 0 && outcome.lost == 0, "{outcome}");
            daemon.reload(&[])?;
            daemon.reload(&[workload.cgroup.path()])?;
            workload.load(16, &Shape::PLAIN, after(Duration::from_secs(2)))?;
            workload.end(daemon, &before)
        })();
        stop.store(true, Ordering::SeqCst);
        drop(std::net::TcpStream::connect(address));
        let accepted = accepted.join().map_err(|_| anyhow::anyhow!("the acceptor panicked"))?;
        held?;
        ensure!(accepted > wanted / 1000 * 1000, "{accepted} connections");
        Ok(())
    })
}

/// Each client's connection has a thread of the application.
#[test]
fn very_many_threads() -> Result<()> {
    let wanted = files(either(1500, 10_000))?;
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    let address = workload.app.address();
    let mut clients: Vec<_> = (0..wanted).map(|_| Client::new(address, true)).collect();
    let shape = Shape { largest: 100, ..FRESH };
    for _ in 0..2 {
        for client in &mut clients {
            workload.exchanges.exchange(client, &shape, &mut workload.random);
        }
    }
    let outcome = workload.exchanges.outcome()?;
    outcome.flawless()?;
    // Contexts belong to connections: 8192 by default.
    ensure!(outcome.carried > 0 && (clients.len() > 8000 || outcome.lost == 0), "{outcome}");
    drop(clients);
    workload.still_carries()?;
    workload.end(daemon, &before)
}

/// Threads and processes that come and go with each request.
#[test]
fn threads_and_processes_that_come_and_go() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    workload.still_carries()?;
    let resident = daemon.memory()?;
    let shape = Shape { modes: &["plain", "fork", "by_child", "by_other"], ..FRESH };
    let outcome = workload.load(16, &shape, after(Duration::from_secs(either(5, 60))))?;
    ensure!(outcome.carried > 0, "{outcome}");
    let grown = daemon.memory()?.saturating_sub(resident);
    ensure!(grown < 8 << 20, "the daemon has grown by {grown} bytes");
    workload.end(daemon, &before)
}

/// A thread reads a request and ends; a new one gets its id, and sends: nothing is known of it.
#[test]
fn a_thread_that_has_the_id_of_one_that_is_gone() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    workload.still_carries()?;
    let carried = workload.exchanges.outcome()?.carried;
    let outcome = workload.exchanges(1, &Shape { modes: &["reuse"], ..FRESH }, 50)?;
    ensure!(outcome.carried == carried, "a thread was taken for one that is gone: {outcome}");
    ensure!(outcome.lost > 0, "no request had a header: {outcome}");
    workload.end(daemon, &before)
}
