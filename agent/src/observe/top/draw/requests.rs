//! The last requests of one workload.

use baton_common::flow::Reason;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{List, ListItem, Paragraph, Wrap};

use super::Setting;
use super::figures::{count, reasons, share, time};
use crate::observe::flow::harmless;
use crate::observe::style::{BAD, FAINT, GOOD};
use crate::observe::top::board::Board;
use crate::observe::top::view::View;
use crate::observe::top::workload::{Seen, Workload};
use crate::observe::{line, remedy};

/// Lines of the sums.
const SUMS: u16 = 2;

/// With fewer lines than this there are requests alone.
const ROOMY: u16 = 14;

/// Draws the requests of the workload `name` into `area`.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, setting: &Setting, view: &mut View, board: &Board, name: &str) {
    let Some(workload) = board.workload(name) else {
        frame.render_widget(Paragraph::new("No request any more.").style(setting.style(FAINT)), area);
        return;
    };
    let marked = view.marked_request(workload);
    let marked_request = workload.requests.get(marked).map(|seen| whole(setting, seen)).unwrap_or_default();
    // So that the list keeps its place, what is said of any request has the same room.
    let room = if area.height < ROOMY { [0, 0] } else { [SUMS, (area.height / 5 * 3).min(room(area.width))] };
    let [above, list, below] =
        Layout::vertical([Constraint::Length(room[0]), Constraint::Fill(1), Constraint::Length(room[1])]).areas(area);
    frame.render_widget(Paragraph::new(sums(setting, workload)), above);
    let items = workload.requests.iter().map(|seen| ListItem::new(request(setting, seen, true)));
    let requests = List::new(items).highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    view.list.select(Some(marked));
    frame.render_stateful_widget(requests, list, &mut view.list);
    frame.render_widget(Paragraph::new(marked_request).wrap(Wrap { trim: false }), below);
}

/// Lines for what is said of a request, in so many columns: an empty one, two for the request, and the longest that is
/// said of a reason.
fn room(columns: u16) -> u16 {
    // Words that do not fit leave some room at the end of a line, and each text begins with a word of its own.
    let columns = usize::from(columns.saturating_sub(8).max(1));
    let said = Reason::ALL.iter().filter_map(|reason| remedy::of(reason.name()));
    let lines = said.map(|explained| [explained.why, explained.remedy].map(|text| (text.len() + 5).div_ceil(columns)));
    let lines = lines.map(|[why, remedy]| why + remedy).max().unwrap_or_default();
    u16::try_from(3 + lines).unwrap_or(u16::MAX)
}

fn sums(setting: &Setting, workload: &Workload) -> Vec<Line<'static>> {
    let plain = anstyle::Style::new();
    let mut first = Line::default();
    let mut say = |style, text: String| first.extend([setting.span(style, text), Span::raw("  ")]);
    say(plain, format!("{} in, {} out", count(workload.inbound), count(workload.outbound)));
    if let Some(propagated) = workload.propagated() {
        say(if propagated < 1.0 { BAD } else { GOOD }, format!("{} propagated", share(propagated)));
    }
    if let (Some(half), Some(most)) = (workload.percentile(0.5), workload.percentile(0.99)) {
        say(plain, format!("p50 {}, p99 {}", time(half), time(most)));
    }
    let mut second = Line::default();
    let mut say = |style, text: String| second.extend([setting.span(style, text), Span::raw("  ")]);
    if workload.losses() > 0 {
        say(BAD, format!("lost: {}", harmless(&reasons(&workload.lost))));
    }
    if !workload.not_followed.is_empty() {
        say(plain, format!("inbound: {}", harmless(&reasons(&workload.not_followed))));
    }
    vec![first, second]
}

/// A request as `baton watch` shows it, and its response; without the workload's name, which is above, where it is `short`.
fn request(setting: &Setting, seen: &Seen, short: bool) -> Line<'static> {
    let mut words = line::request(&seen.event, setting.show_values);
    if short {
        let workload = harmless(&seen.event.workload);
        if let Some(place) = words.iter().position(|(_, word)| *word == workload) {
            words.remove(place);
        }
    }
    words.extend(seen.answer.map(|(status, took)| line::answer(status, took)));
    let mut shown = Line::default();
    for (style, word) in words {
        if !shown.spans.is_empty() {
            shown.push_span(Span::raw("  "));
        }
        shown.push_span(setting.span(style, word));
    }
    shown
}

/// All of a request; what its loss means and what to do about it.
fn whole(setting: &Setting, seen: &Seen) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default(), request(setting, seen, false)];
    if let Some(explained) = seen.event.reason.as_deref().and_then(remedy::of) {
        lines.push(Line::from(vec![setting.span(BAD, "why: "), Span::raw(explained.why)]));
        lines.push(Line::from(vec![setting.span(GOOD, "do:  "), Span::raw(explained.remedy)]));
    }
    lines
}
