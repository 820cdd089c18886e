//! What the page knows of this node: who calls whom, how many of these calls kept their context, and what was lost of
//! late. Its memory is bounded whatever the traffic.

mod connections;
mod losses;
mod recent;
mod shown;
mod window;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::connections::{Callee, Connections, Key};
use self::losses::Losses;
use self::recent::Recent;
use self::window::{Call, Node, Window};
use crate::observe::flow::{FlowEvent, Kind, Notice, Record, harmless};
use crate::observe::remedy;

/// How long an outbound request waits for the inbound one that it becomes on this node.
const JOIN: Duration = Duration::from_millis(1500);

/// Most outbound requests that wait for that.
const MOST_WAITING: usize = 8192;

/// Most notices, and most workloads of which the runtimes are known: more than a daemon has at a time.
const MOST_NOTICES: usize = 50;
const MOST_WORKLOADS: usize = 512;

/// Most addresses of which the names are known.
const MOST_NAMES: usize = 4096;

/// Most runtimes that are named of one workload.
const MOST_RUNTIMES: usize = 4;

/// What was seen since somebody watches.
#[derive(Debug)]
pub(super) struct Board {
    window: Window,
    connections: Connections,
    waiting: VecDeque<Waiting>,
    recent: Recent,
    losses: Losses,
    runtimes: HashMap<Arc<str>, BTreeSet<String>>,
    /// Names of addresses with ports. They are known a little later than the addresses.
    names: HashMap<String, Arc<str>>,
    notices: VecDeque<Notice>,
    /// When it began, RFC 3339; empty before.
    since: String,
}

/// An outbound request of which it is not known yet where it led to.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    key: Option<Key>,
    from: Node,
    /// Where it went if it has left this node.
    elsewhere: Node,
    call: Call,
    /// Its row among the losses.
    loss: Option<u64>,
}

impl Board {
    /// Nothing was seen until `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: Window::new(now),
            connections: Connections::new(now),
            waiting: VecDeque::new(),
            recent: Recent::default(),
            losses: Losses::default(),
            runtimes: HashMap::new(),
            names: HashMap::new(),
            notices: VecDeque::new(),
            since: String::new(),
        }
    }

    /// The same, and somebody watches since `time` (RFC 3339).
    pub(super) fn begin(&mut self, now: Instant, time: String) {
        *self = Self { since: time, ..Self::new(now) };
    }

    /// Takes what came `now`.
    pub(super) fn add(&mut self, record: Record, now: Instant) {
        match record {
            Record::Flow(event) => self.flow(*event, now),
            Record::Missed(count) => self.window.miss(count, now),
            Record::Notice(notice) => self.notice(notice),
            Record::Other => {}
        }
    }

    /// What time brings: calls whose other end is known by now or will not be, and losses whose journeys are over.
    pub(super) fn tick(&mut self, now: Instant) {
        for waiting in std::mem::take(&mut self.waiting) {
            let callee = waiting.key.as_ref().map_or(Callee::Elsewhere, |key| self.connections.callee(key));
            match callee {
                Callee::Unknown if now.saturating_duration_since(waiting.since) < JOIN => {
                    self.waiting.push_back(waiting)
                }
                callee => {
                    if let Some(key) = waiting.key.as_ref().filter(|_| callee == Callee::Unknown) {
                        self.connections.give_up(key);
                    }
                    self.count(waiting, callee, now);
                }
            }
        }
        self.connections.tick(now);
        self.losses.tick(&mut self.recent, now);
    }

    /// The journey of a row among the losses, as JSON; `None` if there is no such row any more.
    pub(super) fn explain(&mut self, row: u64, now: Instant) -> Option<Arc<str>> {
        self.losses.explain(row, &mut self.recent, now)
    }

    fn flow(&mut self, mut event: FlowEvent, now: Instant) {
        for text in [&mut event.path, &mut event.comm, &mut event.workload, &mut event.method] {
            if text.contains(|shown: char| !shown.is_ascii_graphic()) {
                *text = harmless(text);
            }
        }
        match event.kind {
            Kind::Inbound => self.inbound(&event, now),
            Kind::Outbound => self.outbound(&event, now),
            Kind::Response => {}
        }
        self.recent.push(event);
    }

    fn inbound(&mut self, event: &FlowEvent, now: Instant) {
        let workload = self.workload(event);
        let caller = self.connections.inbound(event, &workload, now);
        let is_counted = caller.is_some();
        let stranger = || event.peer_name.as_deref().map_or(Node::Clients, |name| self.named(name.into()));
        let ends = (caller.map_or_else(stranger, Node::Workload), Node::Workload(workload));
        if remedy::is_loss(event) {
            self.losses.add(event, ends.clone(), self.recent.pushed(), now);
        }
        if !is_counted {
            self.window.add(ends.0, ends.1, &Call::inbound(event), now);
        }
    }

    fn outbound(&mut self, event: &FlowEvent, now: Instant) {
        let workload = self.workload(event);
        if let Some(name) = &event.peer_name {
            if self.names.len() >= MOST_NAMES {
                self.names.clear();
            }
            self.names.insert(event.peer.clone(), name.as_str().into());
        }
        let (from, elsewhere) = (Node::Workload(workload.clone()), Node::Peer(event.peer.as_str().into()));
        let lost = |_| self.losses.add(event, (from.clone(), elsewhere.clone()), self.recent.pushed(), now);
        let loss = event.reason.as_ref().map(lost);
        let waiting =
            Waiting { since: now, key: Key::outbound(event), from, elsewhere, call: Call::outbound(event), loss };
        let known = waiting.key.as_ref().map(|key| self.connections.outbound(key, event, &workload, now));
        match known.unwrap_or(Callee::Elsewhere) {
            Callee::Unknown if self.waiting.len() < MOST_WAITING => self.waiting.push_back(waiting),
            callee => self.count(waiting, callee, now),
        }
    }

    /// Counts an outbound request. It went elsewhere if nothing else is known.
    fn count(&mut self, waiting: Waiting, callee: Callee, now: Instant) {
        let Waiting { from, elsewhere, call, loss, .. } = waiting;
        let to = if let Callee::Workload(name) = callee { Node::Workload(name) } else { elsewhere };
        if let Some(row) = loss {
            self.losses.lead(row, &to);
        }
        self.window.add(from, to, &call, now);
    }

    /// What has this name in the cluster: perhaps a workload of this node.
    fn named(&self, name: Arc<str>) -> Node {
        if self.runtimes.contains_key(&name) { Node::Workload(name) } else { Node::Peer(name) }
    }

    /// The same node by its name, if that is known by now.
    fn by_name(&self, node: &Node) -> Node {
        match node {
            Node::Peer(address) => {
                self.names.get(&**address).map_or_else(|| node.clone(), |name| self.named(name.clone()))
            }
            _ => node.clone(),
        }
    }

    /// The name of the workload, kept once, and what runs in it.
    fn workload(&mut self, event: &FlowEvent) -> Arc<str> {
        let known = self.runtimes.get_key_value(event.workload.as_str()).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| event.workload.as_str().into());
        if self.runtimes.len() >= MOST_WORKLOADS && !self.runtimes.contains_key(&name) {
            // Of those that are still there it is known again soon.
            self.runtimes.clear();
        }
        let runtimes = self.runtimes.entry(name.clone()).or_default();
        if event.runtime != "unknown" && runtimes.len() < MOST_RUNTIMES && !runtimes.contains(&*event.runtime) {
            runtimes.insert(event.runtime.clone().into_owned());
        }
        name
    }

    /// Keeps the newest notice about each object.
    fn notice(&mut self, notice: Notice) {
        self.notices.retain(|other| (&other.object, &other.workload) != (&notice.object, &notice.workload));
        self.notices.push_front(notice);
        self.notices.truncate(MOST_NOTICES);
    }
}

#[cfg(test)]
mod tests;
