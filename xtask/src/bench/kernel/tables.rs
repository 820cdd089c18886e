//! What was counted, for a reader.

use std::collections::BTreeSet;

use super::Turn;
use super::condition::{COMPARED, CONDITIONS};
use super::statistics::Time;
use crate::bench::spread::Spread;
use crate::machine::Machine;

/// Programs that take less than this of a request are shown together, in nanoseconds.
const LITTLE: f64 = 10.0;
/// The same where there is a column for each relay.
const LITTLE_OF_ALL: f64 = 100.0;

/// The turns of each condition.
pub(super) fn markdown(turns: &[Vec<Turn>]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        Machine::here().line(),
        "Medians; in parentheses the 95 % interval of the median. Ratios are taken turn by turn.".to_owned(),
    ];
    let (relay, others) = turns.split_at(COMPARED);
    let Some(usual) = relay.first() else { return lines };
    lines.extend(of_relay(usual));
    lines.extend([
        String::new(),
        "| condition | ns a request in all programs | of the usual |".to_owned(),
        "|---|---:|---:|".to_owned(),
    ]);
    for (condition, own) in CONDITIONS.iter().zip(relay) {
        let sums = Spread::of(own.iter().map(|turn| turn.sum));
        let ratios = Spread::of(own.iter().zip(usual).map(|(turn, usual)| turn.sum / usual.sum));
        if let (Some(sum), Some(ratio)) = (sums, ratios) {
            lines.push(format!("| {} | {sum:.0} | {ratio:.3} |", condition.name));
        }
    }
    lines.extend(of_others(others));
    lines
}

/// A line for each of baton's programs, those that take the most first.
fn of_relay(turns: &[Turn]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "| program, in the usual condition | runs a request | ns a run | ns a request |".to_owned(),
        "|---|---:|---:|---:|".to_owned(),
    ];
    let mut rest = Vec::new();
    for (name, times) in ranked(&[turns]) {
        match times[..] {
            [Time { runs, nanoseconds }] if nanoseconds >= LITTLE => {
                lines.push(format!("| `{name}` | {runs:.2} | {:.0} | {nanoseconds:.0} |", nanoseconds / runs));
            }
            _ => rest.extend(times),
        }
    }
    let others: f64 = rest.iter().map(|time| time.nanoseconds).sum();
    lines.push(format!("| {} others | | | {others:.0} |", rest.len()));
    lines
}

/// The same with a column for each relay.
fn of_others(relays: &[Vec<Turn>]) -> Vec<String> {
    let relays: Vec<&[Turn]> = relays.iter().map(Vec::as_slice).collect();
    let titles: Vec<&str> = CONDITIONS[COMPARED..].iter().map(|condition| condition.name).collect();
    let mut lines = vec![
        String::new(),
        "Nanoseconds a request in other relays, and in parentheses runs:".to_owned(),
        String::new(),
        row("program", titles),
        row("---", vec!["---:"; relays.len()]),
    ];
    let mut rest = vec![0.0; relays.len()];
    for (name, times) in ranked(&relays) {
        if most(&times) < LITTLE_OF_ALL {
            rest.iter_mut().zip(&times).for_each(|(rest, time)| *rest += time.nanoseconds);
            continue;
        }
        let cell = |time: &Time| match time.runs {
            0.0..0.01 => String::new(),
            runs => format!("{:.0} ({runs:.1})", time.nanoseconds),
        };
        lines.push(row(&format!("`{name}`"), times.iter().map(cell)));
    }
    lines.push(row("others", rest.iter().map(|nanoseconds| format!("{nanoseconds:.0}"))));
    let sum = |turns: &&[Turn]| Spread::of(turns.iter().map(|turn| turn.sum)).map_or(0.0, |spread| spread.median);
    lines.push(row("all", relays.iter().map(|turns| format!("{:.0}", sum(turns)))));
    lines
}

fn row<T: AsRef<str>>(title: &str, cells: impl IntoIterator<Item = T>) -> String {
    let cells = cells.into_iter().map(|cell| format!(" {} |", cell.as_ref()));
    format!("| {title} |{}", cells.collect::<String>())
}

/// The medians of each of baton's programs in each of several relays, those that take the most first.
fn ranked(relays: &[&[Turn]]) -> Vec<(String, Vec<Time>)> {
    let turns = relays.iter().flat_map(|turns| turns.iter());
    let names: BTreeSet<&String> = turns.flat_map(|turn| turn.programs.keys()).collect();
    let mut ranked = Vec::new();
    for name in names {
        let times: Vec<Time> = relays.iter().map(|turns| median(turns, name)).collect();
        ranked.push((name.clone(), times));
    }
    ranked.sort_by(|one, other| most(&other.1).total_cmp(&most(&one.1)));
    ranked
}

fn most(times: &[Time]) -> f64 {
    times.iter().map(|time| time.nanoseconds).fold(0.0, f64::max)
}

/// A program's medians over all turns.
fn median(turns: &[Turn], name: &str) -> Time {
    let of = |value: fn(&Time) -> f64| {
        let values = turns.iter().map(|turn| turn.programs.get(name).map_or(0.0, value));
        Spread::of(values).map_or(0.0, |spread| spread.median)
    };
    Time { runs: of(|time| time.runs), nanoseconds: of(|time| time.nanoseconds) }
}
