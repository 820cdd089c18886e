//! `cargo xtask bench`: baton on against off, interleaved in one run, so that what the machine does besides changes both
//! sides alike.

mod case;
mod daemon;
pub(crate) mod peer;
mod report;
mod spread;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cgroup::Cgroup;
use crate::scratch::Scratch;
use crate::setup::{self, Purpose};
use crate::{document, process, say, wait, workspace};
use case::{Bench, Case};
use daemon::Footprint;
use peer::Measured;
use report::{CaseReport, Pair, Report};

const CONNECTIONS: &str = "8";
const WARM_UP_SECONDS: &str = "1";
const STARTS: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Pairs of one run without and one run with baton; every other pair starts with baton
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Length of each measured run
    #[arg(long, default_value_t = 5.0)]
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

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.pairs == 0 || arguments.seconds <= 0.0 {
        bail!("nothing to measure: --pairs must be at least 1 and --seconds more than 0");
    }
    setup::run(&setup::Arguments::for_purpose(Purpose::Bench))?;
    say::step("building baton and the benchmark's programs");
    process::run(&mut workspace::cargo(&["build", "--release", "--package", "xtask"]))?;
    let baton = if arguments.null { None } else { Some(workspace::build_baton()?) };
    warn_when_busy();

    let scratch = Scratch::new("bench")?;
    let [backend_port] = wait::free_ports()?;
    let bench = Bench {
        peer: workspace::release("xtask"),
        baton,
        backend_port,
        cgroup: Cgroup::new("bench-peers")?,
        scratch: &scratch,
    };
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
        document::record(&page, &report.markdown())?;
        say::note(&format!("{} and {} hold this result", page.display(), json().display()));
    }
    report.refuse_wrong_contexts()
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
    let mut command = Command::new(&bench.peer);
    command.args(["bench-peer", "backend", "--port", &bench.backend_port.to_string()]);
    let _backend = bench.launch(&bench.cgroup, "backend", &command, bench.backend_port)?;

    let cases = if arguments.cases.is_empty() { &Case::ALL[..] } else { &arguments.cases };
    let mut report = Report::new(arguments.pairs, arguments.seconds, arguments.null);
    for case in cases {
        report.cases.push(measure(bench, *case, arguments, &mut report.daemon.footprint)?);
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
    for number in 0..arguments.pairs {
        say::step(&format!("{}: pair {} of {}", case.title(), number + 1, arguments.pairs));
        let mut one = |on: bool| one_run(bench, case, on, arguments.seconds, footprint);
        let (off, on) = if number % 2 == 0 {
            let off = one(false)?;
            (off, one(true)?)
        } else {
            let on = one(true)?;
            (one(false)?, on)
        };
        say::note(&format!("{:.0} requests/s off, {:.0} on", off.requests_per_second, on.requests_per_second));
        pairs.push(Pair { off, on });
    }
    Ok(CaseReport::new(case, pairs))
}

fn one_run(
    bench: &Bench<'_>,
    case: Case,
    on: bool,
    seconds: f64,
    footprint: &mut Option<Footprint>,
) -> Result<Measured> {
    let mut stage = case.start(bench, on)?;
    let mut command = Command::new(&bench.peer);
    command.args(["bench-peer", "load", "--target", &format!("127.0.0.1:{}", stage.port)]);
    command.args(["--connections", CONNECTIONS, "--warm-up-seconds", WARM_UP_SECONDS]);
    command.args(["--seconds", &seconds.to_string(), "--observe"]).arg(stage.cgroup.path());
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
