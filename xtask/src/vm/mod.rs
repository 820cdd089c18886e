//! `cargo xtask vm`: the end-to-end tests in virtual machines, on each kernel that baton supports and with each of the
//! hooks that the kernel offers; and on one that is too old, where baton must say so.
//!
//! QEMU emulates the machines in software, so that this works everywhere, if slowly. A guest sees the host's files through
//! virtiofs, below a layer in its memory that takes all changes: so it runs the very programs that the host has.

mod architecture;
mod cpio;
mod cross;
mod emulator;
mod guest;
mod init;
mod initramfs;
mod job;
mod kernels;
mod linux;
mod loopback;
mod modules;
mod packages;
mod programs;
mod refusal;
mod report;
mod userland;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::geteuid;
use serde_json::Value;

pub(crate) use cross::{COMPILER, LIBRARY, TARGET};
pub(crate) use guest::virtiofsd;
pub(crate) use init::run as run_guest;

use crate::setup::{self, Purpose};
use crate::{document, interrupt, machine, say, workspace};
use architecture::Architecture;
use emulator::Emulator;
use guest::Guest;
use job::{Event, Job};
use kernels::{Hook, KERNELS, Run};
use report::Row;
use userland::Userland;

/// What a guest may take to boot.
const BOOT: Duration = Duration::from_secs(300);

/// What one test may take in a guest.
const TEST: Duration = Duration::from_secs(900);

/// A guest that says nothing for so long is ended. It ends a test itself that takes too long.
const SILENCE: Duration = Duration::from_secs(TEST.as_secs() + 60);

/// How many times slower than a machine a guest is, at most: the tests' limits grow by it.
const SLOWNESS: &str = "30";

/// The tests send so many times fewer requests there.
const SCALE: &str = "30";

/// Of the host's environment, guests' programs get the search path only.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Tells the tests where C programs are that they then need not compile.
const APPLICATIONS: &str = "BATON_TEST_APPS";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests whose names, as PROGRAM::TEST, contain one of these
    filter: Vec<String>,
    /// Only this kernel (repeatable): see --list
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// Only with this hook (repeatable)
    #[arg(long, value_name = "KIND", value_enum)]
    hook: Vec<Hook>,
    /// Only what `cargo xtask test` runs of it
    #[arg(long)]
    short: bool,
    /// Show the kernels and their hooks, and run nothing
    #[arg(long)]
    list: bool,
    /// Put what comes out into the table of docs/KERNELS.md, beside what it has of other runs
    #[arg(long)]
    record: bool,
    /// Install and build nothing: take the newest test programs from this directory of cargo's, and baton from $BATON_BIN
    #[arg(long, value_name = "DIR")]
    built: Option<PathBuf>,
}

impl Arguments {
    /// What `cargo xtask test` runs.
    pub(crate) fn short() -> Self {
        Self { short: true, ..Self::default() }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runs = chosen(arguments)?;
    if arguments.list {
        list();
        return Ok(());
    }
    ensure!(geteuid().is_root(), "the guests see all of this machine's files, read-only: run this as root");
    if arguments.built.is_none() {
        setup::run(&setup::Arguments::for_purpose(Purpose::Vm))?;
    }
    let is_used = |architecture: &Architecture| runs.iter().any(|run| run.kernel.architecture == *architecture);
    let prepare = |architecture| {
        let userland = match &arguments.built {
            Some(directory) => Userland::find(architecture, directory, arguments.short)?,
            None => Userland::build(architecture, arguments.short)?,
        };
        Ok((emulator::obtain(architecture)?, userland))
    };
    // All of them first: a mistake shows before anything boots.
    let prepared = Architecture::ALL.into_iter().filter(is_used).map(prepare).collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for (emulator, userland) in &prepared {
        rows.extend(boot_each(&runs, arguments, emulator, userland)?);
    }
    conclude(&rows)
}

/// As [`run`], with what is built already. Returns the lines of the table, and whether all is well.
pub(crate) fn run_short() -> Result<(Vec<String>, bool)> {
    let arguments = Arguments::short();
    let userland = Userland::own(&programs::build()?, workspace::release("baton"), true)?;
    let rows = boot_each(&chosen(&arguments)?, &arguments, &emulator::obtain(Architecture::Amd64)?, &userland)?;
    Ok((report::table(&rows), rows.iter().all(Row::is_good)))
}

fn chosen(arguments: &Arguments) -> Result<Vec<Run>> {
    let is_known = |name: &&String| KERNELS.iter().any(|kernel| kernel.name == name.as_str());
    if let Some(unknown) = arguments.kernel.iter().find(|name| !is_known(name)) {
        let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        bail!("there is no kernel {unknown} in the matrix: choose among {}", names.join(", "));
    }
    let runs = kernels::choose(&arguments.kernel, &arguments.hook, arguments.short);
    ensure!(!runs.is_empty(), "none of these kernels offers that hook; `cargo xtask vm --list` shows what there is");
    Ok(runs)
}

fn list() {
    for kernel in KERNELS {
        let hooks: Vec<&str> = kernel.hooks.iter().map(|hook| hook.name()).collect();
        let what = if kernel.is_refused() { "to be refused: too old".to_owned() } else { hooks.join(", ") };
        say::result(&format!(
            "{:<8} Debian's {} ({}): {what}",
            kernel.name,
            kernel.suite,
            kernel.architecture.debian()
        ));
    }
}

fn given_baton() -> PathBuf {
    std::env::var_os("BATON_BIN").map_or_else(|| workspace::release("baton"), PathBuf::from)
}

/// Those of the runs that are of the emulator's architecture.
fn boot_each(runs: &[Run], arguments: &Arguments, emulator: &Emulator, userland: &Userland) -> Result<Vec<Row>> {
    let architecture = emulator.architecture;
    let mut rows = Vec::new();
    for run in runs.iter().filter(|run| run.kernel.architecture == architecture) {
        say::step(&format!("kernel {}", run.name()));
        let mut row = Row::new(run, &arguments.filter);
        let start = Instant::now();
        if let Err(error) = follow(run, emulator, arguments, userland, &mut row) {
            interrupt::check()?;
            row.broken = Some(format!("{error:#}"));
            say::failure(&error);
        }
        row.seconds = start.elapsed().as_secs();
        say::result(&row.summary());
        rows.push(row);
        // A whole matrix takes hours: what is known is kept.
        if arguments.record {
            record(&rows[rows.len() - 1..])?;
        }
    }
    if !arguments.short {
        for (program, why) in &userland.choice.skipped {
            say::result(&format!("tests of `{program}` are skipped in {} guests: {why}", architecture.debian()));
        }
    }
    Ok(rows)
}

/// Boots a kernel and passes on what it tells.
fn follow(run: &Run, emulator: &Emulator, arguments: &Arguments, userland: &Userland, row: &mut Row) -> Result<()> {
    let kernel = linux::obtain(run.kernel)?;
    let mut environment = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("BATON_BIN".to_owned(), userland.baton.display().to_string()),
        ("BATON_TEST_SLOWNESS".to_owned(), SLOWNESS.to_owned()),
        ("BATON_TEST_SCALE".to_owned(), SCALE.to_owned()),
    ];
    environment.push(("BATON_PYTHON".to_owned(), python().display().to_string()));
    let applications = userland.applications.as_ref();
    environment.extend(applications.map(|directory| (APPLICATIONS.to_owned(), directory.display().to_string())));
    environment.extend(run.hook.map(|hook| ("BATON_HOOK".to_owned(), hook.name().to_owned())));
    let refused = run.kernel.is_refused();
    let job = Job {
        environment,
        directory: workspace::root().join("tests"),
        baton: userland.baton.clone(),
        refused,
        programs: if refused { Vec::new() } else { userland.choice.programs.clone() },
        filters: arguments.filter.clone(),
        limit_seconds: TEST.as_secs(),
    };
    let initramfs = initramfs::write(&kernel, userland.init.as_deref(), &job)?;
    let logs = packages::directory().join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("failed to make {}", logs.display()))?;
    let console = logs.join(format!("{}.log", run.name().replace(", ", "-").replace(' ', "-")));
    say::note(&format!("Linux {}; its console goes to {}", kernel.release, console.display()));

    let start = Instant::now();
    let mut guest = Guest::boot(emulator, &kernel, &initramfs, &console)?;
    let mut limit = BOOT;
    let (mut program, mut test) = (String::new(), String::new());
    loop {
        match guest.next(limit)? {
            Event::Booted { release } => {
                say::note(&format!("booted in {} s; `baton doctor` looks at it", start.elapsed().as_secs()));
                ensure!(release == kernel.release, "it is {release} that was booted");
                row.kernel = release;
                limit = SILENCE;
            }
            Event::Doctor { status, stdout, stderr } => doctor(run, status, &stdout, &stderr, row)?,
            Event::Program { name } => {
                say::result("");
                say::result(&format!("     Running {name} on {}", run.name()));
                program = name;
            }
            Event::Begun { test: name } => {
                report::begin(&name);
                test = format!("{program}::{name}");
            }
            Event::Ended { outcome, seconds } => row.count(&test, &outcome, seconds),
            Event::Broken { why } => bail!("the guest cannot go on: {why}"),
            Event::Done => return Ok(()),
        }
    }
}

/// What `baton doctor` says, and whether it uses the hook that it was told to use.
fn doctor(run: &Run, status: i32, stdout: &str, stderr: &str, row: &mut Row) -> Result<()> {
    if run.kernel.is_refused() {
        return Ok(());
    }
    let report: Value = serde_json::from_str(stdout)
        .with_context(|| format!("`baton doctor --json` printed no JSON: {stdout}{stderr}"))?;
    let check = |name: &str| report["checks"].as_array()?.iter().find(|check| check["name"] == name).cloned();
    if let Some(check) = check("self-test") {
        row.self_test = check["status"].as_str().unwrap_or("?").to_owned();
        say::note(&format!("self-test: {}: {}", row.self_test, check["detail"].as_str().unwrap_or_default()));
    }
    ensure!(status == 0, "`baton doctor` finds that baton cannot run here, and ends with {status}: {report:#}");
    let read = report["hooks"].as_array().and_then(|hooks| hooks.iter().find(|hook| hook["step"] == "read"));
    let used = read.and_then(|hook| hook["hook"].as_str()).unwrap_or("unknown");
    say::note(&format!("reads are seen by: {used}"));
    if let Some(asked) = run.hook {
        ensure!(asked.is_described_by(used), "baton was told to use {} and uses: {used}", asked.name());
    }
    Ok(())
}

fn python() -> PathBuf {
    std::env::var_os("BATON_PYTHON").map_or_else(|| workspace::venv().join("bin/python"), PathBuf::from)
}

fn conclude(rows: &[Row]) -> Result<()> {
    say::step("all kernels");
    let table = report::table(rows);
    for line in &table {
        say::result(line);
    }
    for row in rows {
        for test in &row.failed {
            say::result(&format!("FAILED on {} with {}: {test}", row.kernel, row.hook));
        }
        if let Some(why) = &row.broken {
            say::result(&format!("BROKEN OFF on {} with {}: {}", row.kernel, row.hook, first_line(why)));
        }
    }
    if !rows.iter().all(Row::is_good) {
        bail!("tests failed; their output is above");
    }
    Ok(())
}

/// Puts `rows` into the table of docs/KERNELS.md, beside what others it has.
fn record(rows: &[Row]) -> Result<()> {
    let page = workspace::root().join("docs/KERNELS.md");
    let before = document::recorded(&page, "measured")?;
    let mut lines = vec![format!("Under software emulation on {}", machine::Machine::here().line()), String::new()];
    lines.extend(report::merged(&kernels::choose(&[], &[], false), rows, &before));
    document::record(&page, "measured", &lines)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
