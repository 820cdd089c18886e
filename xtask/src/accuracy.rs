//! `cargo xtask accuracy`: applications on many runtimes under load, each outbound request judged by what its own inbound
//! request carried.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::setup::{self, Purpose};
use crate::{document, leftovers, process, say, workspace};

const STRICT: &str = "strict";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Inbound requests in each cell
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Numbers of concurrent clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    clients: Vec<usize>,
    /// Only this application (repeatable); all without it
    #[arg(long = "application")]
    applications: Vec<String>,
    /// `balanced`: measure how often likely contexts are wrong, as a dry run
    #[arg(long, default_value = STRICT, value_parser = [STRICT, "balanced"])]
    attribution: String,
    /// Do not put the result into docs/ACCURACY.md and docs/accuracy.json, which only a run of all applications does
    #[arg(long)]
    dry: bool,
}

/// What the bench found.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    #[serde(default)]
    applications: Vec<Application>,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Application {
    name: String,
    title: String,
    goal: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cell {
    application: String,
    clients: usize,
    requests: usize,
    handlers: BTreeMap<String, Count>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    correct: usize,
    none: usize,
    lost: BTreeMap<String, usize>,
    unbound: usize,
    wrong: usize,
    missing: usize,
    examples: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Record<'a> {
    machine: Machine,
    #[serde(flatten)]
    found: &'a Found,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::for_purpose(Purpose::Test))?;
    say::step("building baton and the bench");
    let baton = workspace::build_baton()?;
    process::run(&mut workspace::cargo(&["build", "--release", "--package", "baton-tests", "--bin", "accuracy"]))?;
    let file = workspace::target().join("accuracy.json");
    let mut bench = Command::new(workspace::release("accuracy"));
    bench.arg("--json").arg(&file).arg("--requests").arg(arguments.requests.to_string());
    bench.arg("--clients").arg(arguments.clients.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    bench.args(["--attribution", &arguments.attribution]);
    for application in &arguments.applications {
        bench.arg("--application").arg(application);
    }
    bench.env("BATON_BIN", baton).env("BATON_PYTHON", workspace::venv().join("bin/python"));
    say::step(&format!(
        "sending {} requests to each application, {:?} clients at a time",
        arguments.requests, arguments.clients
    ));
    let ended = process::run(&mut bench);
    leftovers::remove();
    ended?;
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let found: Found = serde_json::from_str(&text).context("the bench wrote something else than its result")?;
    let machine = Machine::here();
    let table = table(&machine, arguments, &found);
    for line in &table {
        say::result(line);
    }
    if arguments.attribution != STRICT {
        return Ok(());
    }
    if arguments.applications.is_empty() && !arguments.dry {
        let (page, json) = documents();
        document::record(&page, "measured", &table)?;
        let record = serde_json::to_string_pretty(&Record { machine, found: &found })? + "\n";
        fs::write(&json, record).with_context(|| format!("failed to write {}", json.display()))?;
        say::note(&format!("{} and {} hold this result", page.display(), json.display()));
    }
    judge(&found)
}

fn documents() -> (PathBuf, PathBuf) {
    let docs = workspace::root().join("docs");
    (docs.join("ACCURACY.md"), docs.join("accuracy.json"))
}

/// A wrong context fails the run, and so does a goal that is missed.
fn judge(found: &Found) -> Result<()> {
    let missed: Vec<String> = found
        .cells
        .iter()
        .filter_map(|cell| {
            let sums = Sums::of(cell);
            let goal = found.applications.iter().find(|application| application.name == cell.application)?.goal?;
            (sums.share() < goal)
                .then(|| format!("{} with {} clients: {:.3} %", cell.application, cell.clients, 100.0 * sums.share()))
        })
        .collect();
    let wrong: usize = found.cells.iter().map(|cell| Sums::of(cell).wrong).sum();
    if wrong > 0 {
        bail!("{wrong} requests carried a wrong context");
    }
    if !missed.is_empty() {
        bail!("less than what is to be reached: {}", missed.join("; "));
    }
    Ok(())
}

/// A cell's counts over all handlers.
#[derive(Debug, Default)]
struct Sums {
    correct: usize,
    none: usize,
    unbound: usize,
    wrong: usize,
    missing: usize,
    lost: BTreeMap<String, usize>,
}

impl Sums {
    fn of(cell: &Cell) -> Self {
        let mut sums = Self::default();
        for count in cell.handlers.values() {
            sums.correct += count.correct;
            sums.none += count.none;
            sums.unbound += count.unbound;
            sums.wrong += count.wrong;
            sums.missing += count.missing;
            for (reason, times) in &count.lost {
                *sums.lost.entry(reason.clone()).or_default() += times;
            }
        }
        sums
    }

    fn share(&self) -> f64 {
        let all = self.correct + self.lost.values().sum::<usize>();
        if all == 0 { 0.0 } else { self.correct as f64 / all as f64 }
    }
}

/// The result as Markdown, which reads well in a terminal, too.
fn table(machine: &Machine, arguments: &Arguments, found: &Found) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        machine.line(),
        format!("{} inbound requests in each cell, all handlers of an application at once.", arguments.requests),
        String::new(),
        "| application | clients | wrong | carried | to reach | correct | rightly without | unbound | lost, by reason |".to_owned(),
        "|---|--:|--:|--:|--:|--:|--:|--:|---|".to_owned(),
    ];
    for cell in &found.cells {
        let sums = Sums::of(cell);
        let application = found.applications.iter().find(|application| application.name == cell.application);
        let title = application.map_or(cell.application.as_str(), |application| &application.title);
        let goal = application.and_then(|application| application.goal);
        let lost: Vec<String> = sums.lost.iter().map(|(reason, times)| format!("{times} `{reason}`")).collect();
        lines.push(format!(
            "| {title} | {} | {} | {:.3} % | {} | {} | {} | {} | {} |",
            cell.clients,
            sums.wrong,
            100.0 * sums.share(),
            goal.map_or_else(|| "–".to_owned(), |goal| format!("{} %", 100.0 * goal)),
            sums.correct,
            sums.none,
            sums.unbound,
            if lost.is_empty() { "–".to_owned() } else { lost.join(", ") },
        ));
    }
    lines
}
