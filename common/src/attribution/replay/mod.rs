//! Replays events of a process, as the kernel side deals with them, beside what
//! the application really does: whatever the order, a write gets its own
//! request's context or none.

mod tasks;
mod threads;

use std::collections::HashMap;
use std::vec::Vec;

use super::connection::{Connection, Inherits};
use super::{Claim, Process, flag, kind, state};
use crate::flow::Reason;

const TGID: u32 = 100;

/// A script's next choice among `count`.
struct Script<'a>(&'a [u16]);

impl Script<'_> {
    fn next(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }
}

/// What the maps hold of one process; requests come on connections, one at a time on each.
#[derive(Default)]
struct World {
    /// Id and state of each connection's context.
    contexts: Vec<(u64, u32)>,
    threads: HashMap<u32, Claim>,
    tasks: HashMap<u64, Claim>,
    connections: HashMap<u64, Connection>,
    process: Process,
    next: u64,
    /// What each outgoing connection remembers, until its first request.
    opened: Vec<Option<Claim>>,
    /// Whether what is likely is enough.
    balanced: bool,
}

impl World {
    /// A new connection, which is an index into [`Self::contexts`].
    fn connect(&mut self) -> usize {
        self.contexts.push((0, state::FREE));
        self.contexts.len() - 1
    }

    /// A head is complete on `connection` (`inbound/head.rs`, `complete`).
    fn head(&mut self, connection: usize) -> Claim {
        self.next += 1;
        self.contexts[connection] = (self.next, state::LIVE);
        self.process.open += 1;
        self.process.newest = self.next;
        Claim::own(self.next, connection as u32, TGID)
    }

    /// The response on `connection` is complete (`slot::answer`).
    fn answer(&mut self, connection: usize) {
        if self.contexts[connection].1 == state::LIVE {
            self.contexts[connection].1 = state::ANSWERED;
            self.process.open -= 1;
        }
    }

    /// `claim` becomes that of `thread`, which read (`executor::replace`).
    fn read(&mut self, thread: u32, claim: Claim) {
        let before = self.thread(thread);
        if !before.is_event_loop() {
            let claim = claim.beside(&before, |before| self.is_open(before));
            self.threads.insert(thread, claim);
        }
    }

    /// As `executor::is_open`.
    fn is_open(&self, claim: &Claim) -> bool {
        claim.kind == kind::OWN && self.contexts[claim.slot as usize] == (claim.id, state::LIVE)
    }

    fn thread(&self, thread: u32) -> Claim {
        self.threads.get(&thread).copied().unwrap_or(Claim::none(Reason::NoContext))
    }

    /// `parent` starts the thread or process `child` (`sched_process_fork`).
    fn spawn(&mut self, parent: u32, child: u32) {
        let passed = self.to_pass_on(parent).map(|claim| claim.passed_on(self.process, self.balanced));
        self.threads.insert(child, passed.unwrap_or_else(Claim::none));
    }

    /// The process of `thread`, its first one, runs another program (`sched_process_exec`).
    fn exec(&mut self, thread: u32) {
        self.threads.insert(thread, self.thread(thread).executed(true));
    }

    /// `thread` opens a connection, which is an index into [`Self::opened`] (`executor::of_connection`).
    fn open(&mut self, thread: u32) -> usize {
        let remembered = self.to_pass_on(thread).map(|claim| claim.remembered(self.process, self.balanced));
        self.opened.push(remembered.ok().filter(|claim| claim.kind != kind::NONE));
        self.opened.len() - 1
    }

    /// The request for which `thread` writes now on a connection that was opened before (`insert::claim_of`).
    fn write_on(&mut self, thread: u32, connection: usize) -> Result<u64, Reason> {
        let claim = self.thread(thread);
        match self.opened[connection].take() {
            Some(remembered) if claim.is_left_to_connection() => self.check(&remembered),
            _ => self.check(&claim),
        }
    }

    /// As `executor::to_pass_on`.
    fn to_pass_on(&self, thread: u32) -> Result<Claim, Reason> {
        let claim = self.thread(thread).of_creator();
        match self.check(&claim) {
            Ok(_) => Ok(claim),
            Err(Reason::Answered) => Err(Reason::NoContext),
            Err(reason) => Err(reason),
        }
    }

    /// The request for which `claim`'s holder writes now (`executor::check`).
    fn check(&self, claim: &Claim) -> Result<u64, Reason> {
        let (id, state) = match claim.kind {
            kind::NONE => (0, 0),
            _ => self.contexts[claim.slot as usize],
        };
        claim.check(id, state, 0, self.process.newest, 0, u64::MAX)?;
        Ok(id)
    }

    fn task(&self, task: u64) -> Claim {
        self.tasks.get(&task).copied().unwrap_or(Claim::none(Reason::NoContext))
    }

    /// The context `task` is the first one that is made after the connection `key` was accepted.
    fn accept(&mut self, key: u64, task: u64) {
        self.connections.insert(key, Connection::default());
        self.tasks.insert(task, Claim::connection(key, 0));
    }

    /// `parent` makes `child` (`python_copies`, `connection::passed_on`).
    fn make(&mut self, parent: u64, child: u64) {
        let claim = self.task(parent);
        let passed = match (claim.kind, self.connections.get(&claim.id)) {
            (kind::CONNECTION, None) => Claim::none(Reason::NoContext),
            (kind::CONNECTION, Some(connection)) => match connection.passed_on(parent) {
                Inherits::Connection => claim,
                Inherits::Request => connection.claim(claim.id, TGID),
                Inherits::Nothing => Claim::none(Reason::Ambiguous),
            },
            _ => claim,
        };
        self.tasks.insert(child, passed);
    }

    /// `reader` reads a head from `connection`, whose key is `key` (`python::reads`).
    fn read_in(&mut self, reader: u64, key: u64, connection: usize) -> u64 {
        let own = self.head(connection);
        if let Some(known) = self.connections.get_mut(&key) {
            known.request = own.id;
            known.slot = own.slot;
            known.reader = 0;
            if self.tasks.get(&reader).is_some_and(|claim| claim.is_of_connection(key)) {
                known.reader = reader;
                self.tasks.insert(reader, Claim::connection(key, 0));
            }
        }
        own.id
    }

    /// `task` writes a part of the response on its connection (`connection::writes`).
    fn respond(&mut self, task: u64) {
        let claim = self.task(task);
        if claim.kind == kind::CONNECTION
            && let Some(connection) = self.connections.get_mut(&claim.id)
            && connection.reader != task
        {
            connection.writes = 1;
        }
    }

    /// The request for which `task` writes now (`connection::current`).
    fn current(&mut self, task: u64) -> Result<u64, Reason> {
        let mut claim = self.task(task);
        if claim.kind == kind::CONNECTION {
            let Some(connection) = self.connections.get_mut(&claim.id) else { return Err(Reason::NoContext) };
            if !connection.is_current_for(task) {
                connection.writes = 1;
                return Err(Reason::Ambiguous);
            }
            claim = connection.claim(claim.id, TGID);
        }
        self.check(&claim)
    }
}
