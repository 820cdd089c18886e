//! `cargo xtask deny`: whether dependencies have licences and sources that they may have (`deny.toml`).

use anyhow::{Result, bail};

use crate::{process, say, workspace};

/// How it is installed.
const REMEDY: &str = "`cargo install cargo-deny --locked` installs it, in some minutes";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Look for known holes, too: fetches the RustSec advisory database
    #[arg(long)]
    advisories: bool,
}

/// Checks, if cargo-deny is installed; else says that it is not.
///
/// # Errors
/// What cargo-deny finds.
pub(crate) fn check() -> Result<()> {
    if !is_installed() {
        say::warning(&format!(
            "skipped: the dependencies' licences and sources, since cargo-deny is missing. {REMEDY}"
        ));
        return Ok(());
    }
    deny(&["licenses", "bans", "sources"])
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !is_installed() {
        bail!("cargo-deny is missing: {REMEDY}");
    }
    check()?;
    if arguments.advisories { deny(&["advisories"]) } else { Ok(()) }
}

fn is_installed() -> bool {
    process::read(&mut workspace::cargo(&["deny", "--version"])).is_ok()
}

fn deny(checks: &[&str]) -> Result<()> {
    say::step(&format!("checking dependencies: {}", checks.join(", ")));
    let mut command = workspace::cargo(&["deny", "--log-level", "warn", "check", "--hide-inclusion-graph"]);
    process::run(command.args(checks))
}
