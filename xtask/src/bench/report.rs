//! The benchmark's result, for people and for programs.

use anyhow::{Result, bail};
use serde::Serialize;

use super::case::Case;
use super::daemon::Footprint;
use super::peer::Measured;
use super::spread::Spread;
use crate::machine::Machine;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    machine: Machine,
    rounds: usize,
    seconds: f64,
    null: bool,
    pub(super) cases: Vec<CaseReport>,
    pub(super) daemon: Daemon,
}

#[derive(Debug, Serialize, Default)]
pub(super) struct Daemon {
    pub(super) footprint: Option<Footprint>,
    pub(super) start_ms: Vec<f64>,
}

/// One run without baton and one with it, right after each other.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) off: Measured,
    pub(super) on: Measured,
}

#[derive(Debug, Serialize)]
pub(super) struct CaseReport {
    case: Case,
    /// Of the daemon of a case that is about watching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) footprint: Option<Footprint>,
    rows: Vec<Row>,
    pairs: Vec<Pair>,
}

/// One quantity: its medians, and that of the pairs' ratios.
#[derive(Debug, Serialize)]
struct Row {
    quantity: &'static str,
    off: Spread,
    on: Spread,
    on_by_off: Spread,
}

type Quantity = (&'static str, fn(&Measured) -> f64);

const THROUGHPUT: &str = "requests/s";
const QUANTITIES: [Quantity; 5] = [
    (THROUGHPUT, |run| run.requests_per_second),
    ("p50, µs", |run| run.p50_us),
    ("p99, µs", |run| run.p99_us),
    ("CPU of program and baton, µs/request", |run| run.cpu_us_per_request),
    ("CPU of load generator and backend, too, µs/request", |run| run.total_us_per_request),
];

impl Report {
    pub(super) fn new(rounds: usize, seconds: f64, null: bool) -> Self {
        Self { machine: Machine::here(), rounds, seconds, null, cases: Vec::new(), daemon: Daemon::default() }
    }

    /// The result as Markdown, which reads well in a terminal, too.
    pub(super) fn markdown(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            self.machine.line(),
            format!(
                "Pairs of {} s, in {} rounds; 8 keep-alive connections. Medians; ratios with the 95 % interval of the median.{}",
                self.seconds,
                self.rounds,
                if self.null { " Both sides WITHOUT baton." } else { "" },
            ),
        ];
        for case in &self.cases {
            lines.extend(case.markdown(self.null));
        }
        lines.extend(self.daemon.markdown());
        lines
    }

    /// Speed is measured, not judged; a request with another's context is an error wherever it is seen.
    pub(super) fn refuse_wrong_contexts(&self) -> Result<()> {
        let runs = self.cases.iter().flat_map(|case| &case.pairs).flat_map(|pair| [&pair.off, &pair.on]);
        let wrong: u64 = runs.map(|run| run.wrong).sum();
        if wrong > 0 {
            bail!("{wrong} requests arrived with the id of another request");
        }
        Ok(())
    }
}

impl CaseReport {
    pub(super) fn new(case: Case, pairs: Vec<Pair>) -> Self {
        let rows = QUANTITIES.iter().filter_map(|(quantity, of)| {
            Some(Row {
                quantity,
                off: Spread::of(pairs.iter().map(|pair| of(&pair.off)))?,
                on: Spread::of(pairs.iter().map(|pair| of(&pair.on)))?,
                on_by_off: Spread::of(pairs.iter().map(|pair| of(&pair.on) / of(&pair.off)))?,
            })
        });
        Self { case, footprint: None, rows: rows.collect(), pairs }
    }

    fn markdown(&self, null: bool) -> Vec<String> {
        let mut lines = vec![String::new(), format!("### {}", self.case.title()), String::new()];
        lines.push(format!("| {:<36} | {:>9} | {:>9} | {:>21} |", "", "off", "on", "on/off"));
        lines.push(format!("|{:-<38}|{:->10}:|{:->10}:|{:->22}:|", "", "", "", ""));
        lines.extend(self.rows.iter().map(Row::markdown));
        if let Some(throughput) = self.rows.iter().find(|row| row.quantity == THROUGHPUT)
            && !null
        {
            let target = self.case.target();
            let met = if throughput.on_by_off.median >= target { "reached" } else { "NOT reached" };
            let against = if self.case.is_watched() { "a watching client" } else { "baton" };
            lines.extend([
                String::new(),
                format!("Target: at least {target} of the requests/s without {against}: {met}."),
            ]);
            lines.push(self.carried());
            lines.extend(self.footprint.map(|footprint| {
                format!("Resident memory of the daemon: {}, of at most 60 MB.", megabytes(footprint.resident_bytes))
            }));
        }
        lines
    }

    /// Figures for a baton that does nothing would mean nothing: says how many requests carried their header.
    fn carried(&self) -> String {
        let sum = |of: fn(&Measured) -> u64| self.pairs.iter().map(|pair| of(&pair.on)).sum::<u64>();
        let (carried, requests) = (sum(|run| run.carried), sum(|run| run.requests));
        let wanted = if self.case.carries() { requests } else { 0 };
        let mark = if carried == wanted { "" } else { " UNEXPECTED" };
        format!("On, {carried} of {requests} requests carried their header; {wanted} should.{mark}")
    }
}

impl Row {
    fn markdown(&self) -> String {
        let ratio = format!("{:.3}", self.on_by_off);
        format!("| {:<36} | {:>9.1} | {:>9.1} | {ratio:>21} |", self.quantity, self.off.median, self.on.median)
    }
}

impl Daemon {
    fn markdown(&self) -> Vec<String> {
        let Some(footprint) = self.footprint else { return Vec::new() };
        let mut rows = vec![
            ("resident memory".to_owned(), megabytes(footprint.resident_bytes), "< 40 MB"),
            (format!("kernel memory of its {} maps", footprint.maps), megabytes(footprint.map_bytes), "< 64 MB"),
        ];
        if let Some(start) = Spread::of(self.start_ms.iter().copied()) {
            rows.push(("start until attached".to_owned(), format!("{start:.0} ms"), "< 1000 ms"));
        }
        let mut lines = vec![String::new(), "### baton itself".to_owned(), String::new()];
        lines.push(format!("| {:<36} | {:>21} | {:>9} |", "", "measured", "target"));
        lines.push(format!("|{:-<38}|{:->22}:|{:->10}:|", "", "", ""));
        lines.extend(
            rows.iter().map(|(what, measured, target)| format!("| {what:<36} | {measured:>21} | {target:>9} |")),
        );
        lines
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
