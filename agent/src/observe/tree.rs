//! A journey as people read it: a tree of hops, and what it comes to.

use std::fmt::Write as _;

use super::conclusion;
use super::flow::{FlowEvent, harmless};
use super::journey::{Call, Hop, Join};
use super::line;
use super::neighbour::Neighbour;
use super::remedy::{self, Explained};
use super::style::{BAD, FAINT, GOOD, STRONG, WARNING};

/// Draws journeys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    /// Whether values are shown in full.
    pub(crate) show_values: bool,
}

impl Tree {
    /// `hop` and all below it, and a conclusion.
    pub(crate) fn draw(self, hop: &Hop<'_>) -> String {
        let mut text = String::new();
        self.hop(&mut text, hop, "");
        let _ = writeln!(text, "\n{STRONG}{}{STRONG:#}", conclusion::of(hop));
        text
    }

    fn hop(self, text: &mut String, hop: &Hop<'_>, indent: &str) {
        let Hop { inbound, response, sent_by, sender, left_out, .. } = hop;
        let [method, path, workload, runtime] =
            [&inbound.method, &inbound.path, &inbound.workload, &*inbound.runtime].map(harmless);
        let peer = match sender {
            Some(sender) => format!("{} ({})", harmless(&inbound.peer), named(sender)),
            None => harmless(&line::peer(inbound)),
        };
        let _ = writeln!(
            text,
            "{STRONG}{workload}{STRONG:#}  {method} {path}  {FAINT}from {peer}, read by {} ({runtime}){FAINT:#}{}",
            thread(inbound),
            answer(*response)
        );
        let below = |is_last| if is_last { "   " } else { "│  " };
        let total = hop.all().count();
        let bar = format!("{indent}{}", below(total == 0));
        if let Some(sent_by) = sent_by {
            self.origin(text, &bar, sent_by);
        }
        let last = hop.last();
        let _ = writeln!(text, "{bar}{}", self.carried(inbound, last));
        if let Some(explained) = remedy::of_inbound(last) {
            Self::explained(text, &bar, explained);
        }
        if total == 0 {
            let _ = writeln!(text, "{indent}   {FAINT}sent no request that baton has seen{FAINT:#}");
        }
        for (number, (is_certain, call)) in hop.all().enumerate() {
            let is_last = number + 1 == total;
            let branch = if is_last { "└─ " } else { "├─ " };
            let _ = write!(text, "{indent}{branch}");
            self.call(text, hop, call, is_certain, &format!("{indent}{}", below(is_last)));
        }
        if *left_out > 0 {
            let _ = writeln!(text, "{indent}   {WARNING}and perhaps {left_out} more{WARNING:#}");
        }
    }

    /// What an inbound request carried, and what became of it, as the last event of it says.
    fn carried(self, inbound: &FlowEvent, last: &FlowEvent) -> String {
        let found = match harmless(&inbound.fields(self.show_values, ": ").join(", ")).as_str() {
            "" if remedy::is_not_understood(inbound) => "its headers are not known".to_owned(),
            "" => format!("{WARNING}carried none of the configured headers{WARNING:#}"),
            found => format!("carried {found}"),
        };
        match last.reason.as_deref() {
            Some(reason) if remedy::is_loss(last) => format!("{found}  {BAD}LOST HERE: {}{BAD:#}", harmless(reason)),
            Some(reason) => format!("{found}  {WARNING}({}){WARNING:#}", harmless(reason)),
            None => found,
        }
    }

    /// The outbound request that the first inbound one was, where its cause is not known.
    fn origin(self, text: &mut String, indent: &str, outbound: &FlowEvent) {
        let _ = writeln!(
            text,
            "{indent}sent by {STRONG}{}{STRONG:#}  {FAINT}{}{FAINT:#}  {}",
            harmless(&outbound.workload),
            thread(outbound),
            outcome(outbound)
        );
        if let Some(explained) = remedy::of_outbound(outbound, None) {
            Self::explained(text, indent, explained);
        }
    }

    fn call(self, text: &mut String, hop: &Hop<'_>, call: &Call<'_>, is_certain: bool, indent: &str) {
        let (outbound, last) = (call.outbound, hop.last());
        let perhaps = if is_certain { String::new() } else { format!("{WARNING}perhaps:{WARNING:#} ") };
        let _ = writeln!(
            text,
            "{perhaps}{}  {FAINT}to {}, by {}{FAINT:#}  {}{}",
            request(outbound),
            harmless(&line::peer(outbound)),
            thread(outbound),
            outcome(outbound),
            answer(call.response)
        );
        if let Some(explained) = remedy::of_outbound(outbound, Some(last)) {
            Self::explained(text, indent, explained);
        }
        match (&call.next, &call.receiver) {
            (Some(next), _) => {
                let _ = write!(text, "{indent}└─ ");
                if call.joined_by == Some(Join::Value) {
                    let _ = write!(text, "{WARNING}probably:{WARNING:#} ");
                }
                self.hop(text, next, &format!("{indent}   "));
            }
            (None, Some(receiver)) => {
                let _ = writeln!(text, "{indent}{FAINT}{}{FAINT:#}", got(receiver));
            }
            (None, None) => {
                let _ = writeln!(
                    text,
                    "{indent}{FAINT}its other end is not followed on this node: elsewhere, behind a service or proxy, or not switched on{FAINT:#}"
                );
            }
        }
    }

    fn explained(text: &mut String, indent: &str, explained: Explained) {
        let _ = writeln!(text, "{indent}{BAD}why:{BAD:#} {}", explained.why);
        let _ = writeln!(text, "{indent}{GOOD}do:{GOOD:#}  {}", explained.remedy);
    }
}

/// Method and path, where there are some.
pub(super) fn request(outbound: &FlowEvent) -> String {
    match harmless(&format!("{} {}", outbound.method, outbound.path)).trim() {
        "" => "(no HTTP/1)".to_owned(),
        request => request.to_owned(),
    }
}

/// The process, its thread if that is not the first one, and what ran on it if that is something else.
pub(super) fn thread(event: &FlowEvent) -> String {
    let FlowEvent { comm, pid, tid, .. } = event;
    let thread = if pid == tid { String::new() } else { format!(" thread {tid}") };
    let executor = match event.executor.as_deref() {
        None | Some("thread") => String::new(),
        Some(executor) => format!(", {executor}"),
    };
    harmless(&format!("{comm}[{pid}]{thread}{executor}"))
}

/// What became of an outbound request.
fn outcome(event: &FlowEvent) -> String {
    match (event.verdict.as_deref(), event.reason.as_deref()) {
        (Some("injected"), _) => format!("{GOOD}inserted {}{GOOD:#}", harmless(&event.headers.join(", "))),
        (Some("already-present"), _) if event.headers.is_empty() => {
            format!("{WARNING}has headers of its own{WARNING:#}")
        }
        (Some("already-present"), _) => {
            format!("{WARNING}has its own {}{WARNING:#}", harmless(&event.headers.join(", ")))
        }
        (Some("nothing-to-insert"), _) => format!("{FAINT}nothing to insert{FAINT:#}"),
        (_, reason) => format!("{BAD}LOST HERE: {}{BAD:#}", harmless(reason.unwrap_or("unknown"))),
    }
}

/// Who got a request that no flow event tells more of.
fn got(receiver: &Neighbour) -> String {
    let (named, cgroup) = (named(receiver), harmless(&receiver.cgroup));
    let known = match receiver.is_seen {
        Some(true) => return format!("got by {named} on this node, which baton follows, but not on this connection"),
        Some(false) => "which is not switched on: what it sends is not seen",
        None => "and some requests of this time are not known: perhaps it is followed",
    };
    format!("got by {named} on this node, in the cgroup {cgroup}, {known}")
}

/// A process's name and number.
pub(super) fn named(neighbour: &Neighbour) -> String {
    format!("{}[{}]", harmless(&neighbour.comm), neighbour.pid)
}

fn answer(response: Option<&FlowEvent>) -> String {
    let Some((status, time)) = response.and_then(|response| response.status.zip(response.latency_us)) else {
        return String::new();
    };
    format!("  {status} in {:.1} ms", time as f64 / 1000.0)
}
