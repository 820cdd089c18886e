//! What a journey comes to, in a few sentences.

use super::flow::harmless;
use super::journey::{Call, Hop};
use super::neighbour::Neighbour;
use super::remedy;
use super::tree::{named, request};

/// Places that are named.
const MOST: usize = 3;

/// What was found in a journey, from its beginning to its end.
#[derive(Debug, Default)]
struct Found<'a> {
    lost: Vec<Loss>,
    /// Who got headers and is not switched on.
    unseen: Vec<&'a Neighbour>,
    /// Requests to which headers were added.
    inserted: usize,
}

/// A place where headers were lost.
#[derive(Debug)]
struct Loss {
    is_certain: bool,
    workload: String,
    reason: String,
    /// The first request.
    request: String,
    /// So many more like it.
    more: usize,
}

/// The conclusion, a sentence a line.
pub(super) fn of(hop: &Hop<'_>) -> String {
    let mut found = Found::default();
    found.look(hop);
    let mut sentences = Vec::new();
    let is_empty = hop.inbound.headers.is_empty() && !remedy::is_not_understood(hop.inbound);
    if is_empty {
        sentences.push(match hop.sent_by {
            Some(sent_by) => {
                let reason = sent_by.reason.as_deref().unwrap_or("nothing was inserted there");
                format!("Lost before, in {}: {reason}.", sent_by.workload)
            }
            None => {
                let sender = hop.sender.as_ref().map_or_else(|| hop.inbound.peer.clone(), named);
                let workload = &hop.inbound.workload;
                format!("It came to {workload} without the headers: look at who sends, {sender}, one hop earlier.")
            }
        });
    }
    sentences.extend(told("Lost", found.lost.iter().filter(|loss| loss.is_certain)));
    sentences.extend(told("Perhaps lost", found.lost.iter().filter(|loss| !loss.is_certain)));
    if sentences.is_empty() {
        let nothing = if found.inserted > 0 { "was lost" } else { "was sent on that could have lost the headers" };
        sentences.push(format!("Nothing {nothing}, as far as baton sees."));
    }
    sentences.extend(found.unseen.iter().take(MOST).map(|receiver| unseen(receiver)));
    harmless_lines(&sentences)
}

/// The places in one sentence, if there are some.
fn told<'a>(what: &str, losses: impl Iterator<Item = &'a Loss>) -> Option<String> {
    let mut places: Vec<String> = losses.map(Loss::told).collect();
    if places.len() > MOST {
        let rest = places.split_off(MOST).len();
        places.push(format!("and {rest} more"));
    }
    (!places.is_empty()).then(|| format!("{what} in {}.", places.join("; in ")))
}

fn unseen(receiver: &Neighbour) -> String {
    let how = if receiver.cgroup.contains("kubepods") {
        "the label baton.dev/propagation on its pod".to_owned()
    } else if receiver.cgroup.ends_with('/') {
        "run it in a cgroup of its own, and name that with --cgroup".to_owned()
    } else {
        format!("--cgroup {}", receiver.cgroup)
    };
    format!("If they are missing behind {}, switch it on: {how}.", named(receiver))
}

fn harmless_lines(lines: &[String]) -> String {
    lines.iter().map(|line| harmless(line)).collect::<Vec<_>>().join("\n")
}

impl Loss {
    fn told(&self) -> String {
        let Self { workload, reason, request, more, .. } = self;
        let more = if *more > 0 { format!(" (and {more} more)") } else { String::new() };
        format!("{workload}, {request}: {reason}{more}")
    }
}

impl<'a> Found<'a> {
    fn look(&mut self, hop: &'a Hop<'_>) {
        let inbound = hop.inbound;
        let last = hop.last();
        if let (true, Some(reason)) = (remedy::is_loss(last), last.reason.as_deref()) {
            self.add(true, &inbound.workload, reason, request(inbound));
        }
        for (is_certain, call) in hop.all() {
            self.look_at(hop, call, is_certain);
        }
    }

    fn look_at(&mut self, hop: &Hop<'_>, call: &'a Call<'_>, is_certain: bool) {
        let outbound = call.outbound;
        match outbound.verdict.as_deref() {
            Some("lost") if remedy::follows_from(outbound, hop.last()) => {}
            Some("lost") => {
                let reason = outbound.reason.as_deref().unwrap_or("unknown");
                self.add(is_certain, &outbound.workload, reason, format!("{} to {}", request(outbound), outbound.peer));
            }
            Some("injected") => self.inserted += 1,
            _ => {}
        }
        if let (Some("injected" | "already-present"), Some(receiver)) = (outbound.verdict.as_deref(), &call.receiver)
            && receiver.is_seen == Some(false)
            && !self.unseen.iter().any(|other| other.pid == receiver.pid)
        {
            self.unseen.push(receiver);
        }
        if let Some(next) = &call.next {
            self.look(next);
        }
    }

    fn add(&mut self, is_certain: bool, workload: &str, reason: &str, request: String) {
        let is_alike = |loss: &&mut Loss| {
            (loss.is_certain, loss.workload.as_str(), loss.reason.as_str()) == (is_certain, workload, reason)
        };
        match self.lost.iter_mut().find(is_alike) {
            Some(loss) => loss.more += 1,
            None => {
                let (workload, reason) = (workload.to_owned(), reason.to_owned());
                self.lost.push(Loss { is_certain, workload, reason, request, more: 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::{FlowEvent, Kind};
    use crate::observe::journey;

    fn event(kind: Kind, path: &str) -> FlowEvent {
        FlowEvent {
            kind,
            workload: "shop".to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            peer: "10.0.0.1:80".to_owned(),
            context: Some("c1".to_owned()),
            ..FlowEvent::default()
        }
    }

    fn inbound() -> FlowEvent {
        FlowEvent { headers: vec!["x-tenant-id".to_owned()], ..event(Kind::Inbound, "/") }
    }

    fn lost(path: &str, reason: &'static str) -> FlowEvent {
        FlowEvent { verdict: Some("lost".into()), reason: Some(reason.into()), ..event(Kind::Outbound, path) }
    }

    fn concluded(events: &[FlowEvent]) -> String {
        of(&journey::of(events, 0).expect("an inbound request"))
    }

    #[test]
    fn losses_are_named_with_their_place() {
        let events = [
            inbound(),
            lost("/a", "egress-denied"),
            lost("/b", "egress-denied"),
            lost("/c", "expired"),
            lost("/d", "ambiguous"),
        ];
        assert_eq!(
            concluded(&events),
            "Lost in shop, GET /a to 10.0.0.1:80: egress-denied (and 1 more); in shop, GET /c to 10.0.0.1:80: expired.\n\
             Perhaps lost in shop, GET /d to 10.0.0.1:80: ambiguous."
        );
    }

    #[test]
    fn what_follows_from_a_loss_is_none_of_its_own() {
        let cut = FlowEvent {
            reason: Some("head-too-large".into()),
            context: None,
            headers: Vec::new(),
            ..event(Kind::Inbound, "/")
        };
        let events = [cut, FlowEvent { context: None, ..lost("/a", "no-context") }];
        assert_eq!(concluded(&events), "Lost in shop, GET /: head-too-large.");
    }

    #[test]
    fn where_nothing_is_lost_that_is_said() {
        let inserted = FlowEvent { verdict: Some("injected".into()), ..event(Kind::Outbound, "/a") };
        assert_eq!(concluded(&[inbound(), inserted]), "Nothing was lost, as far as baton sees.");
        assert!(concluded(&[inbound()]).starts_with("Nothing was sent on"));
        let without = event(Kind::Inbound, "/");
        assert!(
            concluded(&[without]).starts_with("It came to shop without the headers: look at who sends, 10.0.0.1:80")
        );
    }

    #[test]
    fn a_hop_that_is_not_switched_on_is_named() {
        let events = [inbound(), FlowEvent { verdict: Some("injected".into()), ..event(Kind::Outbound, "/a") }];
        let mut hop = journey::of(&events, 0).expect("an inbound request");
        let receiver = |cgroup: &str| Neighbour {
            pid: 7,
            comm: "cart".to_owned(),
            cgroup: cgroup.to_owned(),
            is_seen: Some(false),
        };
        for (cgroup, how) in [
            ("/sys/fs/cgroup/cart.service", "--cgroup /sys/fs/cgroup/cart.service."),
            ("/sys/fs/cgroup/kubepods/pod1/a", "the label baton.dev/propagation on its pod."),
            ("/sys/fs/cgroup/", "run it in a cgroup of its own"),
        ] {
            hop.look_around(&mut |_| Some(receiver(cgroup)));
            let text = of(&hop);
            assert!(text.contains(&format!("If they are missing behind cart[7], switch it on: {how}")), "{text}");
        }
        hop.look_around(&mut |_| Some(Neighbour { is_seen: None, ..receiver("/") }));
        assert_eq!(of(&hop), "Nothing was lost, as far as baton sees.");
    }
}
