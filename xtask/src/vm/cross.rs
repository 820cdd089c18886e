//! Programs for guests of another architecture than this machine's: compiled and linked here, and kept below `target/vm`.
//!
//! No others run there, because the host's files, which the guest sees, are of the host's architecture. The Rust programs
//! are linked statically. The applications are not, as baton's users' are not: they find the C library where Debian's cross
//! compiler has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{packages, programs};
use crate::{process, say, workspace};

/// As Rust calls it.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The compiler, which links the Rust programs as well.
pub(crate) const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// What makes the programs small enough for a guest's memory.
const STRIP: &str = "aarch64-linux-gnu-strip";

/// Where Debian's packages for the compiler have headers and libraries.
pub(crate) const LIBRARY: &str = "/usr/aarch64-linux-gnu";

/// The applications of `tests/apps/c`.
const APPLICATIONS: [&str; 1] = ["relay"];

/// What was built.
#[derive(Debug)]
pub(super) struct Built {
    /// This task's program, for the guest's first process.
    pub(super) init: PathBuf,
    pub(super) baton: PathBuf,
    /// The test programs, by name.
    pub(super) tests: BTreeMap<String, PathBuf>,
    /// The directory of the applications.
    pub(super) applications: PathBuf,
}

/// Builds all of it.
pub(super) fn build() -> Result<Built> {
    say::step(&format!("building baton and its tests for {TARGET}"));
    process::run(&mut cargo(&["build", "--package", "xtask"]))?;
    process::run(&mut cargo(&["build", "--release", "--package", "baton"]))?;
    let mut tests = cargo(&["test", "--package", "baton-tests", "--no-run"]);
    tests.args(["--message-format", "json-render-diagnostics"]).stdin(Stdio::null());
    for name in programs::crossed() {
        tests.args(["--test", name]);
    }
    let tests = programs::executables(&process::read_aloud(&mut tests)?);

    let directory = directory();
    let applications = directory.join("apps");
    fs::create_dir_all(&applications).with_context(|| format!("failed to make {}", applications.display()))?;
    let made = workspace::target().join(TARGET);
    strip(&made.join("debug/xtask"), &directory.join("xtask"))?;
    strip(&made.join("release/baton"), &directory.join("baton"))?;
    for name in programs::crossed() {
        let test = tests.get(name).with_context(|| format!("cargo built no test program {name} for {TARGET}"))?;
        strip(test, &directory.join(name))?;
    }
    for name in APPLICATIONS {
        compile(name, &applications)?;
    }
    find()
}

/// What an earlier run has built.
pub(super) fn find() -> Result<Built> {
    let directory = directory();
    let tests = programs::crossed().map(|name| (name.to_owned(), directory.join(name))).collect();
    let built = Built {
        init: directory.join("xtask"),
        baton: directory.join("baton"),
        tests,
        applications: directory.join("apps"),
    };
    for file in [&built.init, &built.baton].into_iter().chain(built.tests.values()) {
        ensure!(file.is_file(), "there is no {}: run this once without --built", file.display());
    }
    Ok(built)
}

fn directory() -> PathBuf {
    packages::directory().join(TARGET)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo(arguments);
    let variable = format!("CARGO_TARGET_{}", TARGET.to_uppercase().replace('-', "_"));
    command.args(["--target", TARGET]);
    command.env(format!("{variable}_LINKER"), COMPILER);
    command.env(format!("{variable}_RUSTFLAGS"), "-C target-feature=+crt-static");
    command
}

fn strip(from: &Path, to: &Path) -> Result<()> {
    process::run(Command::new(STRIP).arg("--strip-debug").arg("-o").args([to, from]))
}

/// Compiles a C program of `tests/apps/c`, as the tests do it where they run on the machine itself.
fn compile(name: &str, directory: &Path) -> Result<()> {
    let source = workspace::root().join(format!("tests/apps/c/{name}.c"));
    let mut compiler = Command::new(COMPILER);
    compiler.args(["-O2", "-Wall", "-D_GNU_SOURCE", "-pthread"]);
    compiler.arg(format!("-Wl,--dynamic-linker={LIBRARY}/lib/ld-linux-aarch64.so.1,-rpath={LIBRARY}/lib"));
    process::run(compiler.arg("-o").arg(directory.join(name)).arg(source))
}
