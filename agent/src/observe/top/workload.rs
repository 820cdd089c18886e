//! What is known of one workload: sums, its rate of late, and its last requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::window::Window;
use crate::observe::flow::{FlowEvent, Kind};

/// Most requests that are kept of one workload.
pub(super) const REQUESTS: usize = 100;

/// Latencies are those of so many responses.
pub(super) const RESPONSES: usize = 1000;

/// Most reasons that are told apart: a later version of baton may have more of them than this one.
const REASONS: usize = 40;

/// Where the reasons beyond that are counted.
const OTHERS: &str = "others";

/// Counts by reason.
pub(super) type Reasons = BTreeMap<String, u64>;

/// A request, and its response if it was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Of all requests of this workload, from 1 on.
    pub(super) number: u64,
    /// The request.
    pub(super) event: FlowEvent,
    /// The response's status, and the microseconds that it took.
    pub(super) answer: Option<(u16, Option<u64>)>,
}

/// One workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Workload {
    /// Inbound requests.
    pub(super) inbound: u64,
    /// Outbound requests.
    pub(super) outbound: u64,
    /// Outbound requests that left with their headers: inserted, or by the application itself.
    pub(super) kept: u64,
    /// Outbound requests that lost their context, by reason.
    pub(super) lost: Reasons,
    /// Inbound requests that were not, or not wholly, understood, by reason.
    pub(super) not_followed: Reasons,
    /// When it was last heard of.
    pub(super) last: Duration,
    /// The last requests, the newest first.
    pub(super) requests: VecDeque<Arc<Seen>>,
    window: Window,
    /// Microseconds of the last responses to inbound requests.
    latencies: VecDeque<u64>,
}

impl Workload {
    /// Takes in `event`, which came at the moment `at`.
    pub(super) fn add(&mut self, event: FlowEvent, at: Duration) {
        self.last = at;
        if event.kind == Kind::Response {
            self.answer(&event);
            return;
        }
        self.window.add(at);
        let reason = event.reason.as_deref();
        if event.kind == Kind::Inbound {
            self.inbound += 1;
            if let Some(reason) = reason {
                count(&mut self.not_followed, reason);
            }
        } else {
            self.outbound += 1;
            match event.verdict.as_deref() {
                Some("injected" | "already-present") => self.kept += 1,
                Some("lost") => count(&mut self.lost, reason.unwrap_or("unknown")),
                _ => {}
            }
        }
        self.requests.truncate(REQUESTS - 1);
        self.requests.push_front(Arc::new(Seen { number: self.seen(), event, answer: None }));
    }

    /// Requests in both directions.
    pub(super) const fn seen(&self) -> u64 {
        self.inbound + self.outbound
    }

    /// Outbound requests that lost their context.
    pub(super) fn losses(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Of the outbound requests that had something to carry, or may have had, the share that left with it.
    pub(super) fn propagated(&self) -> Option<f64> {
        let all = self.kept + self.losses();
        (all > 0).then(|| self.kept as f64 / all as f64)
    }

    /// Requests a second of late.
    pub(super) fn per_second(&self, now: Duration) -> f64 {
        self.window.per_second(now)
    }

    /// How long responses took of which the share `part` (0 to 1) took no longer.
    pub(super) fn percentile(&self, part: f64) -> Option<Duration> {
        let mut latencies: Vec<u64> = self.latencies.iter().copied().collect();
        let rank = (part * latencies.len() as f64).ceil() as usize;
        let place = rank.clamp(1, latencies.len().max(1)) - 1;
        if latencies.is_empty() {
            return None;
        }
        Some(Duration::from_micros(*latencies.select_nth_unstable(place).1))
    }

    fn answer(&mut self, response: &FlowEvent) {
        if let (Some(Kind::Inbound), Some(latency)) = (response.answers, response.latency_us) {
            self.latencies.truncate(RESPONSES - 1);
            self.latencies.push_front(latency);
        }
        let Some(connection) = &response.connection else { return };
        let is_its = |seen: &&mut Arc<Seen>| {
            Some(seen.event.kind) == response.answers && seen.event.connection.as_ref() == Some(connection)
        };
        let newest = self.requests.iter_mut().find(is_its);
        if let (Some(request), Some(status)) = (newest.filter(|seen| seen.answer.is_none()), response.status) {
            Arc::make_mut(request).answer = Some((status, response.latency_us));
        }
    }
}

fn count(reasons: &mut Reasons, reason: &str) {
    let reason = if reasons.contains_key(reason) || reasons.len() < REASONS { reason } else { OTHERS };
    *reasons.entry(reason.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::tests::lost;

    fn outbound(verdict: &'static str, reason: Option<&'static str>) -> FlowEvent {
        FlowEvent { verdict: Some(verdict.into()), reason: reason.map(Into::into), ..lost() }
    }

    fn workload(events: impl IntoIterator<Item = FlowEvent>) -> Workload {
        let mut workload = Workload::default();
        events.into_iter().for_each(|event| workload.add(event, Duration::ZERO));
        workload
    }

    #[test]
    fn the_share_is_of_those_that_had_something_to_carry() {
        let workload = workload([
            outbound("injected", None),
            outbound("already-present", None),
            outbound("nothing-to-insert", None),
            outbound("lost", Some("ambiguous")),
            outbound("lost", Some("no-context")),
        ]);
        assert_eq!(workload.propagated(), Some(0.5));
        assert_eq!((workload.outbound, workload.losses()), (5, 2));
        assert_eq!(workload.lost, [("ambiguous".to_owned(), 1), ("no-context".to_owned(), 1)].into());
        assert_eq!(super::tests::workload([outbound("nothing-to-insert", None)]).propagated(), None);
    }

    #[test]
    fn inbound_requests_lose_nothing() {
        let event = FlowEvent { kind: Kind::Inbound, verdict: None, ..lost() };
        let workload = workload([event]);
        assert_eq!((workload.inbound, workload.losses(), workload.not_followed["ambiguous"]), (1, 0, 1));
    }

    #[test]
    fn responses_belong_to_the_last_request_of_their_connection() {
        let request = |connection: &str| FlowEvent {
            kind: Kind::Inbound,
            connection: Some(connection.to_owned()),
            verdict: None,
            ..lost()
        };
        let response = |connection, latency| FlowEvent {
            kind: Kind::Response,
            answers: Some(Kind::Inbound),
            status: Some(200),
            latency_us: Some(latency),
            ..request(connection)
        };
        let workload = workload([request("1"), request("2"), response("1", 7), request("1"), response("3", 9)]);
        let answers: Vec<_> = workload.requests.iter().map(|seen| (seen.number, seen.answer)).collect();
        assert_eq!(answers, [(3, None), (2, None), (1, Some((200, Some(7))))]);
        assert_eq!(workload.percentile(0.5), Some(Duration::from_micros(7)));
        assert_eq!(workload.percentile(0.99), Some(Duration::from_micros(9)));
    }

    #[test]
    fn percentiles_are_of_what_was_seen() {
        assert_eq!(Workload::default().percentile(0.5), None);
        let latencies = (1..=100).collect();
        let workload = Workload { latencies, ..Workload::default() };
        assert_eq!(workload.percentile(0.5), Some(Duration::from_micros(50)));
        assert_eq!(workload.percentile(0.99), Some(Duration::from_micros(99)));
        assert_eq!(workload.percentile(1.0), Some(Duration::from_micros(100)));
    }

    #[test]
    fn memory_is_bounded() {
        let response = FlowEvent { kind: Kind::Response, answers: Some(Kind::Inbound), latency_us: Some(1), ..lost() };
        let strange = |number| FlowEvent { reason: Some(format!("of tomorrow {number}").into()), ..lost() };
        let workload = workload((0..2000).flat_map(|number| [strange(number), response.clone()]));
        assert_eq!((workload.requests.len(), workload.latencies.len()), (REQUESTS, RESPONSES));
        assert_eq!((workload.lost.len(), workload.losses()), (REASONS + 1, 2000));
        assert_eq!(workload.requests[0].number, 2000);
    }
}
