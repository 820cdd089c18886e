//! One request's way through this node, from its flow events.
//!
//! An outbound request belongs to the inbound one whose context it has. The hop
//! that it leads to is the inbound request on the other end of its connection.
//! Where addresses are changed on the way (a proxy, source NAT), it is the one
//! with the same path and a value in common.

use std::collections::HashSet;

use serde::Serialize;

use super::flow::{FlowEvent, Kind};

/// Hops below one another at most.
const DEEPEST: usize = 32;

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
    /// Where it led to, if that is on this node and followed.
    pub(crate) next: Option<Box<Hop<'a>>>,
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
        let end = response.map(|response| response.time.as_str());
        let (mut calls, mut perhaps) = (Vec::new(), Vec::new());
        for (place, outbound) in self.events.iter().enumerate().skip(at + 1) {
            if outbound.kind != Kind::Outbound {
                continue;
            }
            let is_own = inbound.context.is_some() && outbound.context == inbound.context;
            let is_near = outbound.context.is_none()
                && (outbound.pid, &outbound.workload) == (inbound.pid, &inbound.workload)
                && end.is_none_or(|end| outbound.time.as_str() <= end);
            if is_own || is_near {
                let call = self.call(place, inbound, depth);
                if is_own { &mut calls } else { &mut perhaps }.push(call);
            }
        }
        Some(Hop { inbound, response, calls, perhaps })
    }

    fn call(&mut self, at: usize, inbound: &FlowEvent, depth: usize) -> Call<'a> {
        let (outbound, response) = (&self.events[at], self.response(at));
        let end = response.map(|response| response.time.as_str());
        let next =
            self.next(at, end, |other| other.peer == *outbound.local.as_deref().unwrap_or_default()).or_else(|| {
                let shares = |other: &FlowEvent| {
                    inbound.values.iter().any(|(name, value)| other.values.get(name) == Some(value))
                };
                // Only what was inserted arrives.
                let carries = outbound.verdict.as_deref() != Some("lost");
                self.next(at, end, |other| carries && other.path == outbound.path && shares(other))
            });
        let next = next.and_then(|next| self.hop(next, depth - 1)).map(Box::new);
        Call { outbound, response, next }
    }

    /// The first inbound request after `at`, and not after `end`, that is like that.
    fn next(&self, at: usize, end: Option<&str>, is_it: impl Fn(&FlowEvent) -> bool) -> Option<usize> {
        let mut later = self.events.iter().enumerate().skip(at + 1);
        later
            .find(|(place, other)| {
                other.kind == Kind::Inbound
                    && end.is_none_or(|end| other.time.as_str() <= end)
                    && !self.used.contains(place)
                    && is_it(other)
            })
            .map(|(place, _)| place)
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
            inbound("a", "1", "client:1", "c1"),
            outbound("a", "2", "a:5", Some("c1")),
            inbound("b", "3", "other:5", "c2"),
            inbound("b", "4", "a:5", "c3"),
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
            inbound("a", "1", "client:1", "c1"),
            outbound("a", "2", "a:5", Some("c1")),
            FlowEvent { values: Default::default(), ..inbound("b", "3", "proxy:9", "c2") },
            inbound("b", "4", "proxy:9", "c3"),
        ]);
        let hop = of(&events, 0).expect("an inbound request");
        assert_eq!(hop.calls[0].next.as_ref().expect("the hop behind it").inbound, &events[3]);
    }

    #[test]
    fn what_has_no_context_is_perhaps_of_it() {
        let events = timed(vec![
            inbound("a", "1", "client:1", "c1"),
            outbound("a", "2", "a:5", None),
            inbound("b", "4", "a:5", "c3"),
            outbound("b", "5", "b:6", None),
            response(Kind::Inbound, "1"),
            outbound("a", "6", "a:7", None),
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
            (0..100).flat_map(|_| [inbound("a", "1", "a:5", "c1"), outbound("a", "2", "a:5", Some("c1"))]).collect(),
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
        assert_eq!(of(&timed(vec![outbound("a", "2", "a:5", None)]), 0), None);
        assert_eq!(of(&[], 0), None);
    }
}
