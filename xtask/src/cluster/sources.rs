//! Fetching Debian's packages into a directory, with the system's apt-get and without touching what is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::recipe;
use crate::{process, say, workspace};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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
    let apt = Apt::new(work)?;
    let remedy = "is there a network, and does the Debian mirror of this machine have what is asked for?";
    apt.get(&["update"]).context(remedy)?;
    apt.get(&["source", "--download-only", recipe::SOURCE]).context(remedy)?;
    apt.get(&[&["download"], recipe::PACKAGES.as_slice()].concat()).context(remedy)?;

    let root = work.join("root");
    for package in files(work, ".deb")? {
        process::read(Command::new("dpkg").arg("-x").args([&package, &root]))?;
    }
    let gopath = work.join("gopath");
    let parent = gopath.join("src/k8s.io");
    fs::create_dir_all(&parent)?;
    let archive = files(work, ".orig.tar.gz")?.pop().context("the source package has no original source")?;
    process::read(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&parent))?;
    let unpacked = parent.join(format!("kubernetes-{}", recipe::VERSION));
    let kubernetes = parent.join("kubernetes");
    fs::rename(&unpacked, &kubernetes).with_context(|| {
        format!("the source package holds no {}: Debian has another version now", unpacked.display())
    })?;
    Ok(Sources { work: work.to_owned(), root, gopath, kubernetes })
}

fn files(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect())
}

/// apt-get with lists and a cache of its own.
struct Apt<'a> {
    work: &'a Path,
    configuration: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(work: &'a Path) -> Result<Self> {
        let directory = work.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let sources = directory.join("sources.list");
        let origin = format!("[signed-by={KEYRING}] {} {} main", find_mirror()?, recipe::SUITE);
        fs::write(&sources, format!("deb {origin}\ndeb-src {origin}\n"))?;
        let configuration = directory.join("apt.conf");
        let place = |what: &str, path: &Path| format!("{what} \"{}\";\n", path.display());
        let text = [
            place("Dir::Etc::sourcelist", &sources),
            place("Dir::Etc::sourceparts", Path::new("/dev/null")),
            place("Dir::State::lists", &directory.join("lists")),
            place("Dir::Cache", &directory.join("cache")),
            // The user that apt-get downloads as otherwise may not write here.
            "APT::Sandbox::User \"root\";\n".to_owned(),
            "Acquire::Languages \"none\";\n".to_owned(),
        ];
        fs::write(&configuration, text.concat())?;
        Ok(Self { work, configuration })
    }

    fn get(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").args(arguments).current_dir(self.work).env("APT_CONFIG", &self.configuration);
        process::read(&mut command).map(drop)
    }
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
        .context("apt's lists in /etc/apt name no mirror of Debian, whose packages Kubernetes is built from")
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
