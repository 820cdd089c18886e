//! What building and checking needs beyond the Rust that is there: parts of the toolchain, bpf-linker, and a program
//! that the tests drive.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::Llvm;
use crate::{process, say, workspace};

/// The minor version whose output the committed object was made with.
const BPF_LINKER: &str = "^0.13";

/// The major version of the LLVM inside rustc.
pub(super) fn llvm_major() -> Result<u32> {
    let version = process::read(Command::new("rustc").arg("-vV").current_dir(workspace::root()))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next()?.parse().ok())
        .context("`rustc -vV` names no LLVM version; baton needs the rustc that rustup installs")
}

/// Whether bpf-linker and the tool that strips its output are there.
pub(super) fn tools_present() -> bool {
    find_linker().is_some() && llvm_tool("llvm-strip").is_ok()
}

fn find_linker() -> Option<PathBuf> {
    let installed = workspace::cargo_home().map(|home| home.join("bin/bpf-linker"));
    workspace::find("bpf-linker").or(installed.filter(|file| file.is_file()))
}

/// A tool of the LLVM that is at least as new as rustc's.
pub(crate) fn llvm_tool(name: &str) -> Result<PathBuf> {
    let major = llvm_major()?;
    let prefixed = (major..=major + 2).map(|major| Path::new("/usr/lib").join(format!("llvm-{major}/bin")).join(name));
    prefixed
        .chain(workspace::find(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is missing: it comes with LLVM {major} (Debian: llvm-{major})"))
}

/// Parts of a Rust toolchain that not every toolchain has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Component {
    /// The source of `core`, which has no compiled form for BPF
    Source,
    Clippy,
    Rustfmt,
}

impl Component {
    /// As rustup calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Source => "rust-src",
            Self::Clippy => "clippy",
            Self::Rustfmt => "rustfmt",
        }
    }

    /// A file of it, in the toolchain's directory.
    fn file(self) -> &'static str {
        match self {
            Self::Source => "lib/rustlib/src/rust/library/core/src/lib.rs",
            Self::Clippy => "bin/cargo-clippy",
            Self::Rustfmt => "bin/cargo-fmt",
        }
    }
}

/// Adds what is missing of `components` to the toolchain.
pub(super) fn ensure_components(components: &[Component]) -> Result<()> {
    let sysroot = sysroot()?;
    let missing = components.iter().filter(|component| !sysroot.join(component.file()).is_file());
    let missing: Vec<&str> = missing.map(|component| component.name()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if workspace::find("rustup").is_none() {
        bail!(
            "the Rust toolchain lacks {list}: install rustup, which adds them, or your distribution's packages of them"
        );
    }
    say::step(&format!("installing with rustup: {list}"));
    process::read(Command::new("rustup").args(["component", "add"]).args(&missing).current_dir(workspace::root()))
        .with_context(|| format!("rustup could not do it; try `rustup component add {list}` yourself"))?;
    Ok(())
}

/// Adds the standard library for another architecture to the toolchain.
pub(super) fn ensure_target(target: &str) -> Result<()> {
    if sysroot()?.join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    if workspace::find("rustup").is_none() {
        bail!("the Rust toolchain cannot build for {target}: install rustup, which adds what that needs");
    }
    say::step(&format!("installing with rustup: the standard library for {target}"));
    process::read(Command::new("rustup").args(["target", "add", target]).current_dir(workspace::root()))
        .with_context(|| format!("rustup could not do it; try `rustup target add {target}` yourself"))?;
    Ok(())
}

fn sysroot() -> Result<PathBuf> {
    let printed = process::read(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()))?;
    Ok(PathBuf::from(printed.trim()))
}

/// Builds bpf-linker against `llvm`.
pub(super) fn ensure_linker(llvm: &Llvm) -> Result<()> {
    if find_linker().is_some() {
        return Ok(());
    }
    let prefix = format!("/usr/lib/llvm-{}", llvm.major);
    let feature = format!("llvm-{}", llvm.major);
    say::step(&format!("installing with cargo: bpf-linker for LLVM {} (a minute or two)", llvm.major));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = workspace::cargo(&["install", "bpf-linker", "--locked", "--version", BPF_LINKER]);
    command
        .args(["--no-default-features", "--features", &feature])
        .env("LLVM_PREFIX", &prefix)
        .env("PATH", format!("{prefix}/bin:{path}"))
        // An inherited target directory may be locked by the cargo that runs this task.
        .env_remove("CARGO_TARGET_DIR");
    process::read(&mut command).with_context(|| {
        format!(
            "cargo could not install bpf-linker. To see why: LLVM_PREFIX={prefix} PATH={prefix}/bin:$PATH \
             cargo install bpf-linker --no-default-features --features {feature}"
        )
    })?;
    Ok(())
}

/// Builds the Rust program that the tests drive, with its crates from the network; the tests build it anew when it has
/// changed.
pub(super) fn ensure_app() -> Result<()> {
    let target = workspace::root().join("target/apps");
    if target.join("release/relay").is_file() {
        return Ok(());
    }
    say::step(&format!("building with cargo in {}: axum, hyper (a minute)", target.display()));
    let mut command = workspace::cargo(&["build", "--release", "--locked", "--manifest-path"]);
    command.arg("tests/apps/rust/Cargo.toml").arg("--target-dir").arg(&target);
    process::read(&mut command).context("cargo could not build tests/apps/rust; is there a network?")?;
    Ok(())
}
