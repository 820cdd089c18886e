//! What was lost of late: one row for all losses that are alike, with the journey of a late one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recent::{self, Recent};
use super::window::{Node, WINDOW};
use crate::observe::flow::{FlowEvent, Kind};
use crate::observe::page::told;

/// Most rows; and most that differ in nothing but what was asked for, so that one caller does not fill the table.
const MOST: usize = 60;
const MOST_ALIKE: usize = 8;

/// A part of a path that is longer is no name, but somebody's id.
const LONGEST_NAME: usize = 24;

/// A journey is told when the request had this time to come to its end, and again after the longer one.
const SOON: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two losses of a row whose journeys are told.
const PAUSE: Duration = Duration::from_secs(5);

/// Most journeys that are told in one tick, whatever the number of rows.
const MOST_TOLD: usize = 2;

/// Losses that are alike.
#[derive(Debug)]
pub(super) struct Row {
    /// Its number; later rows have higher ones.
    pub(super) id: u64,
    /// The first of them.
    pub(super) event: FlowEvent,
    /// Its path, or what all their paths have in common.
    pub(super) path: String,
    /// Its path without ids.
    outline: String,
    /// When the latest one was, RFC 3339.
    pub(super) latest: String,
    pub(super) count: u64,
    /// Who sent them, and where they led to, as far as that is known.
    pub(super) from: Node,
    pub(super) to: Node,
    seen: Instant,
    journey: Option<Journey>,
    next: Option<Sample>,
}

/// A journey as JSON.
#[derive(Debug)]
struct Journey {
    text: Arc<str>,
    told: Instant,
}

/// A loss whose journey will be told.
#[derive(Debug)]
struct Sample {
    event: FlowEvent,
    since: Instant,
    /// How many events there were before it.
    place: u64,
    due: Instant,
}

/// All rows, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Losses {
    rows: Vec<Row>,
    last: u64,
}

impl Losses {
    /// Takes a request that was lost on its way from one node to another, before which there were `place` events.
    /// Returns the number of its row.
    pub(super) fn add(&mut self, event: &FlowEvent, ends: (Node, Node), place: u64, now: Instant) -> u64 {
        let outline = outline(&event.path);
        let is_same =
            |row: &Row| is_alike(&row.event, event) && (&row.outline, &row.event.method) == (&outline, &event.method);
        let known = self.rows.iter().position(is_same);
        let at = known.unwrap_or_else(|| self.begin(event, ends, outline, now));
        let row = &mut self.rows[at];
        if row.path != event.path && row.path != row.outline {
            row.path.clone_from(&row.outline);
        }
        (row.seen, row.count) = (now, row.count + 1);
        row.latest.clone_from(&event.time);
        let is_rested = row.journey.as_ref().is_none_or(|journey| now.saturating_duration_since(journey.told) >= PAUSE);
        if row.next.is_none() && is_rested {
            row.next = Some(Sample { event: event.clone(), since: now, place, due: now + SOON });
        }
        row.id
    }

    /// The losses of a row led to `node`.
    pub(super) fn lead(&mut self, id: u64, node: &Node) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id && row.to != *node) {
            row.to = node.clone();
        }
    }

    /// Tells journeys that are over, and forgets what is long ago.
    pub(super) fn tick(&mut self, recent: &mut Recent, now: Instant) {
        self.rows.retain(|row| now.saturating_duration_since(row.seen) < WINDOW);
        let pushed = recent.pushed();
        let is_due = |row: &&mut Row| {
            // Or else its beginning would not be kept any more.
            let is_late = |sample: &Sample| pushed.saturating_sub(sample.place) >= recent::MOST as u64 / 2;
            row.next.as_ref().is_some_and(|sample| sample.due <= now || is_late(sample))
        };
        for row in self.rows.iter_mut().filter(is_due).take(MOST_TOLD) {
            row.tell(recent, now);
        }
    }

    /// The journey of a row, as JSON; `None` if there is no such row.
    pub(super) fn explain(&mut self, id: u64, recent: &mut Recent, now: Instant) -> Option<Arc<str>> {
        let row = self.rows.iter_mut().find(|row| row.id == id)?;
        if row.next.is_some() {
            row.tell(recent, now);
        }
        row.journey.as_ref().map(|journey| journey.text.clone())
    }

    /// All rows, the newest first.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().rev()
    }

    /// Makes room for a row, and begins it.
    fn begin(&mut self, event: &FlowEvent, (from, to): (Node, Node), outline: String, now: Instant) -> usize {
        let quietest = |is_one: &dyn Fn(&Row) -> bool| {
            let ones = self.rows.iter().enumerate().filter(|(_, row)| is_one(row));
            ones.min_by_key(|(_, row)| row.seen).map(|(at, _)| at)
        };
        let is_alike = |row: &Row| is_alike(&row.event, event);
        let place = if self.rows.iter().filter(|row| is_alike(row)).count() >= MOST_ALIKE {
            quietest(&is_alike)
        } else if self.rows.len() >= MOST {
            quietest(&|_| true)
        } else {
            None
        };
        if let Some(at) = place {
            self.rows.remove(at);
        }
        self.last += 1;
        self.rows.push(Row {
            id: self.last,
            event: event.clone(),
            path: event.path.clone(),
            outline,
            latest: String::new(),
            count: 0,
            from,
            to,
            seen: now,
            journey: None,
            next: None,
        });
        self.rows.len() - 1
    }
}

impl Row {
    /// Tells the journey of the next loss as far as it is known now.
    fn tell(&mut self, recent: &mut Recent, now: Instant) {
        let Some(mut sample) = self.next.take() else { return };
        let told = told::journey(recent.events(), &sample.event);
        match &mut self.journey {
            // What is known of an earlier one says more.
            Some(before) if !told.is_known => before.told = now,
            journey => *journey = Some(Journey { text: told.json.into(), told: now }),
        }
        if told.is_known && !told.is_over && now < sample.since + PATIENCE {
            sample.due = sample.since + PATIENCE;
            self.next = Some(sample);
        }
    }
}

fn is_alike(one: &FlowEvent, other: &FlowEvent) -> bool {
    // Clients have an address for each connection.
    let is_same_peer = one.kind == Kind::Inbound || one.peer == other.peer;
    is_same_peer && (one.kind, &one.reason, &one.workload) == (other.kind, &other.reason, &other.workload)
}

/// A path with its ids left out: parts with digits, and long ones.
fn outline(path: &str) -> String {
    let is_id = |part: &str| part.len() > LONGEST_NAME || part.bytes().any(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = path.split('/').map(|part| if is_id(part) { "…" } else { part }).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::tests::lost;

    fn ends() -> (Node, Node) {
        (Node::Workload("cart".into()), Node::Peer("127.0.0.1:80".into()))
    }

    fn to(path: String) -> FlowEvent {
        FlowEvent { path, ..lost() }
    }

    #[test]
    fn losses_that_are_alike_have_one_row() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        let one = losses.add(&lost(), ends(), 0, now);
        let later = FlowEvent { time: "2026-01-02T03:04:06.000000Z".to_owned(), tid: 9, ..lost() };
        assert_eq!(losses.add(&later, ends(), 1, now), one);
        let other = losses.add(&to("/stock/all".to_owned()), ends(), 2, now);
        losses.lead(one, &Node::Workload("stock".into()));
        let rows: Vec<_> =
            losses.rows().map(|row| (row.id, row.count, row.to != ends().1, row.latest.clone())).collect();
        assert_eq!(rows, [(other, 1, false, lost().time), (one, 2, true, later.time)]);
    }

    #[test]
    fn ids_in_paths_make_no_rows() {
        assert_eq!(outline("/v/stock/7/parts/abcdefghijklmnopqrstuvwxyz"), "/v/stock/…/parts/…");
        let (mut losses, now) = (Losses::default(), Instant::now());
        let path = |losses: &Losses| losses.rows[0].path.clone();
        losses.add(&lost(), ends(), 0, now);
        losses.add(&lost(), ends(), 1, now);
        assert_eq!(path(&losses), "/stock/7");
        losses.add(&to("/stock/8".to_owned()), ends(), 2, now);
        losses.add(&lost(), ends(), 3, now);
        assert_eq!((path(&losses), losses.rows[0].count, losses.rows.len()), ("/stock/…".to_owned(), 4, 1));
    }

    #[test]
    fn one_caller_does_not_fill_the_table() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        losses.add(&FlowEvent { workload: "quiet".to_owned(), ..lost() }, ends(), 0, now);
        for number in 0..1000 {
            losses.add(&to(format!("/{}", "a".repeat(number % 20))), ends(), 0, now);
        }
        assert_eq!(losses.rows().count(), 1 + MOST_ALIKE);
        for number in 0..1000 {
            losses.add(&FlowEvent { workload: number.to_string(), ..lost() }, ends(), 0, now);
        }
        assert_eq!(losses.rows().count(), MOST);
        losses.tick(&mut Recent::default(), now + WINDOW);
        assert_eq!(losses.rows().count(), 0);
    }

    #[test]
    fn a_journey_is_told_when_it_is_asked_for_and_after_a_while() {
        let (mut losses, mut recent, now) = (Losses::default(), Recent::default(), Instant::now());
        let (asked, other) =
            (losses.add(&lost(), ends(), 0, now), losses.add(&to("/other".to_owned()), ends(), 1, now));
        let told = losses.explain(asked, &mut recent, now).expect("a row");
        assert!(told.contains("ambiguous"), "{told}");
        assert!(losses.explain(99, &mut recent, now).is_none());
        let is_told =
            |losses: &Losses| losses.rows.iter().find(|row| row.id == other).expect("a row").journey.is_some();
        losses.tick(&mut recent, now);
        assert!(!is_told(&losses));
        losses.tick(&mut recent, now + SOON);
        assert!(is_told(&losses));
    }

    #[test]
    fn a_journey_is_told_before_its_events_are_forgotten() {
        let (mut losses, mut recent, now) = (Losses::default(), Recent::default(), Instant::now());
        losses.add(&lost(), ends(), 0, now);
        recent.push(lost());
        (0..recent::MOST / 2).for_each(|_| recent.push(FlowEvent::default()));
        losses.tick(&mut recent, now);
        assert!(losses.rows[0].journey.is_some());
    }
}
