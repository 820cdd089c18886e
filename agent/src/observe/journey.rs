//! One request's way through this node, from its flow events.
//!
//! An outbound request belongs to the inbound one whose context it has, unless
//! that is a guess. The hop that it leads to is the inbound request on the other
//! end of its connection. Where addresses are changed on the way (a proxy, source
//! NAT), it is the only one with the same path and all that was inserted.

use std::collections::HashSet;
use std::net::SocketAddr;

use baton_common::flow::Reason;
use serde::Serialize;

use super::flow::{FlowEvent, Kind};

/// Hops below one another at most.
pub(super) const DEEPEST: usize = 32;

/// Most outbound requests of one hop that are only perhaps of it.
const MOST_GUESSES: usize = 20;

/// Losses whose context, if they have one, is that of some request which the thread or connection once had.
const GUESSES: [Reason; 4] = [Reason::NoContext, Reason::Ambiguous, Reason::UnsupportedRuntime, Reason::Answered];

/// An inbound request, and what it caused.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Hop<'a> {
    /// The request.
    pub(crate) inbound: &'a FlowEvent,
    /// Its response, if it was seen.
    pub(crate) response: Option<&'a FlowEvent>,
    /// What it certainly caused.
    pub(crate) calls: Vec<Call<'a>>,
    /// What its process sent meanwhile without a context.
    pub(crate) perhaps: Vec<Call<'a>>,
}

/// An outbound request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Call<'a> {
    /// The request.
    pub(crate) outbound: &'a FlowEvent,
    /// Its response, if it was seen.
    pub(crate) response: Option<&'a FlowEvent>,
    /// How it is known where it led to.
    pub(crate) joined_by: Option<Join>,
    /// Where it led to, if that is on this node and followed.
    pub(crate) next: Option<Box<Hop<'a>>>,
}

/// What an outbound request and the inbound one that it became have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Join {
    /// The connection: certain.
    Connection,
    /// The path and the values: likely.
    Value,
}

/// The journey that begins with the inbound request `root` of `events`, which are in the order of their times.
pub(crate) fn of(events: &[FlowEvent], root: usize) -> Option<Hop<'_>> {
    Builder { events, used: HashSet::new() }.hop(root, DEEPEST)
}

struct Builder<'a> {
    events: &'a [FlowEvent],
    /// Inbound requests that have their place.
    used: HashSet<usize>,
}

impl<'a> Builder<'a> {
    fn hop(&mut self, at: usize, depth: usize) -> Option<Hop<'a>> {
        let inbound = self.events.get(at).filter(|event| event.kind == Kind::Inbound)?;
        if depth == 0 || !self.used.insert(at) {
            return None;
        }
        let response = self.response(at);
        let (mut calls, mut perhaps, mut is_over) = (Vec::new(), Vec::new(), false);
        for (place, event) in self.events.iter().enumerate().skip(at + 1) {
            // Without a response, it is over when its thread reads another request.
            is_over |= Some(event) == response
                || response.is_none()
                    && event.kind == Kind::Inbound
                    && (event.tid, &event.workload) == (inbound.tid, &inbound.workload);
            if event.kind != Kind::Outbound {
                continue;
            }
            if inbound.context.is_some() && event.context == inbound.context && !is_guess(event) {
                calls.push(self.call(place, inbound, depth));
            } else if !is_over
                && (event.context.is_none() || is_guess(event))
                && (event.pid, &event.workload) == (inbound.pid, &inbound.workload)
                && perhaps.len() < MOST_GUESSES
            {
                perhaps.push(self.call(place, inbound, depth));
            }
        }
        Some(Hop { inbound, response, calls, perhaps })
    }

    fn call(&mut self, at: usize, inbound: &FlowEvent, depth: usize) -> Call<'a> {
        let (outbound, response) = (&self.events[at], self.response(at));
        let by_connection = self.next(at, response, |other| is_other_end(outbound, other)).into_iter().next();
        let next = by_connection.map(|next| (Join::Connection, next)).or_else(|| {
            let carries = |other: &FlowEvent, name: &String| {
                inbound.values.contains_key(name) && other.values.get(name) == inbound.values.get(name)
            };
            let found = self.next(at, response, |other| {
                !outbound.headers.is_empty()
                    && other.path == outbound.path
                    && outbound.headers.iter().all(|name| carries(other, name))
            });
            // Of two, it could be either.
            if let [only] = found[..] { Some((Join::Value, only)) } else { None }
        });
        let hop = next.and_then(|(join, next)| Some((join, self.hop(next, depth - 1)?)));
        let (joined_by, next) = hop.map(|(join, hop)| (join, Box::new(hop))).unzip();
        Call { outbound, response, joined_by, next }
    }

    /// The inbound requests after `at`, and before its response, that are like that: the first two.
    fn next(&self, at: usize, response: Option<&FlowEvent>, is_it: impl Fn(&FlowEvent) -> bool) -> Vec<usize> {
        let later = self.events.iter().enumerate().skip(at + 1);
        later
            .take_while(|(_, other)| Some(*other) != response)
            .filter(|(place, other)| other.kind == Kind::Inbound && !self.used.contains(place) && is_it(other))
            .map(|(place, _)| place)
            .take(2)
            .collect()
    }

    /// The response to the request `at`.
    fn response(&self, at: usize) -> Option<&'a FlowEvent> {
        let request = &self.events[at];
        request.connection.as_ref()?;
        let mut later = self.events.iter().skip(at + 1);
        // Another request on the connection comes after the response.
        let next = later.find(|event| event.connection == request.connection)?;
        (next.kind == Kind::Response && next.answers == Some(request.kind)).then_some(next)
    }
}

/// Whether the context of an outbound request does not say that the request of this context caused it.
pub(super) fn is_guess(outbound: &FlowEvent) -> bool {
    let reason = outbound.reason.as_deref();
    outbound.verdict.as_deref() == Some("lost") && GUESSES.iter().any(|guess| reason == Some(guess.name()))
}

/// Whether `inbound` came over the connection on which `outbound` went. Loopback addresses are of one network namespace,
/// in Kubernetes of one pod.
pub(super) fn is_other_end(outbound: &FlowEvent, inbound: &FlowEvent) -> bool {
    let Some(local) = outbound.local.as_deref().and_then(|local| local.parse::<SocketAddr>().ok()) else {
        return false;
    };
    let is_pod = |event: &FlowEvent| event.workload.contains('/');
    let arrives = !is_unchanged(outbound) || inbound.local.as_ref().is_none_or(|local| *local == outbound.peer);
    inbound.peer.parse() == Ok(local)
        && arrives
        && (!local.ip().to_canonical().is_loopback()
            || outbound.workload == inbound.workload
            || !is_pod(outbound) && !is_pod(inbound))
}

/// Whether a request arrives at the address that it was sent to: that of a service may be changed on the way. The same
/// address and port may send to several others.
pub(super) fn is_unchanged(outbound: &FlowEvent) -> bool {
    let is_loopback = |peer: SocketAddr| peer.ip().to_canonical().is_loopback();
    let is_pod = |name: &String| !name.starts_with("service ");
    outbound.peer.parse().is_ok_and(is_loopback) || outbound.peer_name.as_ref().is_some_and(is_pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flow events, a millisecond apart.
    fn timed(mut events: Vec<FlowEvent>) -> Vec<FlowEvent> {
        for (number, event) in events.iter_mut().enumerate() {
            event.time = format!("2026-01-02T03:04:05.{number:03}000Z");
        }
        events
    }

    fn inbound(workload: &str, connection: &str, peer: &str, context: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Inbound,
            workload: workload.to_owned(),
            pid: u32::from(workload.as_bytes()[0]),
            peer: peer.to_owned(),
            connection: Some(connection.to_owned()),
            context: Some(context.to_owned()),
            values: [("x-tenant-id".to_owned(), "dev1".to_owned())].into(),
            ..FlowEvent::default()
        }
    }

    fn outbound(workload: &str, connection: &str, local: &str, context: Option<&str>) -> FlowEvent {
        FlowEvent {
            kind: Kind::Outbound,
            local: Some(local.to_owned()),
            context: context.map(str::to_owned),
            verdict: Some(if context.is_some() { "injected" } else { "lost" }.into()),
            reason: context.is_none().then_some("no-context".into()),
            headers: if context.is_some() { vec!["x-tenant-id".to_owned()] } else { Vec::new() },
            values: Default::default(),
            ..inbound(workload, connection, "10.0.0.1:80", "")
        }
    }

    fn response(answers: Kind, connection: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Response,
            answers: Some(answers),
            status: Some(200),
            connection: Some(connection.to_owned()),
            ..FlowEvent::default()
        }
    }

    #[test]
    fn hops_are_joined_by_their_connection() {
        let events = timed(vec![
            inbound("a", "1", "10.9.9.9:1", "c1"),
            outbound("a", "2", "10.0.0.1:5", Some("c1")),
            inbound("b", "3", "10.0.0.9:5", "c2"),
            inbound("b", "4", "10.0.0.1:5", "c3"),
            response(Kind::Inbound, "4"),
            response(Kind::Outbound, "2"),
            response(Kind::Inbound, "1"),
        ]);
        let hop = of(&events, 0).expect("an inbound request");
        assert_eq!(hop.response, Some(&events[6]));
        let [call] = hop.calls.as_slice() else { panic!("{hop:?}") };
        assert_eq!((call.outbound, call.response), (&events[1], Some(&events[5])));
        let next = call.next.as_ref().expect("the hop behind it");
        assert_eq!((next.inbound, next.response), (&events[3], Some(&events[4])));
    }

    #[test]
    fn hops_behind_a_proxy_are_joined_by_a_value() {
        let events = timed(vec![
            inbound("a", "1", "10.9.9.9:1", "c1"),
            outbound("a", "2", "10.0.0.1:5", Some("c1")),
            FlowEvent { values: Default::default(), ..inbound("b", "3", "10.0.0.8:9", "c2") },
            inbound("b", "4", "10.0.0.8:9", "c3"),
        ]);
        let hop = of(&events, 0).expect("an inbound request");
        assert_eq!(hop.calls[0].next.as_ref().expect("the hop behind it").inbound, &events[3]);
    }

    #[test]
    fn of_two_hops_that_look_alike_none_is_chosen() {
        let events = timed(vec![
            inbound("a", "1", "10.9.9.9:1", "c1"),
            outbound("a", "2", "10.0.0.1:5", Some("c1")),
            inbound("b", "4", "10.0.0.8:9", "c3"),
            inbound("b", "5", "10.0.0.8:10", "c4"),
        ]);
        let hop = of(&events, 0).expect("an inbound request");
        assert_eq!((hop.calls[0].joined_by, &hop.calls[0].next), (None, &None));
    }

    #[test]
    fn loopback_addresses_are_of_one_pod() {
        let chain = |front: &str, back: &str| {
            let events = timed(vec![
                inbound(front, "1", "10.9.9.9:1", "c1"),
                outbound(front, "2", "127.0.0.1:5", Some("c1")),
                FlowEvent { values: Default::default(), ..inbound(back, "4", "127.0.0.1:5", "c3") },
            ]);
            of(&events, 0).expect("an inbound request").calls[0].joined_by
        };
        assert_eq!(chain("shop/a", "shop/b"), None);
        assert_eq!(chain("shop/a", "shop/a"), Some(Join::Connection));
        assert_eq!(chain("a", "b"), Some(Join::Connection));
    }

    #[test]
    fn one_address_may_send_to_two_others() {
        let chain = |peer: &str, name: Option<&str>, local: &str| {
            let sent = FlowEvent { peer: peer.to_owned(), ..outbound("a", "2", "10.0.0.1:5", Some("c1")) };
            let read = FlowEvent { local: Some(local.to_owned()), ..inbound("b", "4", "10.0.0.1:5", "c3") };
            let sent = FlowEvent { peer_name: name.map(str::to_owned), ..sent };
            is_other_end(&sent, &FlowEvent { values: Default::default(), ..read })
        };
        assert!(!chain("127.0.0.1:80", None, "127.0.0.1:81") && chain("127.0.0.1:80", None, "127.0.0.1:80"));
        assert!(!chain("10.0.0.9:80", Some("shop/b"), "10.0.0.8:80"));
        for name in [None, Some("service shop/b")] {
            assert!(chain("10.96.0.1:80", name, "10.0.0.8:8080"), "{name:?}");
        }
    }

    #[test]
    fn a_context_that_is_a_guess_proves_nothing() {
        let guess = |context| FlowEvent {
            verdict: Some("lost".into()),
            reason: Some("unsupported-runtime".into()),
            ..outbound("a", "2", "10.0.0.1:5", Some(context))
        };
        for context in ["c1", "c0"] {
            let events = timed(vec![inbound("a", "1", "10.9.9.9:1", "c1"), guess(context)]);
            let hop = of(&events, 0).expect("an inbound request");
            assert_eq!((hop.calls.len(), hop.perhaps.len()), (0, 1), "{context}");
        }
    }

    #[test]
    fn without_a_response_the_next_request_ends_it() {
        let events = timed(vec![
            inbound("a", "1", "10.9.9.9:1", "c1"),
            outbound("a", "2", "10.0.0.1:5", None),
            inbound("a", "1", "10.9.9.9:1", "c2"),
            outbound("a", "2", "10.0.0.1:5", None),
        ]);
        assert_eq!(of(&events, 0).expect("an inbound request").perhaps.len(), 1);
    }

    #[test]
    fn what_has_no_context_is_perhaps_of_it() {
        let events = timed(vec![
            inbound("a", "1", "10.9.9.9:1", "c1"),
            outbound("a", "2", "10.0.0.1:5", None),
            inbound("b", "4", "10.0.0.1:5", "c3"),
            outbound("b", "5", "10.0.0.2:6", None),
            response(Kind::Inbound, "1"),
            outbound("a", "6", "10.0.0.1:7", None),
        ]);
        let hop = of(&events, 0).expect("an inbound request");
        assert!(hop.calls.is_empty());
        let [perhaps] = hop.perhaps.as_slice() else { panic!("{hop:?}") };
        assert_eq!(perhaps.outbound, &events[1]);
        assert_eq!(perhaps.next.as_ref().expect("joined by its connection").inbound, &events[2]);
    }

    #[test]
    fn a_journey_ends() {
        // A service that calls itself, and whose events look alike.
        let events = timed(
            (0..100)
                .flat_map(|_| [inbound("a", "1", "10.0.0.1:5", "c1"), outbound("a", "2", "10.0.0.1:5", Some("c1"))])
                .collect(),
        );
        let mut hop = of(&events, 0).expect("an inbound request");
        let mut depth = 1;
        while let Some(next) = hop.calls.into_iter().find_map(|call| call.next) {
            (hop, depth) = (*next, depth + 1);
        }
        assert!(depth <= DEEPEST, "{depth}");
    }

    #[test]
    fn a_journey_begins_with_an_inbound_request() {
        assert_eq!(of(&timed(vec![outbound("a", "2", "10.0.0.1:5", None)]), 0), None);
        assert_eq!(of(&[], 0), None);
    }
}
