//! A QEMU that emulates well enough.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use super::packages::{Suite, field};
use crate::{process, say};

/// The oldest major version that is used. With Debian's 7.2, Linux 6.12 crashes on every other boot: software emulation
/// then runs code that the kernel has just replaced (static keys, ftrace). With 10.0 it never did.
const OLDEST: u32 = 10;

/// The program, and what it must be told about where its files are.
#[derive(Debug)]
pub(super) struct Emulator {
    pub(super) architecture: Architecture,
    pub(super) program: PathBuf,
    pub(super) firmware: Vec<PathBuf>,
}

/// The machine's own QEMU; if that is too old, the one of its suite's backports.
pub(super) fn obtain(architecture: Architecture) -> Result<Emulator> {
    let program = architecture.emulator();
    let printed = process::read(Command::new(program).arg("--version"))?;
    if major(&printed).is_some_and(|major| major >= OLDEST) {
        return Ok(Emulator { architecture, program: program.into(), firmware: Vec::new() });
    }
    let system = fs::read_to_string("/etc/os-release").context("failed to read /etc/os-release")?;
    let codename = system.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    let version = printed.lines().next().unwrap_or_default();
    let backported = backported(architecture, &format!("{codename}-backports"));
    backported
        .with_context(|| format!("{version} is too old, and no newer one was found: install QEMU {OLDEST} or later"))
}

/// It finds its libraries and the machine's firmware among what Debian's older one has installed.
fn backported(architecture: Architecture, suite: &str) -> Result<Emulator> {
    let suite = Suite::new(suite, "amd64")?;
    let package = architecture.emulator_package();
    let description = suite.description(package)?;
    let version = field(&description, "Version").with_context(|| format!("{package} has no version"))?;
    let packages = [package, "qemu-system-data"].map(str::to_owned);
    let root = suite.unpacked(package, &version.replace(':', "_"), &packages)?;
    let emulator = Emulator {
        architecture,
        program: root.join("usr/bin").join(architecture.emulator()),
        firmware: vec![root.join("usr/share/qemu"), "/usr/share/seabios".into()],
    };
    let printed = process::read(Command::new(&emulator.program).arg("--version"))?;
    say::note(&format!("emulated by {}", printed.lines().next().unwrap_or_default()));
    Ok(emulator)
}

/// `QEMU emulator version 7.2.22 (Debian …)`
fn major(printed: &str) -> Option<u32> {
    printed.strip_prefix("QEMU emulator version ")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_version_is_read() {
        assert_eq!(major("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright"), Some(7));
        assert_eq!(major("QEMU emulator version 10.0.2\n"), Some(10));
        assert_eq!(major("no"), None);
    }
}
