//! A journey as people read it: a tree of hops.

use std::fmt::Write as _;

use super::flow::{FlowEvent, harmless};
use super::journey::{Call, Hop, Join};
use super::remedy;
use super::style::{BAD, FAINT, GOOD, STRONG, WARNING};

/// Draws journeys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    /// Whether values are shown in full.
    pub(crate) show_values: bool,
}

impl Tree {
    /// `hop` and all below it.
    pub(crate) fn draw(self, hop: &Hop<'_>) -> String {
        let mut text = String::new();
        self.hop(&mut text, hop, "");
        text
    }

    fn hop(self, text: &mut String, hop: &Hop<'_>, indent: &str) {
        let Hop { inbound, response, calls, perhaps } = hop;
        let FlowEvent { method, path, workload, comm, pid, runtime, peer, .. } = inbound;
        let [method, path, workload, comm, runtime, peer] =
            [method, path, workload, comm, &**runtime, peer].map(harmless);
        let _ = writeln!(
            text,
            "{STRONG}{workload}{STRONG:#}  {method} {path}  {FAINT}from {peer}, read by {comm}[{pid}] ({runtime}){FAINT:#}{}",
            answer(*response)
        );
        let found = match harmless(&inbound.fields(self.show_values, ": ").join(", ")).as_str() {
            "" => format!("{WARNING}carried none of the configured headers{WARNING:#}"),
            found => format!("carried {found}"),
        };
        let below = |is_last| if is_last { "   " } else { "│  " };
        let total = calls.len() + perhaps.len();
        let bar = below(total == 0);
        let _ = writeln!(text, "{indent}{bar}{found}");
        if let Some(reason) = &inbound.reason {
            Self::reason(text, &format!("{indent}{bar}"), reason);
        }
        if total == 0 {
            let _ = writeln!(text, "{indent}   {FAINT}sent no request that baton has seen{FAINT:#}");
        }
        let certain = calls.iter().map(|call| (call, true));
        for (number, (call, is_certain)) in certain.chain(perhaps.iter().map(|call| (call, false))).enumerate() {
            let is_last = number + 1 == total;
            let branch = if is_last { "└─ " } else { "├─ " };
            let _ = write!(text, "{indent}{branch}");
            self.call(text, call, is_certain, &format!("{indent}{}", below(is_last)));
        }
    }

    fn call(self, text: &mut String, call: &Call<'_>, is_certain: bool, indent: &str) {
        let FlowEvent { method, path, peer, comm, tid, .. } = call.outbound;
        let [method, path, peer, comm] = [method, path, peer, comm].map(|text| harmless(text));
        let perhaps = if is_certain { String::new() } else { format!("{WARNING}perhaps:{WARNING:#} ") };
        let _ = writeln!(
            text,
            "{perhaps}{method} {path}  {FAINT}to {peer}, by {comm}[{tid}]{FAINT:#}  {}{}",
            outcome(call.outbound),
            answer(call.response)
        );
        if let Some(reason) = &call.outbound.reason {
            Self::reason(text, indent, reason);
        }
        match &call.next {
            Some(next) => {
                let _ = write!(text, "{indent}└─ ");
                if call.joined_by == Some(Join::Value) {
                    let _ = write!(text, "{WARNING}probably:{WARNING:#} ");
                }
                self.hop(text, next, &format!("{indent}   "));
            }
            None => {
                let _ = writeln!(
                    text,
                    "{indent}{FAINT}its other end is not followed on this node: elsewhere, or not switched on{FAINT:#}"
                );
            }
        }
    }

    fn reason(text: &mut String, indent: &str, reason: &str) {
        if let Some(explained) = remedy::of(reason) {
            let _ = writeln!(text, "{indent}{BAD}why:{BAD:#} {}", explained.why);
            let _ = writeln!(text, "{indent}{GOOD}do:{GOOD:#}  {}", explained.remedy);
        }
    }
}

/// What became of an outbound request.
fn outcome(event: &FlowEvent) -> String {
    match (event.verdict.as_deref(), event.reason.as_deref()) {
        (Some("injected"), _) => format!("{GOOD}inserted {}{GOOD:#}", harmless(&event.headers.join(", "))),
        (Some("already-present"), _) => "the application sends these headers itself".to_owned(),
        (Some("nothing-to-insert"), _) => format!("{FAINT}nothing to insert{FAINT:#}"),
        (_, reason) => format!("{BAD}LOST HERE: {}{BAD:#}", harmless(reason.unwrap_or("unknown"))),
    }
}

fn answer(response: Option<&FlowEvent>) -> String {
    let Some((status, time)) = response.and_then(|response| response.status.zip(response.latency_us)) else {
        return String::new();
    };
    format!("  {status} in {:.1} ms", time as f64 / 1000.0)
}
