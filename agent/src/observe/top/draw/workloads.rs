//! The list of workloads.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Text;
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

use super::Setting;
use super::figures::{count, name, rate, reasons, share, time};
use crate::observe::flow::harmless;
use crate::observe::style::{BAD, FAINT, GOOD, STRONG};
use crate::observe::top::board::Board;
use crate::observe::top::view::View;
use crate::observe::top::workload::Workload;

/// Least and most columns for a workload's name.
const NAME: (usize, usize) = (12, 48);

/// Least columns for reasons.
const REASONS: usize = 18;

/// What is said of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Rate,
    Propagated,
    Lost,
    Reasons,
    Latency99,
    Latency50,
    Inbound,
    Outbound,
}

impl Column {
    /// From the left to the right.
    const ORDER: [Self; 8] = [
        Self::Rate,
        Self::Inbound,
        Self::Outbound,
        Self::Latency50,
        Self::Latency99,
        Self::Propagated,
        Self::Lost,
        Self::Reasons,
    ];

    /// From those that are to have room first to the last. What says little without another comes with it.
    const WEIGHT: [&[Self]; 5] = [
        &[Self::Rate],
        &[Self::Propagated, Self::Lost],
        &[Self::Reasons],
        &[Self::Latency99, Self::Latency50],
        &[Self::Inbound, Self::Outbound],
    ];

    const fn head(self) -> &'static str {
        match self {
            Self::Rate => "REQ/S",
            Self::Propagated => "PROPAGATED",
            Self::Lost => "LOST",
            Self::Reasons => "LOSSES BY REASON",
            Self::Latency99 => "P99",
            Self::Latency50 => "P50",
            Self::Inbound => "IN",
            Self::Outbound => "OUT",
        }
    }

    const fn width(self) -> usize {
        match self {
            Self::Propagated => 10,
            Self::Reasons => REASONS,
            Self::Latency99 | Self::Latency50 => 7,
            Self::Rate | Self::Lost | Self::Inbound | Self::Outbound => 6,
        }
    }

    /// Those for which `width` columns have room beside a name.
    fn fitting(width: usize) -> Vec<Self> {
        let mut left = width.saturating_sub(NAME.0);
        let mut fitting = Vec::new();
        for columns in Self::WEIGHT {
            let wanted: usize = columns.iter().map(|column| column.width() + 1).sum();
            let Some(rest) = left.checked_sub(wanted) else { break };
            left = rest;
            fitting.extend(columns);
        }
        Self::ORDER.into_iter().filter(|column| fitting.contains(column)).collect()
    }

    fn cell(self, setting: &Setting, board: &Board, workload: &Workload, now: Duration) -> Text<'static> {
        let plain = anstyle::Style::new();
        let of_time = |part| workload.percentile(part).map(time).unwrap_or_default();
        let (style, text) = match self {
            Self::Rate => (plain, rate(board.per_second(workload, now))),
            Self::Propagated => match workload.propagated() {
                None => (FAINT, "–".to_owned()),
                Some(all) if all >= 1.0 => (GOOD, share(all)),
                Some(some) => (BAD, share(some)),
            },
            Self::Lost => (if workload.losses() > 0 { BAD } else { FAINT }, count(workload.losses())),
            Self::Reasons => return Text::from(setting.span(plain, harmless(&reasons(&workload.lost)))),
            Self::Latency99 => (plain, of_time(0.99)),
            Self::Latency50 => (plain, of_time(0.5)),
            Self::Inbound => (plain, count(workload.inbound)),
            Self::Outbound => (plain, count(workload.outbound)),
        };
        Text::from(setting.span(style, text)).alignment(Alignment::Right)
    }

    fn title(self) -> Text<'static> {
        let alignment = if self == Self::Reasons { Alignment::Left } else { Alignment::Right };
        Text::from(self.head()).alignment(alignment)
    }
}

/// Draws the list into `area`.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    setting: &Setting,
    view: &mut View,
    board: &Board,
    now: Duration,
) {
    let rows = view.rows(board, now);
    if rows.is_empty() {
        frame.render_widget(nothing(setting, view, board), area);
        return;
    }
    let columns = Column::fitting(usize::from(area.width));
    let fixed: usize = columns.iter().map(|column| column.width() + 1).sum();
    let left = usize::from(area.width).saturating_sub(fixed);
    let longest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    // What a name does not need is for the reasons.
    let has_reasons = columns.contains(&Column::Reasons);
    let width = if has_reasons { left.min(longest.clamp(NAME.0, NAME.1)) } else { left };
    let constraints = std::iter::once(Constraint::Length(width as u16)).chain(columns.iter().map(|column| {
        if *column == Column::Reasons { Constraint::Fill(1) } else { Constraint::Length(column.width() as u16) }
    }));
    let header = std::iter::once(Text::from("WORKLOAD")).chain(columns.iter().map(|column| column.title()));
    let cells = |(workload_name, workload): &(&str, &Workload)| {
        let first = Text::from(name(&harmless(workload_name), width));
        let others = columns.iter().map(|column| column.cell(setting, board, workload, now));
        Row::new(std::iter::once(first).chain(others).collect::<Vec<_>>())
    };
    let table = Table::new(rows.iter().map(cells), constraints)
        .column_spacing(1)
        .header(Row::new(header).style(setting.style(STRONG)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    view.table.select(Some(view.marked_row(&rows)));
    frame.render_stateful_widget(table, area, &mut view.table);
}

/// Why there is no workload.
fn nothing(setting: &Setting, view: &View, board: &Board) -> Paragraph<'static> {
    let text = if board.workloads().next().is_some() {
        format!("No workload's name has `{}` in it. Esc shows all.", harmless(&view.filter))
    } else if board.is_recorded {
        "The file has no request that fits.".to_owned()
    } else {
        "No request yet. Is the workload switched on (`baton doctor`, the label baton.dev/propagation), does it speak cleartext HTTP/1, and is there traffic?".to_owned()
    };
    Paragraph::new(text).style(setting.style(FAINT)).wrap(Wrap { trim: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_most_has_room_first() {
        assert_eq!(Column::fitting(0), []);
        assert_eq!(Column::fitting(40), [Column::Rate, Column::Propagated, Column::Lost]);
        let at_80 =
            [Column::Rate, Column::Latency50, Column::Latency99, Column::Propagated, Column::Lost, Column::Reasons];
        assert_eq!(Column::fitting(80), at_80);
        assert_eq!(Column::fitting(200), Column::ORDER);
    }
}
