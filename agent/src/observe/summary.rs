//! What happened, in numbers.

use std::collections::BTreeMap;

use baton_common::flow::{Reason, Verdict, counter};
use serde::Serialize;

use crate::datapath::load::Datapath;
use crate::datapath::workload::Workloads;

/// Counters of all workloads together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    event: &'static str,
    inbound: u64,
    outbound: u64,
    injected: u64,
    already_present: u64,
    nothing_to_insert: u64,
    /// Outbound requests of event loops that cannot be followed, which were only counted.
    not_looked_at: u64,
    /// Outbound requests that lost their context, by reason.
    lost: BTreeMap<&'static str, u64>,
    /// Inbound connections or requests that were not followed, by reason.
    not_followed: BTreeMap<&'static str, u64>,
    lines_dropped: u64,
    events_dropped: u64,
    not_enrolled: u64,
}

impl Summary {
    /// Reads the counters.
    pub(crate) fn of(datapath: &Datapath, workloads: &Workloads) -> anyhow::Result<Self> {
        let sum = workloads.total(datapath)?;
        let by_reason = |count: &dyn Fn(Reason) -> u64| {
            let counts = Reason::ALL.iter().map(|reason| (reason.name(), count(*reason)));
            counts.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>()
        };
        Ok(Self {
            event: "summary",
            inbound: sum.get(counter::INBOUND),
            outbound: sum.get(counter::OUTBOUND),
            injected: sum.outbound(Verdict::Injected),
            already_present: sum.outbound(Verdict::AlreadyPresent),
            nothing_to_insert: sum.outbound(Verdict::NothingToInsert),
            not_looked_at: sum.get(counter::NOT_LOOKED_AT),
            lost: by_reason(&|reason| sum.lost(reason)),
            not_followed: by_reason(&|reason| sum.not_followed(reason)),
            lines_dropped: sum.get(counter::LINES_DROPPED),
            events_dropped: sum.get(counter::EVENTS_DROPPED),
            not_enrolled: sum.get(counter::NOT_ENROLLED),
        })
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// One paragraph.
    pub(crate) fn text(&self) -> String {
        let lost: u64 = self.lost.values().sum();
        let mut text = format!(
            "baton: {} in, {} out: headers inserted in {}, nothing to insert in {}, already present in {}",
            requests(self.inbound),
            requests(self.outbound),
            self.injected,
            self.nothing_to_insert,
            self.already_present,
        );
        if self.inbound + self.outbound == 0 {
            "baton: no HTTP/1 request was read or sent".clone_into(&mut text);
        }
        text.push_str(&if lost == 0 {
            ", none lost.".to_owned()
        } else {
            format!(", {lost} lost ({}).", list(&self.lost))
        });
        if self.not_looked_at > 0 {
            let further = requests(self.not_looked_at);
            text.push_str(&format!(
                " {further} more of event loops that cannot be followed had no look: nobody watched."
            ));
        }
        if !self.not_followed.is_empty() {
            text.push_str(&format!(" Accepted connections not followed: {}.", list(&self.not_followed)));
        }
        for (count, what) in [
            (self.lines_dropped, "inbound requests had a header line that is illegal or too long and was not carried"),
            (self.events_dropped, "flow events found no room and are missing"),
            (self.not_enrolled, "connections could not be followed"),
        ] {
            if count > 0 {
                text.push_str(&format!(" {count} {what}."));
            }
        }
        text
    }
}

fn requests(count: u64) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

fn list(counts: &BTreeMap<&'static str, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_counted_is_said_beside_what_is_lost() {
        let lost = BTreeMap::from([("unsupported-runtime", 1)]);
        let text = Summary { inbound: 9, outbound: 9, not_looked_at: 8, lost, ..Summary::default() }.text();
        let said = "1 lost (1 unsupported-runtime). 8 requests more of event loops that cannot be followed had no look";
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn the_text_names_reasons_by_weight() {
        let lost = BTreeMap::from([("no-context", 1), ("ambiguous", 3)]);
        let text = Summary { inbound: 1, outbound: 5, injected: 1, lost, ..Summary::default() }.text();
        assert!(text.starts_with("baton: 1 request in, 5 requests out: headers inserted in 1,"), "{text}");
        assert!(text.ends_with("4 lost (3 ambiguous, 1 no-context)."), "{text}");
        assert_eq!(Summary::default().text(), "baton: no HTTP/1 request was read or sent, none lost.");
    }
}
