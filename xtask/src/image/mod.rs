//! `cargo xtask image`: a container image without a container engine, and the files for one that is made with an engine.
//!
//! The image holds baton, the shared libraries that it is linked with, and nothing else. It is linked with glibc: that is
//! the build that the tests drive.

mod archive;
mod check;
mod libraries;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::{say, workspace};
pub(crate) use libraries::{of as libraries_of, stripped};
use tree::Tree;

/// Where baton is in the image.
const PROGRAM: &str = "usr/bin/baton";

/// Directories that are mounted over, for runtimes that cannot make them in an image that is read-only.
const MOUNTED: [&str; 6] = ["dev", "etc/baton", "proc", "run/baton", "sys", "tmp"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to write the image [default: target/baton-image.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the image is called after its import; the kubelet looks for it under this very name
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("localhost/baton:", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// Write only the image's files, into this new directory (for deploy/Dockerfile)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "name"])]
    files: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    refuse_without_tag(&arguments.name)?;
    say::step("building baton");
    let baton = workspace::build_baton()?;
    if let Some(directory) = &arguments.files {
        contents(&baton)?.write(directory)?;
        say::result(&directory.display().to_string());
        return Ok(());
    }
    let output = arguments.output.clone().unwrap_or_else(|| workspace::target().join("baton-image.tar"));
    write(&baton, &arguments.name, &output)?;
    say::result(&format!("{}: {}", output.display(), arguments.name));
    say::note(&format!("import it with `ctr --namespace k8s.io image import {}`", output.display()));
    Ok(())
}

/// Writes baton's image and reads it back: whether it is whole, and as root whether baton starts in it.
pub(crate) fn write(baton: &Path, name: &str, output: &Path) -> Result<()> {
    say::step("writing the image");
    let archive = archive::archive(&contents(baton)?, name)?;
    fs::write(output, &archive).with_context(|| format!("failed to write {}", output.display()))?;
    let layer = check::layer(&archive).with_context(|| format!("{} is not a legal image", output.display()))?;
    if geteuid().is_root() {
        say::note(&format!("{} starts in it", check::start(&layer)?));
    } else {
        say::note("not root: whether baton starts in it was not tried");
    }
    Ok(())
}

/// The image's files.
fn contents(baton: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.add(PROGRAM, libraries::stripped(baton)?);
    for library in libraries::of(baton)? {
        let bytes = fs::read(&library).with_context(|| format!("failed to read {}", library.display()))?;
        let path = library.to_str().and_then(|path| path.strip_prefix('/'));
        tree.add(path.with_context(|| format!("{} is no place in an image", library.display()))?, bytes);
    }
    for directory in MOUNTED {
        tree.add_directory(directory);
    }
    Ok(tree)
}

/// A colon before the last slash belongs to a registry's port.
fn refuse_without_tag(name: &str) -> Result<()> {
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    if !last.split_once(':').is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty()) {
        bail!("`{name}` names no tag, so that nothing could find the image: write NAME:TAG");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::refuse_without_tag;

    #[test]
    fn a_name_needs_a_tag() {
        for good in ["baton:1", "localhost/baton:0.1.0", "host:5000/team/baton:1"] {
            assert!(refuse_without_tag(good).is_ok(), "{good}");
        }
        for bad in ["baton", "host:5000/baton", "baton:", ":1"] {
            assert!(refuse_without_tag(bad).is_err(), "{bad}");
        }
    }
}
