//! What was learnt from flow events: which headers come in, and what becomes of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use baton_common::flow::Reason;

use super::fold::fold;
use super::hop::{Cause, Hop, NAMES};
use crate::observe::flow::{FlowEvent, Kind, Record};
use crate::observe::open::GIVEN_UP;

/// Most inbound requests whose headers are remembered.
const CAUSES: usize = 20_000;

/// Most outbound requests that wait for their arrival at the other end.
const WAITING: usize = 5_000;

/// Most kinds of outbound requests of one workload that are told apart.
const HOPS: usize = 200;

/// Most workloads.
const WORKLOADS: usize = 1000;

/// Losses of requests whose cause is known, and of whose headers at least one was missing.
const BARRED: [Reason; 4] = [Reason::EgressDenied, Reason::Unproven, Reason::QueueBusy, Reason::InsertFailed];

/// What the reason for a loss says of the request's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// Some of its cause's were missing.
    Some,
    /// It had none of the configured ones, and its cause is known.
    All,
    /// It had none of them, and what caused it is not known.
    Unattributed,
    /// It was no request, or none that is understood.
    NoRequest,
}

impl Lost {
    fn of(reason: &str) -> Self {
        let is = |reasons: &[Reason]| reasons.iter().any(|other| other.name() == reason);
        match () {
            () if is(&BARRED) => Self::Some,
            () if is(&[Reason::Expired]) => Self::All,
            () if is(&GIVEN_UP) => Self::NoRequest,
            () => Self::Unattributed,
        }
    }
}

/// Which outbound requests count as of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The other end's address.
    pub(super) peer: String,
    /// The method.
    pub(super) method: String,
    /// The path, folded.
    pub(super) path: String,
}

/// One workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Workload {
    /// Inbound requests.
    pub(super) inbound: u64,
    /// Outbound requests.
    pub(super) outbound: u64,
    /// Inbound requests with a header, by its name.
    pub(super) headers: BTreeMap<String, u64>,
    /// Outbound requests by kind.
    pub(super) hops: BTreeMap<Place, Hop>,
    /// Outbound requests of kinds that there was no room for.
    pub(super) others: u64,
}

/// An outbound request that has not arrived yet.
#[derive(Debug)]
struct Waiting {
    workload: String,
    place: Place,
    /// The path, not folded.
    path: String,
    cause: Option<Rc<Cause>>,
    /// Whether its headers are known already, and only where it leads to is not.
    is_known: bool,
}

impl Waiting {
    /// Whether it arrives as `inbound`, which came from its end. Ports are used for several destinations at a time, and
    /// destinations are changed on the way, but not in one host's loopback network.
    fn is(&self, inbound: &FlowEvent, from: SocketAddr) -> bool {
        (&inbound.method, &inbound.path) == (&self.place.method, &self.path)
            && (inbound.local.as_ref() == Some(&self.place.peer) || !from.ip().to_canonical().is_loopback())
    }
}

/// One end of a connection, as the other one sees it. Loopback addresses are of one network namespace, in Kubernetes of
/// one pod, whose name is part of it.
type End = (Option<String>, SocketAddr);

/// What was learnt.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By name.
    pub(super) workloads: BTreeMap<String, Workload>,
    /// Inbound and outbound requests.
    pub(super) requests: u64,
    /// Requests that are not known, since there were too many.
    pub(super) missed: u64,
    causes: HashMap<String, Rc<Cause>>,
    /// The order in which they came.
    order: VecDeque<String>,
    waiting: HashMap<End, Waiting>,
}

impl Seen {
    /// Takes in `record`.
    pub(super) fn add(&mut self, record: &Record) {
        match record {
            Record::Flow(event) => match event.kind {
                Kind::Inbound => self.inbound(event),
                Kind::Outbound => self.outbound(event),
                Kind::Response => self.response(event),
            },
            Record::Missed(count) => self.missed += count,
            Record::Notice(_) | Record::Other => {}
        }
    }

    /// Whatever has not arrived yet is not waited for any more.
    pub(super) fn settle_all(&mut self) {
        self.waiting.drain().collect::<Vec<_>>().into_iter().for_each(|(_, waiting)| self.settle(waiting, None));
    }

    fn inbound(&mut self, event: &FlowEvent) {
        let is_known = event.context.is_some();
        let cause = Rc::new(Cause::of(event));
        if let Ok(peer) = event.peer.parse() {
            let end = end(event, peer);
            if self.waiting.get(&end).is_some_and(|waiting| waiting.is(event, peer))
                && let Some(waiting) = self.waiting.remove(&end)
            {
                self.settle(waiting, is_known.then_some((event.workload.as_str(), &cause)));
            }
        }
        let Some(workload) = self.workload(&event.workload) else { return };
        workload.inbound += 1;
        for name in cause.names() {
            if workload.headers.contains_key(name) || workload.headers.len() < NAMES {
                *workload.headers.entry(name.clone()).or_default() += 1;
            }
        }
        self.requests += 1;
        if let Some(id) = &event.context {
            if self.order.len() >= CAUSES {
                self.order.pop_front().map(|oldest| self.causes.remove(&oldest));
            }
            self.order.push_back(id.clone());
            self.causes.insert(id.clone(), cause);
        }
    }

    fn outbound(&mut self, event: &FlowEvent) {
        let end = own_end(event);
        // What went before from here has not been seen to arrive.
        self.give_up(end.as_ref());
        let reason = event.reason.as_deref().unwrap_or_default();
        let verdict = event.verdict.as_deref().unwrap_or_default();
        let lost = (verdict == "lost").then(|| Lost::of(reason));
        if lost == Some(Lost::NoRequest) {
            return;
        }
        self.requests += 1;
        let place = Place { peer: event.peer.clone(), method: event.method.clone(), path: fold(&event.path) };
        let context = event.context.as_ref().filter(|_| lost != Some(Lost::Unattributed));
        let cause = context.and_then(|id| self.causes.get(id)).cloned();
        let Some(workload) = self.workload(&event.workload) else { return };
        workload.outbound += 1;
        let Some(hop) = workload.hop(&place) else { return };
        hop.requests += 1;
        hop.peer_name = event.peer_name.clone().or_else(|| hop.peer_name.take());
        let mut is_known = true;
        match (verdict, lost, &cause) {
            ("injected", ..) => hop.inserted(cause.as_deref(), &event.headers),
            ("already-present", ..) => hop.kept_all(cause.as_deref(), &event.headers),
            (_, Some(Lost::All), Some(cause)) => hop.dropped_all(cause),
            (_, Some(Lost::Unattributed), _) => *hop.unattributed.entry(reason.to_owned()).or_default() += 1,
            (_, Some(Lost::Some), _) => is_known = false,
            _ => {}
        }
        self.wait(end, Waiting { workload: event.workload.clone(), place, path: event.path.clone(), cause, is_known });
    }

    /// What is answered does not arrive any more.
    fn response(&mut self, event: &FlowEvent) {
        let end = own_end(event).filter(|_| event.answers == Some(Kind::Outbound));
        let is_its = |waiting: &Waiting| waiting.place.peer == event.peer;
        if end.as_ref().and_then(|end| self.waiting.get(end)).is_some_and(is_its) {
            self.give_up(end.as_ref());
        }
    }

    fn give_up(&mut self, end: Option<&End>) {
        if let Some(waiting) = end.and_then(|end| self.waiting.remove(end)) {
            self.settle(waiting, None);
        }
    }

    fn wait(&mut self, end: Option<End>, waiting: Waiting) {
        if self.waiting.len() >= WAITING {
            self.settle_all();
        }
        match end {
            Some(end) => drop(self.waiting.insert(end, waiting)),
            None => self.settle(waiting, None),
        }
    }

    /// What became of a request's headers: they `arrived` at a workload, or nobody knows.
    fn settle(&mut self, waiting: Waiting, arrived: Option<(&str, &Cause)>) {
        let workload = self.workloads.get_mut(&waiting.workload);
        let Some(hop) = workload.and_then(|workload| workload.hops.get_mut(&waiting.place)) else { return };
        if let Some((led_to, _)) = arrived {
            hop.led_to = Some(led_to.to_owned());
        }
        let Some(cause) = waiting.cause else { return };
        match arrived {
            Some((_, arrived)) => {
                if !waiting.is_known {
                    hop.sent(&cause, arrived);
                }
                hop.arrived(&cause, arrived);
            }
            None if !waiting.is_known => hop.dropped_some(&cause),
            None => {}
        }
    }

    fn workload(&mut self, name: &str) -> Option<&mut Workload> {
        if !self.workloads.contains_key(name) && self.workloads.len() >= WORKLOADS {
            return None;
        }
        Some(self.workloads.entry(name.to_owned()).or_default())
    }
}

impl Workload {
    fn hop(&mut self, place: &Place) -> Option<&mut Hop> {
        if !self.hops.contains_key(place) && self.hops.len() >= HOPS {
            self.others += 1;
            return None;
        }
        Some(self.hops.entry(place.clone()).or_default())
    }
}

/// The end of the connection of `event` that its workload has.
fn own_end(event: &FlowEvent) -> Option<End> {
    event.local.as_deref().and_then(|local| local.parse().ok()).map(|local| end(event, local))
}

/// The end with `address` of a connection of the workload of `event`.
fn end(event: &FlowEvent, address: SocketAddr) -> End {
    let is_pods_own = address.ip().to_canonical().is_loopback() && event.workload.contains('/');
    (is_pods_own.then(|| event.workload.clone()), address)
}

#[cfg(test)]
mod tests;
