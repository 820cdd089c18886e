//! Fetching what the programs of the cluster are built from: Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::recipe;
use crate::debian::{self, Apt, Kinds};
use crate::{process, say, workspace};

/// What a build starts from.
#[derive(Debug)]
pub(super) struct Sources {
    /// The build's own directory.
    pub(super) work: PathBuf,
    /// The unpacked packages, as they would be below `/`.
    pub(super) root: PathBuf,
    /// Where Go looks for packages.
    pub(super) gopath: PathBuf,
    /// Kubernetes' source, inside of that.
    pub(super) kubernetes: PathBuf,
}

/// Fetches and unpacks everything into `work`.
pub(super) fn fetch(work: &Path) -> Result<Sources> {
    for program in ["apt-get", "dpkg", "tar"] {
        if workspace::find(program).is_none() {
            bail!(
                "Kubernetes for the tests is built from Debian's packages, and this system has no {program}. \
                 `cargo xtask test --no-cluster` does without; or name a directory with {} in $BATON_KUBERNETES",
                recipe::PROGRAMS.join(", ")
            );
        }
    }
    say::note("fetching Debian's packages");
    let architecture = process::read(Command::new("dpkg").arg("--print-architecture"))?;
    let apt = Apt::new(&work.join("apt"), recipe::SUITE, architecture.trim(), Kinds::BinariesAndSources)?;
    let remedy = "is there a network, and does the Debian mirror of this machine have what is asked for?";
    apt.get(work, &["update"]).context(remedy)?;
    apt.get(work, &["source", "--download-only", recipe::SOURCE]).context(remedy)?;
    apt.get(work, &[&["download"], recipe::PACKAGES.as_slice()].concat()).context(remedy)?;

    let root = work.join("root");
    for package in debian::files(work, ".deb")? {
        debian::unpack(&package, &root)?;
    }
    let gopath = work.join("gopath");
    let parent = gopath.join("src/k8s.io");
    fs::create_dir_all(&parent)?;
    let archive = debian::files(work, ".orig.tar.gz")?.pop().context("the source package has no original source")?;
    process::read(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&parent))?;
    let unpacked = parent.join(format!("kubernetes-{}", recipe::VERSION));
    let kubernetes = parent.join("kubernetes");
    fs::rename(&unpacked, &kubernetes).with_context(|| {
        format!("the source package holds no {}: Debian has another version now", unpacked.display())
    })?;
    Ok(Sources { work: work.to_owned(), root, gopath, kubernetes })
}
