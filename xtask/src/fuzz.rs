//! `cargo xtask fuzz`: looks for bytes that break what takes bytes from others, with libFuzzer and the installed stable
//! Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{process, say, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to break: all of it if nothing is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.map(|target| target.name)))]
    targets: Vec<String>,
    /// How long to look for each
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How many inputs to try of each, however long it takes
    #[arg(long, value_name = "COUNT", conflicts_with = "seconds")]
    executions: Option<u64>,
    /// Add what has been found to reach new code to fuzz/seeds, as small as possible
    #[arg(long)]
    keep: bool,
}

/// Something that takes bytes from others.
struct Target {
    name: &'static str,
    /// Longest input that is tried.
    longest: u32,
}

/// As in `fuzz/fuzz_targets`, where each says what it is.
const TARGETS: [Target; 6] = [
    Target { name: "scan", longest: 4096 },
    Target { name: "names", longest: 4096 },
    Target { name: "variables", longest: 4096 },
    Target { name: "configuration", longest: 2048 },
    Target { name: "records", longest: 2048 },
    Target { name: "symbols", longest: 16384 },
];

/// What cargo-fuzz passes, without a sanitizer: these need no nightly compiler, and all that is `unsafe` is masked.
const INSTRUMENT: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let host = host()?;
    let directory = workspace::target().join("fuzz");
    say::step("building the fuzzers");
    build(&host, &directory)?;
    let programs = directory.join(&host).join("release");
    let is_wanted =
        |target: &&Target| arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == target.name);
    for target in TARGETS.iter().filter(is_wanted) {
        let place = Place::make(&directory, target)?;
        look(&programs, target, &place, arguments)?;
        if arguments.keep {
            keep(&programs, target, &place)?;
        }
    }
    Ok(())
}

/// A target's directories.
struct Place {
    /// What reached new code, here.
    corpus: PathBuf,
    /// What broke it.
    broken: PathBuf,
    /// What is part of the repository.
    seeds: PathBuf,
}

impl Place {
    fn make(directory: &Path, target: &Target) -> Result<Self> {
        let place = Self {
            corpus: directory.join("corpus").join(target.name),
            broken: directory.join("artifacts").join(target.name),
            seeds: workspace::root().join("fuzz/seeds").join(target.name),
        };
        for directory in [&place.corpus, &place.broken, &place.seeds] {
            fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
        }
        Ok(place)
    }
}

/// Looks for an input that breaks `target`.
fn look(programs: &Path, target: &Target, place: &Place, arguments: &Arguments) -> Result<()> {
    let name = target.name;
    let mut fuzzer = Command::new(programs.join(name));
    // What it finds goes to the first directory.
    fuzzer.arg(&place.corpus).arg(&place.seeds);
    fuzzer.arg(format!("-artifact_prefix={}/", place.broken.display()));
    fuzzer.args([&format!("-max_len={}", target.longest), "-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
    match arguments.executions {
        Some(count) => {
            say::step(&format!("fuzzing {name} with {count} inputs; the corpus is kept in {}", place.corpus.display()));
            fuzzer.arg(format!("-runs={count}"));
        }
        None => {
            let seconds = arguments.seconds;
            say::step(&format!("fuzzing {name} for {seconds} s; the corpus is kept in {}", place.corpus.display()));
            fuzzer.arg(format!("-max_total_time={seconds}"));
        }
    }
    let said = process::read_errors(&mut fuzzer).with_context(|| {
        format!("the fuzzer stopped early; an input that breaks {name} is in {}", place.broken.display())
    })?;
    let executed = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executed = executed.context("the fuzzer does not say how many inputs it has tried")?.trim();
    say::result(&format!("{name}: none of {executed} inputs broke it"));
    Ok(())
}

/// Makes the seeds the smallest set that reaches what the corpus does.
fn keep(programs: &Path, target: &Target, place: &Place) -> Result<()> {
    let mut fuzzer = Command::new(programs.join(target.name));
    // How often an input takes a branch says little, and would make the set four times as large.
    fuzzer
        .args(["-merge=1", "-use_counters=0", &format!("-max_len={}", target.longest)])
        .arg(&place.seeds)
        .arg(&place.corpus);
    process::read_errors(&mut fuzzer).context("failed to choose seeds")?;
    let count = fs::read_dir(&place.seeds).map_or(0, Iterator::count);
    say::result(&format!("{}: {count} seeds in {}", target.name, place.seeds.display()));
    Ok(())
}

fn build(host: &str, directory: &Path) -> Result<()> {
    if std::env::var_os("CXX").is_none() && ["c++", "g++"].iter().all(|name| workspace::find(name).is_none()) {
        bail!("a C++ compiler is missing, which libFuzzer is built with (Debian: g++)");
    }
    // With --target, build scripts are not instrumented.
    let mut cargo = workspace::cargo(&["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host]);
    cargo.arg("--target-dir").arg(directory).env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENT.join("\x1f"));
    process::run(&mut cargo).context("failed to build the fuzzer; cargo's messages are above")
}

/// The triple of this machine.
fn host() -> Result<String> {
    let version = process::read(Command::new("rustc").arg("-vV").current_dir(workspace::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
