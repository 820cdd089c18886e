//! What building the eBPF object needs beyond the Rust that is there: the source of `core`, and bpf-linker.

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

/// Adds the source of `core` to the toolchain.
pub(super) fn ensure_source() -> Result<()> {
    let sysroot = process::read(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if source.is_file() {
        return Ok(());
    }
    if workspace::find("rustup").is_none() {
        bail!(
            "the source of Rust's core library is missing: install rustup, or your distribution's package of it (often rust-src)"
        );
    }
    say::step("installing with rustup: rust-src");
    process::read(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(workspace::root()))
        .context("rustup could not add rust-src; try `rustup component add rust-src` yourself")?;
    Ok(())
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
