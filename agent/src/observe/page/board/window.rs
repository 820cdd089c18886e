//! Calls of the last minutes, by who called whom.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_common::flow::Reason;
use serde::Serialize;

use crate::observe::flow::FlowEvent;

/// How long a call counts.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// By how much the window moves at a time.
const STEP: Duration = Duration::from_secs(10);

/// Most pairs of nodes in one step.
const MOST: usize = 512;

/// Who calls or is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    /// Callers that are not followed on this node.
    Clients,
    /// A workload of this node.
    Workload(Arc<str>),
    /// An address, or what is known by a name, that is not followed on this node.
    Peer(Arc<str>),
    /// What there was no room for.
    Others,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    carries: bool,
}

impl Call {
    /// As an inbound request tells it, which has no verdict.
    pub(super) fn inbound(event: &FlowEvent) -> Self {
        Self { verdict: None, ..Self::outbound(event) }
    }

    /// As an outbound request tells it.
    pub(super) fn outbound(event: &FlowEvent) -> Self {
        const VERDICTS: [&str; 4] = ["injected", "already-present", "nothing-to-insert", "lost"];
        let known = |name: &str| Reason::ALL.iter().map(|reason| reason.name()).find(|reason| *reason == name);
        Self {
            verdict: VERDICTS.into_iter().find(|verdict| event.verdict.as_deref() == Some(verdict)),
            reason: event.reason.as_deref().map(|reason| known(reason).unwrap_or("unknown")),
            carries: !event.headers.is_empty(),
        }
    }
}

/// What became of calls from one node to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// With a header that was inserted, or (from clients) found.
    pub(super) carried: u64,
    /// With a context that is known not to be lost: its headers were inserted, or the application sent them.
    pub(super) kept: u64,
    pub(super) lost: u64,
    /// Caused by a request without any of the headers: neither kept nor lost.
    pub(super) nothing: u64,
    /// Of what was lost, or (from clients) not understood.
    pub(super) reasons: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn count(&mut self, call: &Call) {
        self.requests += 1;
        self.carried += u64::from(call.carries);
        match call.verdict {
            Some("injected" | "already-present") => self.kept += 1,
            Some("lost") => self.lost += 1,
            Some(_) => self.nothing += 1,
            None => {}
        }
        if let Some(reason) = call.reason {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Both together.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.carried += other.carried;
        self.kept += other.kept;
        self.lost += other.lost;
        self.nothing += other.nothing;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

/// One step of the window.
#[derive(Debug, Default)]
struct Step {
    number: u64,
    calls: HashMap<(Node, Node), Tally>,
    missed: u64,
}

/// The last minutes.
#[derive(Debug)]
pub(super) struct Window {
    begin: Instant,
    steps: VecDeque<Step>,
}

impl Window {
    /// Nothing was seen until `begin`.
    pub(super) fn new(begin: Instant) -> Self {
        Self { begin, steps: VecDeque::new() }
    }

    /// Counts a call.
    pub(super) fn add(&mut self, from: Node, to: Node, call: &Call, now: Instant) {
        let step = self.step(now);
        let is_full = step.calls.len() >= MOST;
        let mut pair = (from, to);
        // The rest together, by caller as long as that does.
        if is_full && !step.calls.contains_key(&pair) {
            pair.1 = Node::Others;
            if step.calls.len() >= 2 * MOST && !step.calls.contains_key(&pair) {
                pair.0 = Node::Others;
            }
        }
        step.calls.entry(pair).or_default().count(call);
    }

    /// So many requests are not known.
    pub(super) fn miss(&mut self, count: u64, now: Instant) {
        self.step(now).missed += count;
    }

    /// What still counts `now`: by caller and callee, and how much is missing.
    pub(super) fn sum(&mut self, now: Instant) -> (BTreeMap<(Node, Node), Tally>, u64) {
        self.forget(now);
        let mut sum: BTreeMap<(Node, Node), Tally> = BTreeMap::new();
        for (pair, tally) in self.steps.iter().flat_map(|step| &step.calls) {
            match sum.get_mut(pair) {
                Some(before) => before.add(tally),
                None => drop(sum.insert(pair.clone(), tally.clone())),
            }
        }
        (sum, self.steps.iter().map(|step| step.missed).sum())
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begin).as_secs() / STEP.as_secs()
    }

    fn forget(&mut self, now: Instant) {
        let number = self.number(now);
        while self.steps.front().is_some_and(|step| step.number + WINDOW.as_secs() / STEP.as_secs() <= number) {
            self.steps.pop_front();
        }
    }

    fn step(&mut self, now: Instant) -> &mut Step {
        let number = self.number(now);
        if self.steps.back().is_none_or(|step| step.number != number) {
            self.forget(now);
            self.steps.push_back(Step { number, ..Step::default() });
        }
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(verdict: &'static str, reason: Option<&'static str>) -> Call {
        Call::outbound(&FlowEvent {
            verdict: Some(verdict.into()),
            reason: reason.map(Into::into),
            ..FlowEvent::default()
        })
    }

    fn workload(name: &str) -> Node {
        Node::Workload(name.into())
    }

    #[test]
    fn verdicts_are_counted() {
        let now = Instant::now();
        let mut window = Window::new(now);
        for (verdict, reason) in [
            ("injected", None),
            ("already-present", None),
            ("nothing-to-insert", None),
            ("lost", Some("ambiguous")),
            ("lost", Some("of tomorrow")),
        ] {
            window.add(workload("a"), workload("b"), &call(verdict, reason), now);
        }
        let (sum, missed) = window.sum(now);
        let tally = &sum[&(workload("a"), workload("b"))];
        assert_eq!((tally.requests, tally.kept, tally.nothing, tally.lost, missed), (5, 2, 1, 2, 0));
        assert_eq!(tally.reasons, [("ambiguous", 1), ("unknown", 1)].into());
    }

    #[test]
    fn what_is_old_does_not_count() {
        let now = Instant::now();
        let mut window = Window::new(now);
        window.add(workload("a"), workload("b"), &call("injected", None), now);
        window.miss(3, now);
        let later = now + WINDOW / 2;
        window.add(workload("a"), workload("b"), &call("injected", None), later);
        let requests = |sum: &BTreeMap<(Node, Node), Tally>| sum.values().map(|tally| tally.requests).sum::<u64>();
        let (sum, missed) = window.sum(later);
        assert_eq!((requests(&sum), missed), (2, 3));
        let (sum, missed) = window.sum(now + WINDOW);
        assert_eq!((requests(&sum), missed), (1, 0));
        let (sum, missed) = window.sum(later + WINDOW);
        assert_eq!((requests(&sum), missed, window.steps.len()), (0, 0, 0));
    }

    #[test]
    fn no_more_pairs_are_kept_than_there_is_room_for() {
        let now = Instant::now();
        let mut window = Window::new(now);
        let all = 10_000;
        for number in 0..all {
            window.add(workload(&number.to_string()), workload("b"), &call("injected", None), now);
        }
        let (sum, _) = window.sum(now);
        assert!(sum.len() <= 2 * MOST + 1, "{}", sum.len());
        assert_eq!(sum.values().map(|tally| tally.requests).sum::<u64>(), all);
    }
}
