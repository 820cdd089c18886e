//! `cargo xtask bench profile`: where the time of a relayed request goes that baton adds, function by function, as `perf`
//! samples it.

mod sample;
mod step;

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::case::{Bench, Case};
use super::programs::Tools;
use crate::machine::Machine;
use crate::scratch::Scratch;
use crate::setup::Purpose;
use crate::{document, say, workspace};
use step::Step;

/// Functions that are shown.
const SHOWN: usize = 25;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each side is sampled
    #[arg(long, default_value_t = 6)]
    cycles: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Put the result into docs/BENCHMARKS.md
    #[arg(long)]
    record: bool,
}

/// Microseconds of a request by function.
type Profile = BTreeMap<String, f64>;

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cycles == 0 || arguments.seconds <= 0.0 {
        bail!("nothing to measure: --cycles must be at least 1 and --seconds more than 0");
    }
    let baton = super::build(Purpose::Profile)?;
    let scratch = Scratch::new("profile")?;
    let bench = Bench::new(Tools::usual(&scratch), Some(baton))?;
    let (mut off, mut on) = (Profile::new(), Profile::new());
    for cycle in 0..arguments.cycles {
        say::step(&format!("cycle {} of {}", cycle + 1, arguments.cycles));
        for with_baton in [cycle % 2 == 1, cycle % 2 == 0] {
            let mut stage = Case::Relay.start(&bench, with_baton)?;
            let sampled = sample::sample(&bench, &mut stage, arguments.seconds)?;
            let sum = if with_baton { &mut on } else { &mut off };
            for (function, time) in sampled {
                *sum.entry(function).or_default() += time / arguments.cycles as f64;
            }
        }
    }
    let lines = markdown(&off, &on);
    for line in &lines {
        say::result(line);
    }
    if arguments.record {
        document::record(&workspace::root().join("docs/BENCHMARKS.md"), "profile", &lines)?;
    }
    Ok(())
}

fn markdown(off: &Profile, on: &Profile) -> Vec<String> {
    let time = |profile: &Profile, function: &str| profile.get(function).copied().unwrap_or_default();
    let names: std::collections::BTreeSet<&String> = off.keys().chain(on.keys()).collect();
    let mut added: Vec<(&String, f64)> =
        names.into_iter().map(|name| (name, time(on, name) - time(off, name))).collect();
    added.sort_by(|one, other| other.1.total_cmp(&one.1));
    let sum = |profile: &Profile| profile.values().sum::<f64>();
    let mut lines = vec![
        String::new(),
        Machine::here().line(),
        format!(
            "CPU time of the whole machine for a request, idle time left out: {:.1} µs without baton, {:.1} µs with it.",
            sum(off),
            sum(on)
        ),
        String::new(),
        "| what is done | added, µs/request |".to_owned(),
        "|---|---:|".to_owned(),
    ];
    lines.extend(Step::ALL.into_iter().map(|step| {
        let own: f64 = added.iter().filter(|(name, _)| Step::of(name) == step).map(|(_, time)| time).sum();
        format!("| {} | {own:.2} |", step.title())
    }));
    lines.extend([
        String::new(),
        "| function | without | with | added, µs/request |".to_owned(),
        "|---|---:|---:|---:|".to_owned(),
    ]);
    lines.extend(added.iter().take(SHOWN).map(|(name, difference)| {
        format!("| `{name}` | {:.2} | {:.2} | {difference:.2} |", time(off, name), time(on, name))
    }));
    lines
}
