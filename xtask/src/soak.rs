//! `cargo xtask soak`: mixed load for a long time. Memory and maps must be flat, and errors and wrong headers none.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::machine::Machine;
use crate::setup::{self, Purpose};
use crate::{leftovers, process, say, workspace};

/// What the daemon's memory may grow by after the first third of the time, in bytes.
const GROWTH: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// For how long: `90s`, `30m`, `8h`
    #[arg(long = "for", default_value = "30m", value_parser = seconds)]
    time: u64,
}

/// Seconds of a number with its unit.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number and s, m or h: 30m".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number and s, m or h: 30m".to_owned())?;
    if number == 0 { Err("more than nothing".to_owned()) } else { Ok(number * factor) }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::for_purpose(Purpose::Test))?;
    say::step("building baton and the load");
    // As with the tests: another build of baton may be asked for.
    let baton = match std::env::var_os("BATON_BIN") {
        Some(baton) => baton.into(),
        None => workspace::build_baton()?,
    };
    process::run(&mut workspace::cargo(&["build", "--release", "--package", "baton-tests", "--bin", "soak"]))?;
    say::step(&format!("mixed load for {} s", arguments.time));
    let mut soak = Command::new(workspace::release("soak"));
    soak.args(["--seconds", &arguments.time.to_string()]).env("BATON_BIN", baton);
    let said = process::read(&mut soak);
    leftovers::remove();
    let found: Value = serde_json::from_str(said?.trim()).context("the load wrote something else than its result")?;
    for line in table(&Machine::here(), &found) {
        say::result(&line);
    }
    let faults = faults(&found);
    if faults.is_empty() { Ok(()) } else { bail!("not flat, or not zero: {}", faults.join("; ")) }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

fn samples(found: &Value) -> &[Value] {
    found["samples"].as_array().map_or(&[], Vec::as_slice)
}

/// The largest of a figure in the samples of the second third of the time, and of the last one.
fn growth(found: &Value, name: &str) -> (u64, u64) {
    let samples = samples(found);
    let third = samples.len() / 3;
    let largest = |part: &[Value]| part.iter().map(|sample| number(sample, name)).max().unwrap_or_default();
    (largest(&samples[third..samples.len() - third]), largest(&samples[samples.len() - third..]))
}

/// All that is not as it should be.
fn faults(found: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for name in ["failed", "changed", "wrong"] {
        if number(found, name) > 0 {
            faults.push(format!("{} {name}", number(found, name)));
        }
    }
    if number(found, "carried") == 0 {
        faults.push("no request carried its headers".to_owned());
    }
    if number(&found["left"], "contexts_full") > 0 {
        faults.push("contexts ran out".to_owned());
    }
    let (middle, end) = growth(found, "resident");
    if end > middle + GROWTH {
        faults.push(format!("the daemon's memory grows: {middle} bytes, then {end}"));
    }
    for name in ["executors", "processes", "sockets", "contexts_peak"] {
        let (middle, end) = growth(found, name);
        // What is open at a moment varies.
        if end > 2 * middle + 100 {
            faults.push(format!("{name} grow: {middle}, then {end}"));
        }
    }
    for name in ["executors", "processes", "sockets"] {
        if number(&found["left"], name) > 0 {
            faults.push(format!("{} {name} are left after the load", number(&found["left"], name)));
        }
    }
    if found["clean"] != true {
        faults.push("the daemon left something in the kernel".to_owned());
    }
    faults.extend(found["examples"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    faults
}

fn table(machine: &Machine, found: &Value) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        machine.line(),
        format!(
            "{} s; {} exchanges: {} failed, {} changed, {} with wrong headers; {} carried, {} lost. {} runs of redis-benchmark.",
            number(found, "seconds"),
            number(found, "exchanges"),
            number(found, "failed"),
            number(found, "changed"),
            number(found, "wrong"),
            number(found, "carried"),
            number(found, "lost"),
            number(found, "redis_runs"),
        ),
        String::new(),
        "| after | daemon's memory | contexts, at most | executors | processes | sockets |".to_owned(),
        "|--:|--:|--:|--:|--:|--:|".to_owned(),
    ];
    let row = |time: String, sample: &Value| {
        let figures: Vec<String> = ["contexts_peak", "executors", "processes", "sockets"]
            .iter()
            .map(|name| number(sample, name).to_string())
            .collect();
        format!("| {time} | {:.1} MB | {} |", number(sample, "resident") as f64 / 1e6, figures.join(" | "))
    };
    let all = samples(found);
    let every = (all.len() / 10).max(1);
    for sample in all.iter().step_by(every) {
        lines.push(row(format!("{} s", number(sample, "seconds")), sample));
    }
    lines.push(row("the load".to_owned(), &found["left"]));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(last: u64) -> Value {
        let sample = |resident: u64| json!({"resident": resident, "executors": 5, "processes": 1, "sockets": 9, "contexts_peak": 7});
        let samples: Vec<_> = (0..9).map(|at| sample(if at == 8 { last } else { 20 << 20 })).collect();
        let left = json!({"executors": 0, "processes": 0, "sockets": 0, "contexts_full": 0});
        json!({"carried": 1, "samples": samples, "left": left, "clean": true, "failed": 0, "changed": 0, "wrong": 0})
    }

    #[test]
    fn growth_and_errors_are_faults() {
        assert!(faults(&found(20 << 20)).is_empty());
        assert_eq!(faults(&found(30 << 20)).len(), 1);
        for (name, value) in [("failed", json!(1)), ("carried", json!(0)), ("clean", json!(false))] {
            let mut found = found(20 << 20);
            found[name] = value;
            assert_eq!(faults(&found).len(), 1, "{name}");
        }
        let mut left = found(20 << 20);
        left["left"]["sockets"] = json!(3);
        assert_eq!(faults(&left).len(), 1);
    }

    #[test]
    fn times_have_units() {
        assert_eq!((seconds("90s"), seconds("30m"), seconds("8h")), (Ok(90), Ok(1800), Ok(28_800)));
        assert!(seconds("").is_err() && seconds("30").is_err() && seconds("0s").is_err());
    }
}
