//! `cargo xtask fuzz`: looks for bytes that break the scanner, with libFuzzer and the installed stable Rust.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{process, say, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long to look
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

const TARGET: &str = "scan";

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
    say::step("building the fuzzer");
    build(&host, &directory)?;

    let corpus = directory.join("corpus").join(TARGET);
    let broken = directory.join("artifacts").join(TARGET);
    for directory in [&corpus, &broken] {
        fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    }
    say::step(&format!("fuzzing for {} s; the corpus is kept in {}", arguments.seconds, corpus.display()));
    let mut fuzzer = Command::new(directory.join(&host).join("release").join(TARGET));
    // What it finds goes to the first directory.
    fuzzer.arg(&corpus).arg(workspace::root().join("fuzz/seeds").join(TARGET));
    fuzzer.arg(format!("-artifact_prefix={}/", broken.display()));
    fuzzer.arg(format!("-max_total_time={}", arguments.seconds));
    fuzzer.args(["-max_len=4096", "-timeout=10"]);
    process::run(&mut fuzzer).with_context(|| {
        format!("the fuzzer stopped early; an input that breaks the scanner is in {}", broken.display())
    })?;
    say::result(&format!("no input broke the scanner in {} s", arguments.seconds));
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
