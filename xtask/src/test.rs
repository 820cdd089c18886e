//! `cargo xtask test`: set-up, checks, builds and all tests, in the order in which a mistake shows soonest.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::geteuid;

use crate::setup::{self, Purpose};
use crate::{chart, cluster, demo, deny, image, interrupt, leftovers, prebuilt, process, say, vm, workspace};

const FUZZ_SECONDS: &str = "5";
const IMAGE: &str = "localhost/baton:test";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests whose names contain this
    filter: Option<String>,
    /// Leave out the tests in a Kubernetes cluster, and what they need
    #[arg(long)]
    no_cluster: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    if !geteuid().is_root() {
        bail!(
            "the end-to-end tests load eBPF programs: run this as root. `cargo test --package baton-common` needs no root"
        );
    }
    let purpose = if arguments.no_cluster { Purpose::TestWithoutCluster } else { Purpose::Test };
    setup::run(&setup::Arguments::for_purpose(purpose))?;
    let everything = arguments.filter.is_none();
    if everything {
        check_sources()?;
    }
    build(everything)?;
    if everything {
        check_object()?;
        image::write(&workspace::release("baton"), IMAGE, &workspace::target().join("baton-image.tar"))?;
    }

    let mut closing = Vec::new();
    let mut passed = pure_parts(arguments, &mut closing)?;
    if everything {
        passed &= fuzz()?;
    }
    passed &= end_to_end(arguments, &mut closing)?;
    if everything {
        say::step("testing on other kernels, in virtual machines");
        let (table, all_well) = vm::run_short()?;
        passed &= all_well;
        closing.extend(table);
    }
    if everything {
        say::step("running the demo");
        for arguments in [demo::Arguments::default(), demo::Arguments::explained()] {
            passed &= demo::run(&arguments).inspect_err(say::failure).is_ok();
            interrupt::check()?;
        }
    }

    let durations = say::durations();
    say::step(&format!("finished after {} s", start.elapsed().as_secs()));
    for line in &durations {
        say::note(line);
    }
    for line in &closing {
        say::result(line);
    }
    if !passed {
        bail!("tests failed; their output is above");
    }
    Ok(())
}

fn check_sources() -> Result<()> {
    say::step("checking format, licences, and the Helm chart and the manifest made from it");
    process::run(&mut workspace::cargo(&["fmt", "--all", "--check"]))?;
    deny::check()?;
    chart::check()
}

/// Builds baton, and looks for lints meanwhile, if they are wanted: the object is built by one processor alone.
fn build(lints: bool) -> Result<()> {
    say::step(if lints {
        "building the eBPF object from source, and baton; looking for lints meanwhile"
    } else {
        "building the eBPF object from source, and baton"
    });
    let mut clippy = checking(&["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]);
    thread::scope(|scope| {
        let linted = scope.spawn(|| if lints { process::run(&mut clippy) } else { Ok(()) });
        let built = prebuilt::build_from_source();
        let linted = linted.join().map_err(|_| anyhow!("looking for lints panicked"))?;
        // Both say what is wrong.
        built.and(linted)
    })
}

/// In CI a stale committed object is an error. A developer in the middle of a change only hears about it.
fn check_object() -> Result<()> {
    say::step("comparing the committed eBPF objects with fresh builds");
    match prebuilt::check() {
        Ok(finding) => say::note(&finding),
        Err(error) if is_ci() => return Err(error),
        Err(error) => {
            interrupt::check()?;
            say::warning(&format!("{error:#}"));
        }
    }
    Ok(())
}

/// A short search for bytes that break a parser: `cargo xtask fuzz` alone searches longer, and shows its progress.
fn fuzz() -> Result<bool> {
    say::step("fuzzing the pure parts");
    let own = std::env::current_exe().context("failed to find this executable")?;
    match process::read(Command::new(own).args(["fuzz", "--seconds", FUZZ_SECONDS])) {
        Ok(printed) => say::note(printed.trim()),
        Err(error) => {
            interrupt::check()?;
            say::failure(&error);
            return Ok(false);
        }
    }
    Ok(true)
}

fn pure_parts(arguments: &Arguments, closing: &mut Vec<String>) -> Result<bool> {
    say::step("testing the pure parts");
    let mut passed = true;
    for kinds in [&["--lib", "--bins"][..], &["--doc"]] {
        passed &= test(cargo_test().args(kinds).args(&arguments.filter), closing)?;
    }
    Ok(passed)
}

/// Runs tests, which kinds of them is to follow. Always of the same packages: with others, dependencies get other features
/// and are all built once more.
pub(crate) fn cargo_test() -> Command {
    checking(&["test", "--workspace", "--exclude", "baton-ebpf", "--no-fail-fast"])
}

/// Cargo for what does not run the data path. In CI, where the committed object is compared with a fresh one, that is good
/// enough for it: a build of the object takes a minute.
fn checking(arguments: &[&str]) -> Command {
    let mut cargo = workspace::cargo(arguments);
    if is_ci() {
        cargo.env("BATON_EBPF", "prebuilt");
    }
    cargo
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}

fn end_to_end(arguments: &Arguments, closing: &mut Vec<String>) -> Result<bool> {
    let kubernetes = kubernetes(arguments)?;
    say::step("testing end to end, with real programs");
    let mut command = end_to_end_command(arguments);
    // One after the other: they look for what is left behind in the whole kernel, and fill small machines.
    command.arg("--test-threads=1");
    if let Some(directory) = &kubernetes {
        command.arg("--include-ignored").env(cluster::VARIABLE, directory);
    }
    command.env("BATON_BIN", workspace::release("baton")).env("BATON_PYTHON", workspace::venv().join("bin/python"));
    command.env("BATON_XTASK_BIN", std::env::current_exe().context("failed to find this executable")?);
    // Backtraces of errors that a test returns show the test runner only.
    command.env("RUST_LIB_BACKTRACE", "0");
    let passed = test(&mut command, closing);
    leftovers::remove();
    if arguments.no_cluster {
        closing.push("tests in a Kubernetes cluster: skipped, as --no-cluster asks; they count as ignored".to_owned());
    }
    passed
}

/// What runs the end-to-end tests; arguments for their programs may follow.
fn end_to_end_command(arguments: &Arguments) -> Command {
    let mut command = cargo_test();
    command.args(["--test", "*"]).args(&arguments.filter).arg("--");
    command
}

/// The programs of the cluster, built if need be; `None` when no test is to run that needs it.
fn kubernetes(arguments: &Arguments) -> Result<Option<PathBuf>> {
    if arguments.no_cluster {
        return Ok(None);
    }
    // The tests in the cluster, and no others, are ignored unless they are asked for.
    let listed = process::read_aloud(end_to_end_command(arguments).args(["--list", "--ignored"]))
        .context("failed to build the end-to-end tests")?;
    if !listed.lines().any(|line| line.ends_with(": test")) {
        return Ok(None);
    }
    cluster::ensure().map(Some)
}

/// Runs a test command with its output passed through, keeps the runner's closing lines, and says whether all passed.
fn test(command: &mut Command, closing: &mut Vec<String>) -> Result<bool> {
    // Its own process group: Ctrl-C then reaches this task alone, which ends the tests and what they have started.
    command.process_group(0).stdin(Stdio::null());
    let mut child = process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Cargo names each test program on stderr, the program reports on stdout: both, in the order of their arrival.
    let (sender, lines) = std::sync::mpsc::channel();
    let also = sender.clone();
    let readers = [
        thread::spawn(move || pass_on(stdout, std::io::stdout(), &sender)),
        thread::spawn(move || pass_on(stderr, std::io::stderr(), &also)),
    ];
    let status = process::wait(child)?;
    closing.extend(lines);
    for reader in readers {
        // A reader that cannot write any more has nobody to tell.
        let _ = reader.join();
    }
    Ok(status.success())
}

fn pass_on(from: Option<impl std::io::Read>, mut to: impl Write, closing: &std::sync::mpsc::Sender<String>) {
    let Some(from) = from else { return };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let _ = to.write_all(&line);
        let text = String::from_utf8_lossy(&line);
        if let Some(kept) = closing_line(text.trim_end()) {
            let _ = closing.send(kept.to_owned());
        }
        line.clear();
    }
}

/// What the summary repeats: which program was run, what failed in it, and its result.
fn closing_line(line: &str) -> Option<&str> {
    let trimmed = line.trim_start();
    let program = trimmed.starts_with("Running ") || trimmed.starts_with("Doc-tests ");
    let verdict = line.starts_with("test result: ") || (line.starts_with("test ") && line.ends_with("... FAILED"));
    (program || verdict).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    #[test]
    fn the_summary_repeats_programs_failures_and_results() {
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/common-1)",
            "   Doc-tests baton_common",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test scan::finds_the_end ... FAILED",
        ] {
            assert_eq!(closing_line(line), Some(line));
        }
        assert_eq!(closing_line("test scan::finds_the_end ... ok"), None);
        assert_eq!(closing_line("running 3 tests"), None);
    }
}
