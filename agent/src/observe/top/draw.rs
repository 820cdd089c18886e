//! Draws what is looked at.

mod figures;
mod help;
mod requests;
mod workloads;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use self::figures::rate;
use super::board::{Board, End};
use super::view::View;
use crate::observe::flow::harmless;
use crate::observe::style::{BAD, FAINT, STRONG, WARNING};

/// What stays the same while it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Where flow events come from, in a word.
    pub(super) source: String,
    /// Whether colours may be used.
    pub(super) coloured: bool,
    /// Whether values are shown in full.
    pub(super) show_values: bool,
}

impl Setting {
    /// `style` as this terminal is to show it.
    fn style(&self, style: anstyle::Style) -> Style {
        let effects = style.get_effects();
        let mut shown = Style::new();
        for (effect, modifier) in [(anstyle::Effects::BOLD, Modifier::BOLD), (anstyle::Effects::DIMMED, Modifier::DIM)]
        {
            if effects.contains(effect) {
                shown = shown.add_modifier(modifier);
            }
        }
        match style.get_fg_color() {
            Some(anstyle::Color::Ansi(colour)) if self.coloured => shown.fg(named(colour)),
            _ => shown,
        }
    }

    fn span(&self, style: anstyle::Style, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(style))
    }
}

/// The colours of [`crate::observe::style`].
const fn named(colour: anstyle::AnsiColor) -> Color {
    match colour {
        anstyle::AnsiColor::Red => Color::Red,
        anstyle::AnsiColor::Green => Color::Green,
        anstyle::AnsiColor::Yellow => Color::Yellow,
        anstyle::AnsiColor::Blue => Color::Blue,
        _ => Color::Reset,
    }
}

/// Draws the whole screen: what is on `board` at the moment `now`, or was when the view was paused.
pub(super) fn draw(frame: &mut Frame<'_>, setting: &Setting, view: &mut View, board: &Board, now: Duration) {
    // It is put back below.
    let frozen = view.frozen.take();
    let (shown, then) = frozen.as_ref().map_or((board, now), |(board, then)| (&**board, *then));
    let [title, body, status, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(head(setting, view, shown, then, frozen.is_some()), title);
    match view.opened.clone() {
        None => workloads::draw(frame, body, setting, view, shown, then),
        Some(name) => requests::draw(frame, body, setting, view, shown, &name),
    }
    frame.render_widget(state(setting, board), status);
    frame.render_widget(hints(setting, view), keys);
    if view.is_helping {
        help::draw(frame, setting);
    }
    place_cursor(frame, view, keys);
    view.frozen = frozen;
}

/// The first line.
fn head(setting: &Setting, view: &View, board: &Board, now: Duration, is_paused: bool) -> Line<'static> {
    let mut line = Line::from(setting.span(STRONG, "baton"));
    let mut say = |style, text: String| line.extend([Span::raw("  "), setting.span(style, text)]);
    if is_paused {
        say(WARNING, "PAUSED".to_owned());
    }
    match &view.opened {
        Some(name) => say(STRONG, harmless(name)),
        None => {
            let rows = view.rows(board, now);
            let sum: f64 = rows.iter().map(|(_, workload)| board.per_second(workload, now)).sum();
            say(anstyle::Style::new(), format!("{}, {} requests/s", how_many(rows.len()), rate(sum)));
            say(FAINT, format!("by {}", view.sort.name()));
        }
    }
    say(FAINT, harmless(&setting.source));
    if board.is_recorded {
        say(FAINT, format!("{:.0} s", board.last.as_secs_f64()));
    }
    line
}

fn how_many(count: usize) -> String {
    if count == 1 { "1 workload".to_owned() } else { format!("{count} workloads") }
}

/// What is to be known beside the requests.
fn state(setting: &Setting, board: &Board) -> Line<'static> {
    let mut parts = Vec::new();
    match &board.end {
        Some(End::Failed(why)) => parts.push((BAD, harmless(why))),
        Some(End::Over) if !board.is_recorded => parts.push((BAD, "the daemon ended".to_owned())),
        Some(End::Over) | None => {}
    }
    if board.missed > 0 {
        parts.push((WARNING, format!("{} missed: too many at once", board.missed)));
    }
    if board.forgotten > 0 {
        parts.push((FAINT, format!("{} old workloads forgotten", board.forgotten)));
    }
    if let Some(notice) = &board.notice {
        let more = if board.notices > 1 { format!(" (and {} before)", board.notices - 1) } else { String::new() };
        parts.push((WARNING, format!("{notice}{more}")));
    }
    let mut line = Line::default();
    for (style, text) in parts {
        if !line.spans.is_empty() {
            line.push_span(Span::raw(" · "));
        }
        line.push_span(setting.span(style, text));
    }
    line
}

/// The last line: which keys there are, or what is typed.
fn hints(setting: &Setting, view: &View) -> Paragraph<'static> {
    let text = if view.is_typing {
        format!("/{}", harmless(&view.filter))
    } else if view.opened.is_some() {
        "q quit  Esc back  ↑↓ choose  p pause  ? help".to_owned()
    } else if view.filter.is_empty() {
        "q quit  Enter requests  s sort  / filter  p pause  ? help".to_owned()
    } else {
        format!("only names with `{}`  Esc all  ? help", harmless(&view.filter))
    };
    Paragraph::new(Line::from(setting.span(if view.is_typing { anstyle::Style::new() } else { FAINT }, text)))
}

/// The cursor is seen where somebody types.
fn place_cursor(frame: &mut Frame<'_>, view: &View, line: Rect) {
    if view.is_typing && line.width > 0 {
        let typed = u16::try_from(Line::from(view.filter.as_str()).width()).unwrap_or(u16::MAX);
        frame.set_cursor_position((line.x + typed.saturating_add(1).min(line.width - 1), line.y));
    }
}

#[cfg(test)]
mod tests;
