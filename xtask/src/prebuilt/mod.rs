//! The committed eBPF object: what a machine without bpf-linker embeds.
//!
//! `agent/build.rs` remaps all paths, so that the same sources and the same tools give the same bytes on every machine.

mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::scratch::Scratch;
use crate::setup::{self, Purpose};
use crate::{process, say, workspace};
use record::Record;

const REMEDY: &str = "run `cargo xtask prebuilt` and commit agent-ebpf/prebuilt/";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only compare the committed object with a fresh build
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(problem) = setup::ensure(Purpose::Build)?.pop() {
        return Err(problem.context("the eBPF object cannot be built from source here"));
    }
    if arguments.check {
        say::note(&check()?);
        return Ok(());
    }
    refresh()
}

/// Builds the object and commits it to the working tree.
fn refresh() -> Result<()> {
    let (committed, record_file) = (workspace::prebuilt_object(), record_file());
    let fresh = build()?;
    if let Some(directory) = committed.parent() {
        fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    }
    let before = fs::read(&committed).ok();
    fs::write(&committed, &fresh).with_context(|| format!("failed to write {}", committed.display()))?;
    Record::of_this_machine()?.write(&record_file)?;
    let state = if before.as_ref() == Some(&fresh) { "was fresh already" } else { "refreshed; commit it" };
    say::result(&format!("{}: {} bytes, {state}", committed.display(), fresh.len()));
    Ok(())
}

/// Fails when the committed object is stale; otherwise says how that was found.
pub(crate) fn check() -> Result<String> {
    let committed = workspace::prebuilt_object();
    let bytes =
        fs::read(&committed).with_context(|| format!("no committed eBPF object {}: {REMEDY}", committed.display()))?;
    if bytes == build()? {
        return Ok("the committed eBPF object equals a fresh build".to_owned());
    }
    let now = Record::of_this_machine()?;
    let then = Record::read(&record_file())
        .with_context(|| format!("the committed eBPF object differs from a fresh build: {REMEDY}"))?;
    if then.tools == now.tools || then.sources != now.sources {
        bail!("the committed eBPF object is stale: it differs from a fresh build. To refresh it: {REMEDY}");
    }
    Ok(format!(
        "the committed eBPF object was made from these very sources, by {}; this machine has {}, so bytes cannot be compared",
        then.tools, now.tools
    ))
}

fn record_file() -> PathBuf {
    workspace::prebuilt_object().with_extension("json")
}

/// A line of cargo's `--message-format=json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    out_dir: PathBuf,
    #[serde(default)]
    env: Vec<(String, String)>,
}

/// The object as `agent/build.rs` makes it, without DWARF, which only debuggers read and which is most of its size.
fn build() -> Result<Vec<u8>> {
    let built = built_object()?;
    let scratch = Scratch::new("prebuilt")?;
    let stripped = scratch.join("baton-ebpf.o");
    let mut strip = Command::new(setup::llvm_tool("llvm-strip")?);
    process::read(strip.arg("--strip-debug").arg("-o").arg(&stripped).arg(&built))?;
    let bytes = fs::read(&stripped).with_context(|| format!("failed to read {}", stripped.display()))?;
    refuse_machine_paths(&bytes)?;
    Ok(bytes)
}

fn built_object() -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "baton", "--message-format=json-render-diagnostics"];
    let mut command = workspace::cargo(&arguments);
    let child = process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("failed to build baton; cargo's messages are above");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let script = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .find(|message| message.reason == "build-script-executed" && is_agent(&message.package_id))
        .context("cargo reports no build script of the package baton")?;
    let origin = script.env.iter().find(|(name, _)| name == "BATON_EBPF_ORIGIN");
    if origin.is_some_and(|(_, origin)| origin != "source") {
        bail!("agent/build.rs embedded the committed object instead of building: is bpf-linker on the search path?");
    }
    Ok(script.out_dir.join("baton-ebpf"))
}

/// Package ids look like `path+file:///…/agent#baton@0.1.0`.
fn is_agent(package_id: &str) -> bool {
    package_id.rsplit_once('#').is_some_and(|(_, name)| name.starts_with("baton@"))
}

/// A path of this machine in the object would make it differ elsewhere.
fn refuse_machine_paths(object: &[u8]) -> Result<()> {
    let homes = [Some(workspace::root().to_owned()), workspace::cargo_home()];
    for path in homes.iter().flatten().filter_map(|path| Path::to_str(path)) {
        if object.windows(path.len()).any(|window| window == path.as_bytes()) {
            bail!(
                "the eBPF object holds the path {path}: agent/build.rs must remap it, or the object differs on each machine"
            );
        }
    }
    Ok(())
}
