//! What was learnt, for people and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::hop::{Forwarded, Hop, Passed};
use super::seen::{Place, Seen, Workload};
use super::suggest::Suggestion;
use crate::config::addresses::{Addresses, lies_in};
use crate::observe::flow::harmless;
use crate::observe::remedy;
use crate::observe::style::{BAD, FAINT, GOOD, STRONG, WARNING};

/// Most kinds of outbound requests that people are told of in one workload.
const HOPS: usize = 20;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    /// How long it was watched.
    seconds: f64,
    /// Requests that are not known, since there were too many.
    missed: u64,
    /// By name.
    workloads: Vec<Reported<'a>>,
    /// What carries all that is needed.
    suggestion: Suggested,
}

/// One workload.
#[derive(Debug, Serialize)]
struct Reported<'a> {
    name: &'a str,
    inbound: u64,
    outbound: u64,
    /// Inbound requests by header.
    headers: &'a BTreeMap<String, u64>,
    hops: Vec<ReportedHop<'a>>,
    /// Outbound requests that are in none of the hops.
    others: u64,
    /// The headers that the application does not pass on by itself, or not always.
    needs: BTreeSet<String>,
}

/// One kind of outbound requests.
#[derive(Debug, Serialize)]
struct ReportedHop<'a> {
    peer: &'a str,
    peer_name: Option<&'a str>,
    workload: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    /// Whether headers may go there without `--egress`.
    internal: bool,
    requests: u64,
    headers: &'a BTreeMap<String, Passed>,
    unattributed: &'a BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Suggested {
    #[serde(flatten)]
    suggestion: Suggestion,
    options: String,
    helm: String,
}

impl<'a> Report<'a> {
    /// What `seen` says, after it was watched for `time`.
    pub(super) fn of(seen: &'a Seen, time: Duration) -> Self {
        let workloads: Vec<_> = seen.workloads.iter().map(|(name, workload)| reported(name, workload)).collect();
        let needed = workloads.iter().flat_map(|workload| workload.needs.iter().cloned()).collect();
        let all = seen.workloads.values().flat_map(|workload| workload.headers.keys().cloned()).collect();
        let suggestion = Suggestion::smallest(&needed, &all);
        let (options, helm) = (suggestion.options(), suggestion.helm());
        let suggestion = Suggested { suggestion, options, helm };
        Self { seconds: time.as_secs_f64(), missed: seen.missed, workloads, suggestion }
    }

    /// For people, with styles that a terminal understands. `place` are further options of the command that is suggested.
    pub(super) fn text(&self, place: &str) -> String {
        let mut text = String::new();
        for workload in &self.workloads {
            workload.tell(&mut text);
        }
        let Suggested { suggestion, options, helm } = &self.suggestion;
        let has_headers = self.workloads.iter().any(|workload| !workload.headers.is_empty());
        if !suggestion.is_empty() {
            let _ = writeln!(text, "{STRONG}To carry what is not passed on:{STRONG:#}");
            let _ = writeln!(text, "  baton run {options}{place}");
            let _ = writeln!(text, "{FAINT}or, in Kubernetes, with baton's chart:{FAINT:#}");
            let _ = writeln!(text, "  {helm}");
        } else if has_headers {
            let _ = writeln!(text, "Nothing is needed: no header was seen that an application did not pass on.");
        } else if !self.workloads.is_empty() {
            let _ = writeln!(text, "No request carried any of the headers that were looked for.");
        }
        if self.missed > 0 {
            let _ = writeln!(text, "{WARNING}{} more requests came too fast to be looked at.{WARNING:#}", self.missed);
        }
        text
    }
}

fn reported<'a>(name: &'a str, workload: &'a Workload) -> Reported<'a> {
    let hops: Vec<_> = workload.hops.iter().map(|(place, hop)| reported_hop(place, hop)).collect();
    let internal = workload.hops.iter().filter(|(place, _)| is_internal(&place.peer));
    let needs = internal.flat_map(|(_, hop)| hop.lacking(workload.headers.keys())).map(str::to_owned).collect();
    let Workload { inbound, outbound, others, headers, .. } = workload;
    Reported { name, inbound: *inbound, outbound: *outbound, others: *others, headers, hops, needs }
}

fn reported_hop<'a>(place: &'a Place, hop: &'a Hop) -> ReportedHop<'a> {
    ReportedHop {
        peer: &place.peer,
        peer_name: hop.peer_name.as_deref(),
        workload: hop.led_to.as_deref(),
        method: &place.method,
        path: &place.path,
        internal: is_internal(&place.peer),
        requests: hop.requests,
        headers: &hop.headers,
        unattributed: &hop.unattributed,
    }
}

/// Whether headers may go to `peer` without `--egress`.
fn is_internal(peer: &str) -> bool {
    let address = peer.parse().map(|peer: SocketAddr| IpNet::from(peer.ip()));
    address.is_ok_and(|address| lies_in(&address, Addresses::new(&[], &[]).egress()))
}

impl Reported<'_> {
    fn tell(&self, text: &mut String) {
        let Self { name, inbound, outbound, .. } = self;
        let _ = writeln!(text, "{STRONG}{}{STRONG:#}  {inbound} requests in, {outbound} out", harmless(name));
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (header, count) in headers {
            let share = 100.0 * *count as f64 / (*inbound).max(1) as f64;
            let _ = writeln!(text, "  {:<36} in {share:5.1} % of the inbound requests", harmless(header));
        }
        if self.headers.is_empty() && *inbound > 0 {
            let _ =
                writeln!(text, "  {FAINT}no inbound request carried any of the headers that were looked for{FAINT:#}");
        }
        let mut hops: Vec<_> = self.hops.iter().collect();
        hops.sort_by_key(|hop| std::cmp::Reverse(hop.requests));
        for hop in hops.iter().take(HOPS) {
            hop.tell(text);
        }
        let more = self.others + hops.iter().skip(HOPS).map(|hop| hop.requests).sum::<u64>();
        if more > 0 {
            let _ = writeln!(text, "  {FAINT}and {more} requests of other kinds{FAINT:#}");
        }
        if !self.needs.is_empty() {
            let needs = self.needs.iter().map(|name| harmless(name)).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "  {STRONG}needs{STRONG:#} {needs}");
        }
        text.push('\n');
    }
}

impl ReportedHop<'_> {
    fn tell(&self, text: &mut String) {
        let name = self.workload.or(self.peer_name).map(|name| format!("{name} ")).unwrap_or_default();
        let [name, method, path, peer] = [&*name, self.method, self.path, self.peer].map(harmless);
        let _ = writeln!(text, "  → {name}{FAINT}{peer}{FAINT:#}  {method} {path}  {} requests", self.requests);
        if !self.internal {
            let _ = writeln!(text, "      {FAINT}not internal: gets headers only with --egress{FAINT:#}");
        }
        for (header, passed) in self.headers {
            let (style, fate) = fate(*passed);
            let _ = writeln!(text, "      {:<32} {style}{fate}{style:#}", harmless(header));
        }
        for (reason, count) in self.unattributed {
            let why = remedy::of(reason).map(|explained| format!(". {}", explained.why)).unwrap_or_default();
            let reason = harmless(reason);
            let _ = writeln!(
                text,
                "      {WARNING}what caused {count} of them is not known: {reason}{WARNING:#}{FAINT}{why}{FAINT:#}"
            );
        }
    }
}

/// What becomes of a header, in words.
fn fate(passed: Passed) -> (anstyle::Style, String) {
    let Passed { had, kept, dropped, changed, own } = passed;
    let known = kept + dropped;
    let (style, mut text) = match passed.forwarded() {
        Forwarded::Always => (GOOD, format!("passed on by itself ({kept} of {known})")),
        Forwarded::Sometimes => (WARNING, format!("sometimes passed on ({kept} of {known})")),
        Forwarded::Never => (BAD, format!("never passed on (0 of {known})")),
        Forwarded::Unknown => (WARNING, format!("not known: some header was not passed on in {had}")),
        Forwarded::Own => (FAINT, format!("sent of its own ({own})")),
    };
    if changed > 0 {
        let _ = write!(text, ", with another value in {changed}");
    }
    (style, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::{FlowEvent, Kind, Record};

    fn seen() -> Seen {
        let mut seen = Seen::default();
        let inbound = |workload: &str, context: &str, peer: &str, names: &[&str]| FlowEvent {
            kind: Kind::Inbound,
            workload: workload.to_owned(),
            context: Some(context.to_owned()),
            method: "GET".to_owned(),
            path: "/stock/7".to_owned(),
            peer: peer.to_owned(),
            headers: names.iter().map(|name| (*name).to_owned()).collect(),
            ..FlowEvent::default()
        };
        let outbound = |peer: &str| FlowEvent {
            kind: Kind::Outbound,
            workload: "shop".to_owned(),
            context: Some("1".to_owned()),
            method: "GET".to_owned(),
            path: "/stock/7".to_owned(),
            peer: peer.to_owned(),
            local: Some("10.0.0.1:5000".to_owned()),
            verdict: Some("lost".into()),
            reason: Some("egress-denied".into()),
            ..FlowEvent::default()
        };
        for event in [
            inbound("shop", "1", "10.9.9.9:1", &["x-request-id", "x-telepresence-id"]),
            outbound("10.0.0.2:80"),
            inbound("stock", "2", "10.0.0.1:5000", &["x-request-id"]),
            inbound("shop", "3", "10.9.9.9:1", &[]),
            FlowEvent { context: None, reason: Some("ambiguous".into()), ..outbound("198.51.100.1:80") },
        ] {
            seen.add(&Record::Flow(Box::new(event)));
        }
        seen.settle_all();
        seen
    }

    #[test]
    fn people_read_what_is_passed_on_and_what_is_needed() {
        let seen = seen();
        let text = Report::of(&seen, Duration::from_secs(60)).text(" --cgroup /shop");
        let plain = anstream::adapter::strip_str(&text).to_string();
        let expected = "\
shop  2 requests in, 2 out
  x-request-id                         in  50.0 % of the inbound requests
  x-telepresence-id                    in  50.0 % of the inbound requests
  → stock 10.0.0.2:80  GET /stock/*  1 requests
      x-request-id                     passed on by itself (1 of 1)
      x-telepresence-id                never passed on (0 of 1)
  → 198.51.100.1:80  GET /stock/*  1 requests
      not internal: gets headers only with --egress
      what caused 1 of them is not known: ambiguous. ";
        assert!(plain.starts_with(expected), "{plain}");
        let rest = "
  needs x-telepresence-id

stock  1 requests in, 0 out
  x-request-id                         in 100.0 % of the inbound requests

To carry what is not passed on:
  baton run --headers x-telepresence-id --cgroup /shop
or, in Kubernetes, with baton's chart:
  --set 'config.headers={x-telepresence-id}'
";
        assert!(plain.ends_with(rest), "{plain}");
    }

    #[test]
    fn programs_read_the_same() {
        let seen = seen();
        let json = serde_json::to_value(Report::of(&seen, Duration::from_secs(60))).expect("plain data");
        let shop = &json["workloads"][0];
        assert_eq!((&shop["name"], &shop["headers"]["x-request-id"]), (&"shop".into(), &1.into()));
        let hop = &shop["hops"][0];
        assert_eq!(
            (&hop["workload"], &hop["headers"]["x-request-id"]["forwarded"]),
            (&"stock".into(), &"always".into())
        );
        assert_eq!(shop["needs"], serde_json::json!(["x-telepresence-id"]));
        assert_eq!(json["suggestion"]["options"], "--headers x-telepresence-id");
    }

    #[test]
    fn nothing_is_needed_where_nothing_lacks() {
        let mut seen = seen();
        seen.workloads.remove("shop");
        let text = Report::of(&seen, Duration::from_secs(60)).text("");
        assert!(
            text.ends_with("Nothing is needed: no header was seen that an application did not pass on.\n"),
            "{text}"
        );
        for workload in seen.workloads.values_mut() {
            workload.headers.clear();
        }
        let text = Report::of(&seen, Duration::from_secs(60)).text("");
        assert!(text.ends_with("No request carried any of the headers that were looked for.\n"), "{text}");
    }
}
