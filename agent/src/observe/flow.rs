//! What flow events say, as they are written and read again. The fields are
//! described in `docs/FLOWS.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// One flow event: a request as baton saw it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FlowEvent {
    /// RFC 3339, UTC.
    pub(crate) time: String,
    /// Which way the request went.
    pub(crate) kind: Kind,
    /// The workload's name: in Kubernetes, `NAMESPACE/POD`.
    pub(crate) workload: String,
    /// The container that the process runs in, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    /// The process that read or wrote the head.
    pub(crate) pid: u32,
    /// The thread that did.
    pub(crate) tid: u32,
    /// The thread's name.
    pub(crate) comm: String,
    /// The process's language runtime.
    pub(crate) runtime: Cow<'static, str>,
    /// What runs its code.
    #[serde(default)]
    pub(crate) executor: Option<Cow<'static, str>>,
    /// The method, shortened to 8 bytes.
    pub(crate) method: String,
    /// The request target without its query, shortened.
    pub(crate) path: String,
    /// The other end.
    pub(crate) peer: String,
    /// The pod, or the service, that has the other end's address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_name: Option<String>,
    /// This end, where it is known.
    #[serde(default)]
    pub(crate) local: Option<String>,
    /// What all requests on one connection have in common, where they have.
    #[serde(default)]
    pub(crate) connection: Option<String>,
    /// Names that were found (inbound) or inserted (outbound; where the application had sent them, those).
    pub(crate) headers: Vec<String>,
    /// Inbound: what was found, by name, as far as there was room.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) values: BTreeMap<String, String>,
    /// Outbound: what became of it.
    pub(crate) verdict: Option<Cow<'static, str>>,
    /// Why nothing was inserted, or why an inbound request was not understood.
    pub(crate) reason: Option<Cow<'static, str>>,
    /// Id of the context that it began (inbound) or that caused it (outbound).
    pub(crate) context: Option<String>,
    /// A response: to which way its request went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<Kind>,
    /// A response: its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// A response: microseconds since its request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency_us: Option<u64>,
}

impl FlowEvent {
    /// Shortens values so that they can be told apart, and no more: they may be somebody's secrets.
    pub(crate) fn redact(&mut self) {
        for value in self.values.values_mut() {
            *value = redacted(value);
        }
    }

    /// This event as a line, with values shortened unless they are to be shown.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub(crate) fn json(&self, show_values: bool) -> anyhow::Result<String> {
        if show_values || self.values.is_empty() {
            return Ok(serde_json::to_string(self)?);
        }
        let mut event = self.clone();
        event.redact();
        Ok(serde_json::to_string(&event)?)
    }

    /// The names in `headers`; where that has a prefix, those that were found, as far as they are known.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in &self.headers {
            let known = names.len();
            if let Some(prefix) = name.strip_suffix('*') {
                names.extend(self.values.keys().map(String::as_str).filter(|found| found.starts_with(prefix)));
            }
            if names.len() == known {
                names.push(name);
            }
        }
        names
    }

    /// The names, with values where there are some.
    pub(crate) fn fields(&self, show_values: bool, between: &str) -> Vec<String> {
        let field = |name: &str| match self.values.get(name) {
            Some(value) if show_values => format!("{name}{between}{value}"),
            Some(value) => format!("{name}{between}{}", redacted(value)),
            None => name.to_owned(),
        };
        self.names().into_iter().map(field).collect()
    }
}

/// Whether a request with the header `name`, perhaps a prefix, is one with the header `wanted`, in any case.
pub(crate) fn is_name(name: &str, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    name == wanted || name.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}

/// The first four characters and the length in bytes; what is shortened already stays so.
pub(crate) fn redacted(value: &str) -> String {
    let is_short = |shown: &str, length: &str| {
        shown.chars().count() <= 4 && length.strip_suffix(')').is_some_and(|length| length.parse::<usize>().is_ok())
    };
    if value.split_once("… (").is_some_and(|(shown, length)| is_short(shown, length)) {
        return value.to_owned();
    }
    let shown: String = value.chars().take(4).collect();
    format!("{shown}… ({})", value.len())
}

/// `text` without what a terminal would obey, or would show in another order: it may come from anybody.
pub(crate) fn harmless(text: &str) -> String {
    let is_harmful =
        |shown: char| shown.is_control() || matches!(shown, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|shown| if is_harmful(shown) { '\u{fffd}' } else { shown }).collect()
}

/// Which way a request went, or that it was answered.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It was read from a connection that the workload accepted.
    #[default]
    Inbound,
    /// It was written to a connection that the workload opened.
    Outbound,
    /// It was answered.
    Response,
}

/// Something to know about a pod or namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Notice {
    /// RFC 3339, UTC.
    pub(crate) time: String,
    /// `pod` or `namespace`.
    pub(crate) object: String,
    /// `NAMESPACE/POD`, or `NAMESPACE`.
    pub(crate) workload: String,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, workload, message, .. } = self;
        write!(formatter, "{object} {workload}: {message}")
    }
}

/// One line of a stream of flow events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A request.
    Flow(Box<FlowEvent>),
    /// So many flow events are missing here, since they came faster than they were read.
    Missed(u64),
    /// Something to know.
    Notice(Notice),
    /// What a later version of baton has written.
    Other,
}

impl Record {
    /// This record as a line, with values shortened unless they are to be shown.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub(crate) fn line(self, line: String, show_values: bool) -> anyhow::Result<String> {
        match self {
            Self::Flow(event) => event.json(show_values),
            _ => Ok(line),
        }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// If it is none of a stream of flow events.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Kinded<'a> {
            kind: &'a str,
        }
        #[derive(Deserialize)]
        struct Missed {
            count: u64,
        }
        let kinded: Kinded<'_> = serde_json::from_str(line).context("not a flow event")?;
        Ok(match kinded.kind {
            "inbound" | "outbound" | "response" => Self::Flow(serde_json::from_str(line).context("not a flow event")?),
            "missed" => Self::Missed(serde_json::from_str::<Missed>(line).context("not a count")?.count),
            "notice" => Self::Notice(serde_json::from_str(line).context("not a notice")?),
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A lost outbound request.
    pub(crate) fn lost() -> FlowEvent {
        FlowEvent {
            time: "2026-01-02T03:04:05.678901Z".to_owned(),
            kind: Kind::Outbound,
            workload: "shop/cart-1".to_owned(),
            pid: 5,
            tid: 7,
            comm: "python3".to_owned(),
            runtime: Cow::Borrowed("python"),
            method: "GET".to_owned(),
            path: "/stock/7".to_owned(),
            peer: "127.0.0.1:80".to_owned(),
            headers: Vec::new(),
            verdict: Some(Cow::Borrowed("lost")),
            reason: Some(Cow::Borrowed("ambiguous")),
            context: Some("00000000000000ab".to_owned()),
            ..FlowEvent::default()
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let line = serde_json::to_string(&lost()).expect("plain data");
        assert_eq!(Record::parse(&line).expect("a flow event"), Record::Flow(Box::new(lost())));
        assert_eq!(Record::parse(r#"{"kind":"missed","count":3}"#).expect("a count"), Record::Missed(3));
        assert_eq!(Record::parse(r#"{"kind":"of tomorrow"}"#).expect("something"), Record::Other);
    }

    #[test]
    fn values_are_shortened() {
        let values = [("x-tenant-id".to_owned(), "grüße an alle".to_owned()), ("b3".to_owned(), "0".to_owned())];
        let mut event = FlowEvent { values: values.into(), ..lost() };
        event.redact();
        assert_eq!(event.values["x-tenant-id"], "grüß… (15)");
        assert_eq!(event.values["b3"], "0… (1)");
    }

    #[test]
    fn what_is_shortened_stays_so() {
        assert_eq!(redacted(&redacted("dev-seven")), "dev-… (9)");
        assert_eq!(redacted("a long value… (9)"), "a lo… (19)");
    }

    #[test]
    fn prefixes_stand_for_what_was_found() {
        let values = [("uberctx-user".to_owned(), "1".to_owned()), ("uberctx-run".to_owned(), "2".to_owned())].into();
        let headers = vec!["b3".to_owned(), "uberctx-*".to_owned(), "ot-*".to_owned()];
        let event = FlowEvent { headers, values, ..lost() };
        assert_eq!(event.names(), ["b3", "uberctx-run", "uberctx-user", "ot-*"]);
        assert!(is_name("ot-*", "OT-Tracer") && is_name("b3", "B3") && !is_name("b3", "b") && !is_name("ot-*", "o"));
    }

    #[test]
    fn terminals_are_safe() {
        assert_eq!(harmless("a\u{1b}[31mb\n\u{202e}c"), "a\u{fffd}[31mb\u{fffd}\u{fffd}c");
    }

    #[test]
    fn what_is_no_flow_event_is_an_error() {
        for line in ["", "GET / HTTP/1.1", "[]", r#"{"kind":"inbound"}"#, r#"{"kind":"missed"}"#] {
            assert!(Record::parse(line).is_err(), "{line}");
        }
    }
}
