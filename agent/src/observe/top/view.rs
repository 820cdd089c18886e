//! What is looked at, and what keys do.

use std::cmp::Reverse;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::{ListState, TableState};

use super::board::Board;
use super::workload::Workload;

/// Most characters of a filter.
const FILTER: usize = 64;

/// Rows that a page key moves by.
const PAGE: isize = 10;

/// What comes first in the list of workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Most requests a second.
    #[default]
    Rate,
    /// Most losses.
    Lost,
    /// Smallest share propagated.
    Propagated,
    /// Longest latency.
    Latency,
    /// By name.
    Name,
}

impl Sort {
    /// In words.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::Lost => "losses",
            Self::Propagated => "share propagated",
            Self::Latency => "latency p99",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Lost,
            Self::Lost => Self::Propagated,
            Self::Propagated => Self::Latency,
            Self::Latency => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    /// The place of `workload`: the smallest is first.
    fn place(self, board: &Board, workload: &Workload, now: Duration) -> Reverse<u64> {
        // Floats have no total order, and a millionth is fine enough.
        let fine = |value: f64| (value * 1e6) as u64;
        Reverse(match self {
            Self::Rate => fine(board.per_second(workload, now)),
            Self::Lost => workload.losses(),
            Self::Propagated => workload.propagated().map_or(0, |share| fine(2.0 - share)),
            Self::Latency => workload.percentile(0.99).map_or(0, |time| time.as_micros() as u64),
            Self::Name => 0,
        })
    }
}

/// What is to happen after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Go on.
    On,
    /// Count anew.
    Reset,
    /// End.
    Quit,
}

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The workload whose requests are shown; else the list of workloads is.
    pub(super) opened: Option<String>,
    /// The workload that is marked, in the list.
    pub(super) marked: Option<String>,
    /// Number of the request that is marked; the newest, whichever that is, if none.
    pub(super) request: Option<u64>,
    /// What comes first.
    pub(super) sort: Sort,
    /// What names must contain.
    pub(super) filter: String,
    /// Whether keys go to the filter.
    pub(super) is_typing: bool,
    /// Whether help is shown.
    pub(super) is_helping: bool,
    /// What was there when the view was paused, and when.
    pub(super) frozen: Option<(Box<Board>, Duration)>,
    /// How far the lists are scrolled.
    pub(super) table: TableState,
    /// The same for requests.
    pub(super) list: ListState,
}

impl View {
    /// The workloads that are shown, with their names, the first one first.
    pub(super) fn rows<'a>(&self, board: &'a Board, now: Duration) -> Vec<(&'a str, &'a Workload)> {
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<_> = board
            .workloads()
            .filter(|(name, _)| name.to_lowercase().contains(&wanted))
            .map(|(name, workload)| (self.sort.place(board, workload, now), name, workload))
            .collect();
        rows.sort_unstable_by_key(|(place, name, _)| (*place, *name));
        rows.into_iter().map(|(_, name, workload)| (name, workload)).collect()
    }

    /// Which of `rows` is marked: the one that the mark was put on, or else the first.
    pub(super) fn marked_row(&self, rows: &[(&str, &Workload)]) -> usize {
        let marked = self.marked.as_deref();
        rows.iter().position(|(name, _)| Some(*name) == marked).unwrap_or(0)
    }

    /// Which of the requests of `workload`, from the newest on, is marked: the oldest if the one is gone that was.
    pub(super) fn marked_request(&self, workload: &Workload) -> usize {
        let last = workload.requests.len().saturating_sub(1);
        let Some(number) = self.request else { return 0 };
        workload.requests.iter().position(|seen| seen.number <= number).unwrap_or(last)
    }

    /// Does what `key` says, with what is on the `board` at the moment `now`.
    pub(super) fn press(&mut self, key: KeyEvent, board: &Board, now: Duration) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::On;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Wish::Quit } else { Wish::On };
        }
        if self.is_typing {
            self.type_in(key.code);
            return Wish::On;
        }
        if self.is_helping {
            self.is_helping = false;
            return if key.code == KeyCode::Char('q') { Wish::Quit } else { Wish::On };
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('r') => return Wish::Reset,
            KeyCode::Char('?' | 'h') => self.is_helping = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') if self.opened.is_none() => self.is_typing = true,
            KeyCode::Char('p' | ' ') => {
                self.frozen = if self.frozen.is_some() { None } else { Some((Box::new(board.clone()), now)) };
            }
            KeyCode::Esc if self.opened.is_none() => self.filter.clear(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.opened = None,
            KeyCode::Enter | KeyCode::Right if self.opened.is_none() => self.open(board, now),
            KeyCode::Down | KeyCode::Char('j') => self.step(1, board, now),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, board, now),
            KeyCode::PageDown => self.step(PAGE, board, now),
            KeyCode::PageUp => self.step(-PAGE, board, now),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN, board, now),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX, board, now),
            _ => {}
        }
        Wish::On
    }

    fn type_in(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(typed) if self.filter.chars().count() < FILTER => self.filter.push(typed),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
    }

    fn open(&mut self, board: &Board, now: Duration) {
        let frozen = self.frozen.as_ref().map(|(board, now)| (&**board, *now));
        let (board, now) = frozen.unwrap_or((board, now));
        let rows = self.rows(board, now);
        let opened = rows.get(self.marked_row(&rows)).map(|(name, _)| (*name).to_owned());
        (self.marked, self.opened, self.request) = (opened.clone(), opened, None);
        self.list = ListState::default();
    }

    /// Moves the mark by `rows`.
    fn step(&mut self, by: isize, board: &Board, now: Duration) {
        let frozen = self.frozen.as_ref().map(|(board, now)| (&**board, *now));
        let (board, now) = frozen.unwrap_or((board, now));
        let moved = |from: usize, count: usize| from.saturating_add_signed(by).min(count.saturating_sub(1));
        match &self.opened {
            None => {
                let rows = self.rows(board, now);
                let to = moved(self.marked_row(&rows), rows.len());
                self.marked = rows.get(to).map(|(name, _)| (*name).to_owned());
            }
            Some(name) => {
                let Some(workload) = board.workload(name) else { return };
                let to = moved(self.marked_request(workload), workload.requests.len());
                // Who is at the newest stays there.
                self.request = workload.requests.get(to).filter(|_| to > 0).map(|seen| seen.number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::tests::lost;
    use crate::observe::flow::{FlowEvent, Kind, Record};

    const NOW: Duration = Duration::from_secs(1);

    fn add(board: &mut Board, event: FlowEvent) {
        board.add(Record::Flow(Box::new(event)), NOW);
    }

    /// Of `a` two fine requests, of `b` a loss, of `c` an inbound request.
    fn board() -> Board {
        let mut board = Board::new(false);
        let of = |workload: &str| FlowEvent { workload: workload.to_owned(), ..lost() };
        add(&mut board, of("b"));
        (0..2).for_each(|_| add(&mut board, FlowEvent { verdict: Some("injected".into()), reason: None, ..of("a") }));
        add(&mut board, FlowEvent { kind: Kind::Inbound, verdict: None, reason: None, ..of("c") });
        board
    }

    fn press(view: &mut View, board: &Board, keys: &[KeyCode]) -> Wish {
        keys.iter().fold(Wish::On, |_, code| view.press(KeyEvent::from(*code), board, NOW))
    }

    fn names(view: &View, board: &Board) -> Vec<String> {
        view.rows(board, NOW).iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    #[test]
    fn s_changes_the_order() {
        let (mut view, board) = (View::default(), board());
        for (sort, order) in [
            (Sort::Rate, ["a", "b", "c"]),
            (Sort::Lost, ["b", "a", "c"]),
            (Sort::Propagated, ["b", "a", "c"]),
            (Sort::Latency, ["a", "b", "c"]),
            (Sort::Name, ["a", "b", "c"]),
            (Sort::Rate, ["a", "b", "c"]),
        ] {
            assert_eq!((view.sort, names(&view, &board)), (sort, order.map(str::to_owned).to_vec()));
            press(&mut view, &board, &[KeyCode::Char('s')]);
        }
    }

    #[test]
    fn the_mark_stays_with_its_workload() {
        let (mut view, mut board) = (View::default(), board());
        press(&mut view, &board, &[KeyCode::Down]);
        assert_eq!(view.marked.as_deref(), Some("b"));
        (0..5).for_each(|_| add(&mut board, FlowEvent { workload: "b".to_owned(), ..lost() }));
        assert_eq!(view.marked_row(&view.rows(&board, NOW)), 0);
        press(&mut view, &board, &[KeyCode::Up, KeyCode::End]);
        assert_eq!(view.marked.as_deref(), Some("c"));
        press(&mut view, &board, &[KeyCode::Down, KeyCode::PageUp, KeyCode::Char('k')]);
        assert_eq!(view.marked.as_deref(), Some("b"));
    }

    #[test]
    fn slash_filters_by_name() {
        let (mut view, board) = (View::default(), board());
        press(&mut view, &board, &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Backspace, KeyCode::Char('B')]);
        assert_eq!(names(&view, &board), ["b"]);
        press(&mut view, &board, &[KeyCode::Enter, KeyCode::Enter]);
        assert_eq!(view.opened.as_deref(), Some("b"));
        press(&mut view, &board, &[KeyCode::Esc]);
        assert_eq!((view.opened.as_deref(), view.filter.as_str()), (None, "B"));
        press(&mut view, &board, &[KeyCode::Esc]);
        assert_eq!(names(&view, &board).len(), 3);
    }

    #[test]
    fn a_marked_request_stays_marked() {
        let (mut view, mut board) = (View::default(), board());
        press(&mut view, &board, &[KeyCode::Enter, KeyCode::Char('j')]);
        let marked = |view: &View, board: &Board| view.marked_request(board.workload("a").expect("seen"));
        assert_eq!((view.request, marked(&view, &board)), (Some(1), 1));
        let more = |board: &mut Board| add(board, FlowEvent { workload: "a".to_owned(), ..lost() });
        more(&mut board);
        assert_eq!(marked(&view, &board), 2);
        (0..200).for_each(|_| more(&mut board));
        assert_eq!(marked(&view, &board), super::super::workload::REQUESTS - 1);
        press(&mut view, &board, &[KeyCode::Home]);
        more(&mut board);
        assert_eq!((view.request, marked(&view, &board)), (None, 0));
    }

    #[test]
    fn p_freezes_what_is_seen() {
        let (mut view, mut board) = (View::default(), board());
        press(&mut view, &board, &[KeyCode::Char('p')]);
        add(&mut board, FlowEvent { workload: "new".to_owned(), ..lost() });
        assert_eq!(view.frozen.as_ref().map(|(board, _)| board.workloads().count()), Some(3));
        press(&mut view, &board, &[KeyCode::End]);
        assert_eq!(view.marked.as_deref(), Some("c"));
        press(&mut view, &board, &[KeyCode::Char('p')]);
        assert!(view.frozen.is_none());
    }

    #[test]
    fn q_and_control_c_quit() {
        let (mut view, board) = (View::default(), board());
        assert_eq!(press(&mut view, &board, &[KeyCode::Char('q')]), Wish::Quit);
        assert_eq!(press(&mut view, &board, &[KeyCode::Char('/'), KeyCode::Char('q')]), Wish::On);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(control_c, &board, NOW), Wish::Quit);
        assert_eq!(press(&mut View::default(), &board, &[KeyCode::Char('r')]), Wish::Reset);
    }

    #[test]
    fn any_key_ends_help() {
        let (mut view, board) = (View::default(), board());
        press(&mut view, &board, &[KeyCode::Char('?')]);
        assert!(view.is_helping);
        press(&mut view, &board, &[KeyCode::Enter]);
        assert!(!view.is_helping && view.opened.is_none());
    }

    #[test]
    fn nothing_breaks_where_there_is_nothing() {
        let (mut view, board) = (View::default(), Board::new(false));
        let keys = ['j', 'k', 'g', 'G', 's', 'p', 'j', 'p', '/'].map(KeyCode::Char);
        press(&mut view, &board, &[KeyCode::Enter, KeyCode::PageDown, KeyCode::Esc, KeyCode::Backspace]);
        assert_eq!(press(&mut view, &board, &keys), Wish::On);
        assert_eq!((view.opened, view.marked), (None, None));
    }
}
