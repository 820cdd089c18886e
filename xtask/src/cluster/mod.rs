//! The Kubernetes that the tests run against: built once from Debian's source package, and kept outside of the tree.

mod build;
mod recipe;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{say, workspace};

/// Names the directory of the programs. The tests look there, too.
pub(crate) const VARIABLE: &str = "BATON_KUBERNETES";

/// What a directory is called in which a build is going on: the final one's name, this, and the builder's process id.
const BUILDING: &str = ".building-";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Build it, unless it is there: about 8 minutes on two cores, and 3 GB on the disk meanwhile
    Build {
        /// Where its programs are kept, instead of $BATON_KUBERNETES or the user's cache
        #[arg(long)]
        directory: Option<PathBuf>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Task::Build { directory } = &arguments.task;
    let directory = match directory {
        Some(directory) => std::path::absolute(directory)?,
        None => default_directory()?,
    };
    ensure_in(&directory)?;
    say::result(&directory.display().to_string());
    Ok(())
}

/// Builds it unless it is there. Returns the directory of its programs.
pub(crate) fn ensure() -> Result<PathBuf> {
    let directory = default_directory()?;
    ensure_in(&directory)?;
    Ok(directory)
}

fn default_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(VARIABLE) {
        return Ok(std::path::absolute(directory)?);
    }
    Ok(workspace::cache()?.join(recipe::name()))
}

fn ensure_in(directory: &Path) -> Result<()> {
    if recipe::PROGRAMS.iter().all(|program| directory.join(program).is_file()) {
        return Ok(());
    }
    let start = Instant::now();
    say::step(&format!("building Kubernetes {} for {} (about 8 minutes)", recipe::VERSION, directory.display()));
    let work = Work::beside(directory)?;
    build::programs(&sources::fetch(&work.0)?).context(
        "Kubernetes could not be built; the tests can do without a cluster: `cargo xtask test --no-cluster`",
    )?;
    // The directory appears with all programs in it, or not at all.
    fs::rename(work.0.join(build::OUTPUT), directory)
        .with_context(|| format!("failed to make {}: is something else there?", directory.display()))?;
    drop(work);
    // Gigabytes are still to be written. What starts now would wait for the disk behind them.
    nix::unistd::sync();
    say::note(&format!("built after {} s", start.elapsed().as_secs()));
    Ok(())
}

/// The directory of a build. Whatever becomes of the build, nothing of it stays.
struct Work(PathBuf);

impl Work {
    fn beside(directory: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            bail!("{} is no place for programs", directory.display());
        };
        fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
        let prefix = format!("{}{BUILDING}", name.to_string_lossy());
        remove_abandoned(parent, &prefix);
        let work = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir(&work).with_context(|| format!("failed to make {}", work.display()))?;
        Ok(Self(work))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say::warning(&format!("failed to remove {}: {error}", self.0.display()));
        }
    }
}

/// Removes what builders left that were killed.
fn remove_abandoned(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let builder = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if builder.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(Work(entry.path()));
        }
    }
}
