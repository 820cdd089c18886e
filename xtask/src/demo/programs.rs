//! The demo's programs, and what replaces a language that this machine lacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::scratch::Scratch;
use crate::{process, say, workspace};

/// One program of the chain.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) language: &'static str,
    program: Vec<PathBuf>,
    /// Whether it runs under `baton exec` in the second part. The last one needs no help: it sends nothing.
    pub(super) selected: bool,
    /// Whether it hands its calls to a pool of threads.
    pools: bool,
}

impl Service {
    /// The program with its arguments, to be started alone or by baton.
    pub(super) fn words(&self, port: u16, next: Option<u16>) -> Vec<String> {
        let program = self.program.iter().map(|word| word.display().to_string());
        let arguments = [self.name.to_owned(), port.to_string()];
        let pool = self.pools.then(|| "pool".to_owned());
        program.chain(arguments).chain(next.map(|port| port.to_string())).chain(pool).collect()
    }
}

/// Four hops in three languages.
#[derive(Debug)]
pub(super) struct Programs {
    services: [Service; 4],
    substitutes: Vec<String>,
}

impl Programs {
    /// Finds or compiles the programs; a missing language becomes Python.
    pub(super) fn find(scratch: &Scratch) -> Result<Self> {
        let Some(python) = workspace::find("python3") else {
            bail!("the demo needs at least python3: install it with your package manager");
        };
        let python = vec![python, source("service.py")];
        let mut substitutes = Vec::new();
        let mut choose = |found: Option<Vec<PathBuf>>, name: &str, language: &'static str| {
            found.map(|program| (language, program)).unwrap_or_else(|| {
                substitutes.push(format!("({language} is missing here: {name} is a Python program too)"));
                ("Python", python.clone())
            })
        };
        let (orders_language, orders) = choose(java(), "orders", "Java");
        let (stock_language, stock) = choose(compiled(scratch), "stock", "C");
        let service = |name, language, program, selected| Service { name, language, program, selected, pools: false };
        Ok(Self {
            services: [
                service("gateway", "Python", python.clone(), true),
                service("orders", orders_language, orders, true),
                service("stock", stock_language, stock, true),
                service("prices", "Python", python, false),
            ],
            substitutes,
        })
    }

    pub(super) fn services(&self) -> &[Service; 4] {
        &self.services
    }

    /// Three of them, of which the second one loses what it should pass on.
    pub(super) fn broken(&self) -> [Service; 3] {
        let [gateway, _, stock, _] = &self.services;
        [gateway.clone(), Service { name: "orders", pools: true, ..gateway.clone() }, stock.clone()]
    }

    pub(super) fn substitutes(&self) -> &[String] {
        &self.substitutes
    }
}

fn source(name: &str) -> PathBuf {
    workspace::root().join("demo").join(name)
}

/// Java starts from source, which takes the compiler.
fn java() -> Option<Vec<PathBuf>> {
    workspace::find("javac")?;
    Some(vec![workspace::find("java")?, source("Service.java")])
}

fn compiled(scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let compiler = workspace::find("gcc").or_else(|| workspace::find("cc"))?;
    let executable = scratch.join("service");
    match compile(&compiler, &executable) {
        Ok(()) => Some(vec![executable]),
        Err(error) => {
            say::warning(&format!("{error:#}"));
            None
        }
    }
}

fn compile(compiler: &Path, executable: &Path) -> Result<()> {
    let mut command = Command::new(compiler);
    command.args(["-O2", "-Wall", "-pthread", "-o"]).arg(executable).arg(source("service.c"));
    process::read(&mut command).map(drop)
}
