//! Debian packages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::{process, say, workspace};

/// An LLVM that apt can install.
#[derive(Debug)]
pub(super) struct Llvm {
    pub(super) major: u32,
    pub(super) package: String,
}

/// The majors that bpf-linker can be built for.
const BPF_LINKER_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;

/// The package of the oldest LLVM that is not older than `rustc_major`: bpf-linker must understand rustc's bitcode.
pub(super) fn llvm_package(rustc_major: u32) -> Result<Llvm> {
    if workspace::find("apt-get").is_some() && geteuid().is_root() && !is_available(rustc_major) {
        update()?;
    }
    for major in rustc_major.max(*BPF_LINKER_MAJORS.start())..=*BPF_LINKER_MAJORS.end() {
        if is_available(major) {
            return Ok(Llvm { major, package: package(major) });
        }
    }
    bail!(
        "bpf-linker is missing, and apt offers no {} to build it with. Install LLVM {rustc_major} or later with its \
         headers under PREFIX, then: LLVM_PREFIX=PREFIX cargo install bpf-linker --no-default-features --features llvm-{rustc_major}",
        package(rustc_major)
    )
}

fn package(major: u32) -> String {
    format!("llvm-{major}-dev")
}

fn is_available(major: u32) -> bool {
    is_known(&package(major))
}

/// Whether apt's lists have a package.
pub(super) fn is_known(package: &str) -> bool {
    process::read(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|policy| policy.contains("Candidate:") && !policy.contains("Candidate: (none)"))
}

/// Installs packages; says which. Daemons among them are not started.
pub(super) fn install(packages: &[String]) -> Result<()> {
    let list = packages.join(" ");
    if workspace::find("apt-get").is_none() {
        bail!(
            "missing, and this system has no apt-get: what Debian calls {list}. Install these with your package manager"
        );
    }
    if !geteuid().is_root() {
        bail!(
            "missing, and only root may install: run `apt-get update && apt-get install --yes --no-install-recommends {list}` as root"
        );
    }
    say::step(&format!("installing with apt-get: {list}"));
    update()?;
    let _policy = DaemonsStayOff::new()?;
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    let remedy = "run the command yourself to see what apt needs";
    process::read(&mut command).with_context(|| format!("apt-get could not install {list}; {remedy}"))?;
    Ok(())
}

fn update() -> Result<()> {
    process::read(Command::new("apt-get").args(["update", "--quiet"]))
        .context("apt-get could not fetch its package lists; is there a network and a package source?")?;
    Ok(())
}

/// While it lives, packages install their daemons without starting them (Debian's policy-rc.d interface, status 101).
struct DaemonsStayOff {
    ours: bool,
}

impl DaemonsStayOff {
    const PATH: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        // A policy that somebody else made is theirs to keep.
        let ours = !Path::new(Self::PATH).exists();
        if ours {
            fs::write(Self::PATH, "#!/bin/sh\nexit 101\n")
                .and_then(|()| fs::set_permissions(Self::PATH, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("failed to write {}", Self::PATH))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for DaemonsStayOff {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Self::PATH)
        {
            say::warning(&format!("remove {} yourself: {error}", Self::PATH));
        }
    }
}
