//! PHP-FPM behind nginx, which passes requests on to it as FastCGI.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use crate::app::{App, Launch, Program};
use crate::probe::Probe;
use crate::programs::{find, php_fpm, source};
use crate::recorder::Recorder;
use crate::wait;

/// What FastCGI goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// A pool of workers.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// What FastCGI goes over.
    pub listen: Listen,
    /// Whether nginx keeps connections.
    pub keep: bool,
    /// How workers are started: `static`, `dynamic`, `ondemand`.
    pub manager: &'static str,
    /// The most workers.
    pub workers: u32,
    /// Requests after which a worker ends; 0 for never.
    pub requests: u32,
}

impl Pool {
    /// One worker that stays, and connections that are kept.
    pub fn of_one(listen: Listen) -> Self {
        Self { listen, keep: true, manager: "static", workers: 1, requests: 0 }
    }

    /// PHP-FPM, which calls the backend `url`.
    pub fn program(&self, url: &str) -> Result<Program> {
        let mut program = Program::new(Command::new(php_fpm()?))?;
        if self.listen == Listen::Unix {
            program.socket = Some(program.files.join("fpm.sock"));
        }
        let config = std::fs::read_to_string(source("php/fpm.conf"))?
            .replace("@LISTEN@", &listens(&program, ""))
            .replace("@MANAGER@", self.manager)
            .replace("@WORKERS@", &self.workers.to_string())
            .replace("@REQUESTS@", &self.requests.to_string());
        let config = program.files.write("fpm.conf", config)?;
        // Not as a daemon, and as root.
        program.command.args(["-F", "-R", "-y"]).arg(config).env("BACKEND", url);
        Ok(program)
    }
}

/// Where `program` listens, with `prefix` before a Unix socket's path.
fn listens(program: &Program, prefix: &str) -> String {
    match &program.socket {
        Some(path) => format!("{prefix}{}", path.display()),
        None => format!("127.0.0.1:{}", program.port),
    }
}

/// Starts a pool, and nginx in front of it.
pub fn start(url: &str, pool: &Pool, launch: &Launch<'_>, front: &Launch<'_>) -> Result<(App, App)> {
    let program = pool.program(url)?;
    let mut nginx = Program::new(Command::new(find("nginx")?))?;
    let config = std::fs::read_to_string(source("nginx/fastcgi.conf"))?
        .replace("@FILES@", &nginx.files.path().display().to_string())
        .replace("@FPM@", &listens(&program, "unix:"))
        .replace("@KEEP@", if pool.keep { "on" } else { "off" })
        .replace("@SCRIPT@", &source("php/fpm.php").display().to_string())
        .replace("@PORT@", &nginx.port.to_string());
    let config = nginx.files.write("nginx.conf", config)?;
    nginx.command.arg("-p").arg(nginx.files.path()).arg("-c").arg(config);
    let app = program.start(launch)?;
    Ok((app, nginx.start(front)?))
}

/// A new process's runtime is known after some tens of milliseconds; until then its calls carry nothing.
pub fn wait_for_support(relay: SocketAddr, recorder: &Recorder) -> Result<()> {
    let mut client = Probe::fresh(relay, recorder);
    wait::until("the first request that carries its header", wait::START, || {
        Ok(client.is_propagated()?.then_some(()))
    })?;
    recorder.take();
    Ok(())
}
