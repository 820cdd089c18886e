//! Debian's packages in a directory of our own, with the system's apt-get and without touching what is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt-get with lists and a cache of its own, for one suite and one architecture.
#[derive(Debug)]
pub(crate) struct Apt {
    directory: PathBuf,
    configuration: PathBuf,
}

/// Whether sources are wanted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Packages alone.
    Binaries,
    /// Packages and what they are made from.
    BinariesAndSources,
}

impl Apt {
    /// Writes its configuration into `directory`, which may hold one already.
    pub(crate) fn new(directory: &Path, suite: &str, architecture: &str, kinds: Kinds) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).with_context(|| format!("failed to make {}", part.display()))?;
        }
        let origin = format!("[signed-by={KEYRING} arch={architecture}] {} {suite} main", find_mirror()?);
        let mut sources = format!("deb {origin}\n");
        if kinds == Kinds::BinariesAndSources {
            sources.push_str(&format!("deb-src {origin}\n"));
        }
        let list = directory.join("sources.list");
        fs::write(&list, sources)?;
        // What is installed here says nothing about another suite or architecture.
        let status = directory.join("status");
        fs::write(&status, "")?;
        let configuration = directory.join("apt.conf");
        let place = |what: &str, path: &Path| format!("{what} \"{}\";\n", path.display());
        let text = [
            place("Dir::Etc::sourcelist", &list),
            place("Dir::Etc::sourceparts", Path::new("/dev/null")),
            place("Dir::Etc::preferences", Path::new("/dev/null")),
            place("Dir::Etc::preferencesparts", Path::new("/dev/null")),
            place("Dir::State::lists", &directory.join("lists")),
            place("Dir::State::status", &status),
            place("Dir::Cache", &directory.join("cache")),
            format!("APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n"),
            // The user that apt-get downloads as otherwise may not write here.
            "APT::Sandbox::User \"root\";\n".to_owned(),
            "Acquire::Languages \"none\";\n".to_owned(),
            // Descriptions for software centres, which some machines fetch.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n".to_owned(),
            "Acquire::Retries \"3\";\n".to_owned(),
        ];
        fs::write(&configuration, text.concat())?;
        Ok(Self { directory: directory.to_owned(), configuration })
    }

    /// Runs apt-get in `place`, where it puts what it downloads.
    pub(crate) fn get(&self, place: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").args(arguments).current_dir(place).env("APT_CONFIG", &self.configuration);
        process::read(&mut command).map(drop)
    }

    /// What apt-cache prints.
    pub(crate) fn cache(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("apt-cache");
        process::read(command.args(arguments).current_dir(&self.directory).env("APT_CONFIG", &self.configuration))
    }
}

/// Unpacks a package below `root`, as it would be below `/`. Nothing of it is run.
pub(crate) fn unpack(package: &Path, root: &Path) -> Result<()> {
    process::read(Command::new("dpkg").arg("-x").args([package, root])).map(drop)
}

/// The files of a directory whose names end so.
pub(crate) fn files(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect())
}

/// The mirror that this machine takes its own packages from.
fn find_mirror() -> Result<String> {
    let folder = Path::new("/etc/apt");
    let mut lists = vec![folder.join("sources.list")];
    lists.extend(files(&folder.join("sources.list.d"), "s").unwrap_or_default());
    lists.sort();
    let texts = lists.iter().filter_map(|list| fs::read_to_string(list).ok());
    texts
        .filter_map(|text| mirror(&text).map(str::to_owned))
        .next()
        .context("apt's lists in /etc/apt name no mirror of Debian, whose packages are wanted")
}

/// The first mirror of Debian (not of its security updates) in a list of either format of sources.list(5).
fn mirror(list: &str) -> Option<&str> {
    let lines = list.lines().filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::mirror;

    #[test]
    fn mirrors_are_found_in_both_formats() {
        let new = "Types: deb\n# URIs: http://old.example/debian\nURIs: http://mirror.example/debian\nSuites: trixie\n";
        assert_eq!(mirror(new), Some("http://mirror.example/debian"));
        let old = "deb http://security.example/debian-security trixie-security main\n\
                   deb [signed-by=/k.gpg] https://mirror.example/pub/debian/ trixie main\n";
        assert_eq!(mirror(old), Some("https://mirror.example/pub/debian/"));
        assert_eq!(mirror("deb http://mirror.example/ubuntu noble main\n"), None);
    }
}
