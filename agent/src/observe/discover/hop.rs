//! What a workload's outbound requests to one place say about headers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::config::presets;
use crate::observe::flow::{FlowEvent, is_name};

/// Most header names that are told apart in one place: a prefix stands for any number of them.
pub(super) const NAMES: usize = 100;

/// Presets of tracing systems: each hop gives these a value of its own.
const TRACING: [&str; 11] =
    ["w3c", "b3", "datadog", "aws", "gcp", "jaeger", "ot", "sentry", "elastic", "newrelic", "skywalking"];

/// What a request carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    names: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Cause {
    /// What the inbound request `event` carried, or the application sent in an outbound one.
    pub(super) fn of(event: &FlowEvent) -> Self {
        // A name and a prefix may both stand for the same.
        let names: BTreeSet<&str> = event.names().into_iter().collect();
        Self { names: names.into_iter().map(str::to_owned).collect(), values: event.values.clone() }
    }

    /// What it carried, each name once.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it carried `name`; where only a prefix is known, something like it.
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| is_name(own, name))
    }

    /// Whether it carried `name` with another value than `other`, where both are known and should be the same.
    fn differs(&self, name: &str, other: &Self) -> bool {
        let pair = self.values.get(name).zip(other.values.get(name));
        !is_rewritten(name) && pair.is_some_and(|(one, two)| one != two)
    }
}

/// Whether each hop gives the header `name` a value of its own.
fn is_rewritten(name: &str) -> bool {
    let tracing = presets::PRESETS.iter().filter(|(preset, _)| TRACING.contains(preset));
    name != "baggage" && tracing.flat_map(|(_, names)| *names).any(|known| is_name(known, name))
}

/// Whether the application passes a header on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Forwarded {
    /// In all requests that are known.
    Always,
    /// In some.
    Sometimes,
    /// In none.
    Never,
    /// Some header was missing each time, and it is not known which.
    Unknown,
    /// No inbound request had it: the application makes it.
    Own,
}

/// One header on its way to one place: numbers of outbound requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Whose inbound request had it.
    pub(super) had: u64,
    /// Of these: to which the application gave it by itself.
    pub(super) kept: u64,
    /// Of these: to which it did not.
    pub(super) dropped: u64,
    /// Of those that were given it: with another value.
    pub(super) changed: u64,
    /// That had it though no inbound request is known that did.
    pub(super) own: u64,
}

impl Passed {
    /// All of that in a word.
    pub(super) const fn forwarded(self) -> Forwarded {
        match self {
            Self { had: 0, .. } => Forwarded::Own,
            Self { kept: 0, dropped: 0, .. } => Forwarded::Unknown,
            Self { dropped: 0, .. } => Forwarded::Always,
            Self { kept: 0, .. } => Forwarded::Never,
            _ => Forwarded::Sometimes,
        }
    }
}

impl Serialize for Passed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            forwarded: Forwarded,
            had: u64,
            kept: u64,
            dropped: u64,
            changed: u64,
            own: u64,
        }
        let Self { had, kept, dropped, changed, own } = *self;
        Shown { forwarded: self.forwarded(), had, kept, dropped, changed, own }.serialize(serializer)
    }
}

/// Requests of one kind to one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Hop {
    /// How many there were.
    pub(super) requests: u64,
    /// By name: what became of each header.
    pub(super) headers: BTreeMap<String, Passed>,
    /// Requests of which it is not known what caused them, by reason.
    pub(super) unattributed: BTreeMap<String, u64>,
    /// The name of the other end, where it has one.
    pub(super) peer_name: Option<String>,
    /// The workload that it led to, where that is watched, too.
    pub(super) led_to: Option<String>,
}

impl Hop {
    /// A request that left with `inserted` headers; all others of its `cause` it had by itself.
    pub(super) fn inserted(&mut self, cause: Option<&Cause>, inserted: &[String]) {
        let was_inserted = |name: &str| inserted.iter().any(|own| is_name(own, name));
        let unknown = Cause { names: inserted.to_vec(), values: BTreeMap::new() };
        for name in &cause.unwrap_or(&unknown).names {
            self.count(name, |passed| {
                passed.had += 1;
                *(if was_inserted(name) { &mut passed.dropped } else { &mut passed.kept }) += 1;
            });
        }
    }

    /// A request that had all headers of its `cause`, and perhaps more, by itself: `sent`.
    pub(super) fn kept_all(&mut self, cause: Option<&Cause>, sent: &[String]) {
        if let Some(cause) = cause {
            self.inserted(Some(cause), &[]);
        }
        for name in sent.iter().filter(|name| cause.is_none_or(|cause| !cause.has(name))) {
            self.count(name, |passed| passed.own += 1);
        }
    }

    /// A request that had none of them.
    pub(super) fn dropped_all(&mut self, cause: &Cause) {
        self.inserted(Some(cause), &cause.names);
    }

    /// A request that lacked some header of its `cause`; what is not known is which, if there were several.
    pub(super) fn dropped_some(&mut self, cause: &Cause) {
        if cause.names.len() == 1 {
            return self.dropped_all(cause);
        }
        cause.names.iter().for_each(|name| self.count(name, |passed| passed.had += 1));
    }

    /// The same, where it is known what it `sent`.
    pub(super) fn sent(&mut self, cause: &Cause, sent: &Cause) {
        for name in &cause.names {
            self.count(name, |passed| {
                passed.had += 1;
                *(if sent.has(name) { &mut passed.kept } else { &mut passed.dropped }) += 1;
            });
        }
        for name in sent.names.iter().filter(|name| !cause.has(name)) {
            self.count(name, |passed| passed.own += 1);
        }
    }

    /// A request arrived at the other end with the values of `arrived`.
    pub(super) fn arrived(&mut self, cause: &Cause, arrived: &Cause) {
        for name in cause.names.iter().filter(|name| cause.differs(name, arrived)) {
            self.count(name, |passed| passed.changed += 1);
        }
    }

    /// The names, of `inbound` ones, of which some request here may have lacked what its cause had.
    pub(super) fn lacking<'a>(&'a self, inbound: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
        let is_lacking = |passed: &Passed| {
            matches!(passed.forwarded(), Forwarded::Sometimes | Forwarded::Never | Forwarded::Unknown)
        };
        let seen = self.headers.iter().filter(|(_, passed)| is_lacking(passed)).map(|(name, _)| name.as_str());
        // What works in the background has no cause, and lacks nothing.
        let is_untold = self.unattributed.keys().any(|reason| reason != "no-context");
        let had = |name: &str| self.headers.get(name).is_some_and(|passed| passed.had > 0);
        let untold = inbound.map(String::as_str).filter(|name| is_untold && !had(name));
        seen.chain(untold).collect()
    }

    fn count(&mut self, name: &str, count: impl FnOnce(&mut Passed)) {
        if self.headers.contains_key(name) || self.headers.len() < NAMES {
            count(self.headers.entry(name.to_owned()).or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(fields: &[(&str, &str)]) -> Cause {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Cause { names: fields.iter().map(|field| own(field).0).collect(), values: fields.iter().map(own).collect() }
    }

    fn forwarded(hop: &Hop, name: &str) -> Forwarded {
        hop.headers[name].forwarded()
    }

    #[test]
    fn what_was_inserted_was_not_passed_on() {
        let mut hop = Hop::default();
        hop.inserted(Some(&cause(&[("a", "1"), ("b", "2"), ("p-x", "3")])), &["b".to_owned(), "p-*".to_owned()]);
        assert_eq!(
            ["a", "b", "p-x"].map(|name| forwarded(&hop, name)),
            [Forwarded::Always, Forwarded::Never, Forwarded::Never]
        );
        hop.kept_all(Some(&cause(&[("b", "2")])), &[]);
        assert_eq!(forwarded(&hop, "b"), Forwarded::Sometimes);
    }

    #[test]
    fn a_lone_header_that_lacks_is_known() {
        let mut hop = Hop::default();
        hop.dropped_some(&cause(&[("a", "1"), ("b", "2")]));
        assert_eq!((forwarded(&hop, "a"), forwarded(&hop, "b")), (Forwarded::Unknown, Forwarded::Unknown));
        hop.dropped_some(&cause(&[("a", "1")]));
        assert_eq!((forwarded(&hop, "a"), forwarded(&hop, "b")), (Forwarded::Never, Forwarded::Unknown));
    }

    #[test]
    fn what_was_sent_says_all() {
        let mut hop = Hop::default();
        let received = cause(&[("a", "1"), ("b", "2"), ("x-request-id", "3"), ("traceparent", "00-1-2-01")]);
        let sent = cause(&[("a", "1"), ("x-request-id", "4"), ("traceparent", "00-1-3-01"), ("new", "5")]);
        hop.sent(&received, &sent);
        hop.arrived(&received, &sent);
        assert_eq!(
            ["a", "b", "x-request-id", "traceparent", "new"].map(|name| forwarded(&hop, name)),
            [Forwarded::Always, Forwarded::Never, Forwarded::Always, Forwarded::Always, Forwarded::Own]
        );
        assert_eq!((hop.headers["x-request-id"].changed, hop.headers["traceparent"].changed), (1, 0));
    }

    #[test]
    fn what_an_application_makes_is_its_own() {
        let mut hop = Hop::default();
        let sent = ["a", "b"].map(str::to_owned);
        hop.kept_all(Some(&cause(&[("a", "1")])), &sent);
        hop.kept_all(None, &sent);
        assert_eq!(hop.headers["a"], Passed { had: 1, kept: 1, own: 1, ..Passed::default() });
        assert_eq!(hop.headers["b"], Passed { own: 2, ..Passed::default() });
    }

    #[test]
    fn what_lacks_is_needed() {
        let mut hop = Hop::default();
        hop.sent(&cause(&[("a", "1"), ("b", "2")]), &cause(&[("a", "1"), ("own", "3")]));
        let inbound = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(hop.lacking(inbound.iter()), ["b"].into());
        // What nobody knows the cause of may lack all that it is not known for.
        hop.unattributed.insert("no-context".to_owned(), 1);
        assert_eq!(hop.lacking(inbound.iter()), ["b"].into());
        hop.unattributed.insert("unsupported-runtime".to_owned(), 1);
        assert_eq!(hop.lacking(inbound.iter()), ["b", "c"].into());
    }

    #[test]
    fn what_two_names_stand_for_counts_once() {
        let headers = ["uberctx-sd-sandbox", "uberctx-*"].map(str::to_owned).to_vec();
        let values = [("uberctx-sd-sandbox".to_owned(), "1".to_owned())].into();
        let cause = Cause::of(&FlowEvent { headers, values, ..FlowEvent::default() });
        assert_eq!(cause.names(), ["uberctx-sd-sandbox"]);
    }

    #[test]
    fn names_are_bounded() {
        let mut hop = Hop::default();
        (0..1000).for_each(|number| hop.kept_all(None, &[format!("p-{number}")]));
        assert_eq!(hop.headers.len(), NAMES);
    }
}
