//! The committed eBPF objects: what a machine without bpf-linker embeds.
//!
//! `agent/build.rs` remaps all paths, so that the same sources and the same tools give the same bytes on every machine.

mod build;
mod flow;
mod record;
mod stack;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Purpose};
use crate::{say, workspace};
use build::Builder;
use record::Record;

/// The processors that baton runs on, as Rust calls them.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];
const REMEDY: &str = "run `cargo xtask prebuilt` and commit agent-ebpf/prebuilt/";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only compare the committed objects with fresh builds
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

/// Builds baton with an object from source.
pub(crate) fn build_from_source() -> Result<()> {
    Builder::new().map(drop)
}

/// Whether a machine like this one can do without building the object.
pub(crate) fn is_here() -> bool {
    committed(std::env::consts::ARCH).is_file()
}

fn committed(architecture: &str) -> PathBuf {
    workspace::prebuilt().join(format!("baton-ebpf.{architecture}.o"))
}

fn record_file() -> PathBuf {
    workspace::prebuilt().join("baton-ebpf.json")
}

/// Builds the objects and puts them into the working tree.
fn refresh() -> Result<()> {
    let builder = Builder::new()?;
    let directory = workspace::prebuilt();
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    for architecture in ARCHITECTURES {
        let (file, fresh) = (committed(architecture), acceptable(builder.object(architecture)?)?);
        let state = if fs::read(&file).is_ok_and(|before| before == fresh) { "was fresh already" } else { "is new" };
        fs::write(&file, &fresh).with_context(|| format!("failed to write {}", file.display()))?;
        say::result(&format!("{}: {} bytes, {state}", file.display(), fresh.len()));
    }
    Record::of_this_machine()?.write(&record_file())
}

/// An object that the oldest supported kernel does not refuse for what later ones do not mind.
fn acceptable(object: Vec<u8>) -> Result<Vec<u8>> {
    let refused = flow::refused(&object)?;
    if !refused.is_empty() {
        bail!(
            "Linux 6.1 would refuse the eBPF object, since a loop's end leads to its beginning without a jump in {}: \
             write the loop in another way, for example with a `break` as its last statement",
            refused.join(", ")
        );
    }
    let refused = stack::refused(&object)?;
    if !refused.is_empty() {
        bail!(
            "Linux 6.1 would refuse the eBPF object, since functions that call each other need more than 512 bytes of \
             stack: {}. Make a function of what needs much and calls nothing, or call it from further up",
            refused.join(", ")
        );
    }
    Ok(object)
}

/// Fails when a committed object is stale; otherwise says how that was found.
pub(crate) fn check() -> Result<String> {
    let builder = Builder::new()?;
    let mut stale = Vec::new();
    for architecture in ARCHITECTURES {
        let file = committed(architecture);
        let bytes =
            fs::read(&file).with_context(|| format!("no committed eBPF object {}: {REMEDY}", file.display()))?;
        if bytes != acceptable(builder.object(architecture)?)? {
            stale.push(architecture);
        }
    }
    if stale.is_empty() {
        return Ok("the committed eBPF objects equal fresh builds".to_owned());
    }
    let then = Record::read(&record_file()).with_context(|| format!("without it nothing can be compared: {REMEDY}"))?;
    let now = Record::of_this_machine()?;
    if then.tools == now.tools || then.sources != now.sources {
        bail!("the committed eBPF objects are stale ({}): they differ from fresh builds. {REMEDY}", stale.join(", "));
    }
    Ok(format!(
        "the committed eBPF objects were made from these very sources, with {}; this machine has {}, so bytes cannot \
         be compared",
        then.tools, now.tools
    ))
}
