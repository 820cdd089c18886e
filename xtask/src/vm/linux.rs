//! Debian's kernels on the disk.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::kernels::Kernel;
use super::packages::{Suite, depended};

/// A kernel on the disk.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// What the kernel calls itself: `uname -r`.
    pub(super) release: String,
    /// What boots.
    pub(super) image: PathBuf,
    /// Its modules, as they would be in `/lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
}

/// The newest kernel of its suite, fetched if it is not there yet.
pub(super) fn obtain(kernel: &Kernel) -> Result<Unpacked> {
    let architecture = kernel.architecture.debian();
    let suite = Suite::new(kernel.suite, architecture)?;
    let metapackage = format!("linux-image-cloud-{architecture}");
    let image = depended(&suite.description(&metapackage)?).into_iter().find(|name| name.starts_with("linux-image-"));
    let image = image.with_context(|| format!("{metapackage} of {} depends on no kernel", kernel.suite))?;
    let release = image.trim_start_matches("linux-image-").to_owned();
    // Since 7.x, the kernel, its modules and their list are in packages of their own.
    let is_part = |name: &String| {
        ["linux-base-", "linux-binary-", "linux-modules-"].iter().any(|kind| name.strip_prefix(kind) == Some(&release))
    };
    let mut packages: Vec<String> = depended(&suite.description(&image)?).into_iter().filter(is_part).collect();
    packages.push(image);
    find(&suite.unpacked("linux", &release, &packages)?, release)
}

/// Looks for the kernel among what was unpacked: below `/usr` in newer packages.
fn find(root: &Path, release: String) -> Result<Unpacked> {
    let existing = |places: &[String]| places.iter().map(|place| root.join(place)).find(|path| path.exists());
    let image = existing(&[format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")]);
    let modules = existing(&[format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")]);
    match (image, modules) {
        (Some(image), Some(modules)) => Ok(Unpacked { release, image, modules }),
        _ => bail!("Debian's packages of {release} hold its parts elsewhere: look into {}", root.display()),
    }
}
