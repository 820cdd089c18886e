//! Fresh eBPF objects, made by `agent/build.rs` itself, so that nobody else knows how.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::scratch::Scratch;
use crate::{process, setup, workspace};

/// The compiled `agent/build.rs`, and what cargo had it make for this machine.
#[derive(Debug)]
pub(super) struct Builder {
    script: PathBuf,
    host_output: PathBuf,
}

impl Builder {
    /// Builds baton, and with it the object for this machine, from source.
    pub(super) fn new() -> Result<Self> {
        let (builder, origin) = Self::build()?;
        if is_source(&origin) {
            return Ok(builder);
        }
        // The tools may have come since cargo last ran the script, which cargo cannot see.
        let script = workspace::root().join("agent/build.rs");
        File::options()
            .append(true)
            .open(&script)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .with_context(|| format!("failed to touch {}", script.display()))?;
        let (builder, origin) = Self::build()?;
        refuse_committed(&origin)?;
        Ok(builder)
    }

    fn build() -> Result<(Self, String)> {
        let arguments = ["build", "--release", "--package", "baton", "--message-format=json-render-diagnostics"];
        let printed = process::read_aloud(&mut workspace::cargo(&arguments))
            .context("failed to build baton; cargo's messages are above")?;
        let messages: Vec<Message> = printed
            .lines()
            .filter_map(|line| serde_json::from_str::<Message>(line).ok())
            .filter(|message| is_agent(&message.package_id))
            .collect();
        let compiled = messages.iter().find(|message| message.target.kind == ["custom-build"]);
        let executed = messages.iter().find(|message| message.reason == "build-script-executed");
        let (Some(compiled), Some(executed)) = (compiled, executed) else {
            bail!("cargo reports no build script of the package baton");
        };
        let script = compiled.filenames.first().context("cargo names no file of baton's build script")?;
        let origin = executed.env.iter().find(|(name, _)| name == "BATON_EBPF_ORIGIN");
        let origin = origin.map_or_else(String::new, |(_, origin)| origin.clone());
        Ok((Self { script: script.clone(), host_output: executed.out_dir.clone() }, origin))
    }

    /// The object for an architecture, without DWARF, which only debuggers read and which is most of its size.
    pub(super) fn object(&self, architecture: &str) -> Result<Vec<u8>> {
        let output =
            if architecture == std::env::consts::ARCH { self.host_output.clone() } else { self.run_for(architecture)? };
        let scratch = Scratch::new("prebuilt")?;
        let stripped = scratch.join("baton-ebpf.o");
        let mut strip = Command::new(setup::llvm_tool("llvm-strip")?);
        process::read(strip.arg("--strip-debug").arg("-o").arg(&stripped).arg(output.join("baton-ebpf")))?;
        let bytes = fs::read(&stripped).with_context(|| format!("failed to read {}", stripped.display()))?;
        refuse_machine_paths(&bytes)?;
        Ok(bytes)
    }

    /// Runs the build script as cargo would when it builds for `architecture`; returns its output directory.
    fn run_for(&self, architecture: &str) -> Result<PathBuf> {
        let output = workspace::target().join("prebuilt").join(architecture);
        fs::create_dir_all(&output).with_context(|| format!("failed to create {}", output.display()))?;
        let agent = workspace::root().join("agent");
        let mut command = Command::new(&self.script);
        command.current_dir(&agent).env("CARGO_MANIFEST_DIR", &agent).env("OUT_DIR", &output);
        command.env("CARGO_CFG_TARGET_ARCH", architecture).env("CARGO_CFG_TARGET_ENDIAN", "little");
        let printed = process::read(&mut command)
            .with_context(|| format!("failed to build the eBPF object for {architecture}"))?;
        let origin = printed.lines().find_map(|line| line.strip_prefix("cargo:rustc-env=BATON_EBPF_ORIGIN="));
        refuse_committed(origin.unwrap_or_default())?;
        Ok(output)
    }
}

/// A line of cargo's `--message-format=json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    out_dir: PathBuf,
    #[serde(default)]
    env: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// Package ids look like `path+file:///…/agent#baton@0.1.0`.
fn is_agent(package_id: &str) -> bool {
    package_id.rsplit_once('#').is_some_and(|(_, name)| name.starts_with("baton@"))
}

fn is_source(origin: &str) -> bool {
    origin == "source"
}

/// A copy of the committed object is always equal to it.
fn refuse_committed(origin: &str) -> Result<()> {
    if !is_source(origin) {
        bail!("agent/build.rs took the committed object instead of building: is bpf-linker on the search path?");
    }
    Ok(())
}

/// A path of this machine in the object would make it differ elsewhere.
fn refuse_machine_paths(object: &[u8]) -> Result<()> {
    let homes = [Some(workspace::root().to_owned()), workspace::cargo_home()];
    for path in homes.iter().flatten().filter_map(|path| Path::to_str(path)) {
        if object.windows(path.len()).any(|window| window == path.as_bytes()) {
            bail!("the eBPF object holds the path {path}, which differs on each machine: agent/build.rs must remap it");
        }
    }
    Ok(())
}
