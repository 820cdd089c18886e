//! Flow events for people: one line each.

use anstyle::Style;

use super::flow::{FlowEvent, Kind, Record, harmless};
use super::style::{BAD, FAINT, GOOD, INBOUND, WARNING};

/// Words of a line, each in its style.
pub(super) type Words = Vec<(Style, String)>;

/// `record` in one line, with styles that a terminal understands; `None` where there is nothing to say.
pub(crate) fn of(record: &Record, show_values: bool) -> Option<String> {
    let words = match record {
        Record::Flow(event) => request(event, show_values),
        Record::Missed(count) => {
            vec![(WARNING, format!("… {count} events missed: they came faster than they were read"))]
        }
        Record::Notice(notice) => {
            vec![(FAINT, harmless(clock(&notice.time))), (WARNING, harmless(&notice.to_string()))]
        }
        Record::Other => return None,
    };
    Some(words.into_iter().map(|(style, text)| format!("{style}{text}{style:#}")).collect::<Vec<_>>().join("  "))
}

/// What is to be said of a request or response.
pub(super) fn request(event: &FlowEvent, show_values: bool) -> Words {
    let is_inbound = event.answers.unwrap_or(event.kind) == Kind::Inbound;
    let plain = |text: &str| (Style::new(), harmless(text));
    let (direction, towards) = match event.kind {
        Kind::Inbound => ((INBOUND, "in ".to_owned()), "from"),
        Kind::Outbound => (plain("out"), "to"),
        Kind::Response if is_inbound => ((FAINT, "in↩".to_owned()), "to"),
        Kind::Response => ((FAINT, "out↩".to_owned()), "from"),
    };
    let context = event.context.as_ref().map(|id| format!("#{}", id.trim_start_matches('0')));
    let mut words = vec![
        (FAINT, harmless(clock(&event.time))),
        direction,
        plain(&event.workload),
        plain(&format!("{}[{}]", event.comm, event.tid)),
        plain(&format!("{} {}", event.method, event.path)),
        plain(&format!("{towards} {}", peer(event))),
        outcome(event),
        plain(&event.fields(show_values, "=").join(",")),
        (FAINT, harmless(&context.unwrap_or_default())),
    ];
    words.retain(|(_, word)| !word.trim().is_empty());
    words
}

/// The other end, by its name where that is known.
pub(super) fn peer(event: &FlowEvent) -> String {
    match &event.peer_name {
        Some(name) => format!("{name} ({})", event.peer),
        None => event.peer.clone(),
    }
}

/// What became of the request.
fn outcome(event: &FlowEvent) -> (Style, String) {
    if let Some(status) = event.status {
        return answer(status, event.latency_us);
    }
    let (style, text) = match (event.verdict.as_deref(), event.reason.as_deref()) {
        (None, None) => (FAINT, String::new()),
        (None, Some(reason)) => (WARNING, format!("({reason})")),
        (Some("lost"), reason) => (BAD, format!("lost: {}", reason.unwrap_or("unknown"))),
        (Some("injected"), _) => (GOOD, "injected".to_owned()),
        (Some(verdict), _) => (FAINT, verdict.to_owned()),
    };
    (style, harmless(&text))
}

/// A response's status, and the microseconds that it took.
pub(super) fn answer(status: u16, took: Option<u64>) -> (Style, String) {
    let took = took.map(|time| format!(" in {:.1} ms", time as f64 / 1000.0)).unwrap_or_default();
    (if status >= 500 { WARNING } else { FAINT }, format!("{status}{took}"))
}

/// The time of day of an RFC 3339 time, to the millisecond.
fn clock(time: &str) -> &str {
    time.get(11..23).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::tests::lost;

    fn plain(record: &Record) -> String {
        anstream::adapter::strip_str(&of(record, false).unwrap_or_default()).to_string()
    }

    #[test]
    fn people_read_one_line() {
        assert_eq!(
            plain(&Record::Flow(Box::new(lost()))),
            "03:04:05.678  out  shop/cart-1  python3[7]  GET /stock/7  to 127.0.0.1:80  lost: ambiguous  #ab"
        );
        assert_eq!(plain(&Record::Missed(4)), "… 4 events missed: they came faster than they were read");
    }

    #[test]
    fn responses_tell_their_status_and_time() {
        let response = FlowEvent {
            kind: Kind::Response,
            answers: Some(Kind::Outbound),
            status: Some(204),
            latency_us: Some(1234),
            verdict: None,
            reason: None,
            ..lost()
        };
        assert_eq!(
            plain(&Record::Flow(Box::new(response))),
            "03:04:05.678  out↩  shop/cart-1  python3[7]  GET /stock/7  from 127.0.0.1:80  204 in 1.2 ms  #ab"
        );
    }

    #[test]
    fn values_are_shortened() {
        let values = [("x-tenant-id".to_owned(), "secret".to_owned())].into();
        let headers = vec!["x-tenant-id".to_owned(), "b3".to_owned()];
        let event = FlowEvent { headers, values, ..lost() };
        assert_eq!(event.fields(false, "="), ["x-tenant-id=secr… (6)", "b3"]);
        assert_eq!(event.fields(true, "="), ["x-tenant-id=secret", "b3"]);
    }

    #[test]
    fn what_is_not_there_takes_no_room() {
        let inbound = FlowEvent { kind: Kind::Inbound, verdict: None, reason: None, context: None, ..lost() };
        assert_eq!(
            plain(&Record::Flow(Box::new(inbound))),
            "03:04:05.678  in   shop/cart-1  python3[7]  GET /stock/7  from 127.0.0.1:80"
        );
    }
}
