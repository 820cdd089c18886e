//! `cargo xtask bench`: baton on against off, interleaved in one run, so that what the machine does besides changes both
//! sides alike.

mod case;
mod compare;
mod counting;
mod daemon;
mod kernel;
pub(crate) mod peer;
mod profile;
mod programs;
mod report;
mod spread;
mod traffic;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::cgroup::Cgroup;
use crate::process::Service;
use crate::scratch::Scratch;
use crate::setup::{self, Purpose};
use crate::{document, process, say, wait, workspace};
use case::{Bench, Case, Stage};
use daemon::Footprint;
use peer::Measured;
use programs::Tools;
use report::{CaseReport, Pair, Report};

const CONNECTIONS: &str = "8";
/// After programs were started, and before each measurement: new connections are slower.
const FIRST_SECONDS: f64 = 1.0;
const WARM_UP_SECONDS: f64 = 0.1;
/// How much longer, and how much less often, a pair is measured whose sides cannot run side by side.
const APART: usize = 4;
const STARTS: usize = 10;
/// How long a program may take until it listens.
const START: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Pairs of one measurement without and one with baton; every other pair starts with baton
    #[arg(long, default_value_t = 100)]
    pairs: usize,
    /// How often the programs are started anew meanwhile
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Only this case (repeatable); all without it
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Both sides without baton: what the ratios would be if it cost nothing, which shows this machine's noise
    #[arg(long)]
    null: bool,
    /// Also write everything that was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Put the result into docs/BENCHMARKS.md, and everything that was measured into docs/benchmarks.json
    #[arg(long, conflicts_with_all = ["cases", "null"])]
    record: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// baton against what else a user could pick
    Compare(compare::Arguments),
    /// The time in each of baton's programs in the kernel
    Kernel(kernel::Arguments),
    /// Where the time goes that baton adds to a request
    Profile(profile::Arguments),
    /// Traffic that baton has nothing to add to: Redis, and large bodies
    Traffic(traffic::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.task {
        Some(Task::Compare(arguments)) => return compare::run(arguments),
        Some(Task::Kernel(arguments)) => return kernel::run(arguments),
        Some(Task::Profile(arguments)) => return profile::run(arguments),
        Some(Task::Traffic(arguments)) => return traffic::run(arguments),
        None => {}
    }
    if arguments.pairs == 0 || arguments.rounds == 0 || arguments.seconds <= 0.0 {
        bail!("nothing to measure: --pairs and --rounds must be at least 1 and --seconds more than 0");
    }
    let baton = build(Purpose::Bench)?;
    let scratch = Scratch::new("bench")?;
    let bench = Bench::new(Tools::usual(&scratch), (!arguments.null).then_some(baton))?;
    let report = measure_all(&bench, arguments)?;
    for line in report.markdown() {
        say::result(&line);
    }
    let record = arguments.record.then(json);
    for file in arguments.json.iter().chain(&record) {
        fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    if arguments.record {
        let page = workspace::root().join("docs/BENCHMARKS.md");
        document::record(&page, "measured", &report.markdown())?;
        say::note(&format!("{} and {} hold this result", page.display(), json().display()));
    }
    report.refuse_wrong_contexts()
}

/// Sees to it that what a benchmark needs is there, and builds baton, whose program it returns.
fn build(purpose: Purpose) -> Result<PathBuf> {
    setup::run(&setup::Arguments::for_purpose(purpose))?;
    say::step("building baton and the benchmark's programs");
    process::run(&mut workspace::cargo(&["build", "--release", "--package", "xtask"]))?;
    let baton = workspace::build_baton()?;
    warn_when_busy();
    Ok(baton)
}

/// Where `--record` puts everything that was measured.
fn json() -> PathBuf {
    workspace::root().join("docs/benchmarks.json")
}

/// Other work on the machine makes ratios scatter, whatever the interleaving.
fn warn_when_busy() {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = load.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/')?.0.parse().ok());
    // This task is one of those that run.
    if running.is_some_and(|running: u32| running > 1) {
        say::warning("the machine is busy with something else: expect scattered figures");
    }
}

fn measure_all(bench: &Bench<'_>, arguments: &Arguments) -> Result<Report> {
    let cases = if arguments.cases.is_empty() { &Case::ALL[..] } else { &arguments.cases };
    // Without baton there is nothing to watch.
    let cases = cases.iter().filter(|case| bench.baton.is_some() || !case.is_watched());
    let mut report = Report::new(arguments.rounds, arguments.seconds, arguments.null);
    for case in cases {
        // Baton's own memory is that without a watcher; what it is with one is told where that is.
        let mut watched = None;
        let footprint = if case.is_watched() { &mut watched } else { &mut report.daemon.footprint };
        let mut measured = measure(bench, *case, arguments, footprint)?;
        measured.footprint = watched;
        report.cases.push(measured);
    }
    if let Some(baton) = &bench.baton {
        report.daemon.start_ms = daemon::start_times(baton, STARTS)?;
    }
    Ok(report)
}

fn measure(
    bench: &Bench<'_>,
    case: Case,
    arguments: &Arguments,
    footprint: &mut Option<Footprint>,
) -> Result<CaseReport> {
    let mut pairs = Vec::new();
    if case.is_selected() {
        for round in 0..arguments.rounds {
            say::step(&format!("{}: round {} of {}", case.title(), round + 1, arguments.rounds));
            let mut sides = [case.start(bench, false)?, case.start(bench, true)?];
            for side in &mut sides {
                load(bench, side, FIRST_SECONDS, footprint)?;
            }
            for _ in 0..arguments.pairs.div_ceil(arguments.rounds) {
                let is_swapped = pairs.len() % 2 == 1;
                pairs.push(pair(is_swapped, |on| {
                    load(bench, &mut sides[usize::from(on)], arguments.seconds, footprint)
                })?);
            }
        }
    } else {
        // Whatever it has, baton is there for the whole machine.
        let count = arguments.pairs.div_ceil(APART);
        for number in 0..count {
            say::step(&format!("{}: pair {} of {count}", case.title(), number + 1));
            pairs.push(pair(number % 2 == 1, |on| {
                load(bench, &mut case.start(bench, on)?, arguments.seconds * APART as f64, footprint)
            })?);
        }
    }
    Ok(CaseReport::new(case, pairs))
}

/// Both sides, one right after the other.
fn pair(is_swapped: bool, mut measure: impl FnMut(bool) -> Result<Measured>) -> Result<Pair> {
    if is_swapped {
        let on = measure(true)?;
        return Ok(Pair { off: measure(false)?, on });
    }
    Ok(Pair { off: measure(false)?, on: measure(true)? })
}

/// One measurement.
fn load(bench: &Bench<'_>, stage: &mut Stage, seconds: f64, footprint: &mut Option<Footprint>) -> Result<Measured> {
    let mut command = Command::new(&bench.tools.peer);
    command.args(["bench-peer", "load", "--target", &format!("127.0.0.1:{}", stage.port)]);
    command.args(["--connections", CONNECTIONS, "--warm-up-seconds", &WARM_UP_SECONDS.to_string()]);
    command.args(["--seconds", &seconds.to_string(), "--observe"]).arg(stage.cgroup.path());
    command.args(stage.rate.map(|rate| format!("--rate={rate}")));
    let printed = process::read(&mut bench.cgroup.wrap(&command))?;
    for service in &mut stage.services {
        service.check_alive()?;
    }
    if let Some(baton) = stage.baton {
        let now = Footprint::of(baton)?;
        *footprint = Some(footprint.take().map_or(now, |before| before.max(now)));
    }
    serde_json::from_str(&printed).context("the load generator printed no measurement")
}

/// Starts a program in `cgroup` and waits until it listens.
fn launch(tools: &Tools<'_>, cgroup: &Cgroup, name: &str, command: &Command, port: u16) -> Result<Service> {
    let log = tools.scratch.join(&format!("{name}-{port}.log"));
    let mut service = Service::start(name, cgroup.wrap(command).stdout(Stdio::null()), &log)?;
    wait::until_listening(&mut service, port, START)?;
    Ok(service)
}
