//! Counting outbound requests: correct, lost, wrong.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::Handler;
use super::traffic::Sent;
use crate::flows::Flow;
use crate::recorder::Recorded;
use crate::verdict::Tally;

/// How many examples of wrong requests are kept.
const EXAMPLES: usize = 5;

/// Outbound requests by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Carried exactly its own request's values.
    pub correct: usize,
    /// Carried nothing, as its inbound request did.
    pub none: usize,
    /// Should have carried something and did not, by the reason that baton gave.
    pub lost: BTreeMap<String, usize>,
    /// Went out after the answer, or belonged to no request, and carried nothing.
    pub unbound: usize,
    /// Carried a value of another request, or any value where it should have none.
    pub wrong: usize,
    /// Did not arrive exactly once.
    pub missing: usize,
    /// What was wrong or missing.
    pub examples: Vec<String>,
}

impl Count {
    /// All that was lost.
    pub fn lost(&self) -> usize {
        self.lost.values().sum()
    }

    /// The share of the requests with a context that carried it.
    pub fn share(&self) -> f64 {
        let all = self.correct + self.lost();
        if all == 0 { 0.0 } else { self.correct as f64 / all as f64 }
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }
}

/// Judges all that arrived; the counts are by handler.
pub(super) fn judge(sent: &[Sent], recorded: &[Recorded], flows: &[Flow]) -> BTreeMap<Handler, Count> {
    let expected: HashMap<String, &Sent> = sent
        .iter()
        .flat_map(|sent| (1..=sent.handler.calls()).map(move |k| (sent.handler.target(&sent.id, k), sent)))
        .collect();
    let reasons: HashMap<&str, &str> = flows
        .iter()
        .filter(|flow| flow.is("lost"))
        .map(|flow| (flow.path.as_str(), flow.reason.as_deref().unwrap_or_default()))
        .collect();
    let mut counts: BTreeMap<Handler, Count> = BTreeMap::new();
    let mut arrived: HashMap<&str, usize> = HashMap::new();
    for request in recorded {
        let target = request.head.target.as_str();
        *arrived.entry(target).or_default() += 1;
        let found = expected.get(target);
        let handler = found.map_or(Handler::After, |sent| sent.handler);
        let count = counts.entry(handler).or_default();
        let unbound = handler == Handler::After;
        // What belongs to no request (the application's own timer) must carry nothing.
        let carried = found.map_or(&[][..], |sent| &sent.carried);
        let mut tally = Tally::default();
        tally.judge(&request.head, carried);
        match (tally.wrong, tally.lost, tally.correct) {
            (1, ..) => {
                count.wrong += 1;
                count.example(tally.examples.concat());
            }
            (_, 1, _) if !unbound => {
                let reason = reasons.get(target).copied().unwrap_or("not reported");
                *count.lost.entry(reason.to_owned()).or_default() += 1;
            }
            (.., 1) => count.correct += 1,
            _ if unbound => count.unbound += 1,
            _ => count.none += 1,
        }
    }
    for (target, sent) in &expected {
        let times = arrived.get(target.as_str()).copied().unwrap_or(0);
        if times != 1 {
            let count = counts.entry(sent.handler).or_default();
            count.missing += 1;
            count.example(format!("{target} arrived {times} times"));
        }
    }
    counts
}
