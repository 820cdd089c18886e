//! The search for the request that is to be explained.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::cli::Explain;
use crate::observe::flow::{FlowEvent, Kind, Record, harmless, is_name};
use crate::observe::journey::Hop;
use crate::observe::neighbour::{self, Machine, Neighbour};
use crate::observe::{remedy, say};

/// Most flow events of one journey, and of what happens at the same time.
const MOST: usize = 200_000;

/// Most flow events that are kept of what was before: who sent the request may be among them.
const MOST_BEFORE: usize = 20_000;

/// How far it is with the request that fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not come yet.
    #[default]
    Before,
    /// It has come.
    Under,
    /// It has come, and its connection is not followed any more.
    GivenUp,
    /// It is answered.
    Over,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The request that fits.
    root: Option<FlowEvent>,
    /// Who sent it, once that was looked for, and if it is a process of this machine.
    sender: Option<Option<Neighbour>>,
    is_over: bool,
    /// Its connection is not followed any more.
    is_given_up: bool,
    /// The last before it.
    before: VecDeque<FlowEvent>,
    /// All from that on.
    events: Vec<FlowEvent>,
    /// Requests that are not known, since there were too many.
    pub(super) missed: u64,
    /// Inbound requests by workload, and names that they carried.
    seen: BTreeMap<String, u64>,
    names: BTreeSet<String>,
    /// Inbound requests that were not understood, by reason.
    unclear: BTreeMap<String, u64>,
}

impl Search {
    /// How many flow events it has.
    pub(super) fn len(&self) -> usize {
        self.before.len() + self.events.len()
    }

    /// Takes in what was seen.
    pub(super) fn add(&mut self, record: Record, arguments: &Explain) {
        let event = match record {
            Record::Flow(event) => *event,
            Record::Missed(count) => {
                self.missed += count;
                return;
            }
            Record::Notice(_) | Record::Other => return,
        };
        if event.kind == Kind::Inbound {
            *self.seen.entry(event.workload.clone()).or_default() += 1;
            self.names.extend(event.headers.iter().cloned());
            if remedy::is_not_understood(&event) {
                *self.unclear.entry(event.reason.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        match &self.root {
            None if event.kind == Kind::Inbound && arguments.fits(&event) => {
                self.root = Some(event.clone());
                // What was missing before is not missing in its journey.
                self.missed = 0;
            }
            None => {
                if self.before.len() == MOST_BEFORE {
                    self.before.pop_front();
                }
                self.before.push_back(event);
                return;
            }
            Some(root) => {
                let is_of_it = event.connection == root.connection;
                self.is_over |= is_of_it && event.kind == Kind::Response && event.answers == Some(Kind::Inbound);
                self.is_given_up |= is_of_it && event.kind == Kind::Inbound && event.context.is_none();
            }
        }
        if self.events.len() < MOST {
            self.events.push(event);
        }
    }

    /// Looks who sends the request, which is best done while it is under way: clients end.
    pub(super) fn look_for_sender(&mut self) {
        if let (Some(root), None) = (&self.root, &self.sender) {
            self.sender = Some(process_at(&Machine::now(), &root.peer, root.local.as_deref(), root.pid));
        }
    }

    /// All that is known, in the order of its times, and where the request is in it.
    pub(super) fn take(&mut self) -> Option<(Vec<FlowEvent>, usize)> {
        let root = self.root.as_ref()?;
        let mut events: Vec<FlowEvent> = self.before.drain(..).chain(self.events.drain(..)).collect();
        events.sort_by(|one, other| one.time.cmp(&other.time));
        let at = events.iter().position(|event| event == root)?;
        Some((events, at))
    }

    /// Says in the first hop of a journey who sent it, if that was found.
    pub(super) fn name_sender(&mut self, hop: &mut Hop<'_>, seen: &Seen) {
        if hop.sent_by.is_none() && Some(hop.inbound) == self.root.as_ref() {
            hop.sender = self.sender.take().flatten().map(|sender| among(sender, seen));
        }
    }

    /// How far it is.
    pub(super) fn stage(&self) -> Stage {
        match (&self.root, self.is_over) {
            (None, _) => Stage::Before,
            (Some(root), false) if self.is_given_up || remedy::is_not_understood(root) => Stage::GivenUp,
            (Some(_), false) => Stage::Under,
            (Some(_), true) => Stage::Over,
        }
    }

    /// Says why there is nothing to explain.
    pub(super) fn say_why_not(&self, arguments: &Explain) {
        say(&format!("no request{} was seen", arguments.wanted()));
        if self.seen.is_empty() {
            say(
                "no request at all was: is the workload switched on (`baton doctor`, the label baton.dev/propagation), does it speak cleartext HTTP/1, and was there traffic?",
            );
            return;
        }
        say(&format!("requests were seen in {}", counted(&self.seen)));
        let names = match (self.names.is_empty(), self.unclear.is_empty()) {
            (false, _) => self.names.iter().map(|name| harmless(name)).collect::<Vec<_>>().join(", "),
            (true, true) => "none of the configured headers: they were lost before this node, or never sent".to_owned(),
            (true, false) => "none of the configured headers, as far as they were understood".to_owned(),
        };
        say(&format!("they carried {names}"));
        if !self.unclear.is_empty() {
            say(&format!(
                "the headers of some are not known: {}; `baton explain` without --header and --value tells more",
                counted(&self.unclear)
            ));
        }
        if let Some(header) =
            arguments.header.as_ref().filter(|header| !self.names.iter().any(|name| is_name(name, header)))
        {
            say(&format!(
                "is {header} among the headers that baton carries (--headers, --preset)? If it is, see where a request comes from without it: `baton explain` without --header and --value"
            ));
        }
        if self.missed > 0 {
            say(&format!("{} more requests came too fast to be looked at", self.missed));
        }
    }
}

/// Names with their counts.
fn counted(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{} ({count})", harmless(name))).collect::<Vec<_>>().join(", ")
}

/// Whom flow events tell of.
#[derive(Debug)]
pub(super) struct Seen {
    /// The cgroups of their processes.
    pub(super) cgroups: BTreeSet<String>,
    /// Whether no flow events are missing.
    pub(super) is_all: bool,
}

/// The cgroups of processes that `events` tell of, as far as they are still there.
pub(super) fn cgroups(events: &[FlowEvent]) -> BTreeSet<String> {
    let processes: BTreeSet<u32> = events.iter().map(|event| event.pid).collect();
    processes.into_iter().filter_map(neighbour::cgroup).collect()
}

/// The process of `machine` that got `outbound`.
pub(super) fn other_end(
    outbound: &FlowEvent,
    machine: &Machine,
    events: &[FlowEvent],
    seen: &Seen,
) -> Option<Neighbour> {
    // The program that sent it may have ended; another one of its workload has the same addresses.
    let of_workload = events.iter().filter(|event| event.workload == outbound.workload).map(|event| event.pid);
    let pid = std::iter::once(outbound.pid).chain(of_workload).find(|pid| machine.has(*pid))?;
    process_at(machine, &outbound.peer, outbound.local.as_deref(), pid).map(|found| among(found, seen))
}

fn process_at(machine: &Machine, there: &str, here: Option<&str>, pid: u32) -> Option<Neighbour> {
    machine.at(there.parse().ok()?, here.and_then(|here| here.parse().ok()), pid)
}

/// `found`, with a note whether it is among those that flow events tell of.
fn among(mut found: Neighbour, seen: &Seen) -> Neighbour {
    let is_seen = seen.cgroups.iter().any(|cgroup| neighbour::is_same_workload(&found.cgroup, cgroup));
    found.is_seen = (is_seen || seen.is_all).then_some(is_seen);
    found
}
