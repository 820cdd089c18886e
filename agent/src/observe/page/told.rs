//! A loss and the journey to it, as the page gets them: what [`Tree`](crate::observe::tree::Tree) draws, in pieces.
//!
//! Who is at other ends on this machine is left out: to look for that takes too long for the daemon's only thread.

use serde::Serialize;

use crate::observe::flow::{FlowEvent, Kind, harmless};
use crate::observe::journey::{self, Call, Hop, Join};
use crate::observe::remedy::{self, Explained};
use crate::observe::{conclusion, line, origin, tree};

/// Flow events from before and after the beginning of a journey among which it is looked for.
const BEFORE: usize = 256;
const AFTER: usize = 1792;

/// Most calls of one hop that are told. Those that lost something come first.
const MOST_CALLS: usize = 24;

/// Most bytes of a journey; one that is larger is left out.
const MOST_BYTES: usize = 64 << 10;

/// A journey that was told.
#[derive(Debug)]
pub(super) struct Told {
    /// What `losses.js` reads.
    pub(super) json: String,
    /// Whether a request was open that may have caused the loss.
    pub(super) is_known: bool,
    /// Whether the first request of the journey is answered.
    pub(super) is_over: bool,
}

#[derive(Debug, Serialize)]
struct ToldLoss<'a> {
    time: &'a str,
    request: String,
    workload: String,
    /// Whether it was lost when it came in.
    is_inbound: bool,
    peer: String,
    thread: String,
    reason: &'a str,
    explained: Option<ToldReason>,
    conclusion: Vec<String>,
    journey: Option<ToldHop>,
    is_too_large: bool,
}

#[derive(Debug, Serialize)]
struct ToldReason {
    why: &'static str,
    remedy: &'static str,
}

#[derive(Debug, Serialize)]
struct ToldHop {
    workload: String,
    request: String,
    peer: String,
    thread: String,
    runtime: String,
    answer: Option<String>,
    /// What sent it, where that is followed and its cause is not known.
    sent_by: Option<String>,
    /// Header names and the beginnings of values; `None` if they are not known.
    carried: Option<Vec<String>>,
    reason: Option<String>,
    is_lost: bool,
    is_it: bool,
    explained: Option<ToldReason>,
    calls: Vec<ToldCall>,
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct ToldCall {
    is_certain: bool,
    /// Whether where it led to is only likely.
    is_likely: bool,
    request: String,
    peer: String,
    thread: String,
    answer: Option<String>,
    verdict: String,
    reason: Option<String>,
    headers: Vec<String>,
    is_it: bool,
    explained: Option<ToldReason>,
    next: Option<Box<ToldHop>>,
}

impl From<Explained> for ToldReason {
    fn from(Explained { why, remedy }: Explained) -> Self {
        Self { why, remedy }
    }
}

/// The journey among `events` in which `loss` happened.
pub(super) fn journey(events: &[FlowEvent], loss: &FlowEvent) -> Told {
    let at = events.iter().rposition(|event| event == loss);
    let first = at.and_then(|at| if loss.kind == Kind::Inbound { Some(at) } else { origin::of(events, at) });
    let hop = first.and_then(|first| {
        let from = first.saturating_sub(BEFORE);
        journey::of(&events[from..events.len().min(first + AFTER)], first - from)
    });
    let last = hop.as_ref().map(Hop::last).filter(|_| loss.kind == Kind::Outbound);
    let explained = if loss.kind == Kind::Inbound { remedy::of_inbound(loss) } else { remedy::of_outbound(loss, last) };
    let concluded = hop.as_ref().map(conclusion::of).unwrap_or_default();
    let mut told = ToldLoss {
        time: &loss.time,
        request: tree::request(loss),
        workload: harmless(&loss.workload),
        is_inbound: loss.kind == Kind::Inbound,
        peer: harmless(&line::peer(loss)),
        thread: tree::thread(loss),
        reason: loss.reason.as_deref().unwrap_or_default(),
        explained: explained.map(Into::into),
        conclusion: concluded.lines().map(str::to_owned).collect(),
        journey: hop.as_ref().map(|hop| told_hop(hop, loss)),
        is_too_large: false,
    };
    // It is plain data.
    let mut json = serde_json::to_string(&told).unwrap_or_default();
    if json.len() > MOST_BYTES {
        (told.journey, told.is_too_large) = (None, true);
        json = serde_json::to_string(&told).unwrap_or_default();
    }
    Told { json, is_known: hop.is_some(), is_over: hop.is_some_and(|hop| hop.response.is_some()) }
}

fn told_hop(hop: &Hop<'_>, loss: &FlowEvent) -> ToldHop {
    let (inbound, last) = (hop.inbound, hop.last());
    let mut calls: Vec<(bool, &Call<'_>)> = hop.all().collect();
    let left_out = calls.len().saturating_sub(MOST_CALLS);
    if left_out > 0 {
        // Stable: otherwise they stay in their order.
        calls.sort_by_key(|(_, call)| call.outbound.verdict.as_deref() != Some("lost"));
        calls.truncate(MOST_CALLS);
    }
    let fields = || inbound.fields(false, ": ").iter().map(|field| harmless(field)).collect();
    ToldHop {
        workload: harmless(&inbound.workload),
        request: tree::request(inbound),
        peer: harmless(&line::peer(inbound)),
        thread: tree::thread(inbound),
        runtime: harmless(&inbound.runtime),
        answer: answer(hop.response),
        sent_by: hop.sent_by.map(|sent_by| format!("{}, {}", harmless(&sent_by.workload), tree::thread(sent_by))),
        carried: (!remedy::is_not_understood(inbound) || !inbound.headers.is_empty()).then(fields),
        reason: last.reason.as_deref().map(harmless),
        is_lost: remedy::is_loss(last),
        is_it: inbound == loss || last == loss,
        explained: remedy::of_inbound(last).map(Into::into),
        calls: calls.into_iter().map(|(is_certain, call)| told_call(hop, call, is_certain, loss)).collect(),
        left_out: left_out + hop.left_out,
    }
}

fn told_call(hop: &Hop<'_>, call: &Call<'_>, is_certain: bool, loss: &FlowEvent) -> ToldCall {
    let outbound = call.outbound;
    ToldCall {
        is_certain,
        is_likely: call.joined_by == Some(Join::Value),
        request: tree::request(outbound),
        peer: harmless(&line::peer(outbound)),
        thread: tree::thread(outbound),
        answer: answer(call.response),
        verdict: outbound.verdict.as_deref().map(harmless).unwrap_or_default(),
        reason: outbound.reason.as_deref().map(harmless),
        headers: outbound.headers.iter().map(|name| harmless(name)).collect(),
        is_it: outbound == loss,
        explained: remedy::of_outbound(outbound, Some(hop.last())).map(Into::into),
        next: call.next.as_ref().map(|next| Box::new(told_hop(next, loss))),
    }
}

fn answer(response: Option<&FlowEvent>) -> Option<String> {
    let (status, time) = response.and_then(|response| response.status.zip(response.latency_us))?;
    Some(format!("{status} in {:.1} ms", time as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::observe::flow::tests::lost;

    fn inbound() -> FlowEvent {
        FlowEvent {
            time: "2026-01-02T03:04:05.000000Z".to_owned(),
            kind: Kind::Inbound,
            connection: Some("1".to_owned()),
            verdict: None,
            reason: None,
            headers: vec!["x-tenant-id".to_owned()],
            values: [("x-tenant-id".to_owned(), "secret-tenant".to_owned())].into(),
            ..lost()
        }
    }

    fn told(events: &[FlowEvent], loss: &FlowEvent) -> (Value, Told) {
        let told = journey(events, loss);
        (serde_json::from_str(&told.json).expect("JSON"), told)
    }

    #[test]
    fn values_are_short() {
        let (value, told) = told(&[inbound(), lost()], &lost());
        assert_eq!(value["journey"]["carried"], serde_json::json!(["x-tenant-id: secr… (13)"]));
        let call = &value["journey"]["calls"][0];
        assert_eq!(
            (&call["reason"], &call["is_it"], &call["is_certain"]),
            (&"ambiguous".into(), &true.into(), &false.into())
        );
        assert!(told.is_known && !told.is_over && !told.json.contains("secret"), "{}", told.json);
    }

    #[test]
    fn a_loss_without_a_request_is_told_alone() {
        for events in [&[][..], &[lost()][..]] {
            let (value, told) = told(events, &lost());
            assert_eq!((&value["journey"], &value["request"]), (&Value::Null, &"GET /stock/7".into()));
            assert!(!told.is_known && value["explained"]["why"].is_string(), "{value}");
        }
    }

    #[test]
    fn a_request_may_be_lost_when_it_comes_in() {
        let denied = FlowEvent { reason: Some("ingress-denied".into()), context: None, ..inbound() };
        let (value, _) = told(&[denied.clone(), lost()], &denied);
        assert_eq!((&value["is_inbound"], &value["journey"]["is_it"]), (&true.into(), &true.into()));
        assert!(value["explained"]["why"].as_str().is_some_and(|why| why.contains("not trusted")), "{value}");
    }

    #[test]
    fn what_traffic_says_is_made_harmless() {
        let odd = FlowEvent { path: "/\u{202e}a\u{1b}".to_owned(), ..lost() };
        let (value, _) = told(&[inbound(), odd.clone()], &odd);
        assert_eq!(value["request"], "GET /\u{fffd}a\u{fffd}");
    }

    #[test]
    fn of_many_calls_the_losses_stay() {
        let call = |number: usize| FlowEvent {
            time: format!("2026-01-02T03:04:06.{number:06}Z"),
            verdict: Some(if number == 99 { "lost" } else { "injected" }.into()),
            reason: (number == 99).then_some("egress-denied".into()),
            ..lost()
        };
        let mut events = vec![inbound()];
        events.extend((0..100).map(call));
        let (value, _) = told(&events, &call(99));
        assert_eq!(value["journey"]["calls"].as_array().map(Vec::len), Some(MOST_CALLS));
        assert_eq!(value["journey"]["calls"][0]["reason"], "egress-denied");
        assert_eq!(value["journey"]["left_out"], 100 - MOST_CALLS);
    }
}
