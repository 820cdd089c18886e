//! Spans out of flow events: one for each inbound request that has a `traceparent`, and one for each request that it caused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::parent::Parent;
use super::service::Service;
use crate::observe::flow::{FlowEvent, Kind};

const TRACEPARENT: &str = "traceparent";

/// Most requests that wait for their responses, and most requests that these have caused. What comes beyond has no span.
const MOST: usize = 8192;

/// How long a request waits for its response; and what is known of a request after it.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// For how long a workload counts as one that makes its own spans, after the last sign of it.
const INSTRUMENTED: Duration = Duration::from_secs(10 * 60);

/// A span that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) service: Service,
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: [u8; 8],
    /// The request; its `time` is that of its response.
    pub(super) event: FlowEvent,
}

/// A request that has no response yet, or had one a while ago.
#[derive(Debug)]
struct Hop {
    parent: Parent,
    id: [u8; 8],
    since: Instant,
    verdict: Option<Cow<'static, str>>,
    reason: Option<Cow<'static, str>>,
}

/// Requests that are under way.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Inbound ones by their contexts' ids.
    inbound: HashMap<String, Hop>,
    /// Outbound ones by their connections.
    outbound: HashMap<String, Hop>,
    /// Connections of these by both ends: this one's and the peer's.
    ends: HashMap<(String, String), String>,
    /// Workloads that send a `traceparent` of their own: they make their own spans.
    instrumented: HashMap<String, Instant>,
    /// Makes ids that are no other node's.
    hasher: RandomState,
    count: u64,
}

impl Spans {
    /// Takes in `event`. Returns the span that it completes.
    pub(super) fn take(&mut self, event: FlowEvent, now: Instant) -> Option<Span> {
        match event.kind {
            Kind::Inbound => self.begin(&event, now),
            Kind::Outbound => self.call(&event, now),
            Kind::Response => return self.end(event),
        }
        None
    }

    fn begin(&mut self, event: &FlowEvent, now: Instant) {
        let Some(context) = &event.context else { return };
        let Some(mut parent) = event.values.get(TRACEPARENT).and_then(|value| Parent::sampled(value)) else { return };
        if self.inbound.len() >= MOST {
            return;
        }
        // Where the caller is on this node, too, its span is the cause. It has the same trace, or is none of ours.
        let caller = event.local.as_ref().and_then(|local| self.ends.get(&(event.peer.clone(), local.clone())));
        if let Some(call) = caller.and_then(|connection| self.outbound.get(connection))
            && call.parent.trace == parent.trace
        {
            parent.span = call.id;
        }
        let hop = Hop { parent, id: self.new_id(), since: now, verdict: None, reason: event.reason.clone() };
        self.inbound.insert(context.clone(), hop);
    }

    fn call(&mut self, event: &FlowEvent, now: Instant) {
        let (Some(context), Some(connection)) = (&event.context, &event.connection) else { return };
        let Some(cause) = self.inbound.get(context) else { return };
        let parent = Parent { span: cause.id, ..cause.parent };
        let is_named = event.headers.iter().any(|name| name == TRACEPARENT);
        let sends_its_own = match event.verdict.as_deref() {
            Some("already-present") => is_named,
            Some("injected") => !is_named,
            _ => false,
        };
        if sends_its_own {
            self.instrumented.insert(event.workload.clone(), now);
        }
        if self.outbound.len() >= MOST {
            return;
        }
        let (verdict, reason) = (event.verdict.clone(), event.reason.clone());
        let hop = Hop { parent, id: self.new_id(), since: now, verdict, reason };
        self.outbound.insert(connection.clone(), hop);
        if let Some(local) = &event.local {
            self.ends.insert((local.clone(), event.peer.clone()), connection.clone());
        }
    }

    fn end(&mut self, event: FlowEvent) -> Option<Span> {
        let hop = if event.answers == Some(Kind::Outbound) {
            let hop = self.outbound.remove(event.connection.as_ref()?)?;
            if let Some(local) = &event.local {
                self.ends.remove(&(local.clone(), event.peer.clone()));
            }
            hop
        } else {
            self.inbound.remove(event.context.as_ref()?)?
        };
        if self.instrumented.contains_key(&event.workload) {
            return None;
        }
        let service = Service::of(&event.workload, event.container.as_deref());
        let event = FlowEvent { verdict: hop.verdict, reason: hop.reason, ..event };
        Some(Span { service, trace: hop.parent.trace, id: hop.id, parent: hop.parent.span, event })
    }

    /// Forgets what has waited for too long.
    pub(super) fn forget(&mut self, now: Instant) {
        let is_fresh = |since: Instant, patience| now.duration_since(since) < patience;
        self.inbound.retain(|_, hop| is_fresh(hop.since, PATIENCE));
        self.outbound.retain(|_, hop| is_fresh(hop.since, PATIENCE));
        self.ends.retain(|_, connection| self.outbound.contains_key(connection));
        self.instrumented.retain(|_, since| is_fresh(*since, INSTRUMENTED));
    }

    fn new_id(&mut self) -> [u8; 8] {
        self.count += 1;
        // Zero is no id.
        self.hasher.hash_one(self.count).max(1).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// A request that the front gets from outside, the one that it sends, the one that the back gets, and their responses.
    fn inbound(workload: &str, context: &str, peer: &str, local: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Inbound,
            workload: workload.to_owned(),
            context: Some(context.to_owned()),
            connection: Some(format!("in {context}")),
            peer: peer.to_owned(),
            local: Some(local.to_owned()),
            values: [(TRACEPARENT.to_owned(), TRACE.to_owned())].into(),
            ..FlowEvent::default()
        }
    }

    fn outbound(context: &str, verdict: &'static str, headers: &[&str]) -> FlowEvent {
        FlowEvent {
            kind: Kind::Outbound,
            workload: "front".to_owned(),
            context: Some(context.to_owned()),
            connection: Some("out".to_owned()),
            local: Some("10.0.0.1:5000".to_owned()),
            peer: "10.0.0.2:80".to_owned(),
            headers: headers.iter().map(|name| (*name).to_owned()).collect(),
            verdict: Some(Cow::Borrowed(verdict)),
            ..FlowEvent::default()
        }
    }

    fn response(request: &FlowEvent) -> FlowEvent {
        FlowEvent { kind: Kind::Response, answers: Some(request.kind), values: Default::default(), ..request.clone() }
    }

    fn run(events: impl IntoIterator<Item = FlowEvent>) -> Vec<Span> {
        let mut spans = Spans::default();
        events.into_iter().filter_map(|event| spans.take(event, Instant::now())).collect()
    }

    #[test]
    fn hops_of_one_node_are_one_branch_of_the_trace() {
        let front = inbound("front", "a", "10.0.0.9:1", "10.0.0.1:80");
        let call = outbound("a", "injected", &[TRACEPARENT]);
        let back = inbound("back", "b", "10.0.0.1:5000", "10.0.0.2:80");
        let ended = [response(&back), response(&call), response(&front)];
        let spans = run([front, call, back].into_iter().chain(ended));
        let [back, call, front] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((back.parent, call.parent), (call.id, front.id));
        assert_eq!(front.parent, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7]);
        assert!(spans.iter().all(|span| span.trace == front.trace));
        assert_eq!(call.event.verdict.as_deref(), Some("injected"));
    }

    #[test]
    fn another_trace_on_the_same_connection_is_another() {
        let front = inbound("front", "a", "10.0.0.9:1", "10.0.0.1:80");
        let other = TRACE.replace("4bf9", "5bf9");
        let back = FlowEvent {
            values: [(TRACEPARENT.to_owned(), other)].into(),
            ..inbound("back", "b", "10.0.0.1:5000", "10.0.0.2:80")
        };
        let ended = response(&back);
        let spans = run([front, outbound("a", "lost", &[]), back, ended]);
        assert_eq!(spans[0].parent, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7]);
    }

    #[test]
    fn what_makes_its_own_spans_gets_none() {
        for (verdict, headers) in [("already-present", &[TRACEPARENT][..]), ("injected", &["x-request-id"])] {
            let front = inbound("front", "a", "10.0.0.9:1", "10.0.0.1:80");
            let ended = response(&front);
            assert_eq!(run([front, outbound("a", verdict, headers), ended]), []);
        }
    }

    #[test]
    fn requests_outside_of_traces_have_no_spans() {
        let mut front = inbound("front", "a", "10.0.0.9:1", "10.0.0.1:80");
        front.values.clear();
        let call = outbound("a", "nothing-to-insert", &[]);
        let ended = [response(&call), response(&front)];
        assert_eq!(run([front, call].into_iter().chain(ended)), []);
    }

    #[test]
    fn what_is_never_answered_is_forgotten() {
        let (mut spans, now) = (Spans::default(), Instant::now());
        for (number, event) in
            [inbound("front", "a", "x", "y"), outbound("a", "injected", &[TRACEPARENT])].into_iter().enumerate()
        {
            assert_eq!(spans.take(event, now), None, "{number}");
        }
        assert_eq!((spans.inbound.len(), spans.outbound.len(), spans.ends.len()), (1, 1, 1));
        spans.forget(now + PATIENCE);
        assert_eq!((spans.inbound.len(), spans.outbound.len(), spans.ends.len()), (0, 0, 0));
    }
}
