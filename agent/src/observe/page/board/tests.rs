//! A board as the daemon's flow events make it.

use serde_json::{Value, json};

use super::*;
use crate::observe::flow::tests::lost;

/// A board, and the time.
struct Seen(Board, Instant);

impl Seen {
    fn new() -> Self {
        let now = Instant::now();
        Self(Board::new(now), now)
    }

    fn add(&mut self, event: FlowEvent) {
        self.0.add(Record::Flow(Box::new(event)), self.1);
    }

    fn wait(&mut self, time: Duration) {
        self.1 += time;
        self.0.tick(self.1);
    }

    fn shown(&mut self) -> Value {
        serde_json::to_value(self.0.shown(self.1)).expect("plain data")
    }

    /// Caller, callee, and what became of the calls.
    fn calls(&mut self) -> Vec<(String, String, u64, u64, u64)> {
        let shown = self.shown();
        let count = |call: &Value, name: &str| call[name].as_u64().expect("a count");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let calls = shown["calls"].as_array().expect("a list").iter().map(|call| {
            let [requests, kept, lost] = ["requests", "kept", "lost"].map(|name| count(call, name));
            (text(&call["from"]), text(&call["to"]), requests, kept, lost)
        });
        calls.collect()
    }
}

fn inbound(workload: &str, peer: &str, connection: &str) -> FlowEvent {
    FlowEvent {
        kind: Kind::Inbound,
        workload: workload.to_owned(),
        peer: peer.to_owned(),
        connection: Some(connection.to_owned()),
        verdict: None,
        reason: None,
        ..lost()
    }
}

fn outbound(workload: &str, local: &str, connection: &str, verdict: &'static str) -> FlowEvent {
    FlowEvent {
        kind: Kind::Outbound,
        local: Some(local.to_owned()),
        verdict: Some(verdict.into()),
        reason: (verdict == "lost").then_some("ambiguous".into()),
        ..inbound(workload, "10.0.0.9:80", connection)
    }
}

fn call(from: &str, to: &str, requests: u64, kept: u64, lost: u64) -> (String, String, u64, u64, u64) {
    (from.to_owned(), to.to_owned(), requests, kept, lost)
}

#[test]
fn a_chain_is_drawn() {
    let mut seen = Seen::new();
    for number in 0..4 {
        seen.add(inbound("cart", "192.0.2.1:7", "1"));
        seen.add(outbound("cart", "10.0.0.1:5", "2", if number == 3 { "lost" } else { "injected" }));
        seen.add(inbound("stock", "10.0.0.1:5", "3"));
        seen.add(outbound("stock", "10.0.0.2:6", "4", "already-present"));
    }
    seen.wait(Duration::ZERO);
    let known = vec![call("clients", "workload cart", 4, 0, 0), call("workload cart", "workload stock", 4, 3, 1)];
    assert_eq!(seen.calls(), known);
    // The other end of the last one is not on this node.
    seen.wait(JOIN);
    assert_eq!(seen.calls()[2], call("workload stock", "peer 10.0.0.9:80", 4, 4, 0));
    let shown = seen.shown();
    assert_eq!(shown["totals"], json!({"requests": 12, "kept": 7, "lost": 1, "missed": 0}));
    assert_eq!(shown["calls"][1]["reasons"], json!({"ambiguous": 1}));
    assert_eq!(
        shown["nodes"][1],
        json!({"id": "workload cart", "name": "cart", "kind": "workload", "runtimes": ["python"]})
    );
    assert_eq!(shown["losses"][0]["to"], "workload stock");
}

#[test]
fn addresses_get_their_names_when_they_are_known() {
    let mut seen = Seen::new();
    let named = |name: &str| Some(name.to_owned());
    seen.add(outbound("shop/cart", "10.0.0.1:5", "2", "lost"));
    seen.add(FlowEvent { peer_name: named("service shop/db"), ..outbound("shop/cart", "10.0.0.1:6", "3", "lost") });
    seen.add(FlowEvent { peer_name: named("shop/edge"), ..inbound("shop/cart", "10.0.0.7:5", "4") });
    seen.add(FlowEvent { peer_name: named("shop/cart"), ..inbound("shop/stock", "10.0.0.1:7", "5") });
    seen.wait(JOIN);
    let expected = vec![
        call("workload shop/cart", "workload shop/stock", 1, 0, 0),
        call("workload shop/cart", "peer service shop/db", 2, 0, 2),
        call("peer shop/edge", "workload shop/cart", 1, 0, 0),
    ];
    assert_eq!(seen.calls(), expected);
    assert_eq!(seen.shown()["losses"][0]["to"], "peer service shop/db");
}

#[test]
fn what_traffic_says_is_made_harmless() {
    let mut seen = Seen::new();
    seen.add(FlowEvent { path: "/\u{202e}gnp.exe\u{1b}[2J<b>".to_owned(), ..outbound("a", "10.0.0.1:5", "2", "lost") });
    assert_eq!(seen.shown()["losses"][0]["request"], "GET /\u{fffd}gnp.exe\u{fffd}[2J<b>");
}

#[test]
fn a_loss_is_explained_with_short_values() {
    let mut seen = Seen::new();
    let carried = [("x-tenant-id".to_owned(), "secret-tenant".to_owned())].into();
    let headers = vec!["x-tenant-id".to_owned()];
    seen.add(FlowEvent { headers, values: carried, ..inbound("cart", "192.0.2.1:7", "1") });
    seen.add(outbound("cart", "10.0.0.1:5", "2", "lost"));
    let id = seen.shown()["losses"][0]["id"].as_u64().expect("a number");
    let told = seen.0.explain(id, seen.1).expect("a journey");
    assert!(told.contains("secr… (13)") && !told.contains("secret-tenant"), "{told}");
}

#[test]
fn what_is_lost_when_it_comes_in_is_a_loss_too() {
    let mut seen = Seen::new();
    for port in 7..9 {
        let denied = inbound("cart", &format!("192.0.2.1:{port}"), &port.to_string());
        seen.add(FlowEvent { reason: Some("ingress-denied".into()), ..denied });
    }
    let shown = seen.shown();
    let loss = &shown["losses"][0];
    assert_eq!((&loss["from"], &loss["to"]), (&json!("clients"), &json!("workload cart")));
    assert_eq!((&loss["reason"], &loss["count"]), (&json!("ingress-denied"), &json!(2)));
    assert_eq!(shown["calls"][0]["reasons"], json!({"ingress-denied": 2}));
}

#[test]
fn many_addresses_become_one_node() {
    let mut seen = Seen::new();
    for number in 0..100 {
        let peer = format!("10.0.1.{number}:80");
        let local = format!("10.0.0.1:{}", 1000 + number);
        let event = FlowEvent { peer, ..outbound("cart", &local, &number.to_string(), "lost") };
        (0..=number % 5).for_each(|_| seen.add(event.clone()));
    }
    seen.wait(JOIN);
    let calls = seen.calls();
    assert_eq!(calls.len(), 17);
    assert!(calls.iter().any(|call| call.1 == "others"));
    assert_eq!(calls.iter().map(|call| call.2).sum::<u64>(), 300);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut seen = Seen::new();
    for number in 0..40_000 {
        let local = format!("10.0.{}.{}:{}", number / 256 % 256, number % 256, 1000 + number);
        let workload = format!("w{}", number % 3000);
        seen.add(FlowEvent { path: format!("/{number}"), ..outbound(&workload, &local, &number.to_string(), "lost") });
        seen.add(inbound(&workload, &format!("192.0.2.1:{}", number % 60_000), &format!("i{number}")));
    }
    assert!(seen.0.waiting.len() <= MOST_WAITING && seen.0.runtimes.len() <= MOST_WORKLOADS);
    seen.wait(JOIN);
    let text = seen.shown().to_string();
    assert!(text.len() < 200_000, "{}", text.len());
}

#[test]
fn what_is_missing_and_what_is_wrong_is_told() {
    let mut seen = Seen::new();
    let notice = |message: &str| {
        Record::Notice(Notice {
            time: lost().time,
            object: "pod".to_owned(),
            workload: "shop/cart-1".to_owned(),
            message: message.to_owned(),
        })
    };
    seen.0.add(Record::Missed(7), seen.1);
    seen.0.add(notice("first"), seen.1);
    seen.0.add(notice("second"), seen.1);
    let shown = seen.shown();
    assert_eq!(shown["totals"]["missed"], 7);
    assert_eq!(shown["notices"], json!([{"time": lost().time, "about": "pod shop/cart-1", "message": "second"}]));
}
