//! The benchmark's result, for people and for programs.

use std::process::Command;

use anyhow::{Result, bail};
use serde::Serialize;

use super::case::Case;
use super::daemon::Footprint;
use super::peer::Measured;
use super::spread::Spread;
use crate::{process, workspace};

const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    kernel: String,
    cpu: String,
    cpus: usize,
    commit: String,
    pairs: usize,
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
    rows: Vec<Row>,
    pairs: Vec<Pair>,
}

/// One quantity: its medians, and the spread of the pairs' ratios.
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
    ("CPU of the machine, µs/request", |run| run.machine_us_per_request),
];

impl Report {
    pub(super) fn new(pairs: usize, seconds: f64, null: bool) -> Self {
        let words = |program: &str, arguments: &[&str]| {
            let printed = process::read(Command::new(program).args(arguments).current_dir(workspace::root()));
            printed.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
        };
        Self {
            kernel: words("uname", &["-sr"]),
            cpu: cpu_model(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            commit: words("git", &["rev-parse", "--short", "HEAD"]),
            pairs,
            seconds,
            null,
            cases: Vec::new(),
            daemon: Daemon::default(),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        lines.push(format!("{}, {} CPUs ({}), commit {}", self.kernel, self.cpus, self.cpu, self.commit));
        lines.push(format!(
            "{} pairs of {} s, 8 keep-alive connections; medians, and ratios as median (min–max) over the pairs{}",
            self.pairs,
            self.seconds,
            if self.null { "; both sides WITHOUT baton" } else { "" },
        ));
        for case in &self.cases {
            lines.extend(case.lines(self.null));
        }
        lines.extend(self.daemon.lines());
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
        Self { case, rows: rows.collect(), pairs }
    }

    fn lines(&self, null: bool) -> Vec<String> {
        let mut lines = vec![String::new(), self.case.title().to_owned()];
        lines.push(format!("  {:<38} {:>10} {:>10}   on/off", "", "off", "on"));
        for row in &self.rows {
            let mut line = format!(
                "  {:<38} {:>10.1} {:>10.1}   {:.3}",
                row.quantity, row.off.median, row.on.median, row.on_by_off
            );
            if row.quantity == THROUGHPUT && !null {
                let target = self.case.target();
                let met = if row.on_by_off.median >= target { "reached" } else { "NOT reached" };
                line += &format!("   target ≥ {target}: {met}");
            }
            lines.push(line);
        }
        lines.extend(self.carried(null));
        lines
    }

    /// Figures for an idle baton would mean nothing: says how many requests carried their header.
    fn carried(&self, null: bool) -> Option<String> {
        if null {
            return None;
        }
        let sum = |of: fn(&Measured) -> u64| self.pairs.iter().map(|pair| of(&pair.on)).sum::<u64>();
        let (carried, requests) = (sum(|run| run.carried), sum(|run| run.requests));
        let wanted = if self.case.is_selected() { requests } else { 0 };
        let mark = if carried == wanted { "" } else { "   UNEXPECTED" };
        Some(format!("  with baton, {carried} of {requests} requests carried their header (expected: {wanted}){mark}"))
    }
}

impl Daemon {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(footprint) = self.footprint {
            lines.push(String::new());
            lines.push("baton itself".to_owned());
            let resident = footprint.resident_bytes as f64 / MEBIBYTE;
            let maps = footprint.map_bytes as f64 / MEBIBYTE;
            lines.push(format!("  resident memory                        {resident:>10.1} MiB   target < 40 MB"));
            lines.push(format!(
                "  kernel memory of its {:>3} maps          {maps:>10.1} MiB   target < 64 MB",
                footprint.maps
            ));
        }
        if let Some(start) = Spread::of(self.start_ms.iter().copied()) {
            lines.push(format!("  start until attached                     {start:.0} ms   target < 1000 ms"));
        }
        lines
    }
}

fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.to_owned())
}
