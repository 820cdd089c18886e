//! `cargo xtask pods`: what many pods on a node cost, and how soon they are on. The cgroups are real, the API server is a
//! fake.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::machine::Machine;
use crate::setup::{self, Purpose};
use crate::{document, leftovers, process, say, workspace};

/// What is to be reached (resident memory in MB, share of a core, milliseconds).
const RESIDENT: f64 = 50.0;
const IDLE: f64 = 0.01;
const TO_ENROLLED: f64 = 20.0;
const TO_EFFECT: f64 = 1000.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Number of pods
    #[arg(long, default_value_t = 200)]
    pods: usize,
    /// Put the result into docs/KUBERNETES.md
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Deserialize)]
struct Found {
    pods: usize,
    resident_mb: f64,
    idle_share_of_a_core: f64,
    to_enrolled_ms: Vec<f64>,
    label_to_effect_on_all_ms: Vec<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::for_purpose(Purpose::Build))?;
    say::step("building baton and the bench");
    let baton = workspace::build_baton()?;
    process::run(&mut workspace::cargo(&["build", "--release", "--package", "baton-tests", "--bin", "pods"]))?;
    say::step(&format!("{} pods come, stay for 20 s, and are switched off and on", arguments.pods));
    let mut bench = Command::new(workspace::release("pods"));
    bench.args(["--pods", &arguments.pods.to_string()]).env("BATON_BIN", baton);
    let said = process::read(&mut bench);
    leftovers::remove();
    let found: Found = serde_json::from_str(said?.trim()).context("the bench wrote something else than its result")?;
    let table = table(&Machine::here(), &found);
    for line in &table {
        say::result(line);
    }
    if arguments.record {
        let page = workspace::root().join("docs/KUBERNETES.md");
        document::record(&page, "measured", &table)?;
        say::note(&format!("{} holds this result", page.display()));
    }
    let missed: Vec<&str> = rows(&found).into_iter().filter(|row| row.1 > row.3).map(|row| row.0).collect();
    if missed.is_empty() { Ok(()) } else { bail!("not reached: {}", missed.join("; ")) }
}

/// Title, figure, its worst, goal, unit.
fn rows(found: &Found) -> [(&'static str, f64, f64, f64, &'static str); 4] {
    let (enrolled, effect) = (&found.to_enrolled_ms, &found.label_to_effect_on_all_ms);
    [
        ("resident memory", found.resident_mb, found.resident_mb, RESIDENT, "MB"),
        (
            "processor time while nothing changes",
            found.idle_share_of_a_core * 100.0,
            found.idle_share_of_a_core * 100.0,
            IDLE * 100.0,
            "% of a core",
        ),
        ("from a pod's cgroup to its enrolment", median(enrolled), worst(enrolled), TO_ENROLLED, "ms"),
        ("from a namespace's label to its effect on all pods", median(effect), worst(effect), TO_EFFECT, "ms"),
    ]
}

fn table(machine: &Machine, found: &Found) -> Vec<String> {
    let mut lines = vec![
        machine.line(),
        format!(
            "{} pods; {} enrolments, {} changes of the label.",
            found.pods,
            found.to_enrolled_ms.len(),
            found.label_to_effect_on_all_ms.len()
        ),
        String::new(),
        "| | median | worst | to reach |".to_owned(),
        "|---|--:|--:|--:|".to_owned(),
    ];
    lines.extend(rows(found).map(|(title, figure, worst, goal, unit)| {
        format!("| {title} | {figure:.1} {unit} | {worst:.1} | {goal:.0} {unit} |")
    }));
    lines
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(figures: &[f64]) -> f64 {
    sorted(figures).get(figures.len() / 2).copied().unwrap_or(f64::INFINITY)
}

fn worst(figures: &[f64]) -> f64 {
    sorted(figures).last().copied().unwrap_or(f64::INFINITY)
}
