//! Flow events as a table.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::say::{Colour, coloured};

const LOST: &str = "lost";

/// A flow event, as far as the table shows it. docs/FLOWS.md describes all fields.
#[derive(Debug, Deserialize)]
struct Flow {
    time: String,
    kind: String,
    method: String,
    path: String,
    peer: String,
    headers: Vec<String>,
    verdict: Option<String>,
    reason: Option<String>,
    context: Option<String>,
    #[serde(default)]
    status: Option<u16>,
}

/// Which events a table shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown<'a> {
    /// All that are about a path
    Of(&'a str),
    /// The outbound requests that lost their headers
    Lost,
}

impl Shown<'_> {
    fn includes(self, flow: &Flow) -> bool {
        match self {
            Self::Of(path) => flow.path == path,
            Self::Lost => flow.verdict.as_deref() == Some(LOST),
        }
    }
}

/// The events, in the order of their times, below a line of headings. Empty if there are none.
pub(super) fn table(files: &[(&'static str, PathBuf)], shown: Shown<'_>) -> Result<Vec<String>> {
    let mut events = Vec::new();
    for (service, file) in files {
        let text =
            fs::read_to_string(file).with_context(|| format!("baton wrote no flow events to {}", file.display()))?;
        for line in text.lines() {
            let flow: Flow = serde_json::from_str(line)
                .with_context(|| format!("not a flow event in {}: {line}", file.display()))?;
            if shown.includes(&flow) {
                events.push((*service, flow));
            }
        }
    }
    if events.is_empty() {
        return Ok(Vec::new());
    }
    // RFC 3339 times of one zone sort as text.
    events.sort_by(|(_, one), (_, other)| one.time.cmp(&other.time));
    let mut lines = vec![row("time", "program", "kind", "request", "peer", "context", "verdict", "headers")];
    lines.extend(events.iter().map(|(service, flow)| described(service, flow)));
    Ok(lines)
}

fn described(service: &str, flow: &Flow) -> String {
    let verdict = match (&flow.verdict, &flow.reason) {
        (Some(verdict), Some(reason)) => format!("{verdict}: {reason}"),
        (Some(verdict), None) => verdict.clone(),
        (None, _) => flow.status.map(|status| status.to_string()).unwrap_or_default(),
    };
    let context = flow.context.as_deref().unwrap_or("–");
    let request = format!("{} {}", flow.method, flow.path);
    let line = row(
        time_of_day(&flow.time),
        service,
        &flow.kind,
        &request,
        &flow.peer,
        context,
        &verdict,
        &flow.headers.join(", "),
    );
    let colour = match flow.verdict.as_deref() {
        Some("injected") => Colour::Green,
        Some(LOST) => Colour::Red,
        _ => Colour::Dim,
    };
    coloured(colour, &line)
}

#[expect(clippy::too_many_arguments, reason = "one per column")]
fn row(
    time: &str,
    program: &str,
    kind: &str,
    request: &str,
    peer: &str,
    context: &str,
    verdict: &str,
    headers: &str,
) -> String {
    let line =
        format!("     {time:<15} {program:<8} {kind:<8} {request:<13} {peer:<15} {context:<16} {verdict:<9} {headers}");
    line.trim_end().to_owned()
}

/// `2026-01-31T12:34:56.789012Z` without its date and zone, to the microsecond.
fn time_of_day(time: &str) -> &str {
    let clock = time.split_once('T').map_or(time, |(_, clock)| clock);
    let clock = clock.trim_end_matches('Z');
    clock.get(..15).unwrap_or(clock)
}

#[cfg(test)]
mod tests {
    use super::time_of_day;

    #[test]
    fn the_date_and_the_zone_are_left_out() {
        assert_eq!(time_of_day("2026-01-31T12:34:56.789012345Z"), "12:34:56.789012");
        assert_eq!(time_of_day("2026-01-31T12:34:56Z"), "12:34:56");
    }
}
