//! Where things are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target directory, of which the release profile's is a part.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// The release build of a binary of this workspace.
pub(crate) fn release(binary: &str) -> PathBuf {
    target().join("release").join(binary)
}

/// Where the Node.js packages are that the tests drive.
pub(crate) fn node() -> PathBuf {
    root().join("target/node")
}

/// Where the Node.js packages are that baton is compared with.
pub(crate) fn observed_node() -> PathBuf {
    root().join("target/node-observed")
}

/// The Python with the packages that baton is compared with.
pub(crate) fn observed_venv() -> PathBuf {
    root().join("target/venv-observed")
}

/// The Python with Flask, gunicorn and requests; `tests` looks for it at the same place.
pub(crate) fn venv() -> PathBuf {
    root().join("target/venv")
}

/// Where things are kept that take long to make and that all clones of this repository can use.
pub(crate) fn cache() -> Result<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set, so there is no place for a cache")?.join("baton"))
}

/// Where the committed eBPF objects are.
pub(crate) fn prebuilt() -> PathBuf {
    root().join("agent-ebpf/prebuilt")
}

/// A cargo command that runs in the workspace, with the cargo that runs this task.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    // `cargo install` may put bpf-linker where the search path does not lead. Otherwise the path stays as it is:
    // agent/build.rs runs again whenever it changes.
    let bin = cargo_home().map(|home| home.join("bin"));
    if let (Some(bin), Some(path)) = (bin, std::env::var_os("PATH"))
        && !std::env::split_paths(&path).any(|directory| directory == bin)
        && let Ok(path) = std::env::join_paths(std::env::split_paths(&path).chain([bin]))
    {
        command.env("PATH", path);
    }
    command
}

/// Where `cargo install` keeps its `bin` directory.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")),
    }
}

/// A program on the search path, or where Debian puts daemons.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Builds `baton` in release mode and returns the executable.
pub(crate) fn build_baton() -> Result<PathBuf> {
    crate::process::run(&mut cargo(&["build", "--release", "--package", "baton"]))
        .context("failed to build baton; cargo's messages are above")?;
    Ok(release("baton"))
}
