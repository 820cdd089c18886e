//! What programs do to their sockets: each mode of `apps/c/faults.c`, in blocking, non-blocking and interrupted calls.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use baton_tests::baton::Daemon;
use baton_tests::bpf::Objects;
use baton_tests::exchange::{Outcome, Shape};
use baton_tests::random::Random;
use nix::sys::socket::{setsockopt, sockopt};

use super::{Workload, after, either};

/// All that any program may do.
const MODES: &[&str] =
    &["plain", "bytes", "splice", "sndbuf", "fork", "by_child", "by_other", "dup", "half", "linger", "race"];
const ALL: Shape = Shape { modes: MODES, largest: 150_000, keep: true, pause: 0 };

fn modes(variables: &[(&str, &str)], shape: &Shape) -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(variables)?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    let outcome = workload.load(12, shape, after(Duration::from_secs(either(5, 60))))?;
    ensure!(outcome.carried > 0, "{outcome}");
    not_interrupted(variables, &outcome)?;
    for mode in shape.modes {
        // Each alone, so that a failure tells which it is.
        let one = Shape { modes: std::slice::from_ref(mode), ..*shape };
        workload.exchanges(1, &one, 10).with_context(|| (*mode).to_owned())?;
    }
    workload.end(daemon, &before)
}

/// Without signals, no blocking call says EAGAIN.
fn not_interrupted(variables: &[(&str, &str)], outcome: &Outcome) -> Result<()> {
    let signals = variables.iter().any(|(name, _)| *name == "SIGNALS");
    ensure!(signals || outcome.surprised == 0, "blocking calls said EAGAIN: {outcome}");
    Ok(())
}

/// What wakes a thread that reads, other than data: room in a send buffer that was full, and the acknowledgement of a
/// shutdown.
#[test]
fn blocking_reads_are_not_interrupted() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    for mode in &["sndbuf", "half"] {
        let shape = Shape { modes: std::slice::from_ref(mode), ..ALL };
        let outcome = workload.load(12, &shape, after(Duration::from_secs(either(4, 60))))?;
        not_interrupted(&[], &outcome).context(*mode)?;
    }
    workload.end(daemon, &before)
}

#[test]
fn blocking_sockets() -> Result<()> {
    modes(&[], &ALL)
}

#[test]
fn non_blocking_sockets() -> Result<()> {
    modes(&[("NONBLOCK", "1")], &ALL)
}

#[test]
fn signals_that_interrupt_calls() -> Result<()> {
    modes(&[("SIGNALS", "interrupt")], &ALL)
}

#[test]
fn signals_after_which_calls_go_on() -> Result<()> {
    modes(&[("SIGNALS", "restart")], &ALL)
}

#[test]
fn connections_that_another_process_serves() -> Result<()> {
    modes(&[("WORKER", "1")], &ALL)
}

/// Stands before the backend, and reads nothing for a while, again and again.
struct Stalling {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl Stalling {
    fn before(backend: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // Accepted sockets inherit it.
        setsockopt(&listener, sockopt::RcvBuf, &16_384)?;
        let (address, stopping) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&stopping);
        let mut random = Random::of_this_run();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let random = Random::new(random.number());
                // A connection that ends early shows at the client.
                std::thread::spawn(move || drop(stall(client, backend, random)));
            }
        });
        Ok(Self { address, stopping })
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn stall(mut client: TcpStream, backend: SocketAddr, mut random: Random) -> std::io::Result<()> {
    let mut server = TcpStream::connect(backend)?;
    server.set_nodelay(true)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        // Ends with either side.
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 65_536];
    loop {
        // One in four reads comes late: the sender's buffer is full by then.
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        }
        let got = client.read(&mut buffer)?;
        if got == 0 {
            return server.shutdown(Shutdown::Write);
        }
        server.write_all(&buffer[..got])?;
    }
}

#[test]
fn peers_that_stop_reading() -> Result<()> {
    for variables in [&[][..], &[("NONBLOCK", "1")], &[("SIGNALS", "interrupt")]] {
        let before = Objects::now()?;
        let mut workload = Workload::start(variables)?;
        let stalling = Stalling::before(workload.exchanges.address())?;
        let url = format!("http://{}", stalling.address);
        // The same application again, with this one in between.
        workload.restart(&[variables, &[("BACKEND", &url)]].concat())?;
        let daemon = Daemon::start(&[workload.cgroup.path()])?;
        let shape = Shape { modes: &["plain", "sndbuf", "splice"], ..ALL };
        let outcome = workload.load(12, &shape, after(Duration::from_secs(either(4, 60))))?;
        ensure!(outcome.carried > 0, "{outcome}");
        not_interrupted(variables, &outcome)?;
        drop(stalling);
        workload.end(daemon, &before)?;
    }
    Ok(())
}
