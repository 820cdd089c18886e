//! A loss and the journey to it, as the page gets them.

use serde_json::{Value, json};

use crate::observe::explain::redact;
use crate::observe::flow::FlowEvent;
use crate::observe::{journey, origin};

/// Most calls of one hop that are told. Those that lost something come first.
const MOST_CALLS: usize = 24;

/// Most bytes of a journey; one that is larger is left out.
const MOST_BYTES: usize = 64 << 10;

/// A journey that was told.
#[derive(Debug)]
pub(super) struct Told {
    /// `{"loss": …, "journey": …, "is_too_large": …}`: the flow event, and what `baton explain --json` prints. Values
    /// are shortened.
    pub(super) json: String,
    /// Whether a request was open that may have caused the loss.
    pub(super) is_known: bool,
    /// Whether the first request of the journey is answered.
    pub(super) is_over: bool,
}

/// The journey among `events` in which `loss` happened.
pub(super) fn journey(events: &[FlowEvent], loss: &FlowEvent) -> Told {
    let at = events.iter().rposition(|event| event == loss);
    let hop = at.and_then(|at| origin::of(events, at)).and_then(|root| journey::of(events, root));
    let (is_known, is_over) = (hop.is_some(), hop.as_ref().is_some_and(|hop| hop.response.is_some()));
    let mut told = json!({"loss": loss, "journey": hop, "is_too_large": false});
    redact(&mut told);
    shorten(&mut told["journey"]);
    let mut json = told.to_string();
    if json.len() > MOST_BYTES {
        (told["journey"], told["is_too_large"]) = (Value::Null, true.into());
        json = told.to_string();
    }
    Told { json, is_known, is_over }
}

/// Leaves out calls of which there are too many, and says in `left_out` how many.
fn shorten(hop: &mut Value) {
    for list in ["calls", "perhaps"] {
        let Some(calls) = hop.get_mut(list).and_then(Value::as_array_mut) else { continue };
        let is_lost = |call: &Value| call["outbound"]["verdict"] == "lost";
        let all = calls.len();
        if all > MOST_CALLS {
            // Stable: otherwise they stay in their order.
            calls.sort_by_key(|call| !is_lost(call));
            calls.truncate(MOST_CALLS);
        }
        calls.iter_mut().for_each(|call| shorten(&mut call["next"]));
        if all > MOST_CALLS {
            let before = hop["left_out"].as_u64().unwrap_or(0);
            hop["left_out"] = (before + (all - MOST_CALLS) as u64).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::Kind;
    use crate::observe::flow::tests::lost;

    fn inbound() -> FlowEvent {
        FlowEvent {
            time: "2026-01-02T03:04:05.000000Z".to_owned(),
            kind: Kind::Inbound,
            connection: Some("1".to_owned()),
            verdict: None,
            reason: None,
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
        assert_eq!(value["journey"]["inbound"]["values"]["x-tenant-id"], "secr… (13)");
        assert_eq!(value["journey"]["perhaps"][0]["outbound"]["reason"], "ambiguous");
        assert!(told.is_known && !told.is_over && !told.json.contains("secret"), "{}", told.json);
    }

    #[test]
    fn a_loss_without_a_request_is_told_alone() {
        for events in [&[][..], &[lost()][..]] {
            let (value, told) = told(events, &lost());
            assert_eq!((&value["journey"], &value["loss"]["path"]), (&Value::Null, &"/stock/7".into()));
            assert!(!told.is_known);
        }
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
        assert_eq!(value["journey"]["calls"][0]["outbound"]["reason"], "egress-denied");
        assert_eq!(value["journey"]["left_out"], 100 - MOST_CALLS);
    }
}
