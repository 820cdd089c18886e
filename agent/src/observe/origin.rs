//! The inbound request with which a journey began, from one of its outbound requests: a journey backwards.

use super::flow::{FlowEvent, Kind};
use super::journey::{DEEPEST, is_guess, is_other_end};

/// Where in `events`, which are in the order of their times, the first inbound request is of which the outbound
/// request `at` comes, certainly or perhaps. `None` if no request was open that may have caused it.
pub(super) fn of(events: &[FlowEvent], at: usize) -> Option<usize> {
    let mut first = cause(events, at)?;
    for _ in 0..DEEPEST {
        let inbound = &events[first];
        let is_caller = |other: &FlowEvent| other.kind == Kind::Outbound && is_other_end(other, inbound);
        let Some(caller) = events[..first].iter().rposition(is_caller) else { break };
        let Some(before) = cause(events, caller) else { break };
        first = before;
    }
    Some(first)
}

/// The inbound request that has, or may have, caused the outbound request `at`.
fn cause(events: &[FlowEvent], at: usize) -> Option<usize> {
    let outbound = events.get(at)?;
    let before = &events[..at];
    let has_context =
        |other: &FlowEvent| other.kind == Kind::Inbound && other.context.is_some() && other.context == outbound.context;
    if !is_guess(outbound) {
        return before.iter().rposition(has_context);
    }
    // What the thread has had may be the cause, if it is of this process and still open. A process without requests of
    // its own is a program that was started.
    let is_of_process = |inbound: &FlowEvent| {
        inbound.kind == Kind::Inbound && (inbound.pid, &inbound.workload) == (outbound.pid, &outbound.workload)
    };
    let is_program = !events.iter().any(is_of_process);
    let is_open = |place: &usize| {
        let inbound = &before[*place];
        let is_of_workload = inbound.kind == Kind::Inbound && inbound.workload == outbound.workload;
        (if is_program { is_of_workload } else { is_of_process(inbound) }) && !is_over(&before[*place..])
    };
    let mut open = (0..at).rev().filter(is_open).peekable();
    let latest = open.peek().copied();
    open.find(|place| has_context(&before[*place])).or(latest)
}

/// Whether the inbound request with which `events` begin is over at their end: it was answered, or its connection or
/// its thread has gone on to another.
fn is_over(events: &[FlowEvent]) -> bool {
    let Some((inbound, later)) = events.split_first() else { return true };
    later.iter().any(|other| {
        let is_same_connection = other.connection.is_some() && other.connection == inbound.connection;
        let is_same_thread = (other.tid, &other.workload) == (inbound.tid, &inbound.workload);
        match other.kind {
            Kind::Inbound => is_same_connection || is_same_thread,
            Kind::Response => is_same_connection,
            Kind::Outbound => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbound(workload: &str, connection: &str, peer: &str, context: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Inbound,
            workload: workload.to_owned(),
            pid: u32::from(workload.as_bytes()[0]),
            tid: connection.len() as u32,
            peer: peer.to_owned(),
            connection: Some(connection.to_owned()),
            context: Some(context.to_owned()),
            ..FlowEvent::default()
        }
    }

    fn outbound(workload: &str, local: &str, context: Option<&str>) -> FlowEvent {
        FlowEvent {
            kind: Kind::Outbound,
            local: Some(local.to_owned()),
            context: context.map(str::to_owned),
            verdict: Some(if context.is_some() { "injected" } else { "lost" }.into()),
            reason: context.is_none().then_some("no-context".into()),
            ..inbound(workload, local, "10.0.0.1:80", "")
        }
    }

    fn response(connection: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Response,
            answers: Some(Kind::Inbound),
            connection: Some(connection.to_owned()),
            ..FlowEvent::default()
        }
    }

    #[test]
    fn a_loss_is_led_back_to_where_it_began() {
        let events = [
            inbound("a", "0", "10.9.9.9:1", "c0"),
            response("0"),
            inbound("a", "1", "10.9.9.9:1", "c1"),
            outbound("a", "10.0.0.1:5", Some("c1")),
            inbound("b", "22", "10.0.0.1:5", "c2"),
            outbound("b", "10.0.0.2:6", None),
        ];
        assert_eq!(of(&events, 5), Some(2));
        assert_eq!(of(&events, 3), Some(2));
    }

    #[test]
    fn background_work_began_nowhere() {
        let events = [inbound("a", "1", "10.9.9.9:1", "c1"), response("1"), outbound("a", "10.0.0.1:5", None)];
        assert_eq!(of(&events, 2), None);
        assert_eq!(of(&events[..2], 7), None);
    }

    #[test]
    fn a_program_that_was_started_works_for_its_workload() {
        let started = FlowEvent { pid: 4711, ..outbound("a", "10.0.0.1:5", None) };
        assert_eq!(of(&[inbound("a", "1", "10.9.9.9:1", "c1"), started.clone()], 1), Some(0));
        assert_eq!(of(&[inbound("b", "1", "10.9.9.9:1", "c1"), started], 1), None);
    }

    #[test]
    fn of_several_open_requests_the_one_that_the_thread_had_is_named() {
        let guess = |context: Option<&str>| FlowEvent {
            verdict: Some("lost".into()),
            reason: Some("ambiguous".into()),
            ..outbound("a", "10.0.0.1:5", context)
        };
        let open = || vec![inbound("a", "1", "10.9.9.9:1", "c1"), inbound("a", "22", "10.9.9.9:2", "c2")];
        for (context, expected) in [(Some("c1"), 0), (Some("c2"), 1), (None, 1), (Some("c9"), 1)] {
            let mut events = open();
            events.push(guess(context));
            assert_eq!(of(&events, 2), Some(expected), "{context:?}");
        }
    }
}
