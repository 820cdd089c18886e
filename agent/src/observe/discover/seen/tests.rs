use super::super::hop::Forwarded;
use super::*;

fn inbound(workload: &str, peer: &str, context: &str, names: &[&str]) -> FlowEvent {
    FlowEvent {
        kind: Kind::Inbound,
        workload: workload.to_owned(),
        method: "GET".to_owned(),
        path: "/stock/7".to_owned(),
        peer: peer.to_owned(),
        local: Some("10.0.0.2:80".to_owned()),
        context: Some(context.to_owned()),
        headers: names.iter().map(|name| (*name).to_owned()).collect(),
        ..FlowEvent::default()
    }
}

fn outbound(workload: &str, context: Option<&str>, verdict: &'static str, reason: Option<&'static str>) -> FlowEvent {
    FlowEvent {
        kind: Kind::Outbound,
        workload: workload.to_owned(),
        method: "GET".to_owned(),
        path: "/stock/7".to_owned(),
        peer: "10.0.0.2:80".to_owned(),
        local: Some("10.0.0.1:5000".to_owned()),
        context: context.map(str::to_owned),
        verdict: Some(verdict.into()),
        reason: reason.map(Into::into),
        ..FlowEvent::default()
    }
}

fn seen(events: impl IntoIterator<Item = FlowEvent>) -> Seen {
    let mut seen = Seen::default();
    events.into_iter().for_each(|event| seen.add(&Record::Flow(Box::new(event))));
    seen.settle_all();
    seen
}

fn hop(seen: &Seen) -> &Hop {
    let hops = &seen.workloads["a"].hops;
    assert_eq!(hops.len(), 1, "{hops:?}");
    hops.first_key_value().expect("one").1
}

fn forwarded<const COUNT: usize>(seen: &Seen, names: [&str; COUNT]) -> [Forwarded; COUNT] {
    names.map(|name| hop(seen).headers[name].forwarded())
}

#[test]
fn headers_that_come_in_are_counted() {
    let seen = seen([
        inbound("a", "10.9.9.9:1", "1", &["x", "y"]),
        inbound("a", "10.9.9.9:1", "2", &["x"]),
        inbound("b", "10.9.9.9:1", "3", &[]),
    ]);
    let a = &seen.workloads["a"];
    assert_eq!((a.inbound, &a.headers), (2, &[("x".to_owned(), 2), ("y".to_owned(), 1)].into()));
    assert_eq!(seen.workloads["b"].headers.len(), 0);
}

#[test]
fn what_a_daemon_inserts_tells_what_was_not_passed_on() {
    let injected = FlowEvent { headers: vec!["y".to_owned()], ..outbound("a", Some("1"), "injected", None) };
    // What was inserted arrives, and says nothing more.
    let arrived = inbound("b", "10.0.0.1:5000", "2", &["x", "y"]);
    let seen = seen([inbound("a", "10.9.9.9:1", "1", &["x", "y"]), injected, arrived]);
    assert_eq!(forwarded(&seen, ["x", "y"]), [Forwarded::Always, Forwarded::Never]);
    assert_eq!(hop(&seen).led_to.as_deref(), Some("b"));
}

#[test]
fn who_only_observes_learns_it_at_the_other_end() {
    let seen = seen([
        inbound("a", "10.9.9.9:1", "1", &["x", "y"]),
        outbound("a", Some("1"), "lost", Some("egress-denied")),
        inbound("b", "10.0.0.1:5000", "2", &["x"]),
        // Once more, on the same connection.
        inbound("a", "10.9.9.9:1", "3", &["x", "y"]),
        outbound("a", Some("3"), "lost", Some("egress-denied")),
        inbound("b", "10.0.0.1:5000", "4", &["y"]),
    ]);
    assert_eq!(forwarded(&seen, ["x", "y"]), [Forwarded::Sometimes, Forwarded::Sometimes]);
    assert_eq!((hop(&seen).requests, hop(&seen).led_to.as_deref()), (2, Some("b")));
}

#[test]
fn without_the_other_end_it_learns_that_something_lacks() {
    let both = inbound("a", "10.9.9.9:1", "1", &["x", "y"]);
    let lost = || outbound("a", Some("1"), "lost", Some("egress-denied"));
    let seen = seen([both.clone(), lost(), lost()]);
    assert_eq!(forwarded(&seen, ["x", "y"]), [Forwarded::Unknown, Forwarded::Unknown]);
    // That request had something by itself. Whose arrival is not seen is not taken for another one's.
    let seen = super::tests::seen([both, lost(), outbound("a", Some("1"), "already-present", None), {
        inbound("b", "10.0.0.1:5000", "2", &["x", "y"])
    }]);
    assert_eq!(hop(&seen).headers["x"], super::super::hop::Passed { had: 2, kept: 1, ..Default::default() });
}

#[test]
fn what_has_no_known_cause_is_told_by_reason() {
    let seen = seen([
        inbound("a", "10.9.9.9:1", "1", &["x"]),
        outbound("a", Some("1"), "lost", Some("unsupported-runtime")),
        outbound("a", None, "lost", Some("no-context")),
        outbound("a", None, "lost", Some("not-http1")),
    ]);
    let expected = [("no-context".to_owned(), 1), ("unsupported-runtime".to_owned(), 1)].into();
    assert_eq!((hop(&seen).requests, &hop(&seen).unattributed), (2, &expected));
    assert!(hop(&seen).headers.is_empty());
}

#[test]
fn what_an_application_sends_of_its_own_is_told() {
    let sent = FlowEvent { headers: vec!["x-request-id".to_owned()], ..outbound("a", None, "already-present", None) };
    assert_eq!(forwarded(&seen([sent]), ["x-request-id"]), [Forwarded::Own]);
}

#[test]
fn loopback_addresses_are_of_one_pod() {
    let chain = |other: &str| {
        let lost = outbound("a", Some("1"), "lost", Some("egress-denied"));
        let lost = FlowEvent { workload: "ns/a".to_owned(), local: Some("127.0.0.1:5000".to_owned()), ..lost };
        let events =
            [inbound("ns/a", "10.9.9.9:1", "1", &["x", "y"]), lost, inbound(other, "127.0.0.1:5000", "2", &[])];
        let seen = seen(events);
        seen.workloads["ns/a"].hops.first_key_value().expect("one").1.led_to.clone()
    };
    assert_eq!((chain("ns/b"), chain("ns/a")), (None, Some("ns/a".to_owned())));
}

#[test]
fn what_comes_from_a_port_that_is_used_twice_is_not_mistaken() {
    let led_to = |change: &dyn Fn(&mut [FlowEvent; 3])| {
        let lost = outbound("a", Some("1"), "lost", Some("egress-denied"));
        let lost = FlowEvent { local: Some("127.0.0.1:5000".to_owned()), ..lost };
        let response = FlowEvent { kind: Kind::Response, answers: Some(Kind::Outbound), ..lost.clone() };
        let mut events = [lost, response, inbound("b", "127.0.0.1:5000", "2", &[])];
        change(&mut events);
        let seen = seen([vec![inbound("a", "10.9.9.9:1", "1", &["x", "y"])], events.to_vec()].concat());
        hop(&seen).led_to.clone()
    };
    // It came before the answer.
    assert_eq!(led_to(&|events| events.swap(1, 2)).as_deref(), Some("b"));
    assert_eq!(led_to(&|_| {}), None);
    assert_eq!(led_to(&|events| (events[2].path = "/other".to_owned(), events.swap(1, 2)).1), None);
    assert_eq!(led_to(&|events| (events[2].local = Some("127.0.0.1:81".to_owned()), events.swap(1, 2)).1), None);
}

#[test]
fn memory_is_bounded() {
    let events = (0..30_000).flat_map(|number| {
        let context = number.to_string();
        let call = FlowEvent {
            path: format!("/{}", "x".repeat(number % 20 + 1)),
            peer: format!("10.0.0.2:{}", number % 60_000),
            local: Some(format!("10.0.0.1:{number}")),
            ..outbound("a", Some(&context), "lost", Some("egress-denied"))
        };
        [inbound("a", "10.9.9.9:1", &context, &["x", "y"]), call]
    });
    let mut seen = Seen::default();
    events.for_each(|event| seen.add(&Record::Flow(Box::new(event))));
    assert_eq!((seen.causes.len(), seen.order.len()), (CAUSES, CAUSES));
    assert!(seen.waiting.len() <= WAITING);
    assert_eq!((seen.workloads["a"].hops.len(), seen.workloads["a"].others), (HOPS, 30_000 - HOPS as u64));
}
