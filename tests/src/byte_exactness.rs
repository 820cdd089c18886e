//! Running a case of `apps/python/wire.py` with and without baton and comparing every byte that arrives.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::app::{Launch, without_baton};
use crate::baton::{Exec, HEADERS};
use crate::load::Client;
use crate::relay;
use crate::wire::{Script, Stream, Wire, inserted_lines};

/// What the inbound request of every case carries, in the order of [`HEADERS`].
const VALUES: [&str; 2] = ["value-of-the-inbound-request", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"];

/// How many heads get the inbound request's headers.
#[derive(Clone, Copy, Debug)]
pub enum Inserts {
    /// Each of so many.
    Exactly(usize),
    /// Some of so many: where baton may hold back for safety.
    AtMost(usize),
}

/// A case: what the raw server answers, and what is expected.
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    script: Script,
    connections: usize,
    inserts: Inserts,
    exec: Exec,
}

impl Case {
    /// A case over one connection.
    pub fn new(name: &'static str, script: Script, inserts: Inserts) -> Self {
        Self { name, script, connections: 1, inserts, exec: Exec::default() }
    }

    /// Sets how many connections it makes.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Lets baton insert what is likely.
    #[must_use]
    pub fn balanced(mut self) -> Self {
        self.exec = self.exec.option("--attribution", "balanced");
        self
    }

    /// Runs it plain and under `baton exec`; the bytes must be the same but for whole inserted lines.
    pub fn check(self) -> Result<()> {
        let wire = Wire::start(self.script.clone())?;
        let plain = self.run(&wire, &Launch::Plain).context("without baton")?;
        let with = self.run(&wire, &Launch::under_test(&self.exec)).context("with baton")?;
        ensure!(plain.0 == with.0, "the answer {:?} became {:?}", plain.0, with.0);
        let lines: Vec<_> = HEADERS.iter().zip(VALUES).map(|(name, value)| format!("{name}: {value}")).collect();
        let mut count = 0;
        ensure!(plain.1.len() == with.1.len(), "{} connections became {}", plain.1.len(), with.1.len());
        for (number, (plain, with)) in plain.1.iter().zip(&with.1).enumerate() {
            count +=
                inserted_lines(&plain.bytes, &with.bytes, &lines).with_context(|| format!("connection {number}"))?;
            ensure!(plain.reset == with.reset, "connection {number}: reset {} became {}", plain.reset, with.reset);
        }
        eprintln!("{}: {count} lines inserted, {:?} heads expected", self.name, self.inserts);
        let right = match self.inserts {
            Inserts::Exactly(heads) => count == heads * HEADERS.len(),
            Inserts::AtMost(heads) => count <= heads * HEADERS.len(),
        };
        ensure!(
            right || without_baton(),
            "{}: {count} lines were inserted, expected in {:?} heads",
            self.name,
            self.inserts
        );
        Ok(())
    }

    fn run(&self, wire: &Wire, launch: &Launch<'_>) -> Result<(String, Vec<Stream>)> {
        let app = relay::wire()?.start(launch)?;
        let answer = call(app.address(), self.name, wire.address(), "")?;
        let streams = wire.take(self.connections)?;
        // Its end must not look like the end of a connection that is still recorded.
        app.stop()?;
        Ok((answer, streams))
    }
}

/// Lets a wire application run a case against a server; its inbound request carries [`HEADERS`].
pub fn call(app: SocketAddr, case: &str, server: SocketAddr, query: &str) -> Result<String> {
    let fields: Vec<_> = HEADERS.into_iter().zip(VALUES).collect();
    let target = format!("/case/{case}?port={}{query}", server.port());
    let (head, body) = Client::new(app, false).get(&target, &fields)?;
    let answer = String::from_utf8_lossy(&body).into_owned();
    ensure!(head.status == 200, "case {case} failed: {answer}");
    Ok(answer)
}
