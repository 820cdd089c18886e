//! Everything that was seen so far: workloads, and what is to be known beside them.

use std::collections::HashMap;
use std::time::Duration;

use super::workload::Workload;
use crate::observe::flow::{Record, harmless};

/// Most workloads that are known; of more, those go that were not heard of for longest.
const WORKLOADS: usize = 500;

/// How a stream of flow events ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There are no more of them.
    Over,
    /// They could not be read: why.
    Failed(String),
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// Whether it comes from a file: its rates are those of its whole time then.
    pub(super) is_recorded: bool,
    /// The latest moment that something was heard of.
    pub(super) last: Duration,
    /// Requests that are not known, since there were too many.
    pub(super) missed: u64,
    /// What was said last of a pod or namespace, and how often something was.
    pub(super) notice: Option<String>,
    /// How often something was said.
    pub(super) notices: u64,
    /// Workloads that were forgotten for others.
    pub(super) forgotten: u64,
    /// Whether more is to come.
    pub(super) end: Option<End>,
    /// Changes with all that is taken in.
    pub(super) version: u64,
    workloads: HashMap<String, Workload>,
}

impl Board {
    /// Nothing yet, of a file or of a daemon.
    pub(super) fn new(is_recorded: bool) -> Self {
        Self { is_recorded, ..Self::default() }
    }

    /// Takes in `record`, which came at the moment `at`.
    pub(super) fn add(&mut self, record: Record, at: Duration) {
        self.version += 1;
        self.last = self.last.max(at);
        match record {
            Record::Flow(event) => {
                if !self.workloads.contains_key(&event.workload) {
                    self.make_room();
                }
                self.workloads.entry(event.workload.clone()).or_default().add(*event, at);
            }
            Record::Missed(count) => self.missed += count,
            Record::Notice(notice) => {
                self.notices += 1;
                self.notice = Some(harmless(&notice.to_string()));
            }
            Record::Other => {}
        }
    }

    /// No more comes.
    pub(super) fn end(&mut self, end: End) {
        self.version += 1;
        self.end = Some(end);
    }

    /// Begins to count anew.
    pub(super) fn reset(&mut self) {
        *self =
            Self { end: self.end.take(), version: self.version + 1, last: self.last, ..Self::new(self.is_recorded) };
    }

    /// All workloads, in no order.
    pub(super) fn workloads(&self) -> impl Iterator<Item = (&str, &Workload)> {
        self.workloads.iter().map(|(name, workload)| (name.as_str(), workload))
    }

    /// The workload `name`.
    pub(super) fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.get(name)
    }

    /// Requests a second of `workload`: of late, or of the whole file.
    pub(super) fn per_second(&self, workload: &Workload, now: Duration) -> f64 {
        if self.is_recorded {
            workload.seen() as f64 / self.last.as_secs_f64().max(1.0)
        } else {
            workload.per_second(now)
        }
    }

    fn make_room(&mut self) {
        if self.workloads.len() < WORKLOADS {
            return;
        }
        let oldest = self.workloads.iter().min_by_key(|(name, workload)| (workload.last, *name));
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.workloads.remove(&name);
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::tests::lost;
    use crate::observe::flow::{FlowEvent, Notice};

    fn flow(workload: &str) -> Record {
        Record::Flow(Box::new(FlowEvent { workload: workload.to_owned(), ..lost() }))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_file_has_the_rate_of_its_whole_time() {
        let mut board = Board::new(true);
        (0..=10).for_each(|second| board.add(flow("a"), at(second)));
        board.add(flow("b"), at(10));
        let rate = |name| board.per_second(board.workload(name).expect("seen"), at(1000));
        assert_eq!((rate("a"), rate("b")), (1.1, 0.1));
    }

    #[test]
    fn what_is_not_known_of_for_longest_is_forgotten() {
        let mut board = Board::new(false);
        (0..WORKLOADS).for_each(|number| board.add(flow(&format!("pod-{number}")), at(number as u64)));
        board.add(flow("pod-0"), at(1000));
        board.add(flow("new"), at(1001));
        assert_eq!((board.workloads().count(), board.forgotten), (WORKLOADS, 1));
        assert!(board.workload("pod-0").is_some() && board.workload("pod-1").is_none());
    }

    #[test]
    fn what_is_missed_and_said_is_kept() {
        let mut board = Board::new(false);
        board.add(Record::Missed(3), at(1));
        board.add(Record::Missed(4), at(2));
        let notice = Notice {
            time: String::new(),
            object: "pod".to_owned(),
            workload: "shop/cart-1".to_owned(),
            message: "no\x1b[2J".to_owned(),
        };
        board.add(Record::Notice(notice), at(2));
        assert_eq!((board.missed, board.notices), (7, 1));
        assert_eq!(board.notice.as_deref(), Some("pod shop/cart-1: no\u{fffd}[2J"));
        board.reset();
        assert_eq!((board.missed, board.notices, board.version), (0, 0, 4));
    }
}
