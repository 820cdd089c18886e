//! Flow events for people: one line each.

use anstyle::Style;

use super::flow::{FlowEvent, Kind, Notice, Record, harmless};
use super::style::{BAD, FAINT, GOOD, INBOUND, WARNING};

/// `record` in one line, with styles that a terminal understands; `None` where there is nothing to say.
pub(crate) fn of(record: &Record, show_values: bool) -> Option<String> {
    match record {
        Record::Flow(event) => Some(request(event, show_values)),
        Record::Missed(count) => {
            Some(styled(WARNING, &format!("… {count} events missed: they came faster than they were read")))
        }
        Record::Notice(Notice { time, object, workload, message }) => Some(format!(
            "{}  {}",
            styled(FAINT, &harmless(clock(time))),
            styled(WARNING, &harmless(&format!("{object} {workload}: {message}")))
        )),
        Record::Other => None,
    }
}

fn request(event: &FlowEvent, show_values: bool) -> String {
    let is_inbound = event.answers.unwrap_or(event.kind) == Kind::Inbound;
    let (direction, towards) = match event.kind {
        Kind::Inbound => (styled(INBOUND, "in "), "from"),
        Kind::Outbound => ("out".to_owned(), "to"),
        Kind::Response => {
            (styled(FAINT, if is_inbound { "in↩" } else { "out↩" }), if is_inbound { "to" } else { "from" })
        }
    };
    let fields = [
        styled(FAINT, &harmless(clock(&event.time))),
        direction,
        harmless(&event.workload),
        harmless(&format!("{}[{}]", event.comm, event.tid)),
        harmless(&format!("{} {}", event.method, event.path)),
        harmless(&format!("{towards} {}", peer(event))),
        outcome(event),
        harmless(&event.fields(show_values, "=").join(",")),
        event
            .context
            .as_ref()
            .map(|id| styled(FAINT, &harmless(&format!("#{}", id.trim_start_matches('0')))))
            .unwrap_or_default(),
    ];
    fields.into_iter().filter(|field| !field.trim().is_empty()).collect::<Vec<_>>().join("  ")
}

/// The other end, by its name where that is known.
pub(super) fn peer(event: &FlowEvent) -> String {
    match &event.peer_name {
        Some(name) => format!("{name} ({})", event.peer),
        None => event.peer.clone(),
    }
}

/// What became of the request.
fn outcome(event: &FlowEvent) -> String {
    if let Some(status) = event.status {
        let style = if status >= 500 { WARNING } else { FAINT };
        let took = event.latency_us.map(|time| format!(" in {:.1} ms", time as f64 / 1000.0)).unwrap_or_default();
        return styled(style, &format!("{status}{took}"));
    }
    match (event.verdict.as_deref(), event.reason.as_deref()) {
        (None, None) => String::new(),
        (None, Some(reason)) => styled(WARNING, &harmless(&format!("({reason})"))),
        (Some("lost"), reason) => styled(BAD, &harmless(&format!("lost: {}", reason.unwrap_or("unknown")))),
        (Some("injected"), _) => styled(GOOD, "injected"),
        (Some(verdict), _) => styled(FAINT, &harmless(verdict)),
    }
}

/// The time of day of an RFC 3339 time, to the millisecond.
fn clock(time: &str) -> &str {
    time.get(11..23).unwrap_or(time)
}

fn styled(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
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
