//! An application under test: started plain, under `baton exec`, or in a cgroup.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::baton::Exec;
use crate::cgroup::Cgroup;
use crate::process::Running;
use crate::scratch::Scratch;
use crate::wait;

/// How to start an application.
#[derive(Debug)]
pub enum Launch<'a> {
    /// As it is.
    Plain,
    /// Under `baton exec`.
    Exec(&'a Exec),
    /// In a cgroup, for `baton run`.
    In(&'a Cgroup),
}

/// `BATON_TEST_PLAIN=1`: the harness and the applications are tried without baton, for their development.
pub fn without_baton() -> bool {
    std::env::var_os("BATON_TEST_PLAIN").is_some()
}

impl<'a> Launch<'a> {
    /// Under `baton exec`, or plain where [`without_baton`] asks for it.
    pub fn under_test(exec: &'a Exec) -> Self {
        if without_baton() { Launch::Plain } else { Launch::Exec(exec) }
    }
}

/// A server program that is ready to start.
#[derive(Debug)]
pub struct Program {
    /// The command; it listens on 127.0.0.1.
    pub command: Command,
    /// Where it will listen.
    pub port: u16,
    /// Where it will listen instead, if that is a Unix socket.
    pub socket: Option<PathBuf>,
    /// Files that must live as long as it.
    pub files: Scratch,
}

impl Program {
    /// A command on a free port, which it finds in `$PORT`.
    pub fn new(command: Command) -> Result<Self> {
        let port = free_port()?;
        let mut program = Self { command, port, socket: None, files: Scratch::new()? };
        program.command.env("PORT", port.to_string());
        Ok(program)
    }

    /// Lets a program that looks for `$PORT` listen there.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self.command.env("PORT", port.to_string());
        self
    }

    /// Starts it and waits until it accepts connections.
    pub fn start(self, launch: &Launch<'_>) -> Result<App> {
        let command = match launch {
            Launch::Plain => self.command,
            Launch::Exec(exec) => exec.wrap(&self.command)?,
            Launch::In(cgroup) => cgroup.wrap(&self.command),
        };
        let mut process = Running::spawn(command, self.files.join("output"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        wait::until("the application to listen", wait::START, || {
            if let Some(status) = process.ended()? {
                bail!("the application ended with {status}:\n{}", process.last_words());
            }
            Ok(match &self.socket {
                Some(path) => UnixStream::connect(path).map(drop).ok(),
                None => TcpStream::connect(address).map(drop).ok(),
            })
        })
        .with_context(|| format!("it wrote:\n{}", process.last_words()))?;
        Ok(App { process, address, files: self.files })
    }
}

/// A running server; it ends on drop.
#[derive(Debug)]
pub struct App {
    process: Running,
    address: SocketAddr,
    files: Scratch,
}

impl App {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process (that of `baton exec`, if it was started so).
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// What it and baton have written.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Ends it with SIGTERM; returns what it and baton wrote.
    pub fn stop(mut self) -> Result<String> {
        self.process.signal(nix::sys::signal::Signal::SIGTERM)?;
        self.process.wait(Duration::from_secs(30))?;
        Ok(self.process.output())
    }
}

/// A port that nothing listens on. It lies below the ephemeral range, so that no outgoing connection takes it meanwhile.
pub fn free_port() -> Result<u16> {
    static OFFSET: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000)?;
    for _ in 0..10_000 {
        let port = 20_000 + (start + OFFSET.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 32000")
}
