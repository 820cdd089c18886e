//! The comparison's result, for people and for programs.

use anyhow::{Result, bail};
use serde::Serialize;

use super::contest::{Contender, Contest, Name, Shape};
use super::measure::Record;
use crate::bench::peer::Measured;
use crate::bench::spread::Spread;
use crate::machine::Machine;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    machine: Machine,
    seconds: f64,
    pub(super) contests: Vec<Outcome>,
}

/// What came out in one contest.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    name: Name,
    pub(super) title: &'static str,
    shape: Shape,
    /// Requests a second at which latencies were measured.
    pace: f64,
    pub(super) rows: Vec<Row>,
}

/// One contender's figures.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) contender: Contender,
    throughput: Spread,
    /// Turn by turn, of the throughput of the first contender.
    pub(super) ratio: Spread,
    /// CPU time of all that takes part, for one request at full speed, in µs.
    cpu_us: Spread,
    /// What of it is more than the first contender's, turn by turn.
    pub(super) added_cpu_us: Spread,
    p50_us: Spread,
    /// What of it is more than the first contender's, turn by turn.
    added_p50_us: Spread,
    p99_us: Spread,
    p999_us: Spread,
    /// What of it baton's programs take, as the kernel counts it.
    in_programs_us: Option<Spread>,
    /// How often a request hits one of baton's probes in the program.
    probe_hits: Option<Spread>,
    memory_bytes: Spread,
    start_ms: Spread,
    requests: u64,
    carried: u64,
    wrong: u64,
    /// Whether as many carried the header as should.
    as_expected: bool,
}

impl Report {
    pub(super) fn new(seconds: f64) -> Self {
        Self { machine: Machine::here(), seconds, contests: Vec::new() }
    }

    /// The result as Markdown, which reads well in a terminal, too.
    pub(super) fn markdown(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            self.machine.line(),
            format!(
                "Contenders in turns of {} s. Medians; in parentheses the 95 % interval of the median.",
                self.seconds
            ),
        ];
        for contest in &self.contests {
            lines.extend(contest.markdown());
        }
        lines
    }

    /// Speed is measured, not judged; a request with another's header is an error wherever it is seen.
    pub(super) fn refuse_wrong_contexts(&self) -> Result<()> {
        let rows = self.contests.iter().flat_map(|contest| &contest.rows);
        let wrong: u64 = rows.map(|row| row.wrong).sum();
        if wrong > 0 {
            bail!("{wrong} requests arrived with the header of another request");
        }
        Ok(())
    }
}

impl Outcome {
    /// None where nothing was measured.
    pub(super) fn new(contest: &Contest, records: &[Record], pace: f64) -> Option<Self> {
        let first = records.first()?;
        let rows = records.iter().map(|record| Row::new(contest, first, record)).collect::<Option<Vec<Row>>>()?;
        Some(Self { name: contest.name, title: contest.title, shape: contest.shape, pace, rows })
    }

    pub(super) fn row(&self, contender: Contender) -> Option<&Row> {
        self.rows.iter().find(|row| row.contender == contender)
    }

    fn markdown(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!("### {}", self.title),
            String::new(),
            format!(
                "| what passes `baggage` on | requests/s | of nothing's | CPU, µs/request | added | p50, µs at {:.0}/s | added | p99 | p99.9 | memory, MB | start, ms | arrived |",
                self.pace
            ),
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
        ];
        lines.extend(self.rows.iter().map(Row::markdown));
        lines.extend(self.in_programs());
        lines.extend(self.against_opentelemetry());
        lines
    }

    /// What baton's programs take.
    fn in_programs(&self) -> Option<String> {
        let baton = self.row(Contender::Baton)?;
        let (time, probes) = (baton.in_programs_us?.median, baton.probe_hits?.median);
        let hits = if probes < 0.05 { String::new() } else { format!(", and it hits {probes:.1} probes") };
        Some(format!("\nA request takes {time:.1} µs in baton's programs, by the kernel's count{hits}."))
    }

    /// What baton costs, of what OpenTelemetry does.
    fn against_opentelemetry(&self) -> Option<String> {
        let (baton, other) = (self.row(Contender::Baton)?, self.row(Contender::OpenTelemetry)?);
        let throughput = (1.0 - baton.ratio.median) / (1.0 - other.ratio.median);
        let cpu = baton.added_cpu_us.median / other.added_cpu_us.median;
        let programs = baton.in_programs_us?.median / other.added_cpu_us.median;
        Some(format!(
            "\nbaton costs {throughput:.3} of the throughput that OpenTelemetry does (to reach: 0.100), and {cpu:.3} of the \
             CPU time (to reach: 0.020); what its programs take is {programs:.3} of that."
        ))
    }
}

impl Row {
    fn new(contest: &Contest, first: &Record, record: &Record) -> Option<Self> {
        let all = |runs: &[Measured], of: fn(&Measured) -> f64| Spread::of(runs.iter().map(of));
        let throughput = |measured: &Measured| measured.requests_per_second;
        let cpu = |measured: &Measured| measured.total_us_per_request;
        let turns = record.closed.iter().zip(&first.closed);
        let ratio = Spread::of(turns.clone().map(|(one, other)| throughput(one) / throughput(other)))?;
        let added_cpu_us = Spread::of(turns.map(|(one, other)| cpu(one) - cpu(other)))?;
        let turns = record.paced.iter().zip(&first.paced);
        let added_p50_us = Spread::of(turns.map(|(one, other)| one.p50_us - other.p50_us))?;
        let sum = |of: fn(&Measured) -> u64| record.closed.iter().chain(&record.paced).map(of).sum::<u64>();
        let (requests, carried, wrong) = (sum(|run| run.requests), sum(|run| run.carried), sum(|run| run.wrong));
        Some(Self {
            contender: record.contender,
            throughput: all(&record.closed, throughput)?,
            ratio,
            cpu_us: all(&record.closed, cpu)?,
            added_cpu_us,
            p50_us: all(&record.paced, |run| run.p50_us)?,
            added_p50_us,
            p99_us: all(&record.paced, |run| run.p99_us)?,
            p999_us: all(&record.paced, |run| run.p999_us)?,
            in_programs_us: Spread::of(record.in_programs.iter().map(|one| one.us)),
            probe_hits: Spread::of(record.in_programs.iter().map(|one| one.probes)),
            memory_bytes: Spread::of(record.memory.iter().copied())?,
            start_ms: Spread::of(record.start_ms.iter().copied())?,
            requests,
            carried,
            wrong,
            as_expected: carried == if record.contender.carries(contest.program) { requests } else { 0 },
        })
    }

    fn markdown(&self) -> String {
        let arrived = format!("{:.1} %", 100.0 * self.carried as f64 / self.requests.max(1) as f64);
        let mark = if self.as_expected { "" } else { " (unexpected)" };
        format!(
            "| {} | {:.0} | {:.3} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {arrived}{mark} |",
            self.contender.name(),
            self.throughput.median,
            self.ratio,
            self.cpu_us.median,
            self.added_cpu_us,
            self.p50_us.median,
            self.added_p50_us,
            self.p99_us.median,
            self.p999_us.median,
            self.memory_bytes.median / 1e6,
            self.start_ms.median,
        )
    }
}
