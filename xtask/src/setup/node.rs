//! The Node.js packages that tests and benchmarks drive, in directories under `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, say, workspace};

/// Some packages.
pub(super) struct Packages {
    /// Where they are installed.
    directory: fn() -> PathBuf,
    /// The list of them in this repository.
    list: &'static str,
}

/// What is compared with OpenTelemetry, and that.
pub(super) const OBSERVED: Packages =
    Packages { directory: workspace::observed_node, list: "xtask/bench/package.json" };

/// Everything else.
pub(super) const USUAL: Packages = Packages { directory: workspace::node, list: "tests/apps/node/package.json" };

impl Packages {
    /// Installs the packages, or installs them anew when the list has changed.
    pub(super) fn ensure(&self) -> Result<()> {
        let list = workspace::root().join(self.list);
        let wanted = fs::read_to_string(&list).with_context(|| format!("failed to read {}", list.display()))?;
        let directory = (self.directory)();
        let (list, done) = (directory.join("package.json"), directory.join("installed"));
        if fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        say::step(&format!("installing with npm into {} what {} names", directory.display(), self.list));
        fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
        fs::write(&list, &wanted).with_context(|| format!("failed to write {}", list.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix"]).arg(&directory);
        process::read(&mut npm).context("npm could not install the Node.js packages; is there a network?")?;
        // Written last: an interrupted installation is not taken for a finished one.
        fs::write(&done, wanted).with_context(|| format!("failed to write {}", done.display()))
    }
}
