//! What a guest starts from: this program as its first process, the libraries that it is linked with, modules and a job.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::job::{JOB, Job, MODULES};
use super::linux::Unpacked;
use super::modules::{self, Module};
use crate::image;

/// Where this program is in the guest.
pub(super) const PROGRAM: &str = "/xtask";

/// The archive. `init` is the first process' program, statically linked; without one, it is this program.
pub(super) fn write(kernel: &Unpacked, init: Option<&Path>, job: &Job) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["dev", "host", "layer", "modules", "new", "proc", "sys"] {
        archive.directory(directory);
    }
    // The kernel opens it for the first process before any file system is mounted.
    archive.device("dev/console", (5, 1));
    match init {
        Some(init) => {
            let bytes = fs::read(init).with_context(|| format!("failed to read {}", init.display()))?;
            archive.file(relative(PROGRAM), &bytes);
        }
        None => add_program(&mut archive)?,
    }
    let modules = modules::in_order(&kernel.modules)?;
    for Module { name, bytes } in &modules {
        archive.file(&format!("modules/{name}.ko"), bytes);
    }
    let names: Vec<&String> = modules.iter().map(|module| &module.name).collect();
    archive.file(relative(MODULES), &serde_json::to_vec(&names)?);
    archive.file(relative(JOB), &serde_json::to_vec(job)?);
    Ok(archive.finish())
}

fn add_program(archive: &mut Archive) -> Result<()> {
    let own = std::env::current_exe().context("failed to find this executable")?;
    archive.file(relative(PROGRAM), &image::stripped(&own)?);
    let mut directories = std::collections::BTreeSet::new();
    for library in image::libraries_of(&own)? {
        let bytes = fs::read(&library).with_context(|| format!("failed to read {}", library.display()))?;
        let ancestors: Vec<_> = library.ancestors().skip(1).collect();
        for directory in ancestors.into_iter().rev().filter_map(|path| path.to_str()).map(relative) {
            if !directory.is_empty() && directories.insert(directory.to_owned()) {
                archive.directory(directory);
            }
        }
        archive.file(relative(library.to_str().context("a library's path is no text")?), &bytes);
    }
    Ok(())
}

/// Archives have no first slash.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}
