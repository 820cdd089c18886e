//! `cargo xtask bench profile`: where the time of a relayed request goes that baton adds, function by function, as `perf`
//! samples it.

mod sample;
mod step;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::case::{Bench, Case};
use super::programs::Tools;
use crate::scratch::Scratch;
use crate::setup::Purpose;
use crate::{document, say, workspace};

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

/// What is profiled: a program that does nothing else, and three that do what applications do.
const CASES: [Case; 4] = [Case::Relay, Case::Flask, Case::Fastapi, Case::Express];

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cycles == 0 || arguments.seconds <= 0.0 {
        bail!("nothing to measure: --cycles must be at least 1 and --seconds more than 0");
    }
    let baton = super::build(Purpose::Profile)?;
    let scratch = Scratch::new("profile")?;
    let bench = Bench::new(Tools::usual(&scratch), Some(baton))?;
    let profiles = CASES.map(|case| profile(&bench, case, arguments)).into_iter().collect::<Result<Vec<_>>>()?;
    let lines = tables::markdown(&CASES, &profiles);
    for line in &lines {
        say::result(line);
    }
    if arguments.record {
        document::record(&workspace::root().join("docs/BENCHMARKS.md"), "profile", &lines)?;
    }
    Ok(())
}

/// Without and with baton.
fn profile(bench: &Bench<'_>, case: Case, arguments: &Arguments) -> Result<(Profile, Profile)> {
    let (mut off, mut on) = (Profile::new(), Profile::new());
    for cycle in 0..arguments.cycles {
        say::step(&format!("{}: cycle {} of {}", case.title(), cycle + 1, arguments.cycles));
        for with_baton in [cycle % 2 == 1, cycle % 2 == 0] {
            let mut stage = case.start(bench, with_baton)?;
            let sampled = sample::sample(bench, &mut stage, arguments.seconds)?;
            let sum = if with_baton { &mut on } else { &mut off };
            for (function, time) in sampled {
                *sum.entry(function).or_default() += time / arguments.cycles as f64;
            }
        }
    }
    Ok((off, on))
}
