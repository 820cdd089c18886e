//! The fewest presets and names that carry what is needed.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::config::headers::Headers;
use crate::config::presets::PRESETS;
use crate::observe::flow::is_name;

/// Needed names beyond these are always named one by one.
const MOST: usize = 128;

/// What a preset or a name costs, and what a header that nobody has seen does: four of these are as bad as one entry.
const ENTRY: u32 = 4;
const UNSEEN: u32 = 1;

/// A preset that has something needed.
struct Candidate {
    preset: &'static str,
    /// Which of the needed names it carries, and which that nobody has seen.
    covered: u128,
    unseen: u128,
}

/// What to configure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Suggestion {
    /// Presets.
    pub(super) presets: Vec<&'static str>,
    /// Header names beside them.
    pub(super) headers: Vec<String>,
}

impl Suggestion {
    /// The fewest that carry all `needed` headers, and few that were not `seen`. Names that a shell would not take as
    /// they are may have been made to be pasted, and are left out.
    pub(super) fn smallest(needed: &BTreeSet<String>, seen: &BTreeSet<String>) -> Self {
        let needed: Vec<&str> = needed.iter().map(String::as_str).filter(|name| is_plain(name)).collect();
        let usual = Headers::usual();
        let usual = usual.of_bits(u64::MAX);
        let unseen = bits(&usual, |name| !seen.iter().any(|seen| is_name(name, seen)));
        let all = bits(&needed, |_| true);
        let candidates: Vec<Candidate> = PRESETS
            .iter()
            .map(|(preset, names)| Candidate {
                preset,
                covered: bits(&needed, |wanted| names.iter().any(|name| is_name(name, wanted))),
                unseen: unseen & bits(&usual, |name| names.contains(&name)),
            })
            .filter(|candidate| candidate.covered != 0)
            .collect();
        let chosen = |choice: u32| {
            candidates.iter().enumerate().filter(move |(place, _)| choice >> place & 1 == 1).map(|(_, chosen)| chosen)
        };
        let covered = |choice| chosen(choice).fold(0, |sum, candidate| sum | candidate.covered);
        let cost = |choice: &u32| {
            let unseen = chosen(*choice).fold(0, |sum, candidate| sum | candidate.unseen);
            let entries = choice.count_ones() + (all & !covered(*choice)).count_ones();
            // Of two that cost the same, that with fewer presets.
            (entries * ENTRY + unseen.count_ones() * UNSEEN, choice.count_ones())
        };
        let best = (0..1u32 << candidates.len()).min_by_key(cost).unwrap_or_default();
        let covered = covered(best);
        let is_left = |place: usize| place >= MOST || covered >> place & 1 == 0;
        let left = needed.iter().enumerate().filter(|(place, _)| is_left(*place));
        Self {
            presets: chosen(best).map(|candidate| candidate.preset).collect(),
            headers: left.map(|(_, name)| (*name).to_owned()).collect(),
        }
    }

    /// Whether nothing is to be configured.
    pub(super) const fn is_empty(&self) -> bool {
        self.presets.is_empty() && self.headers.is_empty()
    }

    /// As options of `baton run` and `baton exec`.
    pub(super) fn options(&self) -> String {
        let mut options: Vec<String> = self.presets.iter().map(|preset| format!("--preset {preset}")).collect();
        if !self.headers.is_empty() {
            options.push(format!("--headers {}", quoted(&self.headers.join(","))));
        }
        options.join(" ")
    }

    /// As options of `helm install` and `helm upgrade`, with the chart's values.
    pub(super) fn helm(&self) -> String {
        let set =
            |key: &str, list: &str| if list.is_empty() { None } else { Some(format!("--set '{key}={{{list}}}'")) };
        let (presets, headers) = (self.presets.join(","), self.headers.join(","));
        [set("config.presets", &presets), set("config.headers", &headers)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The places, among the first [`MOST`], of the `names` that fit.
fn bits(names: &[&str], fits: impl Fn(&str) -> bool) -> u128 {
    names.iter().take(MOST).enumerate().filter(|(_, name)| fits(name)).map(|(place, _)| 1 << place).sum()
}

/// Whether `name` means nothing else to a shell, but for a final `*`.
fn is_plain(name: &str) -> bool {
    let text = name.strip_suffix('*').unwrap_or(name);
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn quoted(list: &str) -> String {
    if list.contains('*') { format!("'{list}'") } else { list.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smallest(needed: &[&str], seen: &[&str]) -> String {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        Suggestion::smallest(&own(needed), &own(&[needed, seen].concat())).options()
    }

    #[test]
    fn few_names_are_named() {
        assert_eq!(smallest(&[], &["traceparent"]), "");
        assert_eq!(smallest(&["x-telepresence-id"], &[]), "--headers x-telepresence-id");
        assert_eq!(smallest(&["traceparent"], &["baggage"]), "--headers traceparent");
        assert_eq!(smallest(&["x-request-id", "x-own"], &[]), "--headers x-own,x-request-id");
        // One of a kind does not need the preset with seven.
        assert_eq!(smallest(&["x-request-id", "x-tenant-id"], &[]), "--headers x-request-id,x-tenant-id");
    }

    #[test]
    fn many_names_are_a_preset() {
        assert_eq!(smallest(&["traceparent", "tracestate"], &[]), "--preset w3c");
        let b3 = ["x-b3-traceid", "x-b3-spanid", "x-b3-sampled"];
        assert_eq!(smallest(&b3, &[]), "--preset b3");
        assert_eq!(smallest(&[&b3[..], &["x-tenant-id"]].concat(), &[]), "--preset b3 --headers x-tenant-id");
        assert_eq!(
            smallest(&[&b3[..], &["traceparent", "tracestate"]].concat(), &["baggage"]),
            "--preset w3c --preset b3"
        );
    }

    #[test]
    fn all_that_is_usual_is_the_default() {
        let default: Vec<&str> = crate::config::presets::DEFAULT.to_vec();
        assert_eq!(smallest(&default, &[]), "--preset default");
    }

    #[test]
    fn prefixes_carry_what_begins_so() {
        assert_eq!(smallest(&["uberctx-user", "uberctx-run", "uber-trace-id"], &[]), "--preset jaeger");
        assert_eq!(smallest(&["x-own-*"], &[]), "--headers 'x-own-*'");
    }

    #[test]
    fn every_preset_at_once_is_found_in_time() {
        let all: Vec<&str> = PRESETS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert!(smallest(&all, &[]).starts_with("--preset "));
    }

    #[test]
    fn nothing_is_pasted_that_a_shell_would_run() {
        assert_eq!(smallest(&["x-`reboot`", "x-$home", "x-ok", "x-a;b"], &[]), "--headers x-ok");
    }

    #[test]
    fn helm_takes_the_charts_values() {
        let suggestion = Suggestion { presets: vec!["w3c", "b3"], headers: vec!["x-tenant-id".to_owned()] };
        assert_eq!(suggestion.helm(), "--set 'config.presets={w3c,b3}' --set 'config.headers={x-tenant-id}'");
    }
}
