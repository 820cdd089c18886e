//! What the committed objects were made from and with, kept beside them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::{process, setup, workspace};

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) tools: Tools,
    /// A checksum of the sources, in hexadecimal. It finds a stale object where other tools make bytes incomparable.
    pub(super) sources: String,
}

/// The versions on which the object's bytes depend.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Tools {
    rustc: String,
    bpf_linker: String,
    llvm: String,
}

impl fmt::Display for Tools {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}, LLVM {}", self.rustc, self.bpf_linker, self.llvm)
    }
}

impl Record {
    pub(super) fn of_this_machine() -> Result<Self> {
        let version = |command: &mut Command| {
            process::read(command.current_dir(workspace::root())).map(|text| text.trim().to_owned())
        };
        let llvm = version(Command::new(setup::llvm_tool("llvm-config")?).arg("--version"))?;
        let tools = Tools {
            rustc: version(Command::new("rustc").arg("--version"))?,
            bpf_linker: version(Command::new("bpf-linker").arg("--version"))?,
            llvm,
        };
        Ok(Self { tools, sources: sources()? })
    }

    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("failed to parse {}", file.display()))
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
    }
}

/// The checksum of everything that is compiled into the object.
fn sources() -> Result<String> {
    let root = workspace::root();
    let mut files: Vec<PathBuf> =
        ["agent/build.rs", "agent-ebpf/Cargo.toml", "common/Cargo.toml"].iter().map(|file| root.join(file)).collect();
    collect(&root.join("agent-ebpf/src"), &mut files)?;
    collect(&root.join("common/src"), &mut files)?;
    files.sort();
    let mut sum = Checksum::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        sum.add(name.to_string_lossy().as_bytes());
        sum.add(&bytes);
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("failed to read Cargo.lock")?;
    for line in locked_versions(&lock) {
        sum.add(line.as_bytes());
    }
    Ok(sum.to_string())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if is_test {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines of Cargo.lock that name the eBPF libraries and their versions.
fn locked_versions(lock: &str) -> impl Iterator<Item = &str> {
    let mut follows = false;
    lock.lines().filter(move |line| {
        let name = line.strip_prefix("name = \"").unwrap_or_default();
        let names = ["aya-ebpf", "aya-log-ebpf", "aya-log-common"].iter().any(|library| name.starts_with(library));
        let wanted = names || follows;
        follows = names;
        wanted
    })
}

#[cfg(test)]
mod tests {
    use super::locked_versions;

    #[test]
    fn only_the_ebpf_libraries_versions_count() {
        let lock = "name = \"aya\"\nversion = \"1\"\n\nname = \"aya-ebpf-cty\"\nversion = \"2\"\nsource = \"x\"\n";
        let lines: Vec<_> = locked_versions(lock).collect();
        assert_eq!(lines, ["name = \"aya-ebpf-cty\"", "version = \"2\""]);
    }
}
