//! `cargo xtask bench compare`: what propagation costs with baton, and with what else a user could pick, measured in turns
//! in one run.

mod chart;
mod contest;
mod entry;
mod measure;
mod report;
mod sidecar;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::programs::Tools;
use crate::cgroup::Cgroup;
use crate::scratch::Scratch;
use crate::setup::Purpose;
use crate::{document, say, workspace};
use contest::{CONTESTS, Name};
use entry::Arena;
use report::{Outcome, Report};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each contender is measured, at full speed and at a fixed rate
    #[arg(long, default_value_t = 40)]
    cycles: usize,
    /// How often the programs are started anew meanwhile
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Only this contest (repeatable); all without it
    #[arg(long = "contest", value_enum)]
    contests: Vec<Name>,
    /// Also write the result to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Put the result into docs/BENCHMARKS.md, docs/comparison.json and docs/comparison.svg
    #[arg(long, conflicts_with = "contests")]
    record: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cycles == 0 || arguments.rounds == 0 || arguments.seconds <= 0.0 {
        bail!("nothing to measure: --cycles and --rounds must be at least 1 and --seconds more than 0");
    }
    let baton = super::build(Purpose::Compare)?;
    let scratch = Scratch::new("compare")?;
    let tools = Tools::observed(&scratch);
    let mut arena = Arena { tools, baton, peers: Cgroup::new("bench-peers")?, collector: 0 };
    let (_collector, collector) = arena.backend(0)?;
    arena.collector = collector;
    let mut report = Report::new(arguments.seconds);
    let is_wanted = |name: Name| arguments.contests.is_empty() || arguments.contests.contains(&name);
    for contest in CONTESTS.iter().filter(|contest| is_wanted(contest.name)) {
        let (records, pace) = measure::measure(&arena, contest, arguments)?;
        report.contests.push(Outcome::new(contest, &records, pace).context("nothing was measured")?);
    }
    conclude(&report, arguments)
}

fn conclude(report: &Report, arguments: &Arguments) -> Result<()> {
    for line in report.markdown() {
        say::result(&line);
    }
    let docs = workspace::root().join("docs");
    let record = arguments.record.then(|| docs.join("comparison.json"));
    for file in arguments.json.iter().chain(&record) {
        fs::write(file, serde_json::to_string_pretty(report)? + "\n")
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    if arguments.record {
        chart::write(report, &docs.join("comparison.svg"))?;
        document::record(&docs.join("BENCHMARKS.md"), "compared", &report.markdown())?;
    }
    report.refuse_wrong_contexts()
}
