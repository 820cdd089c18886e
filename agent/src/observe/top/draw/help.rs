//! What the keys do, and what the words mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::Setting;
use crate::observe::style::STRONG;

/// Columns and lines that it takes, with its frame.
const SIZE: (u16, u16) = (76, 22);

/// Keys or words, and what they do or mean.
const LINES: [(&str, &str); 16] = [
    ("↑ ↓ j k", "choose; PgUp, PgDn, Home, End"),
    ("Enter", "the last requests of a workload, the newest first"),
    ("Esc", "back to the workloads; or all of them again, after /"),
    ("s", "what comes first: requests/s, losses, share, latency, name"),
    ("/", "only workloads with this in their names"),
    ("p", "pause: what comes meanwhile is counted, and shown later"),
    ("r", "count anew from now on"),
    ("q", "quit, as Ctrl-C does"),
    ("", ""),
    ("REQ/S", "inbound and outbound requests a second, in the last five seconds (a file: in its whole time)"),
    ("IN OUT", "requests since the beginning"),
    ("P50 P99", "half, or 99 of 100, of the last 1000 responses to inbound requests took no longer"),
    (
        "PROPAGATED",
        "of the outbound requests that had headers to carry, or may have had: those that left with them, inserted or by the application itself",
    ),
    ("LOST", "the others of these"),
    ("missed", "requests that came faster than they were read"),
    ("", ""),
];

/// Draws it over the middle of the screen.
pub(super) fn draw(frame: &mut Frame<'_>, setting: &Setting) {
    let whole = frame.area();
    let (width, height) = (SIZE.0.min(whole.width), SIZE.1.min(whole.height));
    let area = Rect { x: whole.x + (whole.width - width) / 2, y: whole.y + (whole.height - height) / 2, width, height };
    let lines = LINES.map(|(key, meaning)| {
        let key = setting.span(STRONG, format!("{key:<12}"));
        Line::from(vec![key, Span::raw(meaning)])
    });
    let text = Paragraph::new(lines.to_vec()).wrap(Wrap { trim: false });
    frame.render_widget(Clear, area);
    frame.render_widget(text.block(Block::bordered().title(" any key ends this ")), area);
}
