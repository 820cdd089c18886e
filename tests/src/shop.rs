//! A small shop: services in workloads of their own that call each other, and that lose the context in two places.
//!
//! ```text
//! client → gateway → orders → stock (C) → a backend that is not followed
//!             │         └ (a thread that was there before) → audit
//!             └ (every second time: a new thread) → search → stock
//! ```

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::app::{App, Launch, Program};
use crate::baton::{Daemon, HEADERS};
use crate::cgroup::Cgroup;
use crate::load::Client;
use crate::programs::{python, source};
use crate::recorder::Recorder;
use crate::relay::{self, Backend};

/// The running services.
#[derive(Debug)]
pub struct Shop {
    services: Vec<(&'static str, App)>,
    cgroups: Vec<(&'static str, Cgroup)>,
    /// What is behind them.
    pub backend: Recorder,
}

impl Shop {
    /// Starts all services.
    pub fn start() -> Result<Self> {
        let mut shop = Self { services: Vec::new(), cgroups: Vec::new(), backend: Recorder::echoing_targets()? };
        shop.add("stock", relay::c(&shop.backend.url(), Backend::Kept)?)?;
        shop.add("audit", service("")?)?;
        let stock = shop.url("stock", "?id={}");
        shop.add("search", service(&format!("{stock} direct"))?)?;
        shop.add("orders", service(&format!("{stock} direct,{} queue", shop.url("audit", "/{}")))?)?;
        let (orders, search) = (shop.url("orders", "/{}"), shop.url("search", "/{}"));
        shop.add("gateway", service(&format!("{orders} direct,{search} mixed"))?)?;
        Ok(shop)
    }

    /// Starts baton for all of them, each under its name, with more arguments.
    pub fn follow(&self, arguments: &[&str]) -> Result<Daemon> {
        let workloads: Vec<(&str, &Path)> = self.cgroups.iter().map(|(name, cgroup)| (*name, cgroup.path())).collect();
        Daemon::named(&workloads, arguments)
    }

    /// Sends a request with a value for the first of the propagated headers to the gateway.
    pub fn visit(&self, path: &str, value: &str) -> Result<()> {
        let gateway = self.services.iter().find(|(name, _)| *name == "gateway").map(|(_, app)| app.address());
        let Some(address) = gateway else { anyhow::bail!("no gateway") };
        let (head, _) = Client::new(address, false).get(path, &[(HEADERS[0], value)])?;
        ensure!(head.status == 200, "{path}: {}", head.status);
        Ok(())
    }

    fn add(&mut self, name: &'static str, program: Program) -> Result<()> {
        let cgroup = Cgroup::new()?;
        self.services.push((name, program.start(&Launch::In(&cgroup))?));
        self.cgroups.push((name, cgroup));
        Ok(())
    }

    /// Where a service is asked for what is called like it, with the rest of the URL.
    fn url(&self, name: &str, rest: &str) -> String {
        let address = self.services.iter().find(|(other, _)| *other == name).map(|(_, app)| app.address());
        address.map(|address| format!("http://{address}/{name}{rest}")).unwrap_or_default()
    }
}

fn service(calls: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/shop.py")).env("CALLS", calls);
    Program::new(command)
}
