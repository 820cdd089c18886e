//! docs/DEBUGGING.md has a row for each scenario, and a scenario for each row.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use baton_tests::programs::workspace;

const SCENARIOS: [&str; 3] = [include_str!("cause.rs"), include_str!("outbound.rs"), include_str!("place.rs")];

/// Tests by name, with all that is in them.
fn scenarios() -> Result<BTreeMap<&'static str, &'static str>> {
    let tests = SCENARIOS.into_iter().flat_map(|source| source.split("#[test]\nfn ").skip(1));
    tests.map(|test| test.split_once('(').context("a test without parentheses")).collect()
}

/// What is in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_and_the_scenarios_agree() -> Result<()> {
    let document = std::fs::read_to_string(workspace().join("docs/DEBUGGING.md"))?;
    let (_, section) = document.split_once("\n## Ways to lose a header\n").context("no such section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut scenarios = scenarios()?;
    ensure!(scenarios.len() >= 15, "only {}", scenarios.len());
    for row in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [symptom, reasons, remedy, test] = cells[..] else { anyhow::bail!("not four cells: {row}") };
        let test = quoted(test).pop().with_context(|| row.to_owned())?;
        let body = scenarios.remove(test).with_context(|| format!("no scenario {test}, or two rows"))?;
        for reason in quoted(reasons) {
            ensure!(body.contains(reason), "{test} has no {reason}");
        }
        ensure!(!quoted(reasons).is_empty() && !symptom.is_empty() && !remedy.is_empty(), "{row}");
    }
    ensure!(scenarios.is_empty(), "without a row: {:?}", scenarios.keys());
    Ok(())
}
