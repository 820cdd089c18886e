//! The running chain of programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::HEADERS;
use super::client::Client;
use super::programs;
use crate::cgroup::Cgroup;
use crate::process::Service;
use crate::scratch::Scratch;
use crate::wait;

/// Java compiles its source before it listens, and the machine may be busy.
const START: Duration = Duration::from_secs(60);

/// Programs of a chain, at most.
const MOST: usize = 4;

/// The programs, started from the last to the first, so that each finds its next hop.
#[derive(Debug)]
pub(super) struct Chain {
    services: Vec<Service>,
    languages: Vec<(String, &'static str)>,
    flow_files: Vec<(&'static str, PathBuf)>,
    entry: u16,
}

/// How the programs are started.
#[derive(Debug, Clone, Copy)]
pub(super) enum How<'a> {
    /// As they are.
    Plain,
    /// Each under `baton exec`, with this baton, but those that need no help.
    Exec(&'a Path),
    /// Each in the cgroup of the same place in this list.
    In(&'a [Cgroup]),
}

impl Chain {
    /// Starts the programs, and waits until all listen.
    pub(super) fn start(programs: &[programs::Service], how: How<'_>, scratch: &Scratch) -> Result<Self> {
        let ports: [u16; MOST] = wait::free_ports()?;
        let mut chain = Self { services: Vec::new(), languages: Vec::new(), flow_files: Vec::new(), entry: ports[0] };
        for (index, program) in programs.iter().enumerate().rev() {
            let next = ports.get(index + 1).filter(|_| index + 1 < programs.len());
            let words = program.words(ports[index], next.copied());
            let mut plain = Command::new(&words[0]);
            plain.args(&words[1..]);
            let mut command = match how {
                How::Exec(baton) if program.selected => {
                    let flows = scratch.join(&format!("{}.jsonl", program.name));
                    let command = under_baton(baton, &flows, &words);
                    chain.flow_files.push((program.name, flows));
                    command
                }
                How::In(cgroups) if index < cgroups.len() => cgroups[index].wrap(&plain),
                _ => plain,
            };
            let log = scratch.join(&format!("{}.log", program.name));
            let mut service = Service::start(program.name, command.stdout(Stdio::null()), &log)?;
            wait::until_listening(&mut service, ports[index], START)?;
            chain.services.push(service);
            chain.languages.push((program.name.to_owned(), program.language));
        }
        Ok(chain)
    }

    /// Fails if one of the programs has ended.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.services.iter_mut().try_for_each(Service::check_alive)
    }

    /// Sends one request through the chain and returns what each hop says it received, from the first to the last.
    pub(super) fn hops(&self, client: &Client, path: &str, headers: &[(&str, &str)]) -> Result<Vec<Hop>> {
        let body = client.get(&format!("http://127.0.0.1:{}{path}", self.entry), headers)?;
        let mut answer: Option<Box<Answer>> = Some(
            serde_json::from_str(&body)
                .with_context(|| format!("the demo's gateway answered something else than JSON: {body:.200}"))?,
        );
        let mut hops = Vec::new();
        while let Some(one) = answer {
            let known = self.languages.iter().find(|(name, _)| *name == one.service);
            let language = known.map_or("?", |(_, language)| language);
            hops.push(Hop { service: one.service, language, received: one.received });
            answer = one.next;
        }
        Ok(hops)
    }

    /// The files with flow events, by service. They are complete once the chain is stopped.
    pub(super) fn flow_files(&self) -> &[(&'static str, PathBuf)] {
        &self.flow_files
    }

    /// Ends the programs, from the first to the last.
    pub(super) fn stop(&mut self) {
        while let Some(mut service) = self.services.pop() {
            service.stop();
        }
    }
}

fn under_baton(baton: &Path, flows: &Path, words: &[String]) -> Command {
    let names = HEADERS.map(|(name, _)| name).join(",");
    let mut command = Command::new(baton);
    command.args(["exec", "--headers", &names, "--flows"]).arg(flows).arg("--").args(words);
    command
}

/// What a program of the demo answers.
#[derive(Debug, Deserialize)]
struct Answer {
    service: String,
    received: Vec<String>,
    next: Option<Box<Answer>>,
}

/// One hop's account of the request that reached it.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) service: String,
    pub(super) language: &'static str,
    received: Vec<String>,
}

impl Hop {
    /// The value of a header as it arrived, its name in any case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.received.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
