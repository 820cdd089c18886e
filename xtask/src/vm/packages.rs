//! Packages of any Debian suite: fetched, unpacked, and kept below `target/vm`. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use crate::debian::{self, Apt, Kinds};
use crate::{interrupt, say, workspace};

/// For so long the lists of packages are not fetched anew.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Where all of this task's files are kept.
pub(super) fn directory() -> PathBuf {
    workspace::target().join("vm")
}

/// A suite's packages for one architecture.
#[derive(Debug)]
pub(super) struct Suite {
    name: String,
    home: PathBuf,
    apt: Apt,
}

impl Suite {
    /// With a list of packages that is not old.
    pub(super) fn new(name: &str, architecture: &str) -> Result<Self> {
        let home = directory().join(format!("{name}-{architecture}"));
        fs::create_dir_all(&home).with_context(|| format!("failed to make {}", home.display()))?;
        let apt = Apt::new(&home.join("apt"), name, architecture, Kinds::Binaries)?;
        let suite = Self { name: name.to_owned(), home, apt };
        suite.refresh()?;
        Ok(suite)
    }

    /// Fetches the list of packages, unless that was done not long ago.
    fn refresh(&self) -> Result<()> {
        let done = self.home.join("lists-fetched");
        let fetched = fs::metadata(&done).and_then(|file| file.modified()).ok();
        let age = fetched.and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        say::note(&format!("fetching the list of packages of Debian's {}", self.name));
        match self.apt.get(&self.home, &["update", "--error-on=any"]) {
            Ok(()) => fs::write(&done, "").with_context(|| format!("failed to write {}", done.display())),
            Err(error) if fetched.is_some() => {
                interrupt::check()?;
                say::warning(&format!("the list of packages is an old one: {error:#}"));
                Ok(())
            }
            Err(error) => Err(error).with_context(|| {
                let name = &self.name;
                format!("no list of packages of {name}; is there a network, and does this machine's mirror have it?")
            }),
        }
    }

    /// The newest version of a package, as apt describes it.
    pub(super) fn description(&self, package: &str) -> Result<String> {
        self.apt.cache(&["show", "--no-all-versions", package])
    }

    /// The directory with these packages' files, as they would be below `/`. They are fetched if they are not there yet;
    /// what has the same `kind` and another `version` then goes.
    pub(super) fn unpacked(&self, kind: &str, version: &str, packages: &[String]) -> Result<PathBuf> {
        let root = self.home.join(format!("{kind}-{version}"));
        if root.is_dir() {
            return Ok(root);
        }
        say::note(&format!("fetching {}", packages.join(" ")));
        for old in fs::read_dir(&self.home)?.flatten() {
            if old.file_name().to_string_lossy().starts_with(&format!("{kind}-")) {
                remove(&old.path())?;
            }
        }
        // Under its own name when it is whole: an interrupted one is not taken for a finished one.
        let (debs, unfinished) = (self.home.join("debs"), self.home.join("unfinished"));
        for directory in [&debs, &unfinished] {
            remove(directory)?;
            fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
        }
        let mut arguments = vec!["download"];
        arguments.extend(packages.iter().map(String::as_str));
        self.apt.get(&debs, &arguments).context("is there a network?")?;
        for package in debian::files(&debs, ".deb")? {
            debian::unpack(&package, &unfinished)?;
        }
        remove(&debs)?;
        fs::rename(&unfinished, &root).with_context(|| format!("failed to make {}", root.display()))?;
        Ok(root)
    }
}

fn remove(directory: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    fs::remove_dir_all(directory).with_context(|| format!("failed to remove {}", directory.display()))
}

/// The value of a field of a package's description.
pub(super) fn field<'d>(description: &'d str, name: &str) -> Option<&'d str> {
    description.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// The names in a package's `Depends:`.
pub(super) fn depended(description: &str) -> Vec<String> {
    let line = field(description, "Depends").unwrap_or_default();
    let words = line.split([',', '|']).filter_map(|word| word.split_whitespace().next());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_among_what_a_package_depends_on() {
        let description = "Package: linux-image-7.2.1-cloud-amd64\nVersion: 7.2.1-1\n\
                           Depends: dracut | initramfs-tools (>= 0.120), linux-binary-7.2.1-cloud-amd64 (= 7.2.1-1)\n\
                           Pre-Depends: linux-base (>= 4.17~)\n";
        assert_eq!(depended(description), ["dracut", "initramfs-tools", "linux-binary-7.2.1-cloud-amd64"]);
        assert!(depended("Package: a\n").is_empty());
        assert_eq!(field(description, "Version"), Some("7.2.1-1"));
    }
}
