//! Journeys of made-up flow events.

use super::*;
use crate::observe::flow::Kind;

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

#[test]
fn hops_behind_a_proxy_are_not_joined_where_another_request_may_have_led_there() {
    // Two requests with the same value go to the same path; only one of them leads to this node.
    let events = timed(vec![
        inbound("a", "1", "10.9.9.9:1", "c1"),
        inbound("d", "9", "10.9.9.9:2", "c9"),
        outbound("d", "8", "10.0.0.7:5", Some("c9")),
        outbound("a", "2", "10.0.0.1:5", Some("c1")),
        inbound("b", "4", "10.0.0.8:9", "c3"),
    ]);
    let hop = of(&events, 0).expect("an inbound request");
    assert_eq!((hop.calls[0].joined_by, &hop.calls[0].next), (None, &None));
    // Nor where its connection says where it comes from.
    let events = timed(vec![
        inbound("a", "1", "10.9.9.9:1", "c1"),
        FlowEvent { path: "/other".to_owned(), ..outbound("d", "8", "10.0.0.7:5", Some("c9")) },
        outbound("a", "2", "10.0.0.1:5", Some("c1")),
        inbound("b", "4", "10.0.0.7:5", "c3"),
    ]);
    assert_eq!(of(&events, 0).expect("an inbound request").calls[0].next, None);
    // But where the other one is answered it has been elsewhere.
    let events = timed(vec![
        inbound("d", "9", "10.9.9.9:2", "c9"),
        outbound("d", "8", "10.0.0.7:5", Some("c9")),
        response(Kind::Outbound, "8"),
        inbound("a", "1", "10.9.9.9:1", "c1"),
        outbound("a", "2", "10.0.0.1:5", Some("c1")),
        inbound("b", "4", "10.0.0.8:9", "c3"),
    ]);
    assert_eq!(of(&events, 3).expect("an inbound request").calls[0].joined_by, Some(Join::Value));
}

#[test]
fn a_kept_connection_joins_each_request_to_its_own() {
    // The first response was not seen, and the first request did not arrive where baton sees it.
    let events = timed(vec![
        inbound("a", "1", "10.9.9.9:1", "c1"),
        outbound("a", "2", "10.0.0.1:5", Some("c1")),
        response(Kind::Inbound, "1"),
        inbound("a", "1", "10.9.9.9:1", "c2"),
        outbound("a", "2", "10.0.0.1:5", Some("c2")),
        inbound("b", "3", "10.0.0.1:5", "c3"),
    ]);
    assert_eq!(of(&events, 0).expect("an inbound request").calls[0].next, None);
    let second = of(&events, 3).expect("an inbound request");
    assert_eq!(second.calls[0].next.as_ref().map(|next| next.inbound), Some(&events[5]));
}

#[test]
fn a_retry_is_another_call() {
    let events = timed(vec![
        inbound("a", "1", "10.9.9.9:1", "c1"),
        outbound("a", "2", "10.0.0.1:5", Some("c1")),
        outbound("a", "3", "10.0.0.1:6", Some("c1")),
        inbound("b", "4", "10.0.0.1:6", "c3"),
        response(Kind::Inbound, "4"),
        response(Kind::Outbound, "3"),
    ]);
    let hop = of(&events, 0).expect("an inbound request");
    let [failed, again] = hop.calls.as_slice() else { panic!("{hop:?}") };
    assert_eq!((failed.response, &failed.next), (None, &None));
    assert_eq!(again.next.as_ref().map(|next| next.inbound), Some(&events[3]));
}

#[test]
fn what_came_before_belongs_to_the_journey() {
    let events = timed(vec![
        inbound("a", "1", "10.9.9.9:1", "c1"),
        outbound("a", "2", "10.0.0.1:5", Some("c1")),
        inbound("b", "4", "10.0.0.1:5", "c3"),
    ]);
    assert_eq!(of(&events, 2).expect("an inbound request").inbound, &events[0]);
    // Where the cause is not certain, the journey begins behind it, and says so.
    let events = timed(vec![
        inbound("a", "1", "10.9.9.9:1", "c1"),
        outbound("a", "2", "10.0.0.1:5", None),
        inbound("b", "4", "10.0.0.1:5", "c3"),
    ]);
    let hop = of(&events, 2).expect("an inbound request");
    assert_eq!((hop.inbound, hop.sent_by), (&events[2], Some(&events[1])));
    // A request that was answered on the same connection before is another one.
    let events = timed(vec![
        outbound("a", "2", "10.0.0.1:5", None),
        response(Kind::Outbound, "2"),
        inbound("b", "4", "10.0.0.1:5", "c3"),
    ]);
    assert_eq!(of(&events, 2).expect("an inbound request").sent_by, None);
}

#[test]
fn work_after_the_answer_is_perhaps_of_the_request_that_its_thread_had() {
    let late = |context| FlowEvent {
        verdict: Some("lost".into()),
        reason: Some("answered".into()),
        ..outbound("a", "2", "10.0.0.1:5", Some(context))
    };
    for (context, count) in [("c1", 1), ("c0", 0)] {
        let events = timed(vec![inbound("a", "1", "10.9.9.9:1", "c1"), response(Kind::Inbound, "1"), late(context)]);
        assert_eq!(of(&events, 0).expect("an inbound request").perhaps.len(), count, "{context}");
    }
}

#[test]
fn programs_that_were_started_are_perhaps_of_it() {
    let sent_by = |pid| FlowEvent { pid, ..outbound("a", "2", "10.0.0.1:5", None) };
    // Another process with requests of its own is not; neither is one of another workload.
    for (pid, count) in [(4711, 1), (4712, 0)] {
        let events = timed(vec![
            FlowEvent { pid: 4712, ..inbound("a", "7", "10.9.9.9:2", "c7") },
            inbound("a", "1", "10.9.9.9:1", "c1"),
            sent_by(pid),
            FlowEvent { workload: "b".to_owned(), ..sent_by(4711) },
        ]);
        assert_eq!(of(&events, 1).expect("an inbound request").perhaps.len(), count, "{pid}");
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let mut events = vec![inbound("a", "1", "10.9.9.9:1", "c1")];
    events.extend((0..25).map(|_| outbound("a", "2", "10.0.0.1:5", None)));
    // One whose thread had this request comes first.
    events.push(FlowEvent {
        verdict: Some("lost".into()),
        reason: Some("ambiguous".into()),
        ..outbound("a", "3", "10.0.0.1:6", Some("c1"))
    });
    let events = timed(events);
    let hop = of(&events, 0).expect("an inbound request");
    assert_eq!((hop.perhaps.len(), hop.left_out), (20, 6));
    assert!(hop.perhaps.iter().any(|call| call.outbound == &events[26]));
}

#[test]
fn a_connection_that_is_given_up_says_so_at_its_request() {
    let upgraded = |connection| FlowEvent {
        context: None,
        reason: Some("upgraded".into()),
        ..inbound("a", connection, "10.9.9.9:1", "")
    };
    let events =
        timed(vec![inbound("a", "1", "10.9.9.9:1", "c1"), upgraded("1"), outbound("a", "2", "10.0.0.1:5", None)]);
    let hop = of(&events, 0).expect("an inbound request");
    assert_eq!((hop.given_up, hop.perhaps.len()), (Some(&events[1]), 1));
    assert_eq!(hop.last(), &events[1]);
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
