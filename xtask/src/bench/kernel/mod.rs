//! `cargo xtask bench kernel`: the time that a relayed request takes in each of baton's programs, as the kernel counts it,
//! what that depends on, and what it is where programs in several languages relay.

mod condition;
mod statistics;
mod tables;

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::counting::Counting;
use super::peer::Measured;
use super::programs::Tools;
use crate::cgroup::Cgroup;
use crate::scratch::Scratch;
use crate::setup::Purpose;
use crate::{document, process, say, wait, workspace};
use condition::{CONDITIONS, Condition, Stage};
use statistics::Time;

/// After programs were started: what they are is found out then, and their first requests are others.
const FIRST_SECONDS: f64 = 2.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often the conditions take their turns
    #[arg(long, default_value_t = 10)]
    cycles: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Put the result into docs/BENCHMARKS.md
    #[arg(long)]
    record: bool,
}

/// Per relayed request, of one turn.
struct Turn {
    /// Nanoseconds in each program, and its runs.
    programs: BTreeMap<String, Time>,
    /// Nanoseconds in all of them.
    sum: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cycles == 0 || arguments.seconds <= 0.0 {
        bail!("nothing to measure: --cycles must be at least 1 and --seconds more than 0");
    }
    let baton = super::build(Purpose::Bench)?;
    let scratch = Scratch::new("kernel")?;
    let tools = Tools::usual(&scratch);
    let peers = Cgroup::new("bench-peers")?;
    let [backend] = wait::free_ports()?;
    let _backend = super::launch(&tools, &peers, "backend", &tools.backend(backend), backend)?;
    let _counting = Counting::begin()?;
    let start = |condition: &Condition| {
        say::step(&format!("starting: {}", condition.name));
        condition.start(&tools, &baton, backend)
    };
    let mut stages = CONDITIONS.iter().map(start).collect::<Result<Vec<Stage>>>()?;
    for (condition, stage) in CONDITIONS.iter().zip(&mut stages) {
        measure(&tools, &peers, condition, stage, FIRST_SECONDS)?;
    }
    let mut turns: Vec<Vec<Turn>> = CONDITIONS.iter().map(|_| Vec::new()).collect();
    for cycle in 0..arguments.cycles {
        say::step(&format!("cycle {} of {}", cycle + 1, arguments.cycles));
        for (index, condition) in CONDITIONS.iter().enumerate() {
            turns[index].push(measure(&tools, &peers, condition, &mut stages[index], arguments.seconds)?);
        }
    }
    drop(stages);
    let lines = tables::markdown(&turns);
    for line in &lines {
        say::result(line);
    }
    if arguments.record {
        document::record(&workspace::root().join("docs/BENCHMARKS.md"), "kernel", &lines)?;
    }
    Ok(())
}

/// One measurement under one condition.
fn measure(tools: &Tools<'_>, peers: &Cgroup, condition: &Condition, stage: &mut Stage, seconds: f64) -> Result<Turn> {
    let mut command = Command::new(&tools.peer);
    // No warm-up: the programs' time is counted from the first request on.
    command.args(["bench-peer", "load", "--connections", "8", "--warm-up-seconds", "0"]);
    command.args(["--target", &format!("127.0.0.1:{}", stage.port), "--lines", &condition.lines.to_string()]);
    command.args(["--seconds", &seconds.to_string(), "--observe"]).arg(stage.workload.path());
    if condition.fresh {
        command.arg("--fresh");
    }
    if let Some(rate) = condition.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let before = statistics::scrape(stage.metrics)?;
    let printed = process::read(&mut peers.wrap(&condition.placed(&command)))?;
    let after = statistics::scrape(stage.metrics)?;
    stage.check_alive()?;
    let measured: Measured = serde_json::from_str(&printed).context("the load generator printed no measurement")?;
    if measured.wrong > 0 {
        bail!("{} requests arrived with the id of another request", measured.wrong);
    }
    let requests = measured.requests as f64;
    let spent = |(name, time): (String, Time)| {
        let before = before.get(&name).copied().unwrap_or_default();
        let (runs, nanoseconds) = (time.runs - before.runs, time.nanoseconds - before.nanoseconds);
        (name, Time { runs: runs / requests, nanoseconds: nanoseconds / requests })
    };
    let programs: BTreeMap<String, Time> = after.into_iter().map(spent).collect();
    let sum = programs.values().map(|time| time.nanoseconds).sum();
    Ok(Turn { programs, sum })
}
