//! Requests whose responses are still to come.

use std::collections::HashMap;

use baton_common::flow::{Event, Reason, Response, kind};

use super::event::Zero;
use super::flow::{FlowEvent, Kind};

/// Most connections with open requests. Those of which no response is ever seen
/// go when there are so many.
const MOST: usize = 8192;

/// Why connections are not followed any more.
pub(super) const GIVEN_UP: [Reason; 7] = [
    Reason::NotHttp1,
    Reason::HeadTooLarge,
    Reason::Pipelined,
    Reason::FramingLost,
    Reason::Upgraded,
    Reason::ScratchBusy,
    Reason::Unreadable,
];

/// The last request of each connection.
#[derive(Debug, Default)]
pub(crate) struct Open {
    requests: HashMap<u64, Request>,
}

#[derive(Debug)]
struct Request {
    time: u64,
    kind: u8,
    ordinal: u8,
    event: FlowEvent,
}

impl Open {
    /// A request was seen.
    pub(crate) fn add(&mut self, event: &Event, shown: FlowEvent) {
        if event.cookie == 0 {
            return;
        }
        if GIVEN_UP.contains(&Reason::from_raw(event.reason)) {
            // The connection is not followed any more: this says so, and is no request that has a response. The one
            // before may still get its own.
            return;
        }
        if self.requests.len() >= MOST {
            self.requests.clear();
        }
        let request = Request { time: event.time, kind: event.kind, ordinal: event.ordinal, event: shown };
        self.requests.insert(event.cookie, request);
    }

    /// A response was seen: its flow event, if that of its request was.
    pub(crate) fn answer(&mut self, response: &Response, zero: &Zero) -> Option<FlowEvent> {
        let request = self.requests.remove(&response.cookie)?;
        if (request.kind, request.ordinal) != (response.kind, response.ordinal) {
            return None;
        }
        Some(FlowEvent {
            time: zero.time(response.time),
            kind: Kind::Response,
            answers: Some(if response.kind == kind::OUTBOUND { Kind::Outbound } else { Kind::Inbound }),
            status: Some(response.status),
            latency_us: Some(response.time.saturating_sub(request.time) / 1000),
            headers: Vec::new(),
            values: Default::default(),
            verdict: None,
            reason: None,
            ..request.event
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Open {
        let mut open = Open::default();
        let event = Event { time: 1_000_000, cookie: 7, ordinal: 3, kind: kind::INBOUND, ..Event::default() };
        open.add(&event, FlowEvent { path: "/a".to_owned(), ..FlowEvent::default() });
        open
    }

    const RESPONSE: Response =
        Response { time: 5_500_000, cookie: 7, workload: 0, status: 204, kind: kind::INBOUND, ordinal: 3 };

    #[test]
    fn a_response_has_what_its_request_had() {
        let answered = open().answer(&RESPONSE, &Zero::default()).expect("its request is open");
        assert_eq!((answered.status, answered.latency_us), (Some(204), Some(4500)));
        assert_eq!((answered.path.as_str(), answered.answers), ("/a", Some(Kind::Inbound)));
    }

    #[test]
    fn a_response_to_another_request_says_nothing() {
        for other in [
            Response { cookie: 8, ..RESPONSE },
            Response { ordinal: 4, ..RESPONSE },
            Response { kind: kind::OUTBOUND, ..RESPONSE },
        ] {
            assert_eq!(open().answer(&other, &Zero::default()), None, "{other:?}");
        }
    }

    #[test]
    fn the_request_before_a_connection_is_given_up_is_answered() {
        let mut open = open();
        let lost =
            Event { cookie: 7, ordinal: 3, kind: kind::INBOUND, reason: Reason::Pipelined as u8, ..Event::default() };
        open.add(&lost, FlowEvent { path: "/lost".to_owned(), ..FlowEvent::default() });
        assert_eq!(open.answer(&RESPONSE, &Zero::default()).map(|answered| answered.path), Some("/a".to_owned()));
    }

    #[test]
    fn a_request_is_answered_once() {
        let mut open = open();
        assert!(open.answer(&RESPONSE, &Zero::default()).is_some());
        assert_eq!(open.answer(&RESPONSE, &Zero::default()), None);
    }
}
