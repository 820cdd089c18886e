//! Express and axios, in a directory under `target/`.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, say, workspace};

/// What is to be installed: the applications' own list.
fn wanted() -> Result<String> {
    let list = workspace::root().join("tests/apps/node/package.json");
    fs::read_to_string(&list).with_context(|| format!("failed to read {}", list.display()))
}

/// Installs the packages, or installs them anew when the list has changed.
pub(super) fn ensure_modules() -> Result<()> {
    let directory = workspace::node();
    let (list, done) = (directory.join("package.json"), directory.join("installed"));
    let wanted = wanted()?;
    if fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    say::step(&format!("installing with npm into {}: express, axios", directory.display()));
    fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    fs::write(&list, &wanted).with_context(|| format!("failed to write {}", list.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix"]).arg(&directory);
    process::read(&mut npm).context("npm could not install the Node.js packages; is there a network?")?;
    // Written last: an interrupted installation is not taken for a finished one.
    fs::write(&done, wanted).with_context(|| format!("failed to write {}", done.display()))
}
